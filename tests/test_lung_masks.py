"""Lung masks of an audit: as if all had been estimated at once, but only those that are asked for, and each once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tblib.audit.lung_masks import LungMasks

FILMS, SIDE = 20, 11  # a side that fills no whole byte
ALL = np.random.default_rng(0).random((FILMS, SIDE, SIDE)) < 0.5


@given(st.lists(st.lists(st.integers(0, FILMS - 1), min_size=1), min_size=1), st.integers(1, 30))
def test_each_film_is_estimated_once_and_given_as_it_is(asked, block):
    estimated: list[int] = []

    def find(rows: np.ndarray) -> np.ndarray:
        estimated.extend(rows.tolist())
        return ALL[rows]

    masks = LungMasks(find, FILMS, block)
    for rows in asked:
        np.testing.assert_array_equal(masks.of(np.array(rows)), ALL[rows])
    assert len(estimated) == len(set(estimated))
    blocks = {row // block for rows in asked for row in rows}
    assert {row // block for row in estimated} == blocks  # no others are looked at


def test_films_are_estimated_in_the_same_company_whichever_are_asked_for():
    batches: list[list[int]] = []
    masks = LungMasks(lambda rows: batches.append(rows.tolist()) or ALL[rows], FILMS, 8)
    masks.of(np.array([9]))
    masks.of(np.array([18, 10, 0]))
    assert batches == [[*range(8, 16)], [*range(8), *range(16, 20)]]
