"""From the output of somebody else's model to the probability of the positive class, as its spec says."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tblib.arrays import Floats
from tblib.classifiers.spec import KEYS, Spec, SpecError

SUMS_TO_ONE = 0.01  # how far the classes of a softmax may be from a sum of 1: half precision is coarse


def probabilities_of(output: npt.NDArray[Any], spec: Spec, films: int) -> Floats:
    """Float64 (N,): probability of the positive class from the output of a model for `films` films.

    Of several classes the rarer side is summed, so that probabilities near 1 are as exact as those near 0.

    Raises:
        SpecError: the output has another shape or other values than the spec says.
    """
    values = np.asarray(output, dtype=np.float64)
    values = values.reshape(values.shape[0], -1) if values.ndim else values.reshape(1, 1)
    classes = spec.output in ("softmax", "logits")
    if len(values) != films or (classes and values.shape[1] == 1):
        wanted = "several numbers per film" if classes else "a number per film"
        raise SpecError(
            f"The output has the shape {np.shape(output)} for {films} films, and the spec says {spec.output}: "
            f"{wanted}. Correct the key output: {KEYS['output'][0]}."
        )
    index, negative = _place(spec, values.shape[1])
    if not classes:
        number, index = (values, index) if values.shape[1] == 1 else (values[:, [index]], 1)
        values = np.hstack([np.zeros_like(number) if spec.output == "logit" else 1 - number, number])
    if spec.output in ("logit", "logits"):
        values = _softmax(values)
    elif classes and np.isfinite(values).all() and np.abs(values.sum(1) - 1).max() > SUMS_TO_ONE:
        raise SpecError(
            f"The output is no softmax: the classes of a film sum to {values.sum(1)[0]:.4g}, not 1. If they are "
            "numbers before the softmax, say output: logits; if each is a probability of its own, output: probability."
        )
    own, rest = values[:, index], np.delete(values, index, axis=1).sum(1)
    side, other = (rest, own) if negative else (own, rest)
    return np.where(side <= 0.5, side, 1 - other)


def _place(spec: Spec, numbers: int) -> tuple[int, bool]:
    """Which of a film's numbers counts, and whether it is that of the negative class. Of one number, 0 says that it
    speaks against the positive class, and 1 that it speaks for it.

    Raises:
        SpecError: the spec does not say it, or names one that is not there.
    """
    negative = spec.negative_index is not None
    key, index = ("negative_index", spec.negative_index) if negative else ("positive_index", spec.positive_index)
    if index is None and numbers > 1:
        raise SpecError(
            f"The output has {numbers} numbers per film, and the spec does not say which of them is tuberculosis: "
            f"positive_index, from 0 to {numbers - 1}; or negative_index, that of normal."
        )
    if numbers == 1 and (negative or index not in (None, 0, 1)):
        raise SpecError(
            f"The output is one number per film: {key} must be left out, or be positive_index: 1, or 0 if it speaks "
            "against tuberculosis."
        )
    index = 1 if index is None else index
    if numbers > 1 and index >= numbers:
        raise SpecError(f"{key} is {index}, and the output has {numbers} numbers per film, 0 to {numbers - 1}.")
    return index, negative


def _softmax(values: Floats) -> Floats:
    from scipy.special import softmax  # takes 0.1 s to import

    return np.asarray(softmax(values, axis=1))
