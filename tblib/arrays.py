"""The ground that all rooms stand on: types of arrays, the normalisation of grey levels, and the base of all errors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the grey levels, 0 … 255, over all pixels of the training films."""

    mean: float
    sd: float


class TblibError(Exception):
    """Base class of the errors that tblib raises on purpose; the message is a sentence for the user.
    Jupyter shows the message alone: users need to know what to do, not where in tblib the error was raised."""

    def _render_traceback_(self) -> list[str]:
        """Called by IPython instead of printing a traceback."""
        return [f"{type(self).__name__}: {self}"]
