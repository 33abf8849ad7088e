"""The report: one page with numbers, headings, alt texts and no way out, here and in a real browser."""

import base64
import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import MARKUP, done_with

from tblib.audit import verdicts
from tblib.audit.choice import LABEL
from tblib.audit.verdicts import PHRASES
from tblib.predict.predictor import describe, open_predictor, sample_contents, sample_films
from tblib.report import compare, pipeline
from tblib.report.chapters import chapter
from tblib.report.compare import Compared, differences
from tblib.report.first_screen import accuracy, first_screen, headline
from tblib.run import STEPS, Run
from tblib.show import tables, text
from tblib.show.text import capital
from tblib.system.schemas import check_facts
from tblib.system.text import from_cell


@pytest.fixture(scope="session")
def page(smoke) -> BeautifulSoup:
    return BeautifulSoup(smoke.path("report.html").read_text(encoding="utf-8"), "html.parser")


def addresses(page: BeautifulSoup) -> list[str]:
    """Everything a browser might fetch."""
    names = ("src", "href", "srcset", "data", "action")
    found = [tag[name] for name in names for tag in page.find_all(attrs={name: True})]
    styles = " ".join(
        [tag.get_text() for tag in page.find_all("style")] + [tag["style"] for tag in page.find_all(style=True)]
    )
    return found + re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", styles)


def test_the_page_asks_nothing_of_the_network_and_runs_no_script_but_its_own(page):
    assert len(addresses(page)) > 30
    for address in addresses(page):
        assert address.startswith(("#", "data:")), address
    assert not page.find_all(["iframe", "object", "embed"])
    assert [script["type"] for script in page.find_all("script")] == ["text/plain", "module"]
    policy = page.find("meta", attrs={"http-equiv": True})["content"]
    assert "default-src 'none'" in policy
    own = page.find("script", type="module").string.encode()
    digest = base64.b64encode(hashlib.sha256(own).digest()).decode()
    assert f"script-src 'sha256-{digest}' blob:" in policy  # a script that a name smuggled in would not run


def test_headings_are_in_order_and_the_contents_lead_to_them(page):
    levels = [int(heading.name[1]) for heading in page.find_all(re.compile(r"^h[1-6]$"))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in pairwise(levels))
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    links = [link["href"][1:] for link in page.find("nav").find_all("a")]
    assert {step.name for step in STEPS} | {"summary", "glossary", "made"} <= set(links)
    assert page.find(id="eda").get_text() == "1 · What is in the database"
    assert page.find(id="shortcuts-region-ablation").get_text() == "Region ablation"
    inner = {link["href"][1:] for link in page.find_all("a", href=True)}
    assert inner <= set(ids)  # cross-references to figures, tables, sections and terms


def test_figures_and_tables_are_numbered_and_have_captions(page):
    for kind, tag in (("plot", "img"), ("table", "table")):
        frames = page.find_all("figure", class_=kind)
        assert len(frames) == len(page.find_all(tag)) > 15
        captions = [frame.figcaption.get_text() for frame in frames]
        name = "Figure" if kind == "plot" else "Table"
        assert [told.split(".")[0] for told in captions] == [f"{name} {n + 1}" for n in range(len(frames))]
        assert all(len(told.split(". ", 1)[1]) > 3 for told in captions)
    assert page.find(id="shortcuts-region-ablation").find_next("figure", class_="table").figcaption


def test_terms_are_explained_and_linked_where_they_are_used(page):
    assert len(page.find("dl", class_="glossary").find_all("dt")) >= 10
    terms = page.find(id="shortcuts").find_parent("section").find_all("a", class_="term")
    assert {"#glossary-auroc", "#glossary-placebo", "#glossary-power"} <= {link["href"] for link in terms}


# --- the first screen


def first_screen_of(page: BeautifulSoup) -> str:
    """The text above what was not measured, as a reader sees it."""
    told = page.find(id="summary")
    end = told.find(id="summary-missing")
    parts = [text for text in told.find_all(string=True) if end in text.find_all_next("h2", id="summary-missing")]
    return " ".join(" ".join(parts).split())


