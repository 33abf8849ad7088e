"""Edits: each changes its own pixels and no other, by as much as it is told to."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from conftest import grey_film
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from tblib import TblibError
from tblib.films import edits
from tblib.films.boxes import Box, Widths
from tblib.films.edits import MARKER_STYLES, TINTS, EditError, Marker, Tint

prop = settings(max_examples=30, deadline=None, derandomize=True)
shares = st.floats(0, 1, width=32)
colours = st.tuples(shares, shares, shares)


@st.composite
def grey_films(draw) -> np.ndarray:
    """A film of noise, uint8 (H, W), between 60 and 110 pixels per side."""
    height, width, seed = (draw(st.integers(*ends)) for ends in ((60, 110), (60, 110), (0, 2**32)))
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


@st.composite
def any_films(draw) -> np.ndarray:
    """The same, or three channels of noise, uint8 (H, W, 3)."""
    grey = draw(grey_films())
    return grey if draw(st.booleans()) else np.stack([grey, grey[::-1], 255 - grey], axis=2)


@st.composite
def markers(draw) -> Marker:
    """A marker of any style and letter that fits on the smallest of these films."""
    return Marker(
        letter=draw(st.sampled_from("LRΛЛП")),
        style=draw(st.sampled_from(sorted(MARKER_STYLES))),
        size=draw(st.integers(9, 20)),
        word=draw(st.sampled_from(["", "A", "AB"])),
        turn=draw(st.sampled_from([0.0, 90.0, 180.0, 270.0]) | st.floats(-360, 360, width=32)),
        mirrored=draw(st.booleans()),
        strength=draw(st.floats(0.25, 1, width=32)),
    )


@st.composite
def boxes(draw, height: int, width: int) -> Box:
    """A box of one pixel or more on a film of this size."""
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Box(top, left, draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width)))


@st.composite
def borders(draw) -> Widths:
    """Widths that leave a film of 60 x 60 pixels something."""
    return Widths(*(draw(st.integers(0, 25)) for _ in range(4)))


def checked(film: np.ndarray, edit: Callable[[np.ndarray], edits.Edited], shape=None) -> edits.Edited:
    """The edited film, once it is seen that nothing beyond the edit's own pixels changed, nor the film given."""
    before = film.copy()
    edited = edit(film)
    assert np.array_equal(film, before)
    assert not np.shares_memory(edited.pixels, film)
    assert edited.pixels.dtype == np.uint8
    assert edited.pixels.shape == (shape or film.shape)
    assert (edited.own.dtype, edited.own.shape) == (bool, film.shape[:2])
    if edited.pixels.shape == film.shape:
        assert np.array_equal(edited.pixels[~edited.own], film[~edited.own])
    else:
        assert edited.own.all()
    rows, columns = np.nonzero(edited.own)
    tight = Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) if rows.size else Box(0, 0, 0, 0)
    assert edited.box == tight
    return edited


def flat(level: int, side: int = 100) -> np.ndarray:
    return np.full((side, side), level, np.uint8)


def ink(marker: Marker, side: int = 100) -> np.ndarray:
    """The marker alone: how much it changes a film of grey 128, int (h, w)."""
    edited = edits.marked(flat(128, side), marker, 5, 5)
    height, width = edits.marker_size(marker)
    return edited.pixels[5 : 5 + height, 5 : 5 + width].astype(int) - 128


# --- colour --------------------------------------------------------------------------------------


@prop
@given(grey_films(), colours, colours, shares, st.tuples(shares, shares))
def test_a_tinted_film_lies_between_its_two_colours(film, one, other, unevenness, centre):
    tint = Tint(tuple(map(min, one, other)), tuple(map(max, one, other)))
    edited = checked(film, lambda grey: edits.tinted(grey, tint), (*film.shape, 3))
    dark, bright = np.round(255 * np.array(tint))
    assert (edited.pixels >= dark).all()
    assert (edited.pixels <= bright).all()
    uneven = checked(film, lambda grey: edits.tinted(grey, tint, unevenness, centre), (*film.shape, 3))
    assert (uneven.pixels <= edited.pixels).all()
    least = edited.pixels * (1 - unevenness)
    assert (uneven.pixels >= np.floor(least)).all()


@pytest.mark.parametrize("tint", [*TINTS.values(), edits.NEUTRAL])
def test_black_and_white_become_the_ends_of_the_tint(tint):
    levels = np.arange(256, dtype=np.uint8)[None]
    line = edits.tinted(levels, tint).pixels[0].astype(int)
    assert line[0] == pytest.approx(255 * np.array(tint.dark), abs=0.5)
    assert line[255] == pytest.approx(255 * np.array(tint.bright), abs=0.5)
    assert line[128] == pytest.approx((line[0] + line[255]) / 2, abs=1.5)
    assert (np.diff(line, axis=0) >= 0).all()


