"""Near-duplicates: films that occur in a database more than once, exactly or nearly."""

import numpy as np
import numpy.typing as npt

from tblib.arrays import Ints, Pixels

THUMBNAIL = 64  # pixels per side at which near-duplicates are confirmed
Thumbnail = Pixels  # uint8 (64, 64)
PROPOSE = 0.98  # correlation of 16x16 thumbnails above which a pair is compared at full thumbnail size
CONFIRM = 0.995  # correlation at full thumbnail size above which a pair counts as near-duplicates


def duplicate_pairs(thumbnails: Pixels, block: int = 2048) -> Ints:
    """Int64 (P, 2): index pairs i < j of thumbnails, uint8 (N, S, S), that correlate at `CONFIRM` or more.

    S is a multiple of 16. Candidate pairs from coarse thumbnails are confirmed at full size; 64-bit difference hashes
    fail here, since most chest films have similar ones. Correlation ignores brightness and contrast. `block` rows are
    compared at a time to bound the memory.
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


def duplicate_groups(count: int, pairs: Ints) -> Ints:
    """Int64 (N,): a group number for each film; films joined by a chain of pairs share one.
    Numbers follow the first film of each group, whatever the order of the pairs."""
    from scipy.sparse import coo_matrix  # others do not wait for these
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), dtype=bool)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group].astype(np.int64)


def standardised(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Float32 (N, D): each row with mean 0 and length 1, so that dot products are correlations.
    A blank film gets a constant row, which correlates only with other blank films."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    centred[~centred.any(axis=1)] = 1
    return (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)


def _correlation(a: Pixels, b: Pixels) -> float:
    first, second = standardised(np.stack([a.ravel(), b.ravel()]).astype(np.float64))
    return float(first @ second)
