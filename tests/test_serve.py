"""The panel in a real browser: through JupyterLab and through Voila, as the start commands serve it."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import odd_files
import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from tblib.__main__ import main
from tblib.predict.predictor import open_predictor, sample_contents, sample_films
from tblib.report import serve
from tblib.report.parameters import NOTEBOOKS
from tblib.run import Run
from tblib.system.text import RESEARCH_USE

SOON, LATER = 20_000, 120_000  # ms
MOVED = "value => document.querySelector('data.edited').getAttribute('value') !== value"


@pytest.fixture(scope="module")
def film(smoke, tmp_path_factory) -> Path:
    """A test film of the run, as a file."""
    path = tmp_path_factory.mktemp("films") / "film.png"
    path.write_bytes(next(iter(sample_contents(smoke, sample_films(smoke)).values())))
    return path


@pytest.fixture(scope="module")
def large(film) -> Path:
    """The same film as a TIFF of more than 30 MB: above Jupyter's own limit of 10 for a message."""
    path = film.parent / "large.tif"
    deep = np.asarray(Image.open(film).convert("L").resize((4_000, 4_000))).astype(np.uint16) << 8
    Image.fromarray(deep).save(path)
    assert path.stat().st_size > 30e6
    return path


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def served(arguments: list[str], address: str, log: Path):
    """Start ``python -m tblib …``, yield it once the address answers, and stop it as Ctrl-C does."""
    with log.open("wb") as out:
        command = [sys.executable, "-m", "tblib", *arguments]
        server = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        try:
            _wait(server, address, log)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGINT)
                time.sleep(0.5)
                os.killpg(server.pid, signal.SIGINT)  # JupyterLab asks for a second one
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def _wait(server: subprocess.Popen, address: str, log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{address}/static/favicon.ico", timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())


def assert_no_traceback(log: Path) -> None:
    """None but those of stray messages: a test beside this one may still call a port that its own kernel has left."""
    text = log.read_text()
    assert text.count("Traceback") == text.count("ValueError: DELIM not in msg_list"), text


def page_server(smoke: Run, log: Path, *more: str):
    """The panel's page: yield its process, its address and its log."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    own = ["--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"]
    arguments = ["app", "--name", str(smoke.folder), *own, *more]
    yield from ((server, address, log) for server in served(arguments, address, log))


@pytest.fixture(scope="module")
def voila_process(smoke, tmp_path_factory):
    yield from page_server(smoke, tmp_path_factory.mktemp("log") / "voila.txt")


@pytest.fixture(scope="module")
def voila(voila_process):
    return voila_process[1:]


@pytest.fixture(scope="module")
def voila_page(browser, voila):
    """The page in the dark, once it shows a film."""
    page = opened(browser, voila[0], "dark")
    page[0].locator("data.probability").wait_for(timeout=LATER)
    yield page
    page[0].context.close()


@pytest.fixture
def impatient_voila(smoke, tmp_path):
    """It ends kernels seconds after their page is gone, by options that a person gives.

    On a busy machine a browser needs several seconds from a kernel's last cell to its connection: it must not be culled
    in between.
    """
    cull = [f"--MappingKernelManager.cull_{what}" for what in ("idle_timeout=20", "interval=1")]
    yield from page_server(smoke, tmp_path / "voila.txt", *cull)


def kernels(server: subprocess.Popen) -> set[int]:
    """The kernels of a server that is started through another process."""
    found = set()
    for process in psutil.Process(server.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "ipykernel_launcher" in process.cmdline():
                found.add(process.pid)
    return found


def settled(server: subprocess.Popen) -> set[int]:
    """The kernels of a server, two or more, once none has come or gone for a while: a busy machine takes long to."""
    found, since, end = kernels(server), time.monotonic(), time.monotonic() + LATER / 1000
    while len(found) < 2 or time.monotonic() < since + 15:
        assert time.monotonic() < end, found
        time.sleep(0.5)
        now = kernels(server)
        found, since = (found, since) if now == found else (now, time.monotonic())
    return found


def until(holds, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture(scope="module")
def lab(smoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.read(NOTEBOOKS / serve.PANEL, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('run: str = "demo"', f'run: str = "{smoke.folder}"')
    nbformat.write(notebook, folder / serve.PANEL)
    port, log = free_port(), folder / "log.txt"
    address = f"http://127.0.0.1:{port}"
    own = [f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=", "--no-browser"]
    arguments = ["lab", "--folder", str(folder), *own, "--ServerApp.allow_root=True"]
    yield from ((address, log) for _ in served(arguments, address, log))


def opened(browser, address: str, scheme: str = "light"):
    """A page that tells what it asked for and what it complained about; it has begun, as its kernel takes its time.

    `scheme`: the colours that its reader prefers.
    """
    context = browser.new_context(viewport={"width": 1100, "height": 1000}, color_scheme=scheme)
    view = context.new_page()
    view.set_default_timeout(SOON)
    asked, faults = [], []
    view.on("requestfinished", lambda request: asked.append(request.url))
    view.on("pageerror", lambda error: faults.append(str(error)))
    view.goto(address, timeout=LATER, wait_until="commit")
    return view, asked, faults


def probability(view) -> float:
    return float(view.locator("data.probability").get_attribute("value"))


def drop(view, name: str, content: bytes) -> None:
    """Let a file fall on the drop zone."""
    put = "d.items.add(new File([new Uint8Array(bytes)], name))"
    made = f"([name, bytes]) => {{ const d = new DataTransfer(); {put}; return d; }}"
    view.dispatch_event(".tblib-drop", "drop", {"dataTransfer": view.evaluate_handle(made, [name, list(content)])})


def move_a_slider(view) -> str:
    """Move it and undo that; the score before and after."""
    before = view.locator("data.edited").get_attribute("value")
    view.get_by_label("Film border").press("ArrowRight")
    view.wait_for_function(MOVED, arg=before)
    assert view.locator("data.as-is").get_attribute("value") == before
    view.get_by_role("button", name="Undo all changes").click()
    view.wait_for_function(f"value => !({MOVED})(value)", arg=before)
    return before


def names_in(view) -> list[str]:
    """The files of the table, in its order."""
    return view.locator(".tblib-table tbody td:first-child").all_inner_texts()


def give_a_batch(view, film: Path) -> None:
    """Good, broken, good: every file has its row, in order, even where they are the first that a kernel gets."""
    files = [film.with_name(name) for name in ("first.png", "second.png", "third.png")]
    for file in files:
        file.write_bytes(b"text" if file.stem == "second" else film.read_bytes())
    view.locator(".tblib-drop input").set_input_files([str(file) for file in files])
    view.get_by_text("2 read, 1 not").wait_for()
    view.locator(".tblib-table tbody tr").nth(2).wait_for()
    assert names_in(view) == [file.name for file in files]


def explore(view, predictor, film: Path, large: Path) -> None:
    """What a person does: several files, one, a slider; a large file, a dropped, a wrong, a too large one; a table."""
    give_a_batch(view, film)
    upload = view.locator(".tblib-drop input")
    upload.set_input_files(str(film))
    view.get_by_role("heading", name="film.png").wait_for()
    answer = predictor.answer(film.read_bytes(), "film.png")
    assert probability(view) == pytest.approx(answer.score.probability, abs=1e-5)
    view.get_by_text("random weights").wait_for()  # the map, or why there is none

    move_a_slider(view)

    upload.set_input_files(str(large))
    view.get_by_role("heading", name="large.tif").wait_for()
    assert probability(view) == pytest.approx(
        predictor.answer(large.read_bytes(), "large.tif").score.probability, abs=1e-5
    )

    drop(view, "dropped.png", film.read_bytes())
    view.get_by_role("heading", name="dropped.png").wait_for()
    assert probability(view) == pytest.approx(answer.score.probability, abs=1e-5)

    (film.parent / "notes.png").write_text("text")
    upload.set_input_files(str(film.parent / "notes.png"))
    view.get_by_role("alert").get_by_text("notes.png is not a picture that can be read").wait_for()
    with (film.parent / "huge.png").open("wb") as file:
        file.truncate(101 * 2**20)
    upload.set_input_files(str(film.parent / "huge.png"))
    view.get_by_role("alert").get_by_text("huge.png has 101 MB, above the limit of 100 MB").wait_for()

    given = [
        *("first.png", "second.png", "third.png", "film.png"),
        *("large.tif", "dropped.png", "notes.png", "huge.png"),
    ]
    view.locator(".tblib-table tbody tr").nth(7).wait_for()
    assert names_in(view) == given  # nothing is lost
    view.get_by_role("button", name="Show large.tif").click()
    view.get_by_role("heading", name="large.tif").wait_for()
    step(view, "Previous film", "film.png")
    step(view, "Next film", "large.tif")
    view.get_by_role("button", name="probability").click()
    with view.expect_download() as told:
        view.get_by_text("Download as CSV").click()
    lines = Path(told.value.path()).read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["file", *given]
    move_a_slider(view)  # a download is no leaving of the page


def step(view, button: str, film: str) -> None:
    """Go to another film by the keyboard; the button keeps the focus."""
    view.get_by_role("button", name=button).press("Enter")
    view.get_by_role("heading", name=film).wait_for()
    assert button in view.evaluate("document.activeElement.textContent")


def nothing_sticks_out(view) -> None:
    """Once the page is laid out for its window, which takes a busy machine some time after a change of its width."""
    all_of_it = "[...document.querySelectorAll('.tblib-panel *')]"
    out = f"{all_of_it}.filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.tblib-table'))"
    with contextlib.suppress(PlaywrightTimeoutError):
        view.wait_for_function(f"{out}.length === 0")
    assert view.evaluate(f"{out}.map(e => e.className)") == []


def each_control_has_a_name(view) -> None:
    tree = view.locator(".tblib-panel").first.aria_snapshot()
    for role in ("button", "slider", "combobox", "textbox", "checkbox", "img"):
        controls = re.findall(rf"- {role}\b.*", tree)
        assert controls, role
        assert all(re.match(rf'- {role} "[^"]+"', control) for control in controls), role


def test_voila_serves_the_panel_alone(smoke: Run, voila, voila_page, film, large):
    address, log = voila
    view, asked, faults = voila_page
    explore(view, open_predictor(smoke.path("model.safetensors")), film, large)
    each_control_has_a_name(view)
    assert view.get_by_text(RESEARCH_USE).is_visible()
    assert view.locator("pre").count() == 0  # neither code nor a traceback
    assert [url for url in asked if not url.startswith((address, "data:", "blob:", "ws:"))] == []
    assert faults == []
    assert_no_traceback(log)


def test_the_panel_of_somebody_elses_model_answers_and_shows_no_map(browser, theirs: Run, film, tmp_path):
    for _, address, log in page_server(theirs, tmp_path / "voila.txt"):
        view, asked, faults = opened(browser, address)
        view.locator("data.probability").wait_for(timeout=LATER)
        view.locator(".tblib-drop input").set_input_files(str(film))
        view.get_by_role("heading", name="film.png").wait_for()
        answer = open_predictor(theirs.path("model.json")).answer(film.read_bytes(), "film.png")
        assert probability(view) == pytest.approx(answer.score.probability, abs=1e-5)
        view.get_by_text("gives scores alone").wait_for()
        move_a_slider(view)
        assert view.locator("pre").count() == 0
        assert [url for url in asked if not url.startswith((address, "data:", "blob:", "ws:"))] == []
        assert faults == []
        assert_no_traceback(log)
        view.context.close()


def test_the_panel_fits_on_a_phone_and_keeps_its_notice_in_sight(voila_page):
    view, _, faults = voila_page
    view.set_viewport_size({"width": 400, "height": 1000})
    view.get_by_text("random weights").wait_for()
    nothing_sticks_out(view)
    view.get_by_role("button", name="Undo all changes").scroll_into_view_if_needed()
    box = view.get_by_text(RESEARCH_USE).bounding_box()
    assert 0 <= box["y"] < 100
    assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_panel_is_accessible(browser, voila, film, scheme):
    """By axe-core, in every state: a film, a batch, a file that is none, What if."""
    view, _, faults = opened(browser, voila[0], scheme)
    view.locator("data.probability").wait_for(timeout=LATER)
    assert_no_barrier(view)
    give_a_batch(view, film)
    view.get_by_label("Film border").press("ArrowRight")
    view.locator("data.net").wait_for()
    view.locator("details").first.click()
    view.locator(".tblib-panel[aria-busy=false]").wait_for()
    assert_no_barrier(view)
    background = view.evaluate("getComputedStyle(document.body).getPropertyValue('--jp-layout-color1')")
    assert (background.strip() in ("white", "#fff", "#ffffff")) == (scheme == "light")
    assert faults == []
    view.context.close()


def assert_no_barrier(view) -> None:
    found = Axe().run(view).response["violations"]
    assert [one["help"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_two_tabs_at_once_lose_no_file(browser, voila, film, tmp_path):
    odd = [one for one in odd_files.odd_files(Image.open(film).convert("L")) if len(one[1]) < 300_000][:36]
    for name, content, _ in odd:
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name, *_ in odd]
    views = [opened(browser, voila[0])[0] for _ in range(2)]
    for view in views:
        view.locator("data.probability").wait_for(timeout=LATER)
    for start in range(0, 36, 12):  # the next batch does not wait for the one before it
        for view, of_view in zip(views, (paths, paths[::-1]), strict=True):
            view.locator(".tblib-drop input").set_input_files(of_view[start : start + 12])
    for view, of_view in zip(views, (paths, paths[::-1]), strict=True):
        view.locator(".tblib-table tbody tr").nth(35).wait_for(timeout=LATER)
        assert names_in(view) == [Path(path).name for path in of_view]
        problems = view.locator(".tblib-table tbody td:last-child").all_inner_texts()
        wanted = {name: made in (odd_files.SAME, odd_files.ANY) for name, _, made in odd}
        assert [problem == "" for problem in problems] == [wanted[Path(path).name] for path in of_view]
        view.context.close()


def test_a_killed_kernel_and_a_server_that_is_gone_are_told(browser, impatient_voila):
    server, address, log = impatient_voila
    view = opened(browser, address)[0]
    view.locator("data.probability").wait_for(timeout=LATER)
    until(lambda: log.read_text().count("is filled with 1 kernel") == 2, LATER / 1000)  # one waits for the next page
    for kernel in kernels(server):
        os.kill(kernel, signal.SIGKILL)
    view.get_by_text("The process that computes the answers has ended: reload the page").wait_for()
    view.get_by_role("button", name="Reload the page").click(no_wait_after=True)
    view.get_by_text("has ended").wait_for(state="detached", timeout=LATER)
    view.locator("data.probability").wait_for(timeout=LATER)  # of a new kernel, though the one that waited is gone
    server.kill()
    view.get_by_text("The connection to the server is lost").wait_for(timeout=LATER)
    assert view.get_by_role("button", name="Reload the page").is_visible()
    view.context.close()


def test_jupyterlab_runs_the_notebook_and_the_panel_lives(browser, smoke: Run, lab, film, large):
    address, _ = lab
    view, _, faults = opened(browser, f"{address}/lab/tree/{serve.PANEL}")
    view.locator(".jp-Notebook").wait_for(timeout=LATER)
    view.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=LATER)
    view.get_by_role("menuitem", name="Run", exact=True).click()
    view.locator("#jp-mainmenu-run").get_by_text("Run All Cells", exact=True).click()
    view.locator("data.probability").wait_for(timeout=LATER)
    finding = view.get_by_text("moves the logit most beyond its placebo")
    finding.wait_for(state="attached", timeout=LATER)  # some versions hide what lies further below than the window
    explore(view, open_predictor(smoke.path("model.safetensors")), film, large)
    each_control_has_a_name(view)
    assert "Traceback" not in view.locator(".jp-Notebook").inner_text()
    assert faults == []
    view.get_by_role("menuitem", name="Kernel", exact=True).click()
    view.get_by_text("Restart Kernel…", exact=True).first.click()
    view.get_by_role("button", name="Confirm Kernel Restart").click()
    view.get_by_text("has ended: run the notebook again").wait_for()
    view.context.close()


def leave(view) -> None:
    view.close(run_before_unload=True)  # as a person closes a tab


def test_a_kernel_ends_with_its_page(browser, voila_process, voila_page):
    server, address, log = voila_process
    others = settled(server)  # of the page that other tests use, which stays open, and one that waits for the next page

    def count(number: int, seconds: float = 40) -> None:
        until(lambda: len(kernels(server)) == len(others) + number, seconds)

    view = opened(browser, address)[0]
    view.locator("data.probability").wait_for(timeout=LATER)
    count(1, LATER / 1000)
    move_a_slider(view)
    before = kernels(server)
    view.reload(timeout=LATER)
    view.locator("data.probability").wait_for(timeout=LATER)
    count(1)
    assert len(before - kernels(server)) == 1  # that of the page
    leave(view)
    count(0)  # sooner than without a goodbye
    assert "'_xsrf' argument missing" not in log.read_text()


def test_a_kernel_ends_without_a_goodbye_and_with_its_server_but_not_while_its_page_is_open(browser, impatient_voila):
    server, address, _ = impatient_voila
    unready = urllib.request.urlopen(address, timeout=LATER / 1000).read()  # its kernel is never heard of again
    assert b"application/vnd.jupyter.widget-view+json" in unready
    view, lost = (opened(browser, address)[0] for _ in range(2))
    for page in (view, lost):
        page.locator("data.probability").wait_for(timeout=LATER)
    lost.context.close()  # says nothing, as a browser that was killed
    until(lambda: len(kernels(server)) == 2, 60)  # one waits for the next page
    time.sleep(2)  # by now the page that is open has been idle for longer than the others were
    move_a_slider(view)
    processes = psutil.Process(server.pid).children(recursive=True)
    server.kill()  # it can end nothing itself
    gone, alive = psutil.wait_procs(processes, 5)
    assert len(gone) == 2  # the kernels
    assert alive == []
    view.context.close()


def test_the_app_has_the_cells_of_the_panel_and_no_others(smoke):
    notebook = serve.panel_alone(smoke)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code[1].splitlines() == [f"run = {str(smoke.folder)!r}", "operating_point = None", "samples_each = 1"]
    assert "prediction_panel(" in code[-1]
    assert not any("examples(predictor" in source for source in code)


def test_an_app_without_an_evaluated_model_is_a_sentence(tmp_path, capsys):
    assert main(["app", "--name", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("Error: ")


@pytest.mark.parametrize(("command", "server"), [(["lab"], "ServerApp"), (["app", "--name", "RUN"], "Voila")])
def test_both_start_commands_raise_the_limit_of_a_message_and_pass_arguments_on(command, server, smoke, monkeypatch):
    started: list[list[str]] = []
    monkeypatch.setattr(serve, "_served", lambda line: started.append(line) or 0)
    main([part.replace("RUN", str(smoke.folder)) for part in command] + ["--port=1234"])
    assert started[0][-1] == "--port=1234"
    limit = next(part for part in started[0] if part.startswith(f"--{server}.tornado_settings="))
    assert '"websocket_max_message_size": 115343360' in limit


@pytest.mark.parametrize("option", ["Voila.tornado_settings", "VoilaConfiguration.multi_kernel_manager_class"])
def test_an_option_that_a_person_gives_takes_the_place_of_ours(option, smoke, monkeypatch):
    started: list[list[str]] = []
    monkeypatch.setattr(serve, "_served", lambda line: started.append(line) or 0)
    main(["app", "--name", str(smoke.folder), f"--{option}=theirs"])
    assert [part for part in started[0] if part.startswith(f"--{option}=")] == [f"--{option}=theirs"]
