"""Lung masks of an audit's films: estimated when they are asked for, once, and kept a bit a pixel."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tblib.arrays import Ints, Mask

BATCH = 64  # films that the lung network is given at a time


@dataclass(frozen=True)
class LungMasks:
    """Lung masks of films, by row.

    Attributes:
        find: rows int (n,) -> bool (n, S, S), the estimate.
        count: number of films.
        block: films that are estimated together, those of a block of the table: the last digits of the network's
            output depend on how many it is given at once.
    """

    find: Callable[[Ints], Mask]
    count: int
    block: int = BATCH
    _kept: dict[int, npt.NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    def of(self, rows: Ints) -> Mask:
        """Bool (n, S, S) at rows int (n,), one or more."""
        blocks = np.unique(rows // self.block)[:, None] * self.block + np.arange(self.block)
        wanted = [row for row in blocks.ravel().tolist() if row < self.count and row not in self._kept]
        for start in range(0, len(wanted), BATCH):
            some = wanted[start : start + BATCH]
            self._kept.update(zip(some, np.packbits(self.find(np.array(some)), axis=-1), strict=True))
        packed = np.stack([self._kept[row] for row in rows.tolist()])
        return np.unpackbits(packed, axis=-1, count=packed.shape[1]).astype(bool)
