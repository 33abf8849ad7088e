"""The same film, the same number, by whatever way; a broken file gets a sentence."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import grey_film, png
from hypothesis import given, settings
from hypothesis import strategies as st
from test_catalogue import twelve_bits

from tblib.__main__ import main
from tblib.catalogue import catalogued_database
from tblib.classifiers.protocol import FINEST, Calibration
from tblib.classifiers.trained import TrainedModel, save_model
from tblib.evaluate import BLUNTEST, SHARPEST
from tblib.films import film
from tblib.films.archive import MAX_FILE_BYTES
from tblib.films.database import DatabaseError
from tblib.films.film import FilmError
from tblib.films.pictures import picture_pixels
from tblib.model import CNN
from tblib.phantoms.lungs import LungNetwork
from tblib.predict.answers import compared
from tblib.predict.files import predict_files, read_file
from tblib.predict.panel import prediction_panel
from tblib.predict.predictor import (
    PredictionError,
    Predictor,
    describe,
    examples,
    open_predictor,
    sample_contents,
    sample_films,
)
from tblib.predict.what_if import EXAMPLES, NOTHING
from tblib.system.files import ROOT, write_json
from tblib.system.text import RESEARCH_USE


@pytest.fixture
def predictor(smoke):
    return open_predictor(smoke.path("model.safetensors"))


@pytest.fixture
def test_films(smoke, tmp_path):
    """The run's test films as files, and their rows of predictions.csv."""
    rows = smoke.table("predictions.csv").query("part == 'test'")
    database = catalogued_database(smoke)
    paths = [tmp_path / file.replace("/", " ä ") for file in rows["file"]]
    for path, file in zip(paths, rows["file"], strict=True):
        path.write_bytes(database.read(file))
    return paths, rows


def test_single_films_get_the_probabilities_of_the_evaluation(predictor, test_films):
    paths, rows = test_films
    table = predict_files(predictor, paths)
    np.testing.assert_allclose(table["score"], rows["probability"], atol=1e-5)
    np.testing.assert_allclose(table["probability"], rows["calibrated"], atol=1e-5)
    assert (table["verdict"] == np.where(rows["probability"] >= 0.5, "Tuberculosis", "Normal")).all()


@pytest.mark.parametrize("warn", [False, True])
def test_files_of_a_table_are_answered_as_alone_whatever_lies_among_them(
    predictor, test_films, tmp_path, warn, monkeypatch
):
    paths, _ = test_films
    broken, empty = tmp_path / "broken.png", tmp_path / "empty.png"
    broken.write_bytes(paths[0].read_bytes()[:300])
    empty.touch()
    monkeypatch.setattr("tblib.predict.files.TOGETHER", 3)
    asked = [broken, *paths[:4], empty, tmp_path / "absent.png", *paths[4:]]
    table = predict_files(predictor, asked, warn=warn)
    assert table["file"].tolist() == [str(path) for path in asked]
    assert (table["problem"] == "").tolist() == [path in paths for path in asked]
    alone = pd.concat([predict_files(predictor, [path], warn=warn) for path in asked], ignore_index=True)
    exact = ["file", "verdict", "warnings", "problem"]
    pd.testing.assert_frame_equal(table[exact], alone[exact])
    for name in ("score", "probability", "threshold"):
        np.testing.assert_allclose(table[name].astype(float), alone[name].astype(float), atol=1e-6)


def test_verdict_probability_and_threshold_never_disagree(predictor, test_films, smoke):
    paths, rows = test_films
    assert len(predictor.thresholds) == 3
    for point, threshold in predictor.thresholds.items():
        table = predict_files(predictor, paths, point)
        positive = (table["verdict"] == "Tuberculosis").to_numpy()
        assert (positive == (table["probability"] >= table["threshold"])).all()
        assert (positive == (rows["probability"] >= threshold)).all()
        for row in smoke.table("predictions.csv").itertuples():  # also the film that the threshold was chosen by
            score = predictor.score(row.probability)
            assert score.probability == pytest.approx(row.calibrated, abs=1e-9)
            assert (score.probability >= predictor.threshold(point).probability) == (row.probability >= threshold)
            assert predictor.verdict(score, point) == ("Tuberculosis" if row.probability >= threshold else "Normal")


