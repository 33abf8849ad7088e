"""Planted artefacts are found where they were planted, and nowhere else; real films show what was measured on them."""

from __future__ import annotations

import io
import math
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from tblib.films import edits
from tblib.films.artefacts import EQUALISED, FACT_COLUMNS, TINT_VISIBLE, Artefacts, artefacts, carries_colour_cue, facts
from tblib.films.boxes import Box, Widths, boxes_from_text, boxes_text, widths_from_text, widths_text
from tblib.films.cues import tint_in_grey
from tblib.films.film import Film, open_film
from tblib.phantoms import anatomy

SIDE = 512
few = settings(max_examples=40, deadline=None, derandomize=True)


def noisy(level=110, sd=8.0, side=SIDE, seed=0):
    noise = np.random.default_rng(seed).normal(level, sd, (side, side))
    return np.clip(noise, 0, 255).astype(np.uint8)


def look(pixels, n_bytes=1000) -> Artefacts:
    return artefacts(Film("L" if pixels.ndim == 2 else "RGB", pixels), n_bytes)


def painted(pixels, box: Box, level):
    pixels = pixels.copy()
    pixels[box.top : box.bottom, box.left : box.right] = level
    return pixels


def off_by(found: Box, planted: Box) -> int:
    return max(abs(a - b) for a, b in zip(found, planted, strict=True))


# --- colour and grey levels ---------------------------------------------------------------------


def test_one_channel_has_no_colour():
    found = look(noisy())
    assert found.one_channel
    assert found.equal_channels
    assert (found.tint_strength, found.tint_balance, found.tint_spread, found.chroma) == (0, 0, 0, 0)
    assert math.isnan(found.hue)


def test_three_equal_channels_are_not_one_channel():
    found = look(np.repeat(noisy()[..., None], 3, axis=2))
    assert not found.one_channel
    assert found.equal_channels
    assert found.tint_strength == 0
    assert math.isnan(found.hue)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_pixel_that_differs_in_one_channel_is_noticed(channel):
    pixels = np.repeat(noisy()[..., None], 3, axis=2)
    pixels[300, 200, channel] += 1
    assert not look(pixels).equal_channels


def test_tint_is_exact():
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, :2] = (100, 110, 130)
    pixels[:, 2:] = (120, 110, 110)
    found = look(pixels)
    assert found.tint_strength == (30 + 10) / 2
    assert found.tint_balance == (-30 + 10) / 2
    assert found.tint_spread == 20


@pytest.mark.parametrize(("colour", "hue"), [((200, 100, 100), 0), ((100, 200, 200), 180), ((80, 80, 200), 240)])
def test_hue_and_chroma_are_exact(colour, hue):
    found = look(np.full((9, 9, 3), colour, np.uint8))
    assert found.hue == pytest.approx(hue)
    assert found.chroma == pytest.approx((max(colour) - min(colour)) / 255)


def test_grey_levels_are_exact():
    pixels = np.full((10, 10), 100, np.uint8)
    pixels[0, :5] = (0, 5, 6, 249, 250)
    found = look(pixels, n_bytes=250)
    assert found.grey_mean == pytest.approx(pixels.mean())
    assert found.grey_sd == pytest.approx(pixels.std())
    assert found.share_black == pytest.approx(0.02)
    assert found.share_white == pytest.approx(0.01)
    assert found.bytes_per_pixel == 2.5


def test_the_frame_is_the_outermost_fiftieth():
    pixels = np.full((100, 100), 50, np.uint8)
    pixels[2:-2, 2:-2] = 200
    found = look(pixels)
    assert (found.border_mean, found.border_sd) == (50, 0)


