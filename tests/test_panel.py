"""The panel without a browser: what a person does to it, and what it then shows."""

import base64
import io
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread, current_thread

import numpy as np
import odd_files
import pandas as pd
import pytest
import torch
from bs4 import BeautifulSoup
from conftest import grey_film, png
from PIL import Image

from tblib.classifiers.trained import TrainedModel
from tblib.model import CNN, folded
from tblib.predict.answers import compared
from tblib.predict.files import predict_files
from tblib.predict.panel import prediction_panel
from tblib.predict.predictor import PredictionError, Predictor, describe, open_predictor, sample_contents, sample_films
from tblib.predict.what_if import NOTHING
from tblib.system.text import RESEARCH_USE

PART = 1000  # bytes of a part of a file, here
BATCHES = itertools.count()


@pytest.fixture(scope="module")
def predictor(smoke) -> Predictor:
    return open_predictor(smoke.path("model.safetensors"))


@pytest.fixture(scope="module")
def samples(smoke) -> dict[str, bytes]:
    return sample_contents(smoke, sample_films(smoke))


@pytest.fixture
def panel(predictor, samples):
    return prediction_panel(predictor, samples, synthetic=True)


def messages(files: dict[str, bytes], batch: int, view: str = "view") -> list[tuple[dict, bytes]]:
    """What the browser sends for files: each in parts, one file after another."""
    sent: list[tuple[dict, bytes]] = []
    for place, (name, content) in enumerate(files.items()):
        for start in range(0, max(len(content), 1), PART):
            head = {"kind": "part", "name": name, "place": place, "last": start + PART >= len(content)}
            head |= {"view": view, "batch": batch, "turn": len(sent), "count": len(files)}
            sent.append((head, content[start : start + PART]))
    return sent


def say(widget, data: dict, buffers: tuple[bytes, ...] = ()) -> None:
    """A message of the page to a widget, as Jupyter hands it on."""
    widget.comm.handle_msg({"content": {"data": data}, "buffers": [memoryview(buffer) for buffer in buffers]})


def send(panel, sent: list[tuple[dict, bytes]]) -> None:
    for head, part in sent:
        say(panel.drop, {"method": "custom", "content": head}, (part,))


def move(widget, **state: object) -> None:
    say(widget, {"method": "update", "state": state})


def drop(panel, files: dict[str, bytes]) -> None:
    send(panel, messages(files, next(BATCHES)))


def files_of(panel) -> list[str]:
    return [row["file"] for row in panel.table.rows]