SMALL = {"negative": "Normal", "positive": "Tuberculosis", "size": 32, "mean": 120.0, "sd": 60.0}
UNUSED = TrainedModel(CNN(32).eval(), SMALL, {"dropout": 0.1})


@settings(max_examples=300, deadline=None)
@given(*(st.floats(0, 1) for _ in range(2)), st.floats(-3, 3), st.floats(SHARPEST, BLUNTEST), st.booleans())
def test_calibration_keeps_every_verdict(raw, threshold, shift, temperature, same):
    raw = threshold if same else raw
    predictor = Predictor(UNUSED, SMALL, UNUSED.input, {"p": threshold}, Calibration(shift, temperature, ""))
    score, at = predictor.score(raw), predictor.threshold("p")
    if min(raw, threshold) > FINEST and max(raw, threshold) < 1 - FINEST:  # beyond, scores count as the same
        assert predictor.verdict(score, "p") == ("Tuberculosis" if raw >= threshold else "Normal")
    if predictor.verdict(score, "p") == "Tuberculosis":
        assert score.probability >= at.probability
    else:
        assert score.probability <= at.probability
    texts = compared(score.probability, at.probability)
    assert (texts.probability == texts.threshold) == (score.probability == at.probability)
    assert (texts.place == "exactly at") == (score.probability == at.probability)


@pytest.mark.parametrize(("probability", "threshold", "texts"), [
    (0.405, 0.312, ("40.5 %", "31.2 %", "above")),
    (0.31204, 0.31196, ("31.204 %", "31.196 %", "above")),
    (0.3119999, 0.312, ("31.19999 %", "31.20000 %", "below")),
    (0.312, 0.312, ("31.2 %", "31.2 %", "exactly at")),
    (1e-6, 0.5, ("< 0.1 %", "50.0 %", "below")),
    (2e-6, 3e-6, ("0.0002 %", "0.0003 %", "below")),
    (0.9999, 0.99999, ("99.99 %", "> 99.99 %", "below")),
    (0.0, 1.0, ("0.0 %", "100.0 %", "below")),
])  # fmt: skip
def test_a_probability_is_never_shown_on_the_wrong_side_of_its_threshold(probability, threshold, texts):
    assert compared(probability, threshold) == texts


def test_a_dark_film_of_12_bits_is_scaled_like_the_training_films(predictor, tmp_path):
    deep = predictor.preparation | {"bits": 12}
    values, path = twelve_bits(3, 20), tmp_path / "dark.png"
    path.write_bytes(png(values))
    expected = predictor.answer(png((values >> 4).astype(np.uint8)), "as 8 bits")
    trained_on_12 = replace(predictor, preparation=deep)
    answer = trained_on_12.answer(path.read_bytes(), path.name)
    np.testing.assert_array_equal(answer.film.grey, values >> 4)
    assert answer.score == expected.score
    assert predict_files(trained_on_12, [path])["probability"].item() == expected.score.probability
    case = prediction_panel(trained_on_12, {"dark": path.read_bytes()}).case
    assert case.answer.score == expected.score
    assert predictor.answer(path.read_bytes(), path.name).score != expected.score  # trained on films of 8 bits