def test_an_equalised_film_scores_higher():
    film = np.clip(np.random.default_rng(1).normal(150, 25, (SIDE, SIDE)), 0, 255).astype(np.uint8)
    order = np.argsort(film, axis=None).argsort().reshape(film.shape)
    equalised = (order * 256 // film.size).astype(np.uint8)
    assert look(film).equalised < EQUALISED < look(equalised).equalised
    assert look(np.zeros((8, 8), np.uint8)).equalised < 0.01


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_tint_a_border_or_a_rectangle_is_not_taken_for_equalisation(strength):
    """Evenness of all grey levels called 5 % of the tinted equalised phantoms equalised, and 93 % of the others."""
    film = edits.equalised(anatomy.radiograph(3, 0.0).grey, strength).pixels
    bare = look(film).equalised
    assert (bare >= EQUALISED) == (strength == 1)
    others = [tint_in_grey(film, tint).pixels for tint in edits.TINTS.values()]
    others.append(edits.bordered(film, Widths(12, 18, 9, 20), edits.BEIGE).pixels)
    others.append(edits.white_rectangle(film, Box(460, 100, 500, 250)).pixels)
    assert [look(other).equalised for other in others] == pytest.approx([bare] * len(others), abs=0.04)


def test_sharpness_falls_with_blur_and_blockiness_rises_with_compression():
    film = ribs()
    sharpness = [look(edits.blurred(film, sigma).pixels).sharpness for sigma in (0.3, 1, 2, 4)]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[0] > sharpness[-1] + 0.1
    blockiness = [look(edits.compressed(chest_film(1), quality).pixels).blockiness for quality in (8, 25, 90)]
    assert blockiness == sorted(blockiness, reverse=True)
    assert blockiness[0] > blockiness[-1] + 0.3


@pytest.mark.parametrize("tint", list(edits.TINTS))
def test_a_tint_is_found_with_its_hue_and_evenness(tint):
    even = look(edits.tinted(noisy(), edits.TINTS[tint]).pixels)
    uneven = look(edits.tinted(noisy(), edits.TINTS[tint], unevenness=0.6).pixels)
    assert even.tint_strength > TINT_VISIBLE
    low, high = {"blue": (195, 230), "cyan": (165, 200), "green": (110, 160), "beige": (35, 60)}[tint]
    assert low <= even.hue <= high
    assert even.tint_evenness > 0.9 > uneven.tint_evenness


# --- rectangles ---------------------------------------------------------------------------------


@st.composite
def boxes(draw, margin=0):
    short, long = draw(st.integers(12, 150)), draw(st.integers(30, 350))
    height, width = draw(st.permutations([short, max(short, long)]))
    places = [st.integers(margin, SIDE - length - margin) for length in (height, width)]
    edges = [st.sampled_from([margin, SIDE - length - margin]) for length in (height, width)]
    top, left = (draw(place | edge) for place, edge in zip(places, edges, strict=True))
    return Box(top, left, top + height, left + width)


@few
@given(box=boxes(), level=st.integers(80, 190), white=st.integers(252, 255), seed=st.integers(0, 99))
def test_a_planted_white_rectangle_is_found(box, level, white, seed):
    (found,) = look(painted(noisy(level, seed=seed), box, white)).white_rectangles
    assert off_by(found.box, box) <= 2
    assert found.level == pytest.approx(white, abs=3)
    assert found.score >= 0.8


@few
@given(box=boxes(), level=st.integers(80, 190), black=st.integers(0, 2), seed=st.integers(0, 99))
def test_a_planted_black_box_is_found(box, level, black, seed):
    found = look(painted(noisy(level, seed=seed), box, black))
    (only,) = found.black_boxes
    assert off_by(only.box, box) <= 2
    assert not found.white_rectangles


def test_a_rectangle_softened_by_jpeg_and_tint_is_found():
    box = Box(430, 150, 500, 380)
    pixels = np.stack([painted(noisy(level), box, 255) for level in (90, 130, 150)], axis=2)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=75)
    (found,) = artefacts(open_film(buffer.getvalue(), "soft.jpg"), 1).white_rectangles
    assert off_by(found.box, box) <= 2


def test_overlapping_rectangles_are_covered_by_the_boxes_found():
    first, second = Box(420, 100, 470, 300), Box(450, 250, 500, 420)
    pixels = painted(painted(noisy(), first, 255), second, 255)
    covered = np.zeros((SIDE, SIDE), bool)
    for box, _, _ in look(pixels).white_rectangles:
        covered[box.top : box.bottom, box.left : box.right] = True
    white = pixels == 255
    assert (covered & white).sum() > 0.9 * white.sum()
    assert (covered & ~white).sum() < 0.01 * white.sum()


def test_a_block_just_too_small_is_no_rectangle():
    assert not look(painted(noisy(), Box(100, 100, 110, 160), 255)).white_rectangles
    assert not look(painted(noisy(), Box(100, 100, 124, 124), 255)).white_rectangles


def test_a_bright_disc_and_a_clipped_glow_are_no_rectangles():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot(rows - 250, columns - 250)
    disc = np.where(distance < 60, 255, noisy()).astype(np.uint8)
    glow = np.clip(420 - 2 * distance, 60, 255).astype(np.uint8)
    for pixels in (disc, glow):
        assert not look(pixels).white_rectangles


def test_dark_air_and_a_black_film_edge_are_no_black_boxes():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    air = np.where(rows + columns < 250, 0, noisy()).astype(np.uint8)
    edge = painted(noisy(), Box(0, 0, SIDE, 40), 0)
    for pixels in (air, edge):
        assert not look(pixels).black_boxes


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_gradients_carry_nothing(seed):
    rng = np.random.default_rng(seed)
    uniform = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    ramp = np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))
    for pixels in (uniform, noisy(seed=seed), ramp, ramp.T, ramp[:, ::-1]):
        found = look(np.ascontiguousarray(pixels))
        assert not found.white_rectangles
        assert not found.black_boxes
        assert not found.border.present


