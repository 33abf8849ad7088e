"""Warnings: what is odd about a film is said, with how common it is and what the audit made of it."""

import numpy as np
import pytest
from conftest import grey_film, png
from scipy.stats import binomtest

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


def about(film: Film, background) -> set[str]:
    seen = resized(film.grey, 64)
    return {warning.about for warning in warnings(film, seen, 64, background)}


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
        assert cue in about(other, background), cue


def test_a_cue_is_told_with_its_share_in_each_class_and_the_audits_verdict(film, background):
    told = {c.about: c.sentence for c in warnings(Film("L", film.grey), resized(film.grey, 64), 64, background)}
    shares = background.shares["one-channel file"]
    for label, share in shares.items():
        assert f"{100 * share:.1f} % of {label}" in told["one-channel file"]
    assert f"verdict on this model: {background.verdicts['one-channel file']}" in told["one-channel file"]
    alone = {c.about: c.sentence for c in warnings(Film("L", film.grey), resized(film.grey, 64), 64, None)}
    assert alone["one-channel file"] == "One-channel file: found on this film."


def test_what_is_no_upright_chest_film_is_strange(smoke, film, background):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    strange = {
        "noise": noise,
        "blank": np.full((300, 300), 90, np.uint8),
        "blobs": grey_film(5, 300),
        "upside down": film.grey[::-1].copy(),
        "on its side": np.rot90(film.grey).copy(),
        "negative": 255 - film.grey,
    }
    for name, pixels in strange.items():
        assert "not like the training films" in about(Film("RGB", np.stack([pixels] * 3, 2)), background), name
    images = np.load(smoke.path("images.npy"))
    part = smoke.table("split.csv")["part"].to_numpy()
    odd = sum(background.likeness(seen) < background.limit for seen in images[part == "test"])
    # The limit is the least of a few validation films; any other film is below it with this chance.
    by_chance = 1 / ((part == "val").sum() + 1)
    assert binomtest(odd, int((part == "test").sum()), by_chance, "greater").pvalue > 0.05


def test_a_film_that_is_scaled_otherwise_than_the_training_films_is_strange(smoke, film, background):
    for name, pixels in {"dark": film.grey // 16, "washed out": 200 + film.grey // 8, "white": film.grey | 240}.items():
        seen = resized(pixels, 64)
        told = [c.sentence for c in warnings(Film("L", pixels), seen, 64, background) if c.about.startswith("not like")]
        assert "parts are at level" in " ".join(told), name
    images = np.load(smoke.path("images.npy"))
    test = images[smoke.table("split.csv")["part"].to_numpy() == "test"]
    assert not [about for seen in test for about in about_tones(seen, background)]


def about_tones(seen, background) -> list[str]:
    return [c.sentence for c in warnings(Film("L", seen), seen, 64, background) if "parts are at level" in c.sentence]


def test_a_guessed_depth_is_told_and_one_from_the_file_is_not(background):
    told = {
        c.about: c.sentence for c in warnings(Film("I;16", grey_film(1, 200), 12, True), grey_film(1, 64), 64, None)
    }
    assert "scaled as one of 12" in told["depth guessed"]
    assert "depth guessed" not in about(Film("I;16", grey_film(1, 200), 12), background)


def test_a_very_small_film_is_told(background):
    assert "very small" in about(Film("L", grey_film(1, 20)), background)
    assert "very small" not in about(Film("L", grey_film(1, 200)), background)


def test_without_an_audit_or_a_run_the_model_still_answers(smoke, tmp_path):
    for file in ("model.safetensors", "metrics.json", "predictions.csv", "preparation.json", "split.csv",
                 "catalogue.csv", "catalogue.json", "images.npy"):  # fmt: skip
        (tmp_path / file).symlink_to(smoke.path(file))
    predictor = open_predictor(tmp_path / "model.safetensors")
    assert predictor.background is not None
    assert predictor.background.verdicts == {}
    answer = predictor.answer(png(grey_film(1)), "a.png")
    assert "verdict" not in " ".join(warning.sentence for warning in predictor.warnings(answer))
    (tmp_path / "images.npy").unlink()
    assert open_predictor(tmp_path / "model.safetensors").background is None