def test_the_command_line_prints_and_writes_them(smoke, test_films, tmp_path, capsys):
    paths, rows = test_films
    out = tmp_path / "out.csv"
    command = ["predict", "--model", str(smoke.path("model.safetensors")), *map(str, paths), "--csv", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert RESEARCH_USE in printed
    assert paths[0].name in printed
    table = pd.read_csv(out)
    np.testing.assert_allclose(table["probability"], rows["calibrated"], atol=1e-5)
    assert list(table.columns) == [
        *("file", "probability", "threshold", "verdict", "warnings", "problem", "score"),
        *("operating_point", "run", "model", "date"),
    ]
    shown = compared(table["probability"][0], table["threshold"][0])
    line = next(line for line in printed.splitlines() if paths[0].name in line)
    assert f" {shown.probability} " in line
    assert f" {shown.threshold} " in line
    assert main(command) == 1
    assert "is there already" in capsys.readouterr().err


def test_broken_files_get_a_sentence_and_the_others_an_answer(smoke, predictor, tmp_path, capsys):
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "good.png").write_bytes(png(grey_film(1)))
    paths = [tmp_path / "text.png", tmp_path / "good.png", tmp_path / "none.png", tmp_path]
    table = predict_files(predictor, paths)
    assert "not a picture" in table["problem"][0]
    assert table["problem"][1] == ""
    assert 0 <= table["probability"][1] <= 1
    assert "cannot be read" in table["problem"][2]
    assert "is a folder without a picture" in table["problem"][3]
    assert main(["predict", "--model", str(smoke.path("model.safetensors")), str(paths[0])]) == 1
    assert "not a picture" in capsys.readouterr().out


def test_a_missing_model_is_a_sentence(tmp_path, capsys):
    assert main(["predict", "--model", str(tmp_path / "none"), "a.png"]) == 1
    assert capsys.readouterr().err.startswith("Error: There is no model file")


def test_a_model_alone_has_the_operating_point_half_and_its_own_size(tmp_path):
    preparation = {"negative": "N", "positive": "P", "size": 48, "mean": 100.0, "sd": 50.0}
    save_model(tmp_path / "m.safetensors", CNN(48).state_dict(), preparation, {"dropout": 0.3})
    predictor = open_predictor(tmp_path / "m.safetensors")
    answer = predictor.answer(png(grey_film(1, side=200)), "a.png")
    assert answer.seen.shape == (48, 48)
    assert predictor.probability_name == "probability"  # not calibrated
    assert answer.score.probability == answer.score.raw
    assert answer.threshold == 0.5
    assert "calibrated" not in describe(answer, predictor)
    assert answer.verdict == ("P" if answer.score.probability >= 0.5 else "N")
    with pytest.raises(PredictionError, match="no operating point"):
        predictor.answer(png(grey_film(1)), "a.png", "sensitivity_90")


def test_the_operating_point_decides_the_verdict(predictor, chests):
    film = chests[0]
    answers = {point: predictor.answer(film, "a.png", point) for point in predictor.thresholds}
    assert len(answers) == 3
    assert len({answer.score.probability for answer in answers.values()}) == 1
    for point, answer in answers.items():
        assert answer.threshold == predictor.threshold(point).probability
        assert (answer.verdict == "Tuberculosis") == (answer.score.probability >= answer.threshold)
        told = compared(answer.score.probability, answer.threshold)
        assert describe(answer, predictor).startswith(f"{answer.verdict}: calibrated probability")
        assert f"{told.probability}, {told.place} this operating point's threshold of {told.threshold}." in describe(
            answer, predictor
        )
    names = [predictor.point_name(point) for point in predictor.thresholds]
    assert names == ["the model's own threshold", *(f"{share} % sensitivity on validation" for share in (90, 95))]
    with pytest.raises(FilmError):
        predictor.answer(b"", "a.png")


def test_samples_are_test_films_named_right_or_wrong(smoke):
    samples = sample_films(smoke, each=1)
    assert (samples["part"] == "test").all()
    assert not samples.duplicated(["label", "model"]).any()
    right = (samples["probability"] >= 0.5) == (samples["target"] == 1)
    assert (right == (samples["model"] == "right")).all()


def test_samples_come_from_the_database_or_a_sentence_says_why_not(smoke, monkeypatch, capsys):
    samples = sample_films(smoke)
    contents = sample_contents(smoke, samples)
    assert len(contents) == len(samples) >= 2
    assert all(", called " in name for name in contents)
    monkeypatch.setattr("tblib.predict.predictor.catalogued_database", _gone)
    assert sample_contents(smoke, samples) == {}
    assert "There are no sample films. The zip is gone." in capsys.readouterr().out