def test_five_questions_are_answered_on_the_first_screen(page, smoke):
    """Which accuracy, on what, is it above always saying Normal, what is it made of, does it hold elsewhere."""
    told, metrics, results = first_screen_of(page), smoke.facts("metrics.json"), smoke.facts("shortcuts.json")
    assert f"accuracy is {100 * metrics['accuracy']['value']:.1f} % (" in told
    assert f"on {metrics['n']} test films of demo.zip ({metrics['positives']} Tuberculosis)" in told
    assert f"Calling every film Normal is right on {100 * metrics['majority_accuracy']:.1f} %" in told
    for row in results["verdicts"]:
        assert re.search(rf"{row['verdict']} [^A-Z]*([A-Z]/R)?[^A-Z]*{re.escape(row['cue'])}", told), row["cue"]
    assert "At other hospitals not measured" in told
    assert page.h1.get_text() == headline(smoke.facts("catalogue.json"), metrics, results)
    assert smoke.facts("run.json")["headline"] == page.h1.get_text()
    assert smoke.facts("run.json")["sets"] == {"chose": [], "reported": []}


def known(**changes) -> tuple[dict, dict, dict]:
    """What the headline is computed from, on a run where nothing is wrong, with changes."""
    verdicts = changes.pop("verdicts", {})
    metrics = {"n": 100, "positives": 30, "majority_accuracy": 0.7, "inverted": False, "model": None}
    metrics |= {"accuracy": {"value": 0.95, "low": 0.9, "high": 0.98}, "auroc": {"value": 0.99, "low": 0.98, "high": 1}}
    rows = [{"cue": cue, "verdict": verdicts.get(cue, "NOT SHOWN")} for cue in PHRASES]
    blind = {"region": "outside the lungs", "seeds": 1, "sd": None, "mean": 0.5, "high": 0.6}
    blind["low"] = changes.pop("blind", 0.4)
    point = {"sensitivity": {"value": 0.8}, "specificity": {"value": 0.6}}
    areas = [{"value": value, "low": value - 0.05, "high": value + 0.05} for value in changes.pop("sets", ())]
    sets = [{"set": f"x{i}", "n": 50, "auroc": area, "points": {"0.5": point}} for i, area in enumerate(areas)]
    for place in changes.pop("chose", ()):
        sets[place]["chose"] = True
    summary = {"negative": "Normal", "positive": "Tuberculosis", "database": "films.zip"}
    results = {"verdicts": rows, "region_ablation": [blind], "external": {"sets": sets}, "saliency": {"gate": None}}
    results |= {"planted": {"source": "this run"}, "mitigations": [], "truth": None}
    return summary, metrics | changes, results


WORSE = {"value": 0.72, "low": 0.62, "high": 0.8}


@pytest.mark.parametrize(("changes", "told"), [
    ({}, "No shortcut was shown, and the audit could have found one."),
    ({"verdicts": {"black box": "UNDECIDED"}}, "No shortcut was shown, but the audit could have missed some: the"),
    ({"verdicts": {"tint": "USED"}}, "Do not rely on this accuracy: the model uses the tint."),
    ({"verdicts": {"outside the lungs": "DECISIVE", "tint": "USED"}}, "uses the tint and what lies outside the lungs."),
    ({"blind": 0.7}, "Do not rely on this accuracy: films without their lungs give the class away, too."),
    ({"sets": [0.6]}, "Do not rely on this accuracy: it does not hold at another hospital."),
    ({"sets": [0.96]}, "No shortcut was shown"),
    ({"sets": [0.6], "chose": [0]}, "No shortcut was shown, and the audit could have found one."),
    ({"sets": [0.6, 0.7], "chose": [0]}, "Do not rely on this accuracy: it does not hold at another hospital."),
    ({"sets": [0.6, 0.7], "verdicts": {"tint": "USED"}}, "uses the tint, and it does not hold at 2 other hospitals."),
    ({"accuracy": WORSE}, "This accuracy is not shown to be better than calling every film Normal."),
    ({"inverted": True}, "Do not use this model on these films: it ranks Normal above Tuberculosis."),
])  # fmt: skip
def test_the_headline_says_the_gravest_that_the_run_shows(changes, told):
    assert told in headline(*known(**changes))