def test_tints_are_seen_and_the_neutral_colour_is_not():
    grey = np.arange(256, dtype=np.uint8)[None]
    apart = {name: np.ptp(edits.tinted(grey, tint).pixels.astype(int), axis=2).mean() for name, tint in TINTS.items()}
    assert min(apart.values()) > 15
    faint = np.ptp(edits.tinted(grey, edits.NEUTRAL).pixels.astype(int), axis=2)
    assert 0 < faint.max() <= 4


@pytest.mark.parametrize(
    ("centre", "bright", "dark"),
    [((0.5, 0.5), (50, 40), (0, 0)), ((0.0, 0.0), (0, 0), (100, 80)), ((1.0, 0.0), (100, 0), (0, 80))],
)
def test_uneven_light_fades_towards_the_far_corner(centre, bright, dark):
    grey = np.full((101, 81), 200, np.uint8)
    even = edits.tinted(grey, TINTS["blue"]).pixels.astype(int)
    uneven = edits.tinted(grey, TINTS["blue"], 0.4, centre).pixels.astype(int)
    assert np.array_equal(uneven[bright], even[bright])
    assert uneven[dark] == pytest.approx(0.6 * even[dark], abs=0.6)
    assert uneven[:, :, 2].min() == uneven[dark][2]


def test_three_channels_are_equal_and_colour_stays():
    grey = grey_film(1)
    colour = edits.three_channels(grey)
    assert colour.shape == (64, 64, 3)
    assert all(np.array_equal(colour[:, :, channel], grey) for channel in range(3))
    assert edits.three_channels(colour) is colour


# --- markers -------------------------------------------------------------------------------------


@prop
@given(any_films(), markers(), st.data())
def test_a_marker_changes_its_box_and_nothing_else(film, marker, data):
    height, width = edits.marker_size(marker)
    assume(height <= film.shape[0] and width <= film.shape[1])
    top = data.draw(st.integers(0, film.shape[0] - height))
    left = data.draw(st.integers(0, film.shape[1] - width))
    edited = checked(film, lambda given: edits.marked(given, marker, top, left))
    assert edited.box == Box(top, left, top + height, left + width)
    moved = edited.pixels[edited.own] != film[edited.own]
    assert moved.mean() > 0.4  # the rest is the ink's faint edge, and noise as light as the ink


@prop
@given(any_films(), markers())
def test_a_marker_without_a_plate_lies_between_the_film_and_its_ink(film, marker):
    style = MARKER_STYLES[marker.style]
    assume(style.plate is None and max(edits.marker_size(marker)) <= 60)
    edited = edits.marked(film, marker, 0, 0)
    low, high = np.minimum(film, style.ink), np.maximum(film, style.ink)
    assert (edited.pixels >= low).all()
    assert (edited.pixels <= high).all()


@pytest.mark.parametrize("style", MARKER_STYLES)
def test_a_style_has_its_ink_and_its_plate(style):
    edited = edits.marked(flat(128), Marker("L", style, 24, "AB"), 20, 30)
    levels = edited.pixels[edited.own]
    ends = {MARKER_STYLES[style].ink, MARKER_STYLES[style].plate} - {None}
    assert ends <= set(levels.tolist())
    assert (levels.min() < 60) == (min(ends) < 60)
    assert (levels.max() > 200) == (max(ends) > 200)
    assert (MARKER_STYLES[style].plate is not None) == bool(edited.own[20 : edited.box.bottom, 30].all())


def test_styles_differ_and_an_outline_is_hollow():
    drawn = {style: ink(Marker("L", style, 40)) for style in MARKER_STYLES}
    assert len({layer.tobytes() for layer in drawn.values()}) == len(MARKER_STYLES)
    areas = {style: (np.abs(layer) > 60).sum() for style, layer in drawn.items()}
    assert areas["outline"] < areas["solid"]
    assert areas["thin"] < areas["solid"]
    filled = ndimage.binary_fill_holes(drawn["outline"] > 60).sum()
    assert filled > areas["solid"]


@pytest.mark.parametrize("style", MARKER_STYLES)
def test_every_letter_is_one_that_the_fonts_have(style):
    missing = ink(Marker("\ue123", style, 30)).tobytes()
    letters = [ink(Marker(letter, style, 30)).tobytes() for letter in "LRΛЛП"]
    assert missing not in letters
    assert len(set(letters) - {ink(Marker("Λ", style, 30)).tobytes()}) == 4