def _gone(run):
    raise DatabaseError("The zip is gone.")


def test_the_command_line_warns_when_asked_to(smoke, predictor, tmp_path, capsys):
    path = tmp_path / "a.png"
    path.write_bytes(png(grey_film(1)))
    command = ["predict", "--model", str(smoke.path("model.safetensors")), str(path)]
    assert main(command) == 0
    assert "one-channel file" not in capsys.readouterr().out
    assert main([*command, "--warnings"]) == 0
    assert "one-channel file" in capsys.readouterr().out
    assert "not like the training films" in predict_files(predictor, [path], warn=True)["warnings"][0]


def test_what_if_nothing_is_changed_the_score_stays(predictor, test_films):
    answer = predictor.answer(test_films[0][0].read_bytes(), "a.png")
    found = predictor.what_if(answer.film, NOTHING)
    assert found.as_is == found.edited == found.placebo
    assert found.as_is.logit == pytest.approx(answer.score.logit, abs=1e-5)
    for changes in EXAMPLES.values():
        found = predictor.what_if(answer.film, changes)
        assert found.as_is.logit == pytest.approx(answer.score.logit, abs=1e-5)
        for changed_film, score in zip(found.films, (found.edited, found.placebo), strict=True):
            again = predictor.answer(png(changed_film), "changed.png").score  # what is shown is what was scored
            assert again.logit == pytest.approx(score.logit, abs=1e-4)


def test_examples_are_one_row_a_change_of_the_first_sample(smoke, predictor):
    contents = sample_contents(smoke, sample_films(smoke))
    table = examples(predictor, contents)
    assert list(table["change"]) == [name for name in EXAMPLES if name != "lungs only"]  # the model brings no network
    brings = replace(predictor, input=replace(predictor.input, lungs=LungNetwork().eval()))
    assert list(examples(brings, contents)["change"]) == list(EXAMPLES)
    assert set(table["film"]) == {next(iter(contents))}
    assert np.isfinite(table[["as_is", "changed", "placebo", "moved", "placebo_moved"]]).all().all()
    assert examples(predictor, {}).empty


def test_a_map_is_shown_behind_both_gates_only(smoke, predictor, monkeypatch):
    answer = predictor.answer(png(grey_film(1)), "a.png")
    gates = {
        "model": {"open": True, "correlation": 0.1, "limit": 0.7},
        "film": {"open": True, "correlation": 0.2, "limit": 0.7},
    }
    monkeypatch.setattr("tblib.audit.saliency.gate", lambda *_, **__: gates["film"])
    monkeypatch.setattr(type(smoke), "facts", lambda *_: {"saliency": {"gate": gates["model"]}})
    shown = predictor.attribution(answer)
    assert shown.found is not None
    assert shown.found.shape == answer.seen.shape
    assert shown.found.sum() == pytest.approx(1)
    gates["film"] = {"open": False, "correlation": 0.91, "limit": 0.7}
    assert predictor.attribution(answer).found is None
    assert "on this film" in predictor.attribution(answer).sentence
    assert "0.91" in predictor.attribution(answer).sentence
    gates["model"] = {"open": False, "correlation": 0.82, "limit": 0.7}
    assert "on test films" in predictor.attribution(answer).sentence


