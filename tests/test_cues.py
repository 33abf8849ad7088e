"""Edits change their own pixels and no others; placebos change as many, or as much, and bring no cue."""

import numpy as np
import pandas as pd
import pytest
from conftest import cue, grey_film

from tblib.audit.pairs import Viewers, added, removed, restyled, swapped
from tblib.films import edits
from tblib.films.artefacts import artefacts
from tblib.films.boxes import Box, boxes_text
from tblib.films.cues import AUDITED, CUES, EDITED, placebo_of
from tblib.films.film import Film
from tblib.mitigation import ModelInput
from tblib.phantoms.phantom import phantom_film
from tblib.phantoms.presets import CLASSES, KAGGLE

LOCAL = [one for one in EDITED if one.placebo == "inpainted"]


def film(seed: int = 3, label: str = CLASSES[0]) -> np.ndarray:
    """A synthetic film with no artefact."""
    bare = dict.fromkeys(KAGGLE, (0.0, 0.0))
    pixels = phantom_film(label, seed, bare).pixels
    return pixels if pixels.ndim == 2 else pixels[..., 0].copy()


@pytest.mark.parametrize("side", [64, 300, 512])
@pytest.mark.parametrize("one", LOCAL, ids=lambda one: one.name)
def test_only_the_edits_own_pixels_change_and_the_placebos_are_the_same(one, side):
    plain = grey_film(5, side)
    for dose in one.doses:
        edited = one.put(plain, dose, np.random.default_rng(1))
        placebo = placebo_of(one.placebo, plain, edited, np.random.default_rng(1))
        assert edited.own.any()
        assert not edited.own.all()
        np.testing.assert_array_equal(edited.pixels[~edited.own], plain[~edited.own])
        np.testing.assert_array_equal(placebo.pixels[~edited.own], plain[~edited.own])
        assert placebo.own.sum() == edited.own.sum()


@pytest.mark.parametrize("one", [one for one in EDITED if one.placebo != "inpainted"], ids=lambda one: one.name)
def test_edits_of_a_whole_film_and_their_placebos_change_it_by_as_much(one):
    plain = film()
    edited = one.put(plain, 1.0, np.random.default_rng(2))
    placebo = placebo_of(one.placebo, plain, edited, np.random.default_rng(2))
    changes = [np.sqrt(np.mean((each.pixels.astype(float) - plain) ** 2)) for each in (edited, placebo)]
    assert changes[0] > 0.5
    assert changes[1] == pytest.approx(changes[0], rel=0.35)
    assert placebo.own.sum() == edited.own.sum() == plain.size


@pytest.mark.parametrize("one", [one for one in LOCAL if len(one.doses) > 1], ids=lambda one: one.name)
def test_a_higher_dose_is_a_larger_edit(one):
    areas = [one.put(film(), dose, np.random.default_rng(0)).own.sum() for dose in one.doses]
    assert areas == sorted(areas)
    assert areas[-1] > 1.5 * areas[0]


@pytest.mark.parametrize(
    ("name", "seen"), [("L/R marker", "markers"), ("white rectangle", "white_rectangles"), ("black box", "black_boxes")]
)
def test_the_detectors_see_the_edit_and_not_its_placebo(name, seen):
    plain, one = film(), cue(name)
    edited = one.put(plain, 1.0, np.random.default_rng(4))
    placebo = placebo_of(one.placebo, plain, edited, np.random.default_rng(4))
    assert getattr(artefacts(Film("L", edited.pixels), 1), seen)
    assert not getattr(artefacts(Film("L", placebo.pixels), 1), seen)


def test_a_border_is_seen_and_its_placebo_is_not():
    plain, one = film(), cue("film border")
    edited = one.put(plain, 1.0, np.random.default_rng(4))
    assert artefacts(Film("L", edited.pixels), 1).border.present
    assert not artefacts(Film("L", edits.replaced(plain, edited.own).pixels), 1).border.present


def test_a_marker_is_legible_at_the_size_of_the_model():
    """A 128 × 128 input can swallow a small glyph: then "not used" would mean nothing."""
    pairs = added(cue("L/R marker"), [film()], Viewers(ModelInput(128)), 0)
    change = np.abs(pairs.edited[0].astype(int) - pairs.placebo[0])
    assert (change > 40).sum() >= 12