@pytest.mark.parametrize("style", MARKER_STYLES)
@pytest.mark.parametrize("size", [9, 20, 45])
def test_a_capital_is_as_high_as_its_size(style, size):
    height, width = edits.marker_size(Marker("L", style, size))
    around = 2 * max(2, size // 5) if MARKER_STYLES[style].plate else 2 * max(1, MARKER_STYLES[style].stroke * size)
    assert size - 1 <= height <= size + around + 2
    assert 0.4 * size < width < height + 2


@pytest.mark.parametrize("style", MARKER_STYLES)
def test_a_mirrored_marker_is_seen_from_behind(style):
    marker = Marker("L", style, 24, "AB")
    plain, mirrored = ink(marker), ink(marker._replace(mirrored=True))
    assert np.array_equal(mirrored, plain[:, ::-1])
    assert not np.array_equal(mirrored, plain)


@pytest.mark.parametrize("style", MARKER_STYLES)
def test_a_marker_turns_counter_clockwise(style):
    marker = Marker("L", style, 24, "AB")
    plain = ink(marker)
    for quarters in range(1, 5):
        assert np.array_equal(ink(marker._replace(turn=90 * quarters)), np.rot90(plain, quarters))
    slightly = marker._replace(turn=8)
    assert sum(edits.marker_size(slightly)) > sum(edits.marker_size(marker)) + 2
    expected = ndimage.rotate(plain.astype(float), 8, order=1)
    area = np.abs(expected).sum()
    assert np.abs(ink(slightly)).sum() == pytest.approx(area, rel=0.08)


def test_a_letter_turned_one_way_rises_on_that_side():
    """The foot of an L, a bar across the film, rises to the right where the letter turns counter-clockwise."""
    for turn, sign in ((15, -1), (-15, 1)):
        drawn = ink(Marker("L", "solid", 40, turn=turn)) > 60
        foot = [np.flatnonzero(column)[-1] for column in drawn.T[-12:-3]]
        assert np.sign(np.polyfit(range(len(foot)), foot, 1)[0]) == sign


@prop
@given(any_films(), markers())
def test_strength_is_the_share_of_the_way_to_the_ink(film, marker):
    assume(max(edits.marker_size(marker)) <= 60)
    none, half, full = (edits.marked(film, marker._replace(strength=strength), 0, 0) for strength in (0.0, 0.5, 1.0))
    assert np.array_equal(none.pixels, film)
    assert np.array_equal(none.own, full.own)
    middle = (film.astype(float) + full.pixels) / 2
    assert np.abs(half.pixels - middle).max() <= 1
    assert not np.array_equal(full.pixels, film)


@pytest.mark.parametrize("style", MARKER_STYLES)
def test_a_word_stands_below_the_letter(style):
    alone, worded = (ink(Marker("L", style, 24, word)) for word in ("", "AB"))
    assert worded.shape[0] > 1.5 * alone.shape[0]
    assert worded.shape[1] >= alone.shape[1]
    assert np.abs(worded[alone.shape[0] + 6 :]).max() > 60
    longer = ink(Marker("L", style, 24, "ABCDE"))
    assert longer.shape[1] > worded.shape[1]


def test_a_long_word_stands_alone():
    height, width = edits.marker_size(Marker("PORTABLE", "thin", 14))
    assert 13 <= height <= 16
    assert width > 4 * height


@pytest.mark.parametrize(("top", "left"), [(-1, 0), (0, -1), (81, 0), (0, 86), (500, 500)])
def test_a_marker_that_does_not_fit_is_refused(top, left):
    height, width = edits.marker_size(Marker("L", size=20))
    assert (height, width) == (20, 15)
    with pytest.raises(EditError, match=rf"'L' of {width} x {height} .* row {top}, column {left} .* 100 x 100.*move"):
        edits.marked(flat(90), Marker("L", size=20), top, left)
    edits.marked(flat(90), Marker("L", size=20), 80, 85)


def test_an_unknown_style_is_refused_with_those_there_are():
    for call in (edits.marker_size, lambda marker: edits.marked(flat(90), marker, 0, 0)):
        with pytest.raises(EditError, match=r"no marker style 'gothic'; there are solid, .*dark"):
            call(Marker("L", "gothic"))
    assert issubclass(EditError, TblibError)


# --- blocks and borders --------------------------------------------------------------------------


@prop
@given(any_films(), st.data(), st.integers(0, 255))
def test_a_block_is_one_level_inside_its_box(film, data, level):
    box = data.draw(boxes(*film.shape[:2]))
    for paint, usual in ((edits.white_rectangle, 255), (edits.black_box, 0)):
        for edited, painted in (
            (checked(film, lambda given, paint=paint: paint(given, box)), usual),
            (checked(film, lambda given, paint=paint: paint(given, box, level)), level),
        ):
            assert edited.box == box
            assert edited.own.sum() == box.area
            assert (edited.pixels[box.top : box.bottom, box.left : box.right] == painted).all()


@pytest.mark.parametrize("paint", [edits.white_rectangle, edits.black_box])
@pytest.mark.parametrize(
    "box", [(5, 5, 5, 9), (5, 5, 9, 5), (9, 5, 5, 9), (-1, 0, 5, 5), (0, -1, 5, 5), (90, 0, 101, 5), (0, 90, 5, 101)]
)
def test_an_empty_or_overhanging_box_is_refused(paint, box):
    film = flat(90)
    with pytest.raises(EditError, match=r"box \(.*\) .*empty or beyond the film's 100 x 100") as refusal:
        paint(film, Box(*box))
    assert str(box) in str(refusal.value)
    assert (film == 90).all()


@prop
@given(any_films(), borders(), colours)
def test_a_straight_border_is_its_four_strips(film, widths, colour):
    edited = checked(film, lambda given: edits.bordered(given, widths, colour))
    height, width = film.shape[:2]
    strips = np.ones((height, width), bool)
    strips[widths.top : height - widths.bottom, widths.left : width - widths.right] = False
    assert np.array_equal(edited.own, strips)
    painted = np.round(255 * np.array(colour)).astype(np.uint8)
    if film.ndim == 2:
        painted = np.asarray(Image.fromarray(painted[None, None]).convert("L")).astype(int)
        assert (np.abs(edited.pixels[strips] - painted) <= 1).all()
    else:
        assert (edited.pixels[strips] == painted).all()


@prop
@given(any_films(), borders(), colours, st.floats(-45, 45, width=32))
def test_a_tilted_border_is_the_strips_turned_counter_clockwise(film, widths, colour, tilt):
    edited = checked(film, lambda given: edits.bordered(given, widths, colour, tilt))
    height, width = film.shape[:2]
    straight = np.zeros((height, width), np.uint8)
    straight[widths.top : height - widths.bottom, widths.left : width - widths.right] = 1
    turned = np.asarray(Image.fromarray(straight).rotate(tilt)) == 1
    assert (turned == edited.own).sum() <= height + width  # a pixel here and there along the four edges
    outside = edited.pixels[edited.own]
    assert (outside == outside[:1]).all()


@pytest.mark.parametrize("tilt", [-4.0, -1.0, 1.0, 4.0])
def test_a_tilted_film_loses_a_wedge_at_each_edge(tilt):
    film = flat(90, 200)
    own = edits.bordered(film, Widths(0, 0, 0, 0), (1, 1, 1), tilt).own
    wedge = np.tan(np.radians(abs(tilt))) / 8  # share of the picture: a triangle over half an edge
    assert own.mean() == pytest.approx(4 * wedge, rel=0.12)
    assert own[0, 0] == own[-1, -1] == own[0, -1] == own[-1, 0] is np.True_
    assert not own[5, 100]
    low, high = own[:, :20].sum(), own[:, -20:].sum()
    assert low == pytest.approx(high, rel=0.02)
    ends = own[:10, 30].sum(), own[:10, 170].sum()  # counter-clockwise, the top edge falls on the left
    assert (ends[0] > ends[1]) == (tilt > 0)


def test_a_tilt_by_nothing_and_a_whole_turn_are_straight():
    widths = Widths(5, 0, 9, 3)
    for turn in (360.0, -360.0):
        straight, turned = (edits.bordered(flat(90), widths, (1, 1, 1), tilt).own for tilt in (0.0, turn))
        assert np.array_equal(straight, turned)


@pytest.mark.parametrize("widths", [(50, 0, 50, 0), (0, 60, 0, 40), (100, 0, 0, 0), (0, 0, 0, 300)])
def test_borders_that_leave_no_film_are_refused(widths):
    with pytest.raises(EditError, match=r"Borders of \(.*\(top, right, bottom, left\) leave nothing of 100 x 100"):
        edits.bordered(flat(90), Widths(*widths), (1, 1, 1))
    edits.bordered(flat(90), Widths(50, 40, 49, 59), (1, 1, 1))


# --- export --------------------------------------------------------------------------------------


@prop
@given(any_films(), st.floats(0.05, 1), st.floats(0.5, 4), st.integers(1, 95))
def test_an_export_changes_the_whole_film(film, strength, sigma, quality):
    dim = film // 2  # levels are not yet spread evenly
    for edit in (
        lambda given: edits.equalised(given, strength),
        lambda given: edits.blurred(given, sigma),
        lambda given: edits.compressed(given, quality),
    ):
        edited = checked(dim, edit)
        assert edited.own.all()
        assert (edited.pixels != dim).mean() > 0.2


def low_contrast(seed: int) -> np.ndarray:
    levels = np.random.default_rng(seed).normal(70, 14, (128, 128))
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)