@pytest.mark.parametrize(("name", "reason"), [
    ("none.png", "cannot be read"),
    ("", "is a folder"),
    ("a\0b.png", "cannot be read"),
    ("large.png", "above the limit"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_a_sentence(name, reason, tmp_path):
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(FilmError, match=reason):
        read_file(tmp_path / name if name else tmp_path)


def predict(folder, capsys, weights=None, **facts):
    """What `predict` prints, out and err, and its return code, with a small model whose `facts` are as given."""
    save_model(folder / "m.safetensors", weights or CNN(32).state_dict(), SMALL | facts, {"dropout": 0.1})
    (folder / "film.png").write_bytes(png(grey_film(1)))
    code = main(["predict", "--model", str(folder / "m.safetensors"), str(folder / "film.png")])
    return code, *capsys.readouterr()


def test_a_good_small_model_answers(smoke, tmp_path, capsys):
    write_json(tmp_path / "metrics.json", smoke.facts("metrics.json"))
    code, out, _ = predict(tmp_path, capsys)
    assert code == 0
    assert "Normal" in out or "Tuberculosis" in out


@pytest.mark.parametrize(("facts", "number", "sentence"), [
    ({}, float("nan"), "m.safetensors holds weights that are no finite numbers"),
    ({}, 3e38, "gives 1 of 1 films a score that is no finite number"),  # finite weights, whose sums are not
    ({"mean": float("nan")}, 0.1, "m.safetensors cannot be used: its mean is nan"),
    ({"sd": 0.0}, 0.1, "m.safetensors cannot be used: its sd is 0.0"),
    ({"positive": ""}, 0.1, "m.safetensors cannot be used: its positive is ''"),
])  # fmt: skip
def test_a_model_that_gives_no_number_gives_no_verdict(facts, number, sentence, tmp_path, capsys):
    weights = CNN(32).state_dict()
    for name in ("head.1.weight", "head.4.weight", "head.7.weight", "head.10.weight"):
        weights[name].fill_(number)
    code, out, err = predict(tmp_path, capsys, weights, **facts)
    assert code == 1
    assert err.startswith("Error: ")
    assert sentence in err
    assert "Train again" in err
    assert "Normal" not in out


@pytest.mark.parametrize(("place", "value", "sentence"), [
    (("thresholds", "sensitivity_90"), "NaN", "NaN is no finite number"),
    (("thresholds", "0.5"), "1.5", "thresholds.0.5 must be smaller than or equal to 1, and is 1.5"),
    (("thresholds", "0.5"), "-1e999", "-1e999 is no finite number"),
    (("thresholds", "0.5"), "null", "thresholds.0.5 must be number, and is None"),
    (("thresholds", "0.9"), "0.9", "thresholds must contain less than or equal to 3 properties"),
    (("calibration", "shift"), "Infinity", "Infinity is no finite number"),
    (("calibration", "shift"), "9" * 400, "is too large a number"),
    (("calibration", "temperature"), "0", "calibration.temperature must be bigger than 0, and is 0"),
    (("calibration",), "{}", "calibration has no shift"),
    (("auroc",), '{"value": 1}', "auroc has no low"),
    (("thresholds",), "3", "thresholds must be object, and is 3"),
    (("thresholds",), "", "it is no JSON, or only a part of it (Expecting value"),
    (("note",), "[" * 100_000, "it is no JSON, or only a part of it (maximum recursion depth"),
])  # fmt: skip
def test_operating_points_that_judge_nothing_are_refused(place, value, sentence, smoke, tmp_path, capsys):
    content = smoke.facts("metrics.json")
    inner = content if len(place) == 1 else content[place[0]]
    inner[place[-1]] = "HERE"
    (tmp_path / "metrics.json").write_text(json.dumps(content).replace('"HERE"', value), encoding="utf-8")
    code, out, err = predict(tmp_path, capsys)
    assert (code, out) == (1, "")
    assert "metrics.json cannot be used: " in err
    assert sentence in err
    assert "--from eda" in err  # no run.json tells that an evaluation alone would do


def test_a_calibrated_probability_that_is_no_number_is_an_error():
    trained = TrainedModel(CNN(32).eval(), SMALL, {"dropout": 0.1})
    calibration = Calibration(float("nan"), 1.0, "")
    broken = Predictor(trained, trained.preparation, trained.input, {"0.5": 0.5}, calibration)
    with pytest.raises(PredictionError, match="no finite probability"):
        broken.scores([np.zeros((32, 32), np.uint8)])


@pytest.fixture
def asked(tmp_path, monkeypatch, capsys):
    """Asks a small model in a folder of its own about films, by the command line: its return code, out and err."""
    save_model(tmp_path / "m.safetensors", CNN(32).state_dict(), SMALL, {"dropout": 0.1})
    (tmp_path / "films").mkdir()
    monkeypatch.chdir(tmp_path / "films")

    def ask(*arguments: str) -> tuple[int, str, str]:
        return main(["predict", "--model", "../m.safetensors", *arguments]), *capsys.readouterr()

    return ask


def test_folders_and_patterns_are_films_too(asked, tmp_path):
    for name in ("a.png", "-x.png", "in/b.png", "in/deeper/c.jfif", "in/.hidden/d.png", "in/notes.txt"):
        (tmp_path / "films" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "films" / name).write_bytes(png(grey_film(1)))
    code, out, _ = asked("in", "*.png", "none*.png", "-x.png")
    told = [line.split()[0] for line in out.splitlines()[1:-1] if line]
    assert told == ["in/b.png", "in/deeper/c.jfif", "-x.png", "a.png", "none*.png", "-x.png"]
    assert code == 1  # as nothing fits one of the patterns


@pytest.mark.parametrize(("where", "sentence"), [
    ("missing/out.csv", "cannot be written (No such file or directory); name a file in a folder that is there"),
    ("there.csv", "there.csv is there already; name another file"),
])  # fmt: skip
def test_where_a_table_cannot_be_written_is_told_before_the_work(asked, where, sentence, monkeypatch, tmp_path):
    (tmp_path / "films" / "there.csv").write_text("kept", encoding="utf-8")
    (tmp_path / "films" / "a.png").write_bytes(png(grey_film(1)))
    monkeypatch.setattr("tblib.predict.predictor.load_model", None)  # the work
    code, out, err = asked("a.png", "--csv", where)
    assert (code, out) == (1, "")
    assert sentence in err
    assert (tmp_path / "films" / "there.csv").read_text(encoding="utf-8") == "kept"


def test_names_that_no_terminal_has_letters_for_are_told_and_written(tmp_path):
    save_model(tmp_path / "m.safetensors", CNN(32).state_dict(), SMALL, {"dropout": 0.1})
    for name in (b"\xd1\xed.png", "снимок.png".encode(), b"=1.png", b"two\nlines.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(png(grey_film(1)))
    command = [sys.executable, "-m", "tblib", "predict", "--model", "m.safetensors", ".", "--csv", "o.csv"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u0441\\u043d" in done.stdout
    cells = set(pd.read_csv(tmp_path / "o.csv")["file"])
    assert cells == {"\\udcd1\\udced.png", "снимок.png", "'=1.png", "two\\nlines.png"}


def test_a_guessed_depth_is_warned_of_unasked(asked, tmp_path):
    (tmp_path / "films" / "deep.png").write_bytes(png(grey_film(1).astype(np.uint16) * 16))
    (tmp_path / "films" / "plain.png").write_bytes(png(grey_film(1)))
    _, out, _ = asked("deep.png", "plain.png")
    deep, plain = out.splitlines()[1:3]
    assert "depth guessed" in deep
    assert "depth guessed" not in plain


def test_one_film_that_breaks_its_decoder_costs_no_other_its_answer(asked, tmp_path, monkeypatch):

    def breaks(content, most, least):
        if content.startswith(b"bad"):
            raise AttributeError("a fault of a decoder")
        return picture_pixels(content, most, least)

    monkeypatch.setattr(film, "picture_pixels", breaks)
    (tmp_path / "films" / "a.png").write_bytes(b"bad")
    (tmp_path / "films" / "b.png").write_bytes(png(grey_film(1)))
    code, out, _ = asked("a.png", "b.png")
    assert code == 1
    assert "a.png is damaged and does not decode (a fault of a decoder); copy or download it again." in out
    assert "Normal" in out or "Tuberculosis" in out
