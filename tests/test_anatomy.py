"""The synthetic chest: repeatable, laid out as a chest is, and changed by nothing but its lesions."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from scipy import ndimage

from tblib.phantoms.anatomy import LOOKALIKES, SIDE, TB_SIGNS, Radiograph, radiograph

SEEDS = range(40)
film: Callable[[int, float], Radiograph] = lru_cache(maxsize=None)(radiograph)


def differing(seed: int, severity: float) -> np.ndarray:
    """How much each pixel, 0 … 255, differs from the same chest without tuberculosis."""
    return np.abs(film(seed, severity).grey.astype(int) - film(seed, 0.0).grey)


def without_fibrosis() -> list[int]:
    return [seed for seed in SEEDS if "fibrosis" not in film(seed, 1.0).signs]


def test_shapes_and_types():
    drawn = film(0, 1.0)
    assert drawn.grey.shape == drawn.lungs.shape == drawn.lesions.shape == (SIDE, SIDE)
    assert (drawn.grey.dtype, drawn.lungs.dtype, drawn.lesions.dtype) == (np.uint8, bool, bool)


@pytest.mark.parametrize("severity", [0.0, 0.7])
def test_the_same_seed_gives_the_same_bytes(severity):
    first, again = radiograph(7, severity), radiograph(7, severity)
    assert first.grey.tobytes() == again.grey.tobytes()
    assert first.lungs.tobytes() == again.lungs.tobytes()
    assert first.lesions.tobytes() == again.lesions.tobytes()
    assert first.signs == again.signs


def test_drawing_another_film_in_between_changes_nothing():
    before = radiograph(3, 1.0).grey.tobytes()
    radiograph(4, 0.0)
    assert radiograph(3, 1.0).grey.tobytes() == before


def test_another_seed_gives_another_film():
    assert len({film(seed, 0.0).grey.tobytes() for seed in SEEDS}) == len(SEEDS)
    assert np.abs(film(0, 0.0).grey.astype(int) - film(1, 0.0).grey).mean() > 5


def test_a_seed_of_63_bits_is_drawn():
    assert radiograph(2**63 - 1, 0.5).grey.any()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_lesions_at_severity_zero(seed):
    drawn = film(seed, 0.0)
    assert not drawn.lesions.any()
    assert not set(drawn.signs) & set(TB_SIGNS)


@pytest.mark.parametrize("seed", SEEDS)
def test_plain_tuberculosis_is_marked_and_named(seed):
    drawn = film(seed, 1.0)
    assert drawn.lesions.any()
    assert 1 <= len(set(drawn.signs) & set(TB_SIGNS)) <= 3
    assert set(drawn.signs) <= {*TB_SIGNS, *LOOKALIKES}


def test_lookalikes_do_not_depend_on_tuberculosis():
    found = [set(film(seed, 0.0).signs) for seed in SEEDS]
    assert found == [set(film(seed, 1.0).signs) & set(LOOKALIKES) for seed in SEEDS]
    assert 0.1 < np.mean([bool(signs) for signs in found]) < 0.45


def test_every_sign_and_lookalike_occurs():
    signs = {sign for seed in SEEDS for sign in film(seed, 1.0).signs}
    assert signs == {*TB_SIGNS, *LOOKALIKES}


def test_infiltrates_are_commonest():
    counts = {sign: sum(sign in film(seed, 1.0).signs for seed in SEEDS) for sign in TB_SIGNS}
    assert max(counts, key=counts.__getitem__) == "infiltrate"


def test_outside_the_lesions_the_film_hardly_changes():
    for seed in without_fibrosis():
        change, lesions = differing(seed, 1.0), film(seed, 1.0).lesions
        assert change[~lesions].mean() < 2
        assert change[lesions].mean() > 3 * change[~lesions].mean()


def test_fibrosis_takes_volume():
    seed = next(seed for seed in SEEDS if "fibrosis" in film(seed, 1.0).signs)
    assert (film(seed, 1.0).lungs != film(seed, 0.0).lungs).any()
    other = without_fibrosis()[0]
    assert (film(other, 1.0).lungs == film(other, 0.0).lungs).all()


def test_lesions_are_plainer_the_more_severe():
    for seed in without_fibrosis():
        lesions = film(seed, 1.0).lesions
        faint, half, plain = (differing(seed, severity)[lesions].mean() for severity in (0.05, 0.5, 1.0))
        assert faint < half < plain
        assert faint < 4


def test_the_lungs_are_darker_than_what_lies_between_them():
    for seed in SEEDS:
        drawn = film(seed, 0.0)
        middle = drawn.grey[SIDE // 3 : 2 * SIDE // 3, SIDE // 2 - 12 : SIDE // 2 + 12]
        assert np.median(drawn.grey[drawn.lungs]) + 15 < np.median(middle)


def test_the_right_dome_is_higher():
    """The lung on the viewer's left ends further up, in a strip clear of the heart, unless the person leans."""
    lower = []
    for seed in SEEDS:
        rows, columns = np.nonzero(film(seed, 0.0).lungs)
        middle, reach = (columns.min() + columns.max()) / 2, np.ptp(columns) / 2
        ends = [rows[np.abs(columns - (middle + sign * 0.72 * reach)) < 0.1 * reach].max() for sign in (-1, 1)]
        lower.append(ends[1] - ends[0])
    assert np.mean(np.array(lower) > 0) > 0.8
    assert np.mean(lower) > 5


def test_the_heart_lies_to_the_viewers_right():
    """It takes more lung from that side, at the height of the lower third of the lungs."""
    lost = []
    for seed in SEEDS:
        lungs = film(seed, 0.0).lungs
        rows = np.nonzero(lungs.any(axis=1))[0]
        lower = lungs[int(rows[0] + 0.6 * np.ptp(rows)) : int(rows[0] + 0.72 * np.ptp(rows))]
        lost.append(lower[:, : SIDE // 2].sum() - lower[:, SIDE // 2 :].sum())
    assert np.mean(np.array(lost) > 0) > 0.8
    assert np.mean(lost) > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_two_large_lungs(seed):
    lungs = film(seed, 0.0).lungs
    labelled, count = ndimage.label(lungs)
    sizes = np.sort(np.bincount(labelled.ravel(), minlength=count + 1)[1:])[::-1]
    assert 0.15 < lungs.mean() < 0.6
    assert sizes[1] > 0.3 * sizes[0]
    assert sizes[:2].sum() > 0.98 * lungs.sum()


@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_white_is_kept_for_what_is_painted_on(severity):
    assert max(film(seed, severity).grey.max() for seed in SEEDS) <= 250


def test_no_grey_level_takes_a_large_area():
    """Dark air outside the body may be black; all else carries mottle."""
    for seed in SEEDS:
        levels = np.bincount(film(seed, 0.0).grey.ravel(), minlength=256) / SIDE**2
        assert levels[15:].max() < 0.15


def test_grey_levels_are_spread_as_on_real_films():
    means = [film(seed, 0.0).grey.mean() for seed in SEEDS]
    assert 110 < np.mean(means) < 145
    assert 12 < np.std(means) < 40
