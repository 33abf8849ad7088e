"""Films that stand in a database twice are found and kept together."""

import numpy as np
from conftest import grey_film
from hypothesis import given
from hypothesis import strategies as st

from tblib.films.duplicates import duplicate_groups, duplicate_pairs


def thumbnails(count: int) -> np.ndarray:
    return np.stack([grey_film(seed) for seed in range(count)])


def test_exact_and_brightened_copies_are_duplicates_and_others_are_not():
    films = thumbnails(12)
    brighter = np.clip(films[5] * 0.8 + 30, 0, 255).astype(np.uint8)
    pairs = duplicate_pairs(np.concatenate([films, films[[3]], brighter[None]]))
    assert {tuple(pair) for pair in pairs.tolist()} == {(3, 12), (5, 13)}


def test_blocks_do_not_change_what_is_found():
    films = np.concatenate([thumbnails(9), thumbnails(9)])
    expected = duplicate_pairs(films).tolist()
    assert len(expected) == 9
    assert duplicate_pairs(films, block=4).tolist() == expected


def test_blank_films_are_duplicates_of_each_other_only():
    films = np.concatenate([thumbnails(2), np.full((2, 64, 64), 255, np.uint8)])
    assert duplicate_pairs(films).tolist() == [[2, 3]]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_groups_are_what_chains_of_pairs_join(pairs):
    array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    groups = duplicate_groups(10, array)
    for i, j in pairs:
        assert groups[i] == groups[j]
    joined = {frozenset(np.flatnonzero(groups == g)) for g in groups}
    reached = {i: {i} for i in range(10)}
    for _ in range(10):
        for i, j in pairs:
            union = reached[i] | reached[j]
            for k in union:
                reached[k] = reached[k] | union
    assert joined == {frozenset(r) for r in reached.values()}
    np.testing.assert_array_equal(groups, duplicate_groups(10, array[::-1]))
    assert groups[0] == 0
    assert (np.diff(np.unique(groups)) == 1).all()
