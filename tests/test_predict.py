"""The same film, the same number, by whatever way; a broken file gets a sentence."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from conftest import grey_film, png

from tblib import RESEARCH_USE
from tblib.__main__ import main
from tblib.catalogue import catalogued_database
from tblib.film import FilmError
from tblib.model import CNN, save_model
from tblib.predict import (
    PredictionError,
    describe,
    open_predictor,
    predict_files,
    prediction_panel,
    sample_films,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


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
    np.testing.assert_allclose(table["probability"], rows["probability"], atol=1e-5)
    np.testing.assert_allclose(table["calibrated"], rows["calibrated"], atol=1e-5)
    assert (table["verdict"] == np.where(rows["probability"] >= 0.5, "Tuberculosis", "Normal")).all()


def test_the_command_line_prints_and_writes_them(smoke, test_films, tmp_path, capsys):
    paths, rows = test_films
    out = tmp_path / "out.csv"
    command = ["predict", "--model", str(smoke.path("model.safetensors")), *map(str, paths), "--csv", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert RESEARCH_USE in printed
    assert paths[0].name in printed
    np.testing.assert_allclose(pd.read_csv(out)["probability"], rows["probability"], atol=1e-5)
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
    assert table["problem"][2:].str.contains("cannot be read").all()
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
    assert answer.calibrated is None
    assert answer.verdict == ("P" if answer.probability >= 0.5 else "N")
    with pytest.raises(PredictionError, match="no operating point"):
        predictor.answer(png(grey_film(1)), "a.png", "sensitivity_90")


def test_the_operating_point_decides_the_verdict(predictor):
    film = png(grey_film(1))
    answers = {point: predictor.answer(film, "a.png", point) for point in predictor.thresholds}
    assert len(answers) == 3
    assert len({answer.probability for answer in answers.values()}) == 1
    for point, answer in answers.items():
        assert answer.threshold == predictor.thresholds[point]
        assert (answer.verdict == "Tuberculosis") == (answer.probability >= answer.threshold)
        assert f"{answer.threshold:.3f}" in describe(answer, predictor)
    with pytest.raises(FilmError):
        predictor.answer(b"", "a.png")


def test_samples_are_test_films_named_right_or_wrong(smoke):
    samples = sample_films(smoke, each=1)
    assert (samples["part"] == "test").all()
    assert not samples.duplicated(["label", "model"]).any()
    right = (samples["probability"] >= 0.5) == (samples["target"] == 1)
    assert (right == (samples["model"] == "right")).all()


def test_the_panel_answers_an_upload_a_sample_and_a_broken_file(smoke, predictor, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("tblib.figures.display_figure", lambda figure, synthetic: shown.append(synthetic))
    panel = prediction_panel(smoke, predictor, {"sample.png": png(grey_film(2))})
    note, controls, _ = panel.children
    upload, sample, point = controls.children
    assert RESEARCH_USE in note.value
    sample.value = "sample.png"
    assert shown == [True]
    point.value = "sensitivity_90"
    assert len(shown) == 2

    def put(name: str, content: bytes) -> str:
        capsys.readouterr()
        upload.value = ({"name": name, "content": memoryview(content), "type": "", "size": 1, "last_modified": NOW},)
        return capsys.readouterr().out

    probability = predictor.answer(png(grey_film(3)), "up.png").probability
    assert f"{probability:.3f}" in put("up.png", png(grey_film(3)))
    assert len(shown) == 3
    assert "bad.png is not a picture" in put("bad.png", b"text")
    assert len(shown) == 3
