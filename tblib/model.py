"""The CNN, and the file that carries it together with all that is needed to use it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils import fuse_conv_bn_eval

from tblib import TblibError, __version__
from tblib.prepare import Normalisation
from tblib.run import replacing

CHANNELS = (1, 2, 4, 8)  # of the four blocks, times the width; each halves the side
HIDDEN = (256, 128, 32)  # of the fully connected layers before the last; narrow ones may die while they learn
MAGIC = "tblib CNN"  # says whose file it is


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
    """

    cnn: CNN
    preparation: dict[str, Any]
    training: dict[str, Any]

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


def save_model(path: Path, weights: dict[str, Tensor], preparation: dict[str, Any], training: dict[str, Any]) -> None:
    """Write a network's state as safetensors with `preparation` and `training` in the metadata, whole or not at all."""
    metadata = {
        "program": MAGIC,
        "version": __version__,
        "preparation": json.dumps(preparation, ensure_ascii=False),
        "training": json.dumps(training, ensure_ascii=False),
    }
    with replacing(path) as part:
        part.write_bytes(save({name: tensor.contiguous() for name, tensor in weights.items()}, metadata))


def load_model(path: Path) -> TrainedModel:
    """Read what `save_model` wrote.

    Raises:
        ModelError: there is no such file, it is no safetensors file, or one of another program or network.
    """
    if not path.is_file():
        raise ModelError(f"There is no model file {path}. Train one first: python -m tblib run")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open has no items)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is no safetensors file, or a damaged one ({error}).") from error
    if metadata.get("program") != MAGIC:
        raise ModelError(f"{path} was not written by tblib; its weights fit no network here. Give a model.safetensors.")
    preparation, training = json.loads(metadata["preparation"]), json.loads(metadata["training"])
    cnn = CNN(preparation["size"], training["dropout"], training.get("width", 32))
    try:
        cnn.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(
            f"{path} holds another network than this version of tblib builds; train again. ({error})"
        ) from error
    return TrainedModel(folded(cnn), preparation, training)


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
