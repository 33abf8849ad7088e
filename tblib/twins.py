"""Twins: films that stand in a database more than once, exactly or nearly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tblib.film import Pixels

PROPOSE = 0.98  # correlation of 16x16 thumbnails above which a pair is looked at whole
CONFIRM = 0.995  # correlation at full thumbnail size above which the pair is called twins


def twin_pairs(thumbnails: Pixels, block: int = 2048) -> npt.NDArray[np.int64]:
    """Int64 (P, 2): index pairs i < j of films whose pixels correlate at `CONFIRM` or more.

    Coarse thumbnails propose pairs, the whole thumbnails confirm them; a 64-bit difference hash
    would not do, since most chest films look alike to it. Brightness and contrast do not matter to
    a correlation. Blocks of `block` rows bound the memory.

    Args:
        thumbnails: uint8 (N, S, S), S a multiple of 16.
        block: rows compared at a time.
    """
    count, side = thumbnails.shape[:2]
    fold = side // 16
    coarse = standardised(thumbnails.reshape(count, 16, fold, 16, fold).mean(axis=(2, 4)).reshape(count, -1))
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, count, block):
        rows, columns = np.nonzero(coarse[start : start + block] @ coarse.T >= PROPOSE)
        pairs = np.stack([rows + start, columns], axis=1)
        found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    proposed = np.concatenate(found)
    return proposed[[_correlation(thumbnails[i], thumbnails[j]) >= CONFIRM for i, j in proposed]]


def twin_groups(count: int, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Int64 (N,): a group number for each film; films joined by a chain of pairs share one.

    Numbers follow the first film of each group, so they do not depend on the order of the pairs.
    """
    ones = np.ones(len(pairs), dtype=bool)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group].astype(np.int64)


def standardised(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Float32 (N, D): each row with mean 0 and length 1, so that a dot product is a correlation.

    A blank film has no such row; it gets an even one, which goes with those of blank films and of no other.
    """
    centred = rows - rows.mean(axis=1, keepdims=True)
    centred[~centred.any(axis=1)] = 1
    return (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)


def _correlation(a: Pixels, b: Pixels) -> float:
    first, second = standardised(np.stack([a.ravel(), b.ravel()]).astype(np.float64))
    return float(first @ second)
