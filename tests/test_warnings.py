"""Warnings: what is odd about a film is said, with how common it is and what the audit made of it."""

import numpy as np
import pytest
from conftest import grey_film, png

from tblib.catalogue import catalogued_database
from tblib.films import boxes, edits
from tblib.films.film import Film, resized
from tblib.predict.predictor import open_predictor
from tblib.predict.warnings import open_background, warnings


@pytest.fixture(scope="module")
def background(smoke):
    return open_background(smoke)


@pytest.fixture(scope="module")
def film(smoke) -> Film:
    """A normal test film of the run."""
    row = smoke.table("predictions.csv").query("part == 'test' and label == 'Normal'").iloc[0]
    return catalogued_database(smoke).film(row["file"])


def told(film: Film, background) -> dict[str, str]:
    unlike = background.likeness.unlike(resized(film.grey, 64)) if background else ""
    return {warning.about: warning.sentence for warning in warnings(film, unlike, 64, background)}


def test_what_was_put_on_a_film_is_named(film, background):
    grey = film.grey
    block = boxes.Box(470, 20, 506, 200)
    width = boxes.Widths(16, 16, 16, 16)
    changed = {
        "white rectangle": Film("RGB", np.stack([edits.white_rectangle(grey, block).pixels] * 3, 2)),
        "film border": Film("RGB", np.stack([edits.bordered(grey, width, (0.93, 0.88, 0.76)).pixels] * 3, 2)),
        "L/R marker": Film(
            "RGB", np.stack([edits.marked(grey, edits.Marker("L", "solid", 34), 20, 440).pixels] * 3, 2)
        ),
        "tint": Film("RGB", edits.tinted(grey, edits.TINTS["beige"]).pixels),
        "one-channel file": Film("L", grey),
    }
    for cue, other in changed.items():
        assert cue in told(other, background), cue


def test_a_cue_is_told_with_its_share_in_each_class_and_the_audits_verdict(film, background):
    found = told(Film("L", film.grey), background)
    shares = background.shares["one-channel file"]
    for label, share in shares.items():
        assert f"{100 * share:.1f} % of {label}" in found["one-channel file"]
    assert f"verdict on this model: {background.verdicts['one-channel file']}" in found["one-channel file"]
    assert told(Film("L", film.grey), None)["one-channel file"] == "One-channel file: found on this film."


def test_a_guessed_depth_is_told_and_one_from_the_file_is_not(background):
    assert "scaled as one of 12" in told(Film("I;16", grey_film(1, 200), 12, True), background)["depth guessed"]
    assert "depth guessed" not in told(Film("I;16", grey_film(1, 200), 12), background)


def test_a_very_small_film_is_told(background):
    assert "very small" in told(Film("L", grey_film(1, 20)), background)
    assert "very small" not in told(Film("L", grey_film(1, 200)), background)


def test_without_an_audit_or_a_run_the_model_still_answers(smoke, tmp_path):
    for file in ("model.safetensors", "metrics.json", "predictions.csv", "preparation.json", "split.csv",
                 "catalogue.csv", "catalogue.json", "images.npy"):  # fmt: skip
        (tmp_path / file).symlink_to(smoke.path(file))
    predictor = open_predictor(tmp_path / "model.safetensors")
    assert predictor.background is not None
    assert predictor.background.verdicts == {}
    answer = predictor.answer(png(grey_film(1)), "a.png")
    assert "audit's verdict" not in " ".join(warning.sentence for warning in predictor.warnings(answer))
    (tmp_path / "images.npy").unlink()
    assert open_predictor(tmp_path / "model.safetensors").background is None