# --- borders ------------------------------------------------------------------------------------


@few
@given(
    side=st.integers(0, 3),
    width=st.integers(4, 120),
    strip=st.sampled_from([0, 12, 240, 255]),
    level=st.integers(80, 180),
)
def test_a_planted_border_is_measured_on_its_side(side, width, strip, level):
    pixels = noisy(level)
    np.rot90(pixels, side)[:width] = strip  # rot90 turns anticlockwise: top, right, bottom, left come first in turn
    expected = [0, 0, 0, 0]
    expected[side] = width
    found = look(pixels)
    assert np.abs(np.subtract(found.border.widths, expected)).max() <= 1
    assert found.border.tilt == pytest.approx(0, abs=0.2)
    assert found.border.level == pytest.approx(strip, abs=4)
    assert not found.white_rectangles
    assert not found.black_boxes


def test_four_borders_of_different_widths():
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[10:-30, 40:-20] = noisy()[10:-30, 40:-20]
    assert look(pixels).border.widths == (10, 20, 30, 40)


def test_air_that_fades_into_the_body_is_no_border():
    fade = np.clip((np.arange(SIDE) - 40.0) * 0.8, 0, 150).astype(np.uint8)
    assert not look(np.tile(fade, (SIDE, 1))).border.present


def test_a_film_of_one_level_has_no_border():
    for level in (0, 128, 255):
        assert not look(np.full((SIDE, SIDE), level, np.uint8)).border.present


# --- markers ------------------------------------------------------------------------------------


def ribs():
    """A grey film with soft ridges where ribs are."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    ridges = 90 + 18 * np.sin(rows / 8 + ((columns - 256) / 120) ** 2)
    return (ridges + np.random.default_rng(0).normal(0, 2, (SIDE, SIDE))).astype(np.uint8)


@lru_cache
def chest_film(seed):
    return anatomy.radiograph(seed, 0).grey


def middles_apart(one, other):
    down, across = (one.top + one.bottom - other.top - other.bottom, one.left + one.right - other.left - other.right)
    return math.hypot(down, across) / 2


def planted_on_air(seed, marker, top, inset):
    """A marker on a chest film, and only where it can be seen: on a place that is not bright already."""
    height, width = edits.marker_size(marker)
    left = inset if marker.letter in "RП" else SIDE - inset - width
    film = chest_film(seed)
    assume(np.percentile(film[top - 6 : top + height + 6, left - 6 : left + width + 6], 90) < 120)
    return edits.marked(film, marker, top, left)


@settings(few, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    seed=st.integers(0, 11),
    letter=st.sampled_from(["L", "R", "П", "Л", "Λ"]),
    style=st.sampled_from(["solid", "thin", "serif", "outline"]),
    size=st.integers(18, 50),
    turn=st.sampled_from([0, 90, 180, 270]),
    slant=st.integers(-8, 8),
    strength=st.floats(0.8, 1.0),
    top=st.integers(20, 70),
    inset=st.integers(20, 50),
    mirrored=st.booleans(),
)
def test_a_planted_marker_is_found(seed, letter, style, size, turn, slant, strength, top, inset, mirrored):
    """Over the whole range of the demo's letters, in its place."""
    assume(style != "outline" or size >= 30)  # smaller ones are blots
    planted = planted_on_air(seed, edits.Marker(letter, style, size, "", turn + slant, mirrored, strength), top, inset)
    found = look(planted.pixels).markers
    assert any(middles_apart(one.box, planted.box) <= size / 2 for one in found)
    assert all(0.5 <= one.score <= 1 for one in found)


