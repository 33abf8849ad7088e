"""The panel without a browser: what a person does to it, and what it then shows."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import odd_files
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import grey_film, png
from PIL import Image

from tblib import RESEARCH_USE
from tblib.panel import prediction_panel
from tblib.predict import PredictionError, Predictor, open_predictor, predict_files, sample_contents, sample_films
from tblib.what_if import NOTHING

PART = 1000  # bytes of a part of a file, here


@pytest.fixture(scope="module")
def predictor(smoke) -> Predictor:
    return open_predictor(smoke.path("model.safetensors"))


@pytest.fixture(scope="module")
def samples(smoke) -> dict[str, bytes]:
    return sample_contents(smoke, sample_films(smoke))


@pytest.fixture
def panel(predictor, samples):
    return prediction_panel(predictor, samples, synthetic=True)


def drop(panel, files: dict[str, bytes]) -> None:
    """Files come as the browser sends them: in parts, one file after another."""
    for place, (name, content) in enumerate(files.items()):
        for start in range(0, max(len(content), 1), PART):
            message = {"kind": "part", "name": name, "place": place, "last": start + PART >= len(content)}
            panel.drop._handle_custom_msg(message, [memoryview(content[start : start + PART])])


def page(panel) -> BeautifulSoup:
    """All that the panel says."""
    return BeautifulSoup(panel.told.value + panel.answer.value + panel.outcome.value, "html.parser")


def number(panel, kind: str) -> float:
    return float(page(panel).find("data", class_=kind)["value"])


def test_it_begins_with_the_first_sample_and_says_what_it_is_for(panel, samples, predictor):
    name, content = next(iter(samples.items()))
    notice = panel.children[0].value
    assert RESEARCH_USE in notice
    assert "SYNTHETIC" in notice
    assert page(panel).h3.text == name
    assert number(panel, "probability") == pytest.approx(predictor.answer(content, name).score.probability, abs=1e-9)
    pictures = page(panel).find_all("img")
    assert len(pictures) >= 5  # given, seen, histogram, changed, placebo
    for picture in pictures:
        assert picture["alt"]
        assert Image.open(io.BytesIO(base64.b64decode(picture["src"].split(",")[1]))).width >= 32


def test_each_control_has_a_label(panel):
    for control in [*panel.controls.values(), panel.path, panel.point, panel.opener, panel.reset, *panel.samples]:
        assert control.description


def test_a_click_on_a_sample_shows_it(panel, samples):
    panel.samples[-1].click()
    assert page(panel).h3.text == list(samples)[-1]
    assert panel.table.chosen == 0


def test_panel_command_line_and_predictions_csv_agree(panel, predictor, smoke, tmp_path):
    rows = sample_films(smoke, each=3)
    contents = sample_contents(smoke, rows)
    drop(panel, contents)
    paths = [tmp_path / f"{i}.png" for i in range(len(contents))]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    for other in (predict_files(predictor, paths), rows):
        for column in ("probability", "calibrated"):
            np.testing.assert_allclose(pd.DataFrame(panel.table.rows)[column], other[column], atol=1e-5)
    saved = pd.read_csv(io.StringIO(panel.table.csv))
    np.testing.assert_allclose(saved["probability"], rows["probability"], atol=1e-5)
    assert list(saved["file"]) == list(contents)
    assert list(saved["verdict"]) == list(predict_files(predictor, paths)["verdict"])


def test_an_upload_in_parts_is_the_file_and_a_new_one_takes_its_place(panel, predictor):
    content = png(grey_film(3, 300))
    assert len(content) > 3 * PART
    drop(panel, {"one.png": content, "two.png": png(grey_film(4))})
    assert [row["file"] for row in panel.table.rows] == ["one.png", "two.png"]
    assert page(panel).h3.text == "one.png"
    assert number(panel, "probability") == pytest.approx(predictor.answer(content, "a").score.probability, abs=1e-9)
    assert panel.drop.status == "two.png was read."
    panel.table.chosen = 1
    assert page(panel).h3.text == "two.png"
    drop(panel, {"three.png": png(grey_film(5))})
    assert [row["file"] for row in panel.table.rows] == ["three.png"]


def test_a_broken_file_gets_its_sentence_and_the_panel_goes_on(panel):
    drop(panel, {"notes.png": b"text"})
    assert "notes.png is not a picture that can be read" in page(panel).text
    assert panel.answer.value == panel.outcome.value == ""
    assert panel.what_if.layout.display == "none"
    assert panel.drop.status == "notes.png was not read."
    drop(panel, {"notes.png": b"text", "good.png": png(grey_film(1)), "empty.png": b""})
    assert page(panel).h3.text == "good.png"
    assert panel.what_if.layout.display == "flex"
    assert ["is not a picture" in row["problem"] for row in panel.table.rows] == [True, False, False]
    assert "is empty" in panel.table.rows[2]["problem"]


def test_what_the_browser_cannot_send_gets_its_sentence(panel):
    send = panel.drop._handle_custom_msg
    send({"kind": "part", "name": "half.png", "place": 0, "last": False}, [b"\x89PNG"])
    send({"kind": "unreadable", "name": "half.png", "place": 0}, [])
    assert "half.png cannot be read by the browser" in page(panel).text
    send({"kind": "refused", "name": "huge.tif", "place": 1, "size": 300 * 2**20}, [])
    assert "huge.tif has 300 MB, above the limit of 100 MB" in panel.table.rows[1]["problem"]
    drop(panel, {"good.png": png(grey_film(1))})  # nothing of the half file is left
    assert page(panel).h3.text == "good.png"


def test_a_path_a_folder_and_wrong_ones(panel, tmp_path):
    def give(path: object) -> str:
        panel.path.value = str(path)
        panel.opener.click()
        return page(panel).text

    (tmp_path / "films").mkdir()
    for i in range(3):
        (tmp_path / "films" / f"{i}.png").write_bytes(png(grey_film(i)))
    (tmp_path / "films" / "notes.txt").write_text("not asked for")
    (tmp_path / "films" / "bad.dcm").write_bytes(b"x")
    assert "2.png" in give(tmp_path / "films" / "2.png")
    assert len(panel.table.rows) == 1
    give(tmp_path / "films")
    assert [row["file"] for row in panel.table.rows] == ["0.png", "1.png", "2.png", "bad.dcm"]
    assert "cannot be read (No such file" in give(tmp_path / "none.png")
    assert "cannot be read" in give("a\0b")
    assert "Give the path" in give("  ")
    (tmp_path / "empty").mkdir()
    assert "no picture file in" in give(tmp_path / "empty")
    panel.path.value = str(tmp_path / "films" / "1.png")
    panel.path._handle_custom_msg({"event": "submit"}, [])  # the Enter key
    assert page(panel).h3.text == "1.png"


def test_more_films_than_the_panel_holds_are_told(panel, tmp_path, monkeypatch):
    monkeypatch.setattr("tblib.panel.MOST_FILES", 2)
    drop(panel, {f"{i}.png": png(grey_film(i)) for i in range(4)})
    assert [row["problem"][:19] for row in panel.table.rows] == ["", "", "2.png was not read:", "3.png was not read:"]
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(grey_film(i)))
    panel.path.value = str(tmp_path)
    panel.opener.click()
    assert "3 films are more than the 2 that this panel holds" in page(panel).text


def test_a_folder_that_may_not_be_read_is_a_sentence(panel, tmp_path, monkeypatch):
    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    panel.path.value = str(tmp_path)
    panel.opener.click()
    assert "cannot be read (Permission denied)" in page(panel).text


def test_a_wrong_operating_point_is_a_sentence(predictor):
    with pytest.raises(PredictionError, match=r"no operating point 'best'; choose 0\.5"):
        prediction_panel(predictor, {}, point="best")


def test_the_operating_point_moves_the_threshold_and_keeps_the_score(panel, predictor):
    drop(panel, {f"{i}.png": png(grey_film(i)) for i in range(4)})
    panel.table.chosen = 2
    score = number(panel, "probability")
    for point, threshold in predictor.thresholds.items():
        panel.point.value = point
        assert number(panel, "probability") == score
        assert panel.table.chosen == 2
        for row in panel.table.rows:
            assert (row["verdict"] == "Tuberculosis") == (row["probability"] >= threshold)


def test_a_change_moves_the_number_beside_its_placebos(panel, predictor, samples):
    before = number(panel, "edited")
    assert before == number(panel, "as-is") == number(panel, "placebo")
    assert "Nothing is changed yet" in page(panel).text
    panel.controls["border"].value = 0.1
    answer = predictor.answer(next(iter(samples.values())), "a")
    wanted = predictor.what_if(answer.film, panel.changes)
    assert number(panel, "edited") == pytest.approx(wanted.edited.best, abs=1e-9) != before
    assert number(panel, "placebo") == pytest.approx(wanted.placebo.best, abs=1e-9)
    assert "The changes move the logit by" in page(panel).text
    panel.reset.click()
    assert panel.changes == NOTHING
    assert number(panel, "edited") == before


def test_controls_that_would_do_nothing_cannot_be_moved(panel):
    def disabled() -> set[str]:
        return {name for name, control in panel.controls.items() if control.disabled}

    marker = {"marker_style", "marker_size", "marker_across", "marker_down"}
    drop(panel, {"grey.png": png(grey_film(1))})
    assert disabled() == marker | {"tint_strength", "weights"}
    panel.controls["marker"].value = "L"
    panel.controls["tint"].value = "beige"
    assert disabled() == set()


def test_a_change_that_does_not_fit_is_a_sentence(panel):
    drop(panel, {"thread.png": png(grey_film(1, 400)[:, :5].copy())})
    panel.controls["marker"].value = "R"
    assert "Traceback" not in page(panel).text
    assert panel.told.value  # which says why
    panel.reset.click()
    panel.controls["equalise"].value = 0.5
    assert number(panel, "edited") >= 0


def test_a_fault_of_ours_is_told_in_the_panel(panel, monkeypatch):
    def fails(*_: object) -> None:
        raise RuntimeError("<b>of no use</b>")

    monkeypatch.setattr(Predictor, "what_if", fails)
    panel.controls["crop"].value = 0.1
    assert "This failed inside tblib (RuntimeError: <b>of no use</b>)" in page(panel).text
    monkeypatch.undo()
    panel.controls["crop"].value = 0.05
    assert "The changes move the logit by" in page(panel).text
    assert "failed inside" not in page(panel).text


def test_names_of_files_are_escaped(panel):
    name = "<img src=x onerror=alert(1)>.png"
    drop(panel, {name: png(grey_film(1))})
    assert page(panel).h3.text == name
    drop(panel, {name: b"text"})
    assert name in page(panel).text
    assert not page(panel).find(onerror=True)


def test_without_samples_it_waits(predictor):
    panel = prediction_panel(predictor, {})
    assert panel.answer.value == ""
    panel.controls["border"].value = 0.05
    panel.point.value = "sensitivity_95"
    panel.reset.click()
    assert panel.told.value == ""
    assert "image/png" not in panel._repr_mimebundle_()[0]


def test_a_page_without_a_kernel_gets_a_picture_with_its_text(panel, predictor, samples):
    data, metadata = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 500
    score = predictor.answer(next(iter(samples.values())), "a").score.probability
    assert f"{score:.3f}" in metadata["image/png"]["alt"]
    assert "SYNTHETIC" in metadata["image/png"]["alt"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak memory is read from Linux's /proc")
def test_more_than_fifty_odd_files_are_answered_or_told_and_memory_stays_small(smoke, samples, tmp_path):
    """In a process of their own, one after another; Linux tells its peak memory."""
    film = Image.open(io.BytesIO(next(iter(samples.values())))).convert("L")
    wanted = []
    for place, (name, content, made) in enumerate(odd_files.odd_files(film)):
        (tmp_path / str(place)).write_bytes(name.encode() + b"\n" + content)
        wanted.append((name, made))
    assert len(wanted) > 50
    command = [sys.executable, odd_files.__file__, str(smoke.path("model.safetensors")), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    plain = next(row["probability"] for row in found["said"] if row["file"] == "plain.png")
    for row, (name, made) in zip(found["said"], wanted, strict=True):
        assert row["file"] == name
        assert "failed inside" not in row["page"], name
        if made in (odd_files.SAME, odd_files.ANY):
            assert row["problem"] == "", name
            assert 0 <= row["probability"] <= 1, name
            assert made == odd_files.ANY or row["probability"] == pytest.approx(plain, abs=1e-5), name
        else:
            assert made in row["problem"], name
            assert row["problem"].endswith("."), name
            assert row["probability"] is None, name
    print(f"{len(wanted)} files, peak memory {found['peak']:.2f} GB")
    assert found["peak"] < 1.5