def test_films_on_which_settings_were_chosen_are_never_another_hospitals_evidence():
    both = first_screen(*known(sets=[0.6, 0.9], chose=[0]))
    elsewhere = both.numbers[2]
    assert (elsewhere.of, elsewhere.value, elsewhere.interval) == ("At other hospitals", "0.900", "0.850 to 0.950")
    assert "on 50 films of x1." in elsewhere.meaning
    assert f"{capital(LABEL)}: x0 0.600 (0.550 to 0.650)." in elsewhere.meaning
    assert "Also" not in elsewhere.meaning
    assert not any("other hospitals" in sentence for sentence in both.missing)
    only = first_screen(*known(sets=[0.6], chose=[0]))
    elsewhere = only.numbers[2]
    assert elsewhere.value == "not measured"
    assert "chosen on the films that were given, x0, so nobody knows whether it holds elsewhere." in elsewhere.meaning
    assert "x0 0.600 (0.550 to 0.650)" in elsewhere.meaning
    unknown = "How the model does at other hospitals: its settings were chosen on the films that were given, x0."
    assert unknown in only.missing
    none = first_screen(*known())
    assert none.numbers[2].meaning.startswith("No films of another hospital were given, so nobody knows")
    assert "How the model does at other hospitals: no films of another hospital were given." in none.missing


def test_the_record_of_a_run_names_the_sets_that_chose_and_those_that_are_reported(tmp_path, monkeypatch):
    run, results = Run(tmp_path), known(sets=[0.6, 0.9], chose=[0])[2]
    run.path("notebooks").mkdir()
    for step in STEPS:
        run.path(f"notebooks/{step.notebook}").touch()
    monkeypatch.setattr("tblib.report.page.build_report", lambda *_: "A headline.")
    monkeypatch.setattr(Run, "facts", lambda *_: results)
    record = {"complete": True, "steps": {step.name: done_with({}) for step in STEPS}}
    pipeline._finish(run, record, ran=False)
    kept = json.loads(run.path("run.json").read_text(encoding="utf-8"))
    assert kept["headline"] == "A headline."
    assert kept["sets"] == {"chose": ["x0"], "reported": ["x1"]}
    check_facts("run.json", kept | dict.fromkeys(("name", "database", "finished", "device", "precision"), "")
                | {"threads": 1})  # fmt: skip


def test_the_verdicts_name_the_sets_that_chose_apart():
    *_, results = known(sets=[0.6, 0.9], chose=[1])
    results |= {"held_out": {"auroc": {"value": 0.9}}, "cnn": {"auroc": {"value": 0.9, "low": 0.8, "high": 0.95}}}
    told = verdicts.finding(results)[2]
    assert "On films of other hospitals the model has AUROC 0.600 (0.550 to 0.650) on x0, inside 0.900" in told
    assert told.endswith("On films on which its settings were chosen it has AUROC 0.900 (0.850 to 0.950) on x1.")
    rows = verdicts.key_figures(results)
    assert rows["AUROC on x0 (other hospital)"] == "0.600 (0.550 to 0.650)"
    assert rows[f"AUROC on x1 ({LABEL})"] == "0.900 (0.850 to 0.950)"
    results["external"]["sets"] = results["external"]["sets"][1:]
    told = verdicts.finding(results)[2]
    assert "not known: its settings were chosen on the films that were given, x1. On films on which" in told
    assert "On films of other hospitals" not in told