def unevenness(film: np.ndarray) -> float:
    """How far the shares of pixels up to each of 16 levels are from even ones, at worst."""
    below = np.cumsum(np.bincount(film.ravel(), minlength=256)) / film.size
    return float(np.abs(below[15::16] - np.arange(1, 17) / 16).max())


def test_equalising_spreads_the_levels_evenly():
    film = low_contrast(0)
    uneven = [unevenness(edits.equalised(film, strength).pixels) for strength in (0.0, 0.3, 0.6, 1.0)]
    assert uneven == sorted(uneven, reverse=True)
    assert uneven[0] > 0.5
    assert uneven[-1] < 0.05
    even = edits.equalised(film).pixels
    assert 120 < even.mean() < 135
    assert np.ptp(even) > 240


@prop
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_equalising_keeps_the_order_of_levels(seed, strength):
    film = low_contrast(seed)
    edited = edits.equalised(film, strength).pixels
    levels = np.unique(film)
    brought = [np.unique(edited[film == level]) for level in levels]
    assert all(one.size == 1 for one in brought)
    assert (np.diff(np.concatenate(brought).astype(int)) >= 0).all()


def test_equalising_in_part_goes_part_of_the_way():
    film = low_contrast(1)
    whole, part = (edits.equalised(film, strength).pixels.astype(float) for strength in (1.0, 0.25))
    assert np.abs(part - (0.75 * film + 0.25 * whole)).max() <= 1
    assert np.array_equal(edits.equalised(film, 0.0).pixels, film)