@pytest.mark.parametrize(("letter", "named"), [("L", "L"), ("R", "R"), ("П", "П"), ("Л", "Л"), ("Λ", "Л")])
@pytest.mark.parametrize("turn", [0, 90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_side_is_read(letter, named, turn, mirrored):
    film = np.clip(chest_film(0) * 0.4, 0, 255).astype(np.uint8)
    planted = edits.marked(film, edits.Marker(letter, "solid", 34, "", turn, mirrored), 30, 430)
    (found,) = (one for one in look(planted.pixels).markers if middles_apart(one.box, planted.box) < 17)
    assert found.letter == named


def test_the_surest_letter_names_the_film():
    film = edits.marked(chest_film(0) // 3, edits.Marker("L", "solid", 40), 30, 430).pixels
    row = facts(look(edits.marked(film, edits.Marker("PORTABLE", "thin", 12), 30, 30).pixels))
    assert row["marker"] is True
    assert row["marker_letter"] == "L"
    assert row["marker_score"] > 0.9


@few
@given(
    tilt=st.floats(1.5, 4) | st.floats(-4, -1.5),
    widths=st.builds(Widths, *[st.integers(0, 20)] * 4),
    share=st.sampled_from([0.0, 0.02, 0.9, 1.0]),
)
def test_a_film_that_lies_askew_is_measured(tilt, widths, share):
    found = look(edits.bordered(noisy(), widths, (share,) * 3, tilt).pixels).border
    assert found.present
    assert found.tilt == pytest.approx(tilt, abs=0.35)


def test_a_plain_film_has_no_marker():
    for pixels in (ribs(), noisy(), np.full((SIDE, SIDE), 90, np.uint8)):
        assert not look(pixels).markers


def test_a_soft_bone_end_at_the_shoulder_is_no_marker():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    bone = 55 * np.exp(-(((rows - 70) / 6) ** 2) - ((columns - 440) / 14) ** 2)
    assert not look((ribs() + bone).astype(np.uint8)).markers


def test_a_white_rectangle_and_a_border_are_no_markers():
    pixels = painted(ribs(), Box(20, 430, 34, 470), 255)
    pixels[:, :9] = 255
    found = look(pixels)
    assert len(found.white_rectangles) == 1
    assert not found.markers


# --- any size, tables ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (2, 2), (2000, 30), (30, 2000), (13, 31)])
@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_no_size_is_too_odd(shape, level, channels):
    values = list(facts(look(np.full(shape + channels, level, np.uint8))).values())
    assert all(isinstance(value, bool | float | str) for value in values)


def test_boxes_of_a_large_film_are_in_its_own_pixels():
    box = Box(1600, 400, 1800, 1400)
    pixels = painted(np.kron(noisy(), np.ones((4, 4), np.uint8)), box, 255)
    pixels[:, :40] = 0
    found = look(pixels)
    assert off_by(found.white_rectangles[0].box, box) <= 8
    assert np.abs(np.subtract(found.border.widths, (0, 0, 0, 40))).max() <= 4


def test_facts_are_the_columns_of_the_catalogue():
    found = look(painted(noisy(), Box(420, 100, 470, 300), 255))
    row = facts(found)
    assert row["white_rectangle"] is True
    assert row["black_box"] is row["bordered"] is row["marker"] is False
    assert set(FACT_COLUMNS) < set(row)
    assert not {"white_rectangles", "border", "markers"} & set(row)
    assert row["grey_mean"] == found.grey_mean


whole = st.integers(0, 10_000)


@given(st.lists(st.builds(Box, whole, whole, whole, whole)))
def test_box_text_round_trip(boxes):
    assert boxes_from_text(boxes_text(boxes)) == tuple(boxes)


def test_box_text_is_plain():
    assert boxes_text([Box(12, 3, 40, 90), Box(0, 0, 1, 1)]) == "12,3,40,90;0,0,1,1"
    assert boxes_text([]) == ""
    assert widths_from_text("1,0,3,0") == (1, 0, 3, 0)
    assert widths_text(widths_from_text("1,0,3,0")) == "1,0,3,0"


def test_the_rule_is_vectorised():
    one_channel, strength = [True, False, False, False], [0.0, 0.0, TINT_VISIBLE, TINT_VISIBLE + 0.1]
    expected = [True, False, False, True]
    assert carries_colour_cue(np.array(one_channel), np.array(strength)).tolist() == expected
    assert carries_colour_cue(pd.Series(one_channel), pd.Series(strength)).tolist() == expected
    assert [carries_colour_cue(o, s) for o, s in zip(one_channel, strength, strict=True)] == expected


# --- the real films -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(real_films):
    """Facts of 60 films per class, evenly drawn from the part of the database that is there."""
    drawn = []
    for label in ("Normal", "Tuberculosis"):
        rows = real_films[real_films["label"] == label].sort_values("file")
        drawn.append(rows.iloc[np.linspace(0, len(rows) - 1, 60, dtype=int)])
    return drawn


def test_real_normals_have_three_equal_channels(real):
    normal, tb = real
    assert normal["equal_channels"].all()
    assert not normal["one_channel"].any()
    assert not tb.loc[~tb["one_channel"], "equal_channels"].any()


def test_real_white_rectangles_are_tuberculosis_only(real):
    normal, tb = real
    assert not normal["white_rectangle"].any()
    assert 0.2 <= tb["white_rectangle"].mean() <= 0.5


def test_real_markers_and_black_boxes(real):
    normal, _ = real
    assert normal["marker"].mean() > 0.75
    assert not normal["black_box"].any()


def test_real_normals_are_nearer_to_equalised(real):
    normal, tb = real
    assert normal["equalised"].median() > tb["equalised"].median() + 0.05


def test_the_rule_separates_real_films_without_a_look_at_a_lung(real):
    normal, tb = real
    assert carries_colour_cue(tb["one_channel"], tb["tint_strength"]).mean() >= 0.93
    assert not carries_colour_cue(normal["one_channel"], normal["tint_strength"]).any()