def record_of(name: str, value: float, chose: bool) -> Compared:
    """What a comparison needs of a run that judged the set m."""
    films = pd.DataFrame({"file": list("abcdef"), "target": [0, 1] * 3, "group": range(6), "logit": np.arange(6.0)})
    _, metrics, results = known(sets=[value])
    results["external"]["sets"][0] |= {"set": "m", "chose": chose}
    run = SimpleNamespace(folder=Path(name), facts=lambda _: {"database": "films.zip"})
    metrics |= dict.fromkeys(("sensitivity", "specificity"), metrics["accuracy"])
    return Compared(run, metrics, results, name, ("CNN", "0" * 64), {"m": films})


def test_runs_side_by_side_say_whose_settings_were_chosen_on_a_set():
    runs = [record_of("plain", 0.6, chose=False), record_of("chosen", 0.7, chose=True)]
    assert [compare.row(one)["AUROC on m"] for one in runs] == [
        "0.600 (0.550 to 0.650)", f"0.700 (0.650 to 0.750), {LABEL}",
    ]  # fmt: skip
    assert [each["on"] for each in differences(runs)] == [f"m ({LABEL}: chosen)"]
    assert [each["on"] for each in differences([runs[0], record_of("other", 0.6, chose=False)])] == ["m"]


@pytest.mark.parametrize(("value", "told"), [
    ({"value": 0.95, "low": 0.9, "high": 0.98}, "the model is better than that."),
    ({"value": 0.72, "low": 0.62, "high": 0.8}, "it is not shown to be better than that."),
    ({"value": 0.5, "low": 0.4, "high": 0.6}, "the model is worse than that."),
])  # fmt: skip
def test_the_accuracy_is_compared_with_always_naming_the_more_common_class(value, told):
    assert accuracy(*known(accuracy=value)[:2]).endswith(told)


def test_every_picture_has_an_alt_text_and_says_synthetic(page):
    pictures = page.find_all("img")
    assert len(pictures) >= 15
    for picture in pictures:
        assert picture["alt"].startswith("SYNTHETIC films.")
    assert "SYNTHETIC" in page.find(class_="banner").get_text()


def test_a_sample_prediction_stands_in_place_of_the_live_panel(page, smoke):
    chapter = page.find(id="prediction").find_parent("section")
    told = [picture["alt"] for picture in chapter.find_all("img")]
    film = next(iter(sample_contents(smoke, sample_films(smoke)).values()))
    predictor = open_predictor(smoke.path("model.safetensors"))
    assert any(describe(predictor.answer(film, "a film"), predictor) in alt for alt in told)
    assert "widget" not in chapter.get_text().lower()
    assert "PredictionPanel(" not in chapter.get_text()


def test_the_key_figures_are_those_of_the_run(page, smoke):
    metrics, baselines = smoke.facts("metrics.json"), smoke.facts("shortcuts.json")["baselines"]
    rows = page.find(id="summary-figures").find_next("table").find_all("tr")
    cells = dict([cell.get_text() for cell in row.find_all("td")] for row in rows if row.find("td"))
    assert cells["Model: AUROC"].startswith(f"{metrics['auroc']['value']:.3f} (")
    assert cells["Model: accuracy"].startswith(f"{100 * metrics['accuracy']['value']:.1f} %")
    assert cells["AUROC of file facts, no lung seen"].startswith(
        f"{baselines['file facts']['all']['auroc']['value']:.3f} ("
    )
    assert cells["Films"] == "48 Normal, 24 Tuberculosis"
    for row in smoke.facts("shortcuts.json")["verdicts"]:
        assert cells[f"Verdict on {row['cue']}"] == row["verdict"]


def test_the_settings_are_those_that_were_used(page, smoke):
    rows = page.find(id="made-settings").find_next("table").find_all("tr")
    used = {tuple(cell.get_text() for cell in row.find_all("td"))[:2]: row.find_all("td")[2].get_text()
            for row in rows if row.find("td")}  # fmt: skip
    training = smoke.facts("training.json")
    assert float(used["training", "pos_weight"]) == pytest.approx(training["pos_weight"], abs=1e-3)
    assert used["training", "precision"] == training["precision"] != "auto"
    assert used["training", "threads"] == str(training["threads"])
    assert used["training", "patience"] == "not used"  # the rate follows a cosine
    assert used["prediction", "operating_point"] == "threshold 0.5"
    assert "None" not in used.values()


