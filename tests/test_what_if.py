"""What if: changes by hand, each beside a placebo that alters the same pixels, or as much, and brings no cue."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import grey_film
from hypothesis import given, settings
from hypothesis import strategies as st

from tblib.films import edits
from tblib.films.film import Film
from tblib.films.shapes import WORK_SIDE
from tblib.mitigation import MID_GREY
from tblib.phantoms.lungs import lung_network
from tblib.predict import what_if
from tblib.predict.what_if import EXAMPLES, LETTERS, NOTHING, WEIGHTS, working_copy

changed = partial(what_if.changed, lungs=lung_network)
FILM = Film("L", grey_film(1, 256))
COLOURED = Film("RGB", np.stack([grey_film(seed, 256) for seed in (1, 2, 3)], axis=2))


@pytest.mark.parametrize("film", [FILM, COLOURED])
def test_nothing_changed_is_the_film(film):
    for result in changed(film, NOTHING):
        np.testing.assert_array_equal(result, film.grey)


@pytest.mark.parametrize("name", ["L/R marker", "white rectangle", "film border"])
def test_the_placebo_of_a_thing_put_on_alters_the_same_pixels_with_the_films_own_texture(name):
    result = changed(FILM, EXAMPLES[name])
    edited, placebo = (result.edited != FILM.grey, result.placebo != FILM.grey)
    assert edited.any()
    assert placebo[~edited].mean() < 0.01  # nothing elsewhere, but where a thing has the film's own level
    assert placebo[edited].mean() > 0.5
    assert (
        np.abs(result.placebo.astype(int) - FILM.grey)[edited].mean()
        < np.abs(result.edited.astype(int) - FILM.grey)[edited].mean()
    )


@pytest.mark.parametrize("name", ["tint", "equalised"])
def test_the_placebo_of_levels_moves_them_as_much_and_keeps_their_order(name):
    result = changed(FILM, EXAMPLES[name])
    moved = [np.sqrt(np.mean((one.astype(float) - FILM.grey) ** 2)) for one in result]
    assert moved[0] > 1
    assert moved[1] == pytest.approx(moved[0], rel=0.1)
    order = np.argsort(FILM.grey.ravel(), kind="stable")
    assert (np.diff(result.placebo.ravel()[order].astype(int)) >= 0).all()


def test_strength_and_width_go_from_nothing_to_all():
    for field, values in {
        "equalise": (0.0, 0.5, 1.0),
        "rectangle": (0.0, 0.2, 0.5),
        "border": (0.0, 0.05, 0.1),
    }.items():
        films = [changed(FILM, replace(NOTHING, **{field: value})).edited for value in values]
        moved = [np.abs(film.astype(int) - FILM.grey).sum() for film in films]
        assert moved[0] == 0
        assert moved[0] < moved[1] < moved[2], field
    weak, strong = (changed(FILM, replace(NOTHING, tint="beige", tint_strength=s)).edited for s in (0.2, 1.0))
    assert np.abs(weak.astype(int) - FILM.grey).sum() < np.abs(strong.astype(int) - FILM.grey).sum()
    np.testing.assert_array_equal(changed(FILM, replace(NOTHING, tint="beige", tint_strength=0)).edited, FILM.grey)


def test_other_weights_change_films_of_colour_only():
    for name in WEIGHTS:
        np.testing.assert_array_equal(changed(FILM, replace(NOTHING, weights=name)).edited, FILM.grey)
    np.testing.assert_array_equal(changed(COLOURED, replace(NOTHING, weights="blue")).edited, COLOURED.pixels[..., 2])


def test_the_marker_stands_where_it_was_asked_for():
    for across, down in ((0.2, 0.2), (0.8, 0.3), (0.5, 0.9)):
        put = replace(NOTHING, marker="R", marker_across=across, marker_down=down)
        rows, columns = np.nonzero(changed(FILM, put).edited != FILM.grey)
        assert np.mean(rows) == pytest.approx(down * 256, abs=14)
        assert np.mean(columns) == pytest.approx(across * 256, abs=14)
    corner = replace(NOTHING, marker="R", marker_across=1.0, marker_down=0.0)  # as near as the film allows
    assert (changed(FILM, corner).edited != FILM.grey)[:60, -60:].any()


def test_a_crop_and_its_placebo_have_one_size():
    edited, placebo = changed(FILM, replace(NOTHING, crop=0.1))
    assert edited.shape == placebo.shape == (204, 204)
    np.testing.assert_array_equal(placebo, FILM.grey[:204, :204])


def test_outside_the_lungs_all_is_grey_and_in_the_placebo_outside_the_same_mask_upside_down():
    edited, placebo = (film == MID_GREY for film in changed(FILM, replace(NOTHING, lungs_only=True)))
    assert edited.mean() > 0.2
    assert (edited == placebo[::-1]).mean() > 0.95  # but for pixels of the film that are of that grey anyway


@settings(max_examples=30, deadline=None)
@given(
    st.builds(
        lambda **fields: replace(NOTHING, **fields),
        tint=st.sampled_from(["", *edits.TINTS]),
        tint_strength=st.floats(0, 1),
        weights=st.sampled_from(sorted(WEIGHTS)),
        marker=st.sampled_from(["", *LETTERS]),
        marker_style=st.sampled_from(sorted(edits.MARKER_STYLES)),
        marker_size=st.integers(12, 120),
        marker_across=st.floats(0, 1),
        marker_down=st.floats(0, 1),
        rectangle=st.floats(0, 0.6),
        border=st.floats(0, 0.16),
        crop=st.floats(0, 0.2),
        equalise=st.floats(0, 1),
    ),
    st.sampled_from([(64, 64), (90, 200), (300, 120)]),
    st.integers(0, 5),
)
def test_whatever_a_person_does_is_a_pair_of_films_or_a_sentence(changes, shape, seed):
    film = Film("L", np.ascontiguousarray(np.resize(grey_film(seed, 128), shape)))
    try:
        edited, placebo = changed(film, changes)
    except edits.EditError:  # too narrow for a marker as large as that
        assert changes.marker
    else:
        assert edited.shape == placebo.shape
        assert edited.dtype == placebo.dtype == np.uint8


@pytest.mark.parametrize(("shape", "expected"), [
    ((512, 300), (512, 300)), ((2048, 1024), (512, 256)), ((3000, 1), (512, 1)), ((600, 1200, 3), (256, 512, 3)),
])  # fmt: skip
def test_a_working_copy_keeps_the_shape_and_is_small(shape, expected):
    assert working_copy(Film("L", np.zeros(shape, np.uint8))).pixels.shape == expected
    assert max(expected[:2]) <= WORK_SIDE
