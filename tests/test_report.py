"""The report: one page with numbers, headings, alt texts and no way out, here and in a real browser."""

import re
from itertools import pairwise

import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import MARKUP

from tblib.predict.predictor import sample_films
from tblib.report.page import chapter
from tblib.run import STEPS, Run
from tblib.show import text


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


def test_the_page_asks_nothing_of_the_network(page):
    assert len(addresses(page)) > 30
    for address in addresses(page):
        assert address.startswith(("#", "data:")), address
    assert not page.find_all(["script", "iframe", "object", "embed", "form"])
    assert "default-src 'none'" in page.find("meta", attrs={"http-equiv": True})["content"]


def test_headings_are_in_order_and_the_contents_lead_to_them(page):
    levels = [int(heading.name[1]) for heading in page.find_all(re.compile(r"^h[1-6]$"))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in pairwise(levels))
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    links = [link["href"][1:] for link in page.find("nav").find_all("a")]
    assert set(links) <= set(ids)
    assert {step.name for step in STEPS} <= set(links)
    assert page.find(id="eda").get_text() == "1 · What is in the database"


def test_every_picture_has_an_alt_text_and_says_synthetic(page):
    pictures = page.find_all("img")
    assert len(pictures) >= 15
    for picture in pictures:
        assert picture["alt"].startswith("SYNTHETIC films.")
    assert "SYNTHETIC" in page.find(class_="banner").get_text()


def test_a_sample_prediction_stands_in_place_of_the_live_panel(page, smoke):
    chapter = page.find(id="prediction").find_parent("section")
    told = [picture["alt"] for picture in chapter.find_all("img")]
    first = sample_films(smoke).iloc[0]
    assert any(f"score {first['probability']:.3f}" in alt for alt in told)
    assert "widget" not in chapter.get_text().lower()
    assert "PredictionPanel(" not in chapter.get_text()


def test_the_numbers_at_the_top_are_those_of_the_run(page, smoke):
    metrics, baselines = smoke.facts("metrics.json"), smoke.facts("shortcuts.json")["baselines"]
    cells = dict(
        [cell.get_text() for cell in row.find_all("td")]
        for row in page.find(class_="key").find_all("tr")
        if row.find("td")
    )
    assert cells["Model: AUROC"].startswith(f"{metrics['auroc']['value']:.3f} (")
    assert cells["Model: accuracy"].startswith(f"{100 * metrics['accuracy']['value']:.1f} %")
    assert cells["AUROC of file facts, no lung seen"].startswith(
        f"{baselines['file facts']['all']['auroc']['value']:.3f} ("
    )
    assert cells["Films"] == "48 Normal, 24 Tuberculosis"
    findings = page.find("section", attrs={"aria-labelledby": "findings"}).find_all("li")
    assert len(findings) >= 3
    assert f"On {metrics['n']} test films" in findings[3].get_text()  # behind the audit's three sentences


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
    assert not page.find_all("details", open=True)
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


@pytest.mark.parametrize("width", [1100, 390])
def test_the_report_opens_offline_without_a_request_or_an_error(browser, smoke: Run, width):
    context = browser.new_context(offline=True, viewport={"width": width, "height": 800})
    view = context.new_page()
    requests, complaints = [], []
    view.on("request", lambda request: requests.append(request.url))
    view.on("console", lambda message: complaints.append(message.text))
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.goto(smoke.path("report.html").as_uri())
    outside = [url for url in requests if not url.startswith(("file:", "data:"))]
    assert outside == []
    assert complaints == []
    assert view.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
    assert view.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out on a phone
    view.locator("nav a").first.click()
    assert view.locator("summary").first.is_visible()
    context.close()