def test_how_it_was_made_is_told(page, smoke):
    made = page.find("section", attrs={"aria-labelledby": "made"}).get_text()
    record = smoke.facts("run.json")
    for told in (record["database"], "epochs", "seed", "thread"):
        assert told in made
    for step in record["steps"].values():
        assert step["git_commit"] in made
        assert step["versions"]["torch"] in made
        assert f"{step['seconds']:.1f}" in made
    assert str(smoke.folder) not in page.get_text()  # paths say where the films lie, and whose they are


def test_code_is_folded_and_progress_bars_and_widgets_are_gone(page):
    assert all(block.find_parent("details") for block in page.find_all(class_="input_area"))
    assert not page.find("main").find_all("details", open=True)
    assert "Executing" not in page.get_text()
    assert "it/s" not in page.get_text()
    assert "VBox(" not in page.get_text()


def test_a_file_name_cannot_write_html_into_the_page(renamed):
    """Names with markup, for a usable film in each class and for one that is left out."""
    page = BeautifulSoup(renamed.path("report.html").read_text(encoding="utf-8"), "html.parser")
    assert not page.find_all(onclick=True)
    assert not page.find_all(onerror=True)
    assert not page.find_all("svg")
    assert all(address.startswith(("#", "data:")) for address in addresses(page))
    assert f"the first is “demo/Normal/{MARKUP}<svg onload=alert(1)>.png”" in page.get_text()
    changed = rf"changes to “Normal, called (right|wrong): {re.escape(MARKUP)}<b onclick=x> Normal"
    assert any(re.search(changed, told.get_text()) for told in page("p"))
    assert "Left out: 1 image file; the first is" in page.get_text()
    assert "<i>db.zip" in page.get_text()
    told = " ".join(page.get_text().split()).replace("control study on SYNTHETIC films", "")
    assert "SYNTHETIC" not in told


def test_sentences_of_a_notebook_show_each_sign_as_it_is(monkeypatch):
    shown = {}
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.update(bundle))
    text.say(f"The class {MARKUP}<b> has", "", "2 films.")
    assert shown["text/plain"] == f"Finding. The class {MARKUP}<b> has 2 films."
    paragraph = BeautifulSoup(shown["text/html"], "html.parser").p
    assert paragraph.get_text() == shown["text/plain"]
    assert [tag.name for tag in paragraph.find_all(True)] == ["strong"]
    assert "mathjax_ignore" in paragraph["class"]  # or JupyterLab would set what stands between two dollars