def test_a_cue_is_taken_off_its_carriers_alone_and_a_block_in_the_mirror_as_placebo():
    plain = film()
    box = Box(440, 60, 480, 200)
    marked = edits.white_rectangle(plain, box).pixels
    table = pd.DataFrame(
        {"white_rectangle": [True, False], "white_rectangles": [boxes_text([box]), ""], "tint_strength": 0.0}
    )
    pairs = removed(cue("white rectangle"), [marked, plain], table, Viewers(ModelInput(512)), 0)
    assert pairs.rows.tolist() == [0]
    assert pairs.sign.tolist() == [-1]
    assert not artefacts(Film("L", pairs.edited[0]), 1).white_rectangles
    assert artefacts(Film("L", pairs.placebo[0]), 1).white_rectangles
    touched = [(pairs.edited[0] != marked), (pairs.placebo[0] != marked)]
    mirrored = box._replace(left=512 - box.right, right=512 - box.left)
    for changed, where in zip(touched, (box, mirrored), strict=True):
        outside = changed.copy()
        outside[where.widened(edits.SPARE)] = False
        assert changed.any()
        assert not outside.any()


def test_what_is_random_depends_on_seed_and_place():
    films = [film(1), film(2)]
    first, again, other = (added(cue("white rectangle"), films, Viewers(ModelInput(64)), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.edited, again.edited)
    assert (first.edited != other.edited).any()
    alone = added(cue("white rectangle"), films, Viewers(ModelInput(64)), 0, places=np.array([1]))
    assert alone.rows.tolist() == [1]
    np.testing.assert_array_equal(alone.edited[0], first.edited[1])


def test_the_model_is_asked_of_films_at_their_own_size_and_as_small_networks_see_them():
    def asked(films, small, places):
        np.testing.assert_array_equal(small, [ModelInput(64).of(each) for each in films])
        return small.mean((1, 2)) + 1000 * places

    films = [film(seed) for seed in range(3)]
    pairs = added(cue("film border"), films, Viewers(ModelInput(64), asked), 0, places=np.array([2, 0]))
    np.testing.assert_allclose(pairs.after, pairs.edited.mean((1, 2)) + 1000 * pairs.rows)
    np.testing.assert_allclose(pairs.before, pairs.placebo.mean((1, 2)) + 1000 * pairs.rows)


def test_a_swap_keeps_the_lungs_and_takes_the_rest_from_the_other_class():
    images = np.stack([np.full((32, 32), level, np.uint8) for level in (10, 20, 200, 210)])
    fields = np.zeros((4, 32, 32), bool)
    fields[:, 8:24, 8:24] = True
    pairs = swapped(list(images), fields, np.array([0, 0, 1, 1]), Viewers(ModelInput(32)), 0)
    for i, image in enumerate(images):
        assert (pairs.edited[i][fields[i]] == image[0, 0]).all()
        assert set(np.unique(pairs.edited[i][~fields[i]])) <= ({200, 210} if i < 2 else {10, 20})
        assert set(np.unique(pairs.placebo[i][~fields[i]])) <= ({10, 20} if i < 2 else {200, 210})
    assert pairs.sign.tolist() == [1, 1, -1, -1]


def test_styles_are_swapped_only_where_the_classes_have_different_ones():
    kinds = {"marker": True, "markers": "", "marker_letter": "L", "marker_style": "solid"}
    table = pd.DataFrame([kinds | {"label": label} for label in ("N", "T") for _ in range(6)])
    films = [film()] * 12
    assert not len(restyled(films, table, "T", Viewers(ModelInput(64)), 0).rows)
    table.loc[table["label"] == "T", ["marker_letter", "marker_style"]] = ["Л", "outline"]
    pairs = restyled(films, table, "T", Viewers(ModelInput(64)), 0)
    assert len(pairs.rows) == 12
    assert (pairs.edited != pairs.placebo).any()


def test_a_one_channel_file_is_the_same_input_as_three_equal_channels():
    plain = film()
    np.testing.assert_array_equal(Film("RGB", edits.three_channels(plain)).grey, plain)
    assert cue("one-channel file").put is None
    assert len({one.name for one in CUES}) == len(CUES) == len(AUDITED) + 1 == 11
