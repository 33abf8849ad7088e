"""The CNN, and the file that carries it together with all that is needed to use it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils import fuse_conv_bn_eval

from tblib import TblibError, __version__
from tblib.lungs import LungNetwork, network_of
from tblib.prepare import Normalisation
from tblib.remedies import needs_lungs
from tblib.run import Run
from tblib.weights import WeightsError, read_weights, write_weights

CHANNELS = (1, 2, 4, 8)  # of the four blocks, times the width; each halves the side
HIDDEN = (256, 128, 32)  # of the fully connected layers before the last; narrow ones may die while they learn
LUNGS = "lungs."  # before the names of the lung network's tensors
MOST_THREADS = 1024  # that a model may ask for
MAGIC = "tblib CNN"  # says whose file it is
AGAIN = "Train again (python -m tblib run --from training, with the run's --name), or give another model."


class ModelError(TblibError):
    """A model file that cannot be used."""


class CNN(nn.Module):
    """Four blocks of two 3×3 convolutions, four fully connected layers with dropout, one logit.

    Args:
        size: side of the input, a multiple of 16.
        dropout: share of the hidden units dropped while training.
        width: channels of the first block; the others have 2, 4 and 8 times as many.
    """

    def __init__(self, size: int, dropout: float = 0.3, width: int = 32) -> None:
        super().__init__()
        channels = [width * factor for factor in CHANNELS]
        self.blocks = nn.Sequential(*(_block(i, o) for i, o in zip([1, *channels], channels, strict=False)))
        self.size = size
        self.side = size // 2 ** len(CHANNELS)  # of the last block's output
        inputs = (channels[-1] * self.side**2, *HIDDEN)
        layers: list[nn.Module] = []
        for i, o in zip(inputs, HIDDEN, strict=False):
            layers += [nn.Linear(i, o), nn.ReLU(), nn.Dropout(dropout)]
        self.head = nn.Sequential(nn.Flatten(), *layers, nn.Linear(HIDDEN[-1], 1))

    def forward(self, films: Tensor) -> Tensor:
        """Logits float (B,) from normalised films float (B, 1, size, size), or smaller ones while it learns.

        What the blocks make of smaller films is repeated to the side that the head was made for.
        """
        features = self.blocks(films)
        if features.shape[-1] != self.side:
            features = interpolate(features, size=(self.side, self.side))
        logits: Tensor = self.head(features).squeeze(1)
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    def convolution(i: int) -> list[nn.Module]:
        """A convolution from `i` channels, normalised and rectified."""
        return [nn.Conv2d(i, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    return nn.Sequential(*convolution(inputs), *convolution(outputs), nn.MaxPool2d(2))


@dataclass(frozen=True)
class TrainedModel:
    """A CNN in evaluation mode with what travels in its file.

    Attributes:
        cnn: the network, `folded`, float32, channels last, on the CPU until moved.
        preparation: the content of ``preparation.json``: class names, size, mean, sd, split.
        training: parameters and outcome of the training, among them ``pos_weight``.
        lungs: the network by which its films were cropped, where they were, so that another machine crops alike.
    """

    cnn: CNN
    preparation: dict[str, Any]
    training: dict[str, Any]
    lungs: LungNetwork | None = None

    @property
    def size(self) -> int:
        """Side of the input in pixels."""
        return int(self.preparation["size"])

    @property
    def remedy(self) -> str:
        """What was done to the films (`tblib.remedies`); nothing in files of earlier versions."""
        return str(self.preparation.get("remedy", "none"))

    @property
    def normalisation(self) -> Normalisation:
        """Mean and sd of the grey levels the network was trained with."""
        return Normalisation(self.preparation["mean"], self.preparation["sd"])


def save_model(
    path: Path,
    weights: dict[str, Tensor],
    preparation: dict[str, Any],
    training: dict[str, Any],
    lungs: dict[str, Tensor] | None = None,
) -> None:
    """Write a network's state as safetensors with `preparation` and `training` in the metadata, whole or not at all.

    Where films are cropped by their lungs, the state of the network that finds these goes with it.
    """
    metadata = {
        "program": MAGIC,
        "version": __version__,
        "preparation": json.dumps(preparation, ensure_ascii=False),
        "training": json.dumps(training, ensure_ascii=False),
    }
    tensors = weights | {f"{LUNGS}{name}": tensor for name, tensor in (lungs or {}).items()}
    write_weights(path, tensors, metadata)


def load_model(path: Path) -> TrainedModel:
    """Read what `save_model` wrote.

    Raises:
        ModelError: there is no such file, it is no safetensors file, or one of another program or network; or what it
            holds gives no score: weights that are no finite numbers, a mean, size or class name that is none.
        DamagedError: it is not the model that its run has left there.
    """
    run = Run(path.absolute().parent)
    if not path.is_file():
        how = run.command("--only", "training") if run.path("run.json").is_file() else "python -m tblib run"
        raise ModelError(f"There is no model file {path}. Train one first: {how}")
    try:
        weights, metadata = read_weights(path)
    except WeightsError as error:
        raise ModelError(f"{error} {AGAIN}") from error
    if metadata.get("program") != MAGIC:
        raise ModelError(f"{path} was not written by tblib; its weights fit no network here. Give a model.safetensors.")
    preparation, training = (_facts(path, metadata, name) for name in ("preparation", "training"))
    lungs = None
    found_by = {name.removeprefix(LUNGS): weights.pop(name) for name in list(weights) if name.startswith(LUNGS)}
    if needs_lungs(preparation.get("remedy", "none")) and not found_by:
        raise ModelError(
            f"{path} was trained on films cropped by their lungs, and does not hold the network that found these (it "
            f"was written by an earlier version); its answers here would be of other films. {AGAIN}"
        )
    try:
        cnn = _network(preparation["size"], training["dropout"], training.get("width", 32), weights)
        lungs = network_of(found_by) if found_by else None
    except (RuntimeError, TypeError, ValueError) as error:  # what torch raises of sizes that no memory holds, too
        raise ModelError(
            f"{path} holds another network than this version of tblib builds ({error}). {AGAIN}"
        ) from error
    if not (
        is_finite(cnn) and is_finite(folded(cnn)) and (lungs is None or is_finite(lungs))
    ):  # a variance below 0 shows only where it is folded in
        raise ModelError(f"{path} holds weights that are no finite numbers, and would call every film alike. {AGAIN}")
    run.check_as_left(path.name)
    return TrainedModel(cnn, preparation, training, lungs)


def _network(size: int, dropout: float, width: int, weights: dict[str, Tensor]) -> CNN:
    """The network of this size and width, made of `weights` themselves: a file that only claims a size takes no memory.

    Raises:
        RuntimeError, TypeError, ValueError: they are those of another network.
    """
    with torch.device("meta"):
        cnn = CNN(size, dropout, width)
    wanted = {name: tensor.dtype for name, tensor in cnn.state_dict().items()}
    other = next((name for name, tensor in weights.items() if tensor.dtype != wanted.get(name, tensor.dtype)), None)
    if other:
        raise TypeError(f"{other} is of {weights[other].dtype}, not {wanted[other]}")
    cnn.load_state_dict(weights, assign=True)
    return cnn


def is_number(value: object) -> bool:
    """Whether it is a finite number, as JSON's NaN and Infinity are not, nor whole numbers that no float holds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_finite(cnn: nn.Module) -> bool:
    """Whether all of a network's weights and statistics are finite numbers."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in cnn.state_dict().values())


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_name(value: object) -> bool:
    """Whether it is a text that can be shown: JSON may hold halves of signs that no file and no terminal takes."""
    return isinstance(value, str) and bool(value.strip()) and value == value.encode(errors="ignore").decode()


WANTED: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {  # of the metadata -> key -> (test, what it must be)
    "preparation": {
        "size": (lambda value: _is_count(value) and value % 16 == 0, "a multiple of 16"),
        "mean": (is_number, "a finite number"),
        "sd": (lambda value: is_number(value) and value > 0, "a finite number above 0"),
        "negative": (_is_name, "the name of a class"),
        "positive": (_is_name, "the name of a class"),
        "bits": (lambda value: _is_count(value) and value <= 32, "a number of bits"),
        "remedy": (lambda value: isinstance(value, str), "names of remedies"),
    },
    "training": {
        "dropout": (lambda value: is_number(value) and 0 <= value < 1, "a number of 0 or more, below 1"),
        "width": (_is_count, "a whole number above 0"),
        "threads": (lambda value: _is_count(value) and value <= MOST_THREADS, f"a whole number, 1 to {MOST_THREADS}"),
        "pos_weight": (lambda value: is_number(value) and value > 0, "a finite number above 0"),
    },
}
OPTIONAL = ("bits", "remedy", "width", "threads", "pos_weight")  # for an answer; an evaluation needs the last two


def _facts(path: Path, metadata: dict[str, str], name: str) -> dict[str, Any]:
    """One of the two parts of a model file's metadata.

    Raises:
        ModelError: it is not there, or lacks what an answer takes.
    """
    try:
        facts: Any = json.loads(metadata.get(name, ""))
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise ModelError(f"{path} does not tell of its {name}; it is damaged. {AGAIN}")
    for key, (holds, wanted) in WANTED[name].items():
        if key not in facts and key not in OPTIONAL:
            raise ModelError(f"{path} does not tell the {key} of its {name}. {AGAIN}")
        if key in facts and not holds(facts[key]):
            raise ModelError(f"{path} cannot be used: its {key} is {facts[key]!r}, not {wanted}. {AGAIN}")
    return facts


def folded(cnn: CNN) -> CNN:
    """The network in evaluation mode, its normalisations folded into the convolutions before them; `cnn` is used up.

    The logits are the same up to rounding, and eight passes over the features are saved.
    """
    cnn.eval()
    for block in cnn.blocks:
        assert isinstance(block, nn.Sequential)
        for i in (0, 3):  # convolution, normalisation, rectifier, twice
            convolution, normalisation = block[i], block[i + 1]
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(normalisation, nn.BatchNorm2d)
            block[i], block[i + 1] = fuse_conv_bn_eval(convolution, normalisation), nn.Identity()
    cnn.to(memory_format=torch.channels_last)
    return cnn