def at_once(*actions: Callable[[], None]) -> None:
    """Each in a thread of its own."""
    threads = [Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def page(panel) -> BeautifulSoup:
    """All that the panel says."""
    pieces = panel.source, panel.told, panel.answer, panel.pictures, panel.outcome
    return BeautifulSoup("".join(piece.value for piece in pieces), "html.parser")


def number(panel, kind: str) -> float:
    return float(page(panel).find("data", class_=kind)["value"])


def test_it_begins_with_the_first_sample_and_says_what_it_is_for(panel, samples, predictor):
    name, content = next(iter(samples.items()))
    notice = panel.children[0].children[0].value
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
    for control in [
        *panel.controls.values(),
        panel.path,
        panel.point,
        panel.opener,
        panel.reset,
        panel.clear,
        *panel.samples,
    ]:
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
    told = predict_files(predictor, paths)
    for column, ours, evaluated in (("probability", "probability", "calibrated"), ("score", "score", "probability")):
        for other in (told[ours], rows[evaluated]):
            np.testing.assert_allclose(pd.DataFrame(panel.table.rows)[column], other, atol=1e-5)
    saved = pd.read_csv(io.StringIO(panel.table.csv))
    assert list(saved.columns) == list(told.columns)
    np.testing.assert_allclose(saved["probability"], rows["calibrated"], atol=1e-5)
    assert list(saved["file"]) == list(contents)
    assert list(saved["verdict"]) == list(predict_files(predictor, paths)["verdict"])


def test_an_upload_in_parts_is_the_file_and_films_are_added(panel, predictor):
    content = png(grey_film(3, 300))
    assert len(content) > 3 * PART
    drop(panel, {"one.png": content, "two.png": png(grey_film(4))})
    assert files_of(panel) == ["one.png", "two.png"]  # instead of the sample, for which nobody has asked
    assert page(panel).h3.text == "one.png"
    assert number(panel, "probability") == pytest.approx(predictor.answer(content, "a").score.probability, abs=1e-9)
    assert panel.drop.status == "2 read, 0 not."
    panel.table.chosen = 1
    assert page(panel).h3.text == "two.png"
    drop(panel, {"three.png": png(grey_film(5))})
    assert files_of(panel) == ["one.png", "two.png", "three.png"]
    assert page(panel).h3.text == "three.png"


def test_a_broken_file_gets_its_sentence_and_the_panel_goes_on(panel):
    drop(panel, {"notes.png": b"text"})
    assert "notes.png is not a picture that can be read" in page(panel).text
    assert panel.answer.value == panel.pictures.value == panel.outcome.value == ""
    assert panel.what_if.layout.display == "none"
    assert panel.drop.status == "0 read, 1 not: the table says which, and why."
    drop(panel, {"notes.png": b"text", "good.png": png(grey_film(1)), "empty.png": b""})
    assert page(panel).h3.text == "good.png"
    assert panel.what_if.layout.display == "flex"
    assert panel.drop.status == "1 read, 2 not: the table says which, and why."
    assert "notes.png is not a picture" in panel.told.value
    assert "1 more could not be read" in panel.told.value
    assert ["is not a picture" in row["problem"] for row in panel.table.rows] == [True, True, False, False]
    assert "is empty" in panel.table.rows[3]["problem"]


def test_a_list_survives_a_mistyped_path_a_sample_and_a_wrong_file(panel, samples):
    drop(panel, {f"{i}.png": png(grey_film(i)) for i in range(3)})
    panel.path.value = "mistyped.png"
    panel.opener.click()
    assert "mistyped.png cannot be read" in page(panel).text
    assert files_of(panel) == ["0.png", "1.png", "2.png"]
    for _ in range(2):  # a sample is listed once
        panel.samples[-1].click()
        assert page(panel).h3.text == list(samples)[-1]
        assert files_of(panel) == ["0.png", "1.png", "2.png", list(samples)[-1]]
    drop(panel, {"notes.png": b"text"})
    assert page(panel).h3.text == list(samples)[-1]  # stays in view, below the sentence
    assert "notes.png is not a picture" in panel.told.value
    assert files_of(panel)[:3] == ["0.png", "1.png", "2.png"]
    assert len(panel.table.rows) == 5


def test_a_list_that_was_cleared_can_be_brought_back(panel):
    drop(panel, {f"{i}.png": png(grey_film(i)) for i in range(3)})
    panel.clear.click()
    assert files_of(panel) == []
    assert panel.answer.value == ""
    assert panel.clear.description == "Bring back 3 films"
    panel.point.value = "sensitivity_95"
    panel.clear.click()
    assert files_of(panel) == ["0.png", "1.png", "2.png"]
    assert page(panel).h3.text == "0.png"
    assert {row["operating_point"] for row in panel.table.rows} == {"95 % sensitivity on validation"}
    panel.clear.click()
    drop(panel, {"new.png": png(grey_film(5))})
    assert files_of(panel) == ["new.png"]
    assert panel.clear.description == "Clear the list"


def test_what_the_browser_cannot_send_gets_its_sentence(panel):
    def tell(turn: int, part: bytes = b"", **head: object) -> None:
        send(panel, [(head | {"view": "view", "batch": batch, "turn": turn, "count": 2}, part)])

    batch = next(BATCHES)
    tell(0, b"\x89PNG", kind="part", name="half.png", place=0, last=False)
    tell(1, kind="unreadable", name="half.png", place=0)
    assert "half.png cannot be read by the browser" in page(panel).text
    tell(2, kind="refused", name="huge.tif", place=1, size=300 * 2**20)
    assert "huge.tif has 300 MB, above the limit of 100 MB" in panel.table.rows[1]["problem"]
    drop(panel, {"good.png": png(grey_film(1))})  # nothing of the half file is left
    assert panel.table.rows[2]["problem"] == ""
    assert page(panel).h3.text == "good.png"


THREE = {"good.png": png(grey_film(1)), "notes.png": b"text", "other.png": png(grey_film(2, 100))}


def test_messages_that_overtake_one_another_are_taken_in_order(panel, predictor):
    sent = messages(THREE, next(BATCHES))
    assert len(sent) > 5
    send(panel, sent[::-1])
    assert files_of(panel) == list(THREE)
    assert [row["problem"] == "" for row in panel.table.rows] == [True, False, True]
    score = predictor.answer(THREE["other.png"], "a").score.probability
    assert panel.table.rows[2]["probability"] == pytest.approx(score, abs=1e-9)


def test_a_batch_that_two_threads_handle_is_whole_and_in_order(panel, monkeypatch):
    """As in JupyterLab, where the first message comes on the main thread and the rest on another."""
    begun, answer = Event(), Predictor.answer

    def slow(self: Predictor, content: bytes, name: str, point: str | None = None) -> object:
        if name == "good.png":
            begun.set()
            time.sleep(0.3)
        return answer(self, content, name, point)

    monkeypatch.setattr(Predictor, "answer", slow)
    sent = messages(THREE, next(BATCHES))
    ends = next(place for place, (head, _) in enumerate(sent) if head["last"]) + 1
    at_once(lambda: send(panel, sent[:ends]), lambda: (begun.wait(30), send(panel, sent[ends:])))
    assert files_of(panel) == list(THREE)


def test_nothing_a_person_does_comes_amid_something_else(panel, monkeypatch):
    working, amid = [], []

    def watch(name: str) -> None:
        does = getattr(Predictor, name)

        def watched(self: Predictor, *given: object) -> object:
            stands = panel.changes, panel.point.value, panel.table.chosen
            amid.extend(f"{name} amid {other}" for other, thread in working if thread != current_thread())
            working.append((name, current_thread()))
            time.sleep(0.002)
            try:
                return does(self, *given)
            finally:
                working.pop()
                if stands != (panel.changes, panel.point.value, panel.table.chosen):
                    amid.append(f"a value moved amid {name}")

        monkeypatch.setattr(Predictor, name, watched)

    for name in ("answer", "what_if", "attribution", "at"):
        watch(name)
    border, sent = panel.controls["border"], messages(THREE, next(BATCHES))
    at_once(
        lambda: send(panel, sent[::2]),
        lambda: send(panel, sent[1::2]),
        lambda: [move(border, value=step / 100) for step in range(1, 9)],
        lambda: [move(panel.point, index=place % len(panel.predictor.thresholds)) for place in range(1, 7)],
        lambda: [move(panel.table, chosen=0) for _ in range(3)],
    )
    assert amid == []
    assert panel.told.value == ""
    assert files_of(panel)[-2:] == list(THREE)[-2:]
    monkeypatch.undo()
    wanted = panel.predictor.what_if(panel.case.answer.film, panel.changes)
    assert panel.changes.border == 0.08
    assert number(panel, "edited") == pytest.approx(wanted.edited.probability, abs=1e-9)


def test_a_view_that_went_away_amid_a_batch_holds_nothing_up(panel):
    sent = messages(THREE, 0, "gone")
    send(panel, sent[:-3] + sent[-1:])  # one part of the last file is lost
    assert files_of(panel) == ["good.png", "notes.png"]
    send(panel, messages({"new.png": THREE["good.png"]}, 0, "new"))
    assert files_of(panel) == ["good.png", "notes.png", "new.png"]
    send(panel, sent[-3:-1])  # comes after all
    assert files_of(panel) == ["good.png", "notes.png", "new.png", "other.png"]
    sent = messages({"lost.png": THREE["other.png"]}, 1, "gone")
    send(panel, sent[:-1])
    later = [f"{number}.png" for number in range(2, 10)]
    for number, name in enumerate(later, 2):  # nor does a message that was lost hold up the next batches of its view
        send(panel, messages({name: THREE["good.png"]}, number, "gone"))
    assert files_of(panel)[4:] == later
    send(panel, sent[-1:])  # comes too late: the batch was forgotten
    assert files_of(panel)[4:] == later


def test_of_odd_files_in_batches_of_two_views_at_once_none_is_lost(panel, samples):
    film = Image.open(io.BytesIO(next(iter(samples.values())))).convert("L")
    odd = [one for one in odd_files.odd_files(film) if len(one[1]) < 300_000][:36]
    contents, wanted = ({name: one[at] for name, *one in odd} for at in (0, 1))
    assert len(contents) == 36
    batches = [
        messages(dict(itertools.islice(contents.items(), 6 * number, 6 * number + 6)), number // 2, f"tab {number % 2}")
        for number in range(6)
    ]
    mixed = [message for turn in itertools.zip_longest(*batches) for message in turn if message]
    at_once(lambda: send(panel, mixed[::2]), lambda: send(panel, mixed[1::2]))
    assert sorted(files_of(panel)) == sorted(contents)
    for row in panel.table.rows:
        assert (row["problem"] == "") == (wanted[row["file"]] in (odd_files.SAME, odd_files.ANY)), row["file"]


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
    assert files_of(panel) == ["2.png", "0.png", "1.png", "2.png", "bad.dcm"]
    assert panel.drop.status == "3 read, 1 not: the table says which, and why."
    assert page(panel).h3.text == "0.png"
    assert "cannot be read (No such file" in give(tmp_path / "none.png")
    assert "cannot be read" in give("a\0b")
    assert "Give the path" in give("  ")
    (tmp_path / "empty").mkdir()
    assert "no picture file in" in give(tmp_path / "empty")
    panel.path.value = str(tmp_path / "films" / "1.png")
    panel.path._handle_custom_msg({"event": "submit"}, [])  # the Enter key
    assert page(panel).h3.text == "1.png"


def test_more_films_than_the_panel_holds_are_told(panel, tmp_path, monkeypatch):
    monkeypatch.setattr("tblib.predict.cases.MOST_FILES", 2)
    drop(panel, {f"{i}.png": png(grey_film(i)) for i in range(4)})
    assert [row["problem"][:19] for row in panel.table.rows] == ["", "", "2.png was not read:", "3.png was not read:"]
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(grey_film(i)))
    panel.path.value = str(tmp_path)
    panel.opener.click()
    assert "7 films are more than the 2 that this panel holds" in page(panel).text


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


def test_the_operating_point_moves_the_threshold_and_keeps_the_score(panel, predictor, chests):
    drop(panel, {f"{i}.png": film for i, film in enumerate(chests[:4])})
    panel.table.chosen = 2
    probability, dates = number(panel, "probability"), [row["date"] for row in panel.table.rows]
    for point, threshold in predictor.thresholds.items():
        panel.point.value = point
        assert number(panel, "probability") == probability
        assert panel.table.chosen == 2
        for row in panel.table.rows:
            assert (row["verdict"] == "Tuberculosis") == (row["score"] >= threshold)
            assert (row["verdict"] == "Tuberculosis") == (row["probability"] >= row["threshold"])
            assert row["operating_point"] == predictor.point_name(point)
        assert [row["date"] for row in panel.table.rows] == dates


def test_run_model_operating_point_and_date_are_in_sight_and_in_the_csv(panel, predictor, smoke, chests):
    drop(panel, {"a.png": chests[0], "notes.png": b"text"})
    panel.point.value = "sensitivity_90"
    saved = pd.read_csv(io.StringIO(panel.table.csv))
    assert set(saved["run"]) == {smoke.folder.name}
    assert set(saved["model"]) == {predictor.model.digest[:12]}
    assert set(saved["operating_point"]) == {"90 % sensitivity on validation"}
    assert saved["date"].str.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ").all()
    line = page(panel).find(class_="source").text
    for told in (smoke.folder.name, predictor.model.digest[:12], "90 % sensitivity on validation", saved["date"][0]):
        assert told in line
    shown = compared(panel.case.answer.score.probability, panel.case.answer.threshold)
    assert shown.threshold in page(panel).find(class_="big").text
    assert list(panel.table.texts[0]) == ["file", "probability", "threshold", "verdict", "warnings", "problem"]
    assert panel.table.texts[0]["probability"] == shown.probability


def test_a_file_that_would_be_a_formula_is_none_in_the_csv(panel):
    drop(panel, {"=1+1.png": png(grey_film(1)), "b.png": png(grey_film(2))})
    assert "\n'=1+1.png," in panel.table.csv


def test_a_change_moves_the_number_beside_its_placebos(panel, predictor, samples):
    before = number(panel, "edited")
    assert before == number(panel, "as-is") == number(panel, "placebo")
    assert "Nothing is changed yet" in page(panel).text
    panel.controls["border"].value = 0.1
    answer = predictor.answer(next(iter(samples.values())), "a")
    wanted = predictor.what_if(answer.film, panel.changes)
    assert number(panel, "edited") == pytest.approx(wanted.edited.probability, abs=1e-9) != before
    assert number(panel, "placebo") == pytest.approx(wanted.placebo.probability, abs=1e-9)
    assert "The changes move the logit by" in page(panel).text
    net, logit = number(panel, "net"), number(panel, "net-logit")
    assert net == pytest.approx(100 * (wanted.edited.probability - wanted.placebo.probability), abs=1e-6)
    assert logit == pytest.approx(wanted.edited.logit - wanted.placebo.logit, abs=1e-6)
    assert f"in logit:\n{'towards' if logit > 0 else 'away from'} Tuberculosis" in page(panel).text
    panel.reset.click()
    assert panel.changes == NOTHING
    assert number(panel, "edited") == before


def test_the_next_film_is_unchanged_and_the_panel_says_so(panel):
    drop(panel, {f"{i}.png": png(grey_film(i)) for i in range(2)})
    assert page(panel).find(class_="set-back") is None
    panel.controls["border"].value = 0.1
    panel.point.value = "sensitivity_90"
    assert panel.changes.border == 0.1  # of the same film
    panel.table.chosen = 1
    assert panel.changes == NOTHING
    assert number(panel, "edited") == number(panel, "as-is")
    assert "The controls were set back" in page(panel).find(class_="set-back").text


def test_the_map_comes_when_a_page_shows_its_answer_and_for_that_film_only(panel):
    def ask(shown: int) -> None:
        say(panel.connection, {"method": "custom", "content": {"kind": "rest", "shown": shown}})

    first = panel.connection.shown
    assert "Looking for what moves the score" in panel.pictures.value
    panel.samples[-1].click()
    ask(first)
    assert "Looking for what moves the score" in panel.pictures.value
    ask(panel.connection.shown)
    assert "random weights" in panel.pictures.value


WHY = "Its outline is like that of no training film. It may lie on its side."


def test_a_film_unlike_the_training_films_gets_no_verdict(panel, predictor, chests, monkeypatch):
    answer = Predictor.answer

    def unlike(self: Predictor, content: bytes, name: str, point: str | None = None) -> object:
        found = answer(self, content, name, point)
        return self.at(replace(found, unlike=WHY), point) if "odd" in name else found

    monkeypatch.setattr(Predictor, "answer", unlike)
    drop(panel, {"odd.png": chests[0], "plain.png": chests[1]})
    panel.controls["border"].value = 0.1
    assert WHY in page(panel).find(class_="big").text
    for kind in ("probability", "as-is", "edited", "placebo", "net"):
        assert page(panel).find("data", class_=kind).find_parent("details"), kind
    for class_name in ("Normal", "Tuberculosis:"):
        assert class_name not in BeautifulSoup(panel.answer.value, "html.parser").find(class_="big").text
    assert "test films" not in panel.pictures.value
    odd, plain = panel.table.rows
    assert (odd["verdict"], plain["verdict"] != "") == ("", True)
    assert odd["warnings"].split(", ").count("not like the training films") == 1
    assert panel.table.texts[0]["probability"] == "–"
    saved = pd.read_csv(io.StringIO(panel.table.csv), keep_default_na=False)
    assert saved["verdict"][0] == ""
    panel.point.value = "sensitivity_95"
    assert panel.table.rows[0]["verdict"] == ""
    still = panel._repr_mimebundle_()[1]["image/png"]["alt"]
    assert WHY in still
    assert "test films" not in still
    assert describe(panel.case.answer, predictor) == f"No verdict. {WHY}"
    panel.table.chosen = 1
    assert WHY not in page(panel).text


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
    answer = predictor.answer(next(iter(samples.values())), "a")
    assert compared(answer.score.probability, answer.threshold).probability in metadata["image/png"]["alt"]
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


class Odd(CNN):
    """Gives a film that is white all over no number."""

    def forward(self, films):
        return torch.where(films.amin((1, 2, 3)) >= 255, float("nan"), super().forward(films))


def test_a_score_that_is_no_number_is_a_sentence_and_the_panel_goes_on():
    facts = {"size": 32, "mean": 0.0, "sd": 1.0, "negative": "Normal", "positive": "Tuberculosis"}
    trained = TrainedModel(folded(Odd(32, 0.0, 4)), facts, {"width": 4})
    panel = prediction_panel(Predictor(trained, facts, trained.input, {"0.5": 0.5}, None), {})
    drop(panel, {"white.png": png(np.full((64, 64), 255, np.uint8))})
    assert "gives 1 of 1 films a score that is no finite number" in page(panel).text
    assert "Normal" not in page(panel).text
    assert "inside tblib" not in page(panel).text
    drop(panel, {"good.png": png(grey_film(1))})
    assert page(panel).h3.text == "good.png"
    assert "no finite number" not in page(panel).text
