"""What several tests need: small films and databases, one whole run on smoke parameters, the real films."""

import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image

from tblib.catalogue import build_catalogue, catalogued_database
from tblib.films.cues import CUES, Cue
from tblib.films.database import open_database
from tblib.phantoms.demo import write_demo
from tblib.report.parameters import model_parameters, read_parameters
from tblib.report.pipeline import run_study
from tblib.run import Run, run_folder
from tblib.system.files import ROOT

MARKUP = "_x_ *a* $_$ &lt; |`[a](b)` "  # what a name may hold, and Markdown, HTML and mathtext would take for theirs
SMOKE = ROOT / "notebooks" / "parameters" / "smoke.yml"
# Files of tests that take minutes, in the order in which they start: one process makes the smoke run that most files
# need, in the meantime the other has work that needs none, and what waits for a browser is not left for the end.
LONGEST = (
    "test_serve", "test_probes", "test_pipeline", "test_catalogue", "test_glossary", "test_references", "test_report",
    "test_panel", "test_likeness",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that take longest first, so that two processes end at about the same time."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


def png(pixels, mode=None, **options) -> bytes:
    """A PNG file's bytes from an array or a Pillow image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels, mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def grey_film(seed: int, side: int = 64) -> np.ndarray:
    """A smooth random film, uint8 (side, side), unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(20, 230, (8, 8), dtype=np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def done_with(parameters: dict) -> dict:
    """The record of a step in ``run.json`` that was done with these parameters."""
    texts = dict.fromkeys(("fingerprint", "finished", "git_commit", "machine"), "")
    return texts | {"parameters": parameters, "files": {}, "seconds": 1.0, "versions": {}}


def write_zip(path: Path, entries: dict[str, bytes]) -> Path:
    """A zip with these entries, in this order."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder of all the processes that run tests: what takes long is made in it once."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def demo(shared) -> Path:
    """The demo database that smoke.yml asks for."""
    path = shared / "demo.zip"
    with FileLock(shared / "demo.lock"):
        return path if path.exists() else write_demo(path, films=72, seed=0)


@pytest.fixture(scope="session")
def smoke(shared, demo) -> Run:
    """A whole run of all notebooks on smoke parameters. Tests read it and leave it as it is."""
    folder = shared / "smoke"
    with FileLock(shared / "smoke.lock"):
        if not (folder / "report.html").exists():
            report = run_study(str(folder), str(demo), read_parameters(SMOKE))
            assert report == folder / "report.html"
    return Run(run_folder(str(folder)))


@pytest.fixture(scope="session")
def chests(smoke) -> list[bytes]:
    """Picture files of films of that run, which get a verdict: they are like its training films."""
    database = catalogued_database(smoke)
    return [database.read(file) for file in smoke.table("catalogue.csv")["file"][:6]]


@pytest.fixture(scope="session")
def renamed(shared, demo, smoke) -> Run:
    """A second run of the same films in the same order: their names hold markup, and nothing says that they are drawn.

    One file more is no film; what the first run's audit has trained is at hand. Tests read the run and leave it.
    """
    folder = shared / "renamed"
    with FileLock(shared / "renamed.lock"):
        if not (folder / "names" / "report.html").exists():
            run_renamed(folder, demo, smoke)
    return Run(run_folder(str(folder / "names")))


@pytest.fixture(scope="session")
def exported(shared, smoke) -> tuple[Path, Path]:
    """The smoke run's CNN as an ONNX file with its spec, as if it were somebody else's."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from tblib.classifiers.export import export

    folder = shared / "theirs" / "run"
    with FileLock(shared / "exported.lock"):
        if not (folder / "model.yml").exists():
            shutil.copytree(smoke.folder, folder)
            export(Run(folder))
    return folder / "model.onnx", folder / "model.yml"


@pytest.fixture(scope="session")
def theirs(shared, demo, smoke, exported) -> Run:
    """A whole run on that model; what the first run's audit has trained is at hand. Tests read it and leave it."""
    folder = shared / "theirs" / "audited"
    with FileLock(shared / "theirs.lock"):
        if not (folder / "report.html").exists():
            shutil.copytree(smoke.path("audit"), folder / "audit", dirs_exist_ok=True)
            asked = model_parameters(*map(str, exported))
            report = run_study(str(folder), str(demo), read_parameters(SMOKE) | asked)
            assert report == folder / "report.html"
    return Run(run_folder(str(folder)))


def run_renamed(folder: Path, demo: Path, smoke: Run) -> None:
    """Make the second run."""
    shutil.copytree(smoke.path("audit"), folder / "names" / "audit")
    markup = {
        label: f"{MARKUP}{tag} "
        for label, tag in (("Normal", "<b onclick=x>"), ("Tuberculosis", "<img src=x onerror=alert(1)>"))
    }
    entries = {f"demo/Normal/{MARKUP}<svg onload=alert(1)>.png": b"broken"}
    with zipfile.ZipFile(demo) as archive:
        for name in archive.namelist():
            *folders, film = name.split("/")
            before = next((text for label, text in markup.items() if film.startswith(f"{label}-")), None)
            if before:
                entries["/".join([*folders, before + film])] = archive.read(name)
    report = run_study(str(folder / "names"), str(write_zip(folder / "<i>db.zip", entries)), read_parameters(SMOKE))
    assert report == folder / "names" / "report.html"


@pytest.fixture(scope="session")
def films() -> Path:
    """The folder with the real films; tests that need it are skipped where it is not given."""
    folder = os.environ.get("TBLIB_FILMS", "")
    if not folder:
        pytest.skip("no real films: set TBLIB_FILMS to a folder that holds TB_database.zip")
    return Path(folder)


@pytest.fixture(scope="session")
def real_films(films) -> pd.DataFrame:
    """The catalogue of the real films. Tests leave it as it is."""
    return build_catalogue(open_database(films / "TB_database.zip")).table


@pytest.fixture(scope="session")
def browser():
    """Debian's or any other Chromium on this machine."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium: install it (Debian: apt-get install chromium) for the tests in a browser")
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=quiet)
        yield chromium
        chromium.close()


def cue(name: str) -> Cue:
    """The cue of a name."""
    return next(one for one in CUES if one.name == name)