def test_channels_are_equalised_one_by_one():
    film = np.stack([low_contrast(seed) // (seed + 1) for seed in range(3)], axis=2)
    edited = edits.equalised(film, 0.7).pixels
    for channel in range(3):
        assert np.array_equal(edited[:, :, channel], edits.equalised(film[:, :, channel], 0.7).pixels)


def sharpness(film: np.ndarray) -> float:
    return float(ndimage.laplace(film.astype(float)).var())


@pytest.mark.parametrize("seed", range(3))
def test_blur_takes_sharpness_the_more_the_wider(seed):
    film = np.random.default_rng(seed).integers(0, 256, (96, 96), dtype=np.uint8)
    films = [film, *(edits.blurred(film, sigma).pixels for sigma in (0.6, 1.0, 1.8, 3.0))]
    sharp = [sharpness(one) for one in films]
    assert all(after < 0.7 * before for before, after in pairwise(sharp))
    assert np.array_equal(edits.blurred(flat(90), 2.0).pixels, flat(90))


def test_blur_is_a_gaussian_of_that_width():
    point = np.zeros((101, 101), np.uint8)
    point[50 - 8 : 50 + 9, 50 - 8 : 50 + 9] = 255
    for sigma in (1.0, 2.5, 4.0):
        ours, exact = edits.blurred(point, sigma).pixels, ndimage.gaussian_filter(point.astype(float), sigma)
        assert np.abs(ours - exact).max() < 8


def edge_share(film: np.ndarray) -> float:
    """Mean step across the edges of 8 x 8 blocks over the mean step elsewhere, along rows."""
    steps = np.abs(np.diff(film.astype(float), axis=1)).mean(0)
    across = np.arange(1, film.shape[1]) % 8 == 0
    return float(steps[across].mean() / steps[~across].mean())


@pytest.mark.parametrize("seed", range(3))
def test_a_poor_jpeg_shows_its_blocks(seed):
    film = grey_film(seed, 128)
    assert edge_share(film) == pytest.approx(1, abs=0.15)
    poor, fair, fine = (edge_share(edits.compressed(film, quality).pixels) for quality in (5, 30, 95))
    assert poor > 2
    assert poor > fair > fine - 0.1
    assert fine == pytest.approx(1, abs=0.25)
    error = [np.abs(edits.compressed(film, quality).pixels.astype(int) - film).mean() for quality in (5, 30, 95)]
    assert error == sorted(error, reverse=True)
    assert error[-1] < 1.5