def test_a_chapter_has_its_own_anchors(tmp_path):
    cells = [nbformat.v4.new_markdown_cell(text) for text in ("# Title\n\nText.", "## Part", "## Part")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    made = chapter(tmp_path / "a.ipynb", "eda")
    assert (made.anchor, made.title) == ("eda", "Title")
    assert [title for _, title in made.sections] == ["Part", "Part"]
    assert len({anchor for anchor, _ in made.sections}) == 2


@pytest.fixture
def opened(browser, smoke):
    """Open the smoke run's report offline; what the page asks for or complains of is collected."""
    contexts = []

    def open_at(width: int, scheme: str = "light", **options):
        context = browser.new_context(
            offline=True, viewport={"width": width, "height": 800}, color_scheme=scheme, **options
        )
        contexts.append(context)
        view = context.new_page()
        view.wrong = []
        view.on(
            "request", lambda r: view.wrong.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else 0
        )
        view.on("console", lambda message: view.wrong.append(message.text))
        view.on("pageerror", lambda error: view.wrong.append(str(error)))
        view.goto(smoke.path("report.html").as_uri())
        return view

    yield open_at
    for context in contexts:
        context.close()


def pass_through(view) -> list[int]:
    """Scroll through the whole page, so that every table is made sortable; return the page's width at each stop."""
    step = "new Promise(done => { scrollBy(0, 1500); requestAnimationFrame(() => setTimeout(done, 30)); })"
    widths, at_the_end = [], False
    while not at_the_end:
        view.evaluate(step)
        widths.append(view.evaluate("document.documentElement.scrollWidth"))
        at_the_end = view.evaluate("scrollY + innerHeight >= document.documentElement.scrollHeight - 1")
    return widths


@pytest.mark.parametrize("width", [1280, 1100, 400, 390])
def test_the_report_opens_offline_without_a_request_or_an_error(opened, width):
    view = opened(width)
    assert view.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
    assert max(pass_through(view)) <= width  # nothing sticks out on a phone
    view.locator("figure.table[data-ready]").first.wait_for()
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert view.wrong == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light")])
def test_an_accessibility_checker_finds_nothing_serious(opened, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    view = opened(width, scheme, bypass_csp=True)  # the checker is a script of its own
    pass_through(view)
    view.wait_for_function("!document.querySelector('figure.table:not([data-ready])')")
    found = Axe().run(view, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


def test_a_table_is_filtered_sorted_and_saved_as_the_artefacts_have_it(opened, smoke):
    view, expected = opened(1280), verdicts.table(smoke.facts("shortcuts.json")).reset_index()
    frame = view.locator("figure.table", has_text="The evidence on each cue")
    frame.scroll_into_view_if_needed()
    frame.and_(view.locator("[data-ready]")).wait_for()
    with view.expect_download() as saved:
        frame.get_by_role("button", name="Download as CSV").click()
    assert saved.value.suggested_filename.endswith(".csv")
    told = pd.read_csv(saved.value.path(), encoding="utf-8-sig", dtype=str, keep_default_na=False)
    assert list(told.columns) == list(expected.columns)
    for column in told:
        cells = [from_cell(cell) for cell in told[column]]
        assert cells == [tables.cell(value) for value in expected[column]], column
    frame.get_by_role("columnheader", name="cue").click()
    frame.locator("th[aria-sort=ascending]").wait_for()
    names = frame.locator("tbody tr td:first-child").all_inner_texts()
    assert names == sorted(names, key=str.lower)
    frame.get_by_role("searchbox").fill("tint")
    assert 0 < frame.locator("tbody tr").count() < len(names)


def test_the_contents_reach_every_section_by_keyboard_and_say_where_the_reader_is(opened):
    view = opened(1280)
    view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.textContent") == "Skip to the summary"
    targets = view.evaluate("[...document.querySelectorAll('#contents ol a')].map(link => link.hash)")
    assert len(targets) > 30
    view.locator("#search").focus()
    for target in targets:
        view.keyboard.press("Tab")
        assert view.evaluate("document.activeElement.hash") == target
        view.keyboard.press("Enter")
        view.wait_for_function("target => location.hash === target", arg=target)
        top = view.evaluate("target => document.querySelector(target).getBoundingClientRect().top", target)
        assert top < 800, target
        view.evaluate("target => document.querySelector(`#contents a[href='${target}']`).focus()", target)
    view.evaluate("document.getElementById('shortcuts-region-ablation').scrollIntoView()")
    view.locator("#contents a[aria-current]", has_text="Region ablation").wait_for()


def test_search_enlarging_and_printing(opened):
    view = opened(1280)
    view.locator("#search").fill("calibration error")
    view.get_by_text(re.compile(r"^\d+ found in \d+ sections$")).wait_for()
    left = view.locator("#contents ol a:visible").all_inner_texts()
    assert "Calibration" in left
    assert "L/R markers" not in left
    view.locator("#search").fill("")
    view.locator(".enlarge").first.click()
    view.locator("dialog img").wait_for()
    view.keyboard.press("Escape")
    assert not view.locator("dialog").is_visible()
    view.emulate_media(media="print")
    assert view.locator(".printed").is_visible()
    assert not view.locator("#contents").is_visible()
    assert not view.locator(".top").is_visible()
