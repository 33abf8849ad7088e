"""The CNN and its logits."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils import fuse_conv_bn_eval

from tblib.arrays import Floats, Normalisation, Pixels, TblibError
from tblib.dataset import TBDataset, batches, normalise, planes
from tblib.devices import full_precision, pick_device

CHANNELS = (1, 2, 4, 8)  # of the four blocks, times the width; each block halves the side
HIDDEN = (256, 128, 32)  # sizes of the fully connected layers before the last; narrow ones may die in training
AGAIN = "Train again (python -m tblib run --from training, with the run's --name), or give another model."


class ModelError(TblibError):
    """A model file that cannot be used."""


class CNN(nn.Module):
    """Four blocks of two 3×3 convolutions, four fully connected layers with dropout, one logit.

    Args:
        size: side of the input, a multiple of 16.
        dropout: share of the hidden units dropped while training.
        width: channels of the first block; the others have 2, 4 and 8 times as many.
        channels: of the films, 1 (grey) or 3 (colour).
    """

    def __init__(self, size: int, dropout: float = 0.3, width: int = 32, channels: int = 1) -> None:
        super().__init__()
        widths = [width * factor for factor in CHANNELS]
        self.blocks = nn.Sequential(*(_block(i, o) for i, o in zip([channels, *widths], widths, strict=False)))
        self.size, self.channels = size, channels
        self.side = size // 2 ** len(CHANNELS)  # of the last block's output
        inputs = (widths[-1] * self.side**2, *HIDDEN)
        layers: list[nn.Module] = []
        for i, o in zip(inputs, HIDDEN, strict=False):
            layers += [nn.Linear(i, o), nn.ReLU(), nn.Dropout(dropout)]
        self.head = nn.Sequential(nn.Flatten(), *layers, nn.Linear(HIDDEN[-1], 1))

    def forward(self, films: Tensor) -> Tensor:
        """Logits float (B,) from normalised films float (B, C, size, size), or smaller ones in training.
        Features of smaller films are repeated to the side that the head expects."""
        features = self.blocks(films)
        if features.shape[-1] != self.side:
            features = interpolate(features, size=(self.side, self.side))
        logits: Tensor = self.head(features).squeeze(1)
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    def convolution(i: int) -> list[nn.Module]:
        """Layers from `i` channels to those of the block."""
        return [nn.Conv2d(i, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    return nn.Sequential(*convolution(inputs), *convolution(outputs), nn.MaxPool2d(2))


def on_device(cnn: CNN) -> CNN:
    """The network on this machine's card, if it has one; it is moved there."""
    return cnn.to(pick_device())


def is_finite(cnn: nn.Module) -> bool:
    """Whether all weights and statistics of a network are finite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in cnn.state_dict().values())


def folded(cnn: CNN) -> CNN:
    """The network in evaluation mode with its normalisations folded into the convolutions; `cnn` is modified.
    The logits are the same up to rounding, and eight passes over the features are saved."""
    cnn.eval()
    for block in cnn.blocks:
        assert isinstance(block, nn.Sequential)
        for i in (0, 3):  # (convolution, normalisation, rectifier) twice
            convolution, normalisation = block[i], block[i + 1]
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(normalisation, nn.BatchNorm2d)
            block[i], block[i + 1] = fuse_conv_bn_eval(convolution, normalisation), nn.Identity()
    cnn.to(memory_format=torch.channels_last)
    return cnn


def films_of(data: TBDataset, batch: int = 64) -> Iterable[Tensor]:
    """The films of `data` in order, in batches uint8 (B, C, H, W)."""
    return (films for films, _ in batches(data, batch))


def logits_of(cnn: CNN, films: Iterable[Tensor], by: Normalisation) -> Tensor:
    """Float32 (N,) logits of batches of films uint8 (B, C, H, W), in evaluation mode and full precision.

    Raises:
        ModelError: a logit is not finite; such a score would otherwise count as negative.
    """
    logits = unchecked_logits(cnn, films, by)
    lost = len(logits) - int(torch.isfinite(logits).sum())
    if lost:
        raise ModelError(f"The model gives {lost} of {len(logits)} films a score that is no finite number. {AGAIN}")
    return logits


def logits_of_images(cnn: CNN, images: Pixels, by: Normalisation) -> Floats:
    """`logits_of`, float (N,), for images uint8 (N, S, S), or (N, S, S, 3), in main memory and a network anywhere.

    Images that are alike are scored once: where a mitigation hides most of a film, many edits change nothing.
    """
    if not len(images):
        return np.empty(0)
    places: dict[bytes, int] = {}
    same_as = np.array([places.setdefault(image.tobytes(), len(places)) for image in images])
    firsts = images[np.unique(same_as, return_index=True)[1]]
    films, device = planes(torch.from_numpy(firsts)), next(cnn.parameters()).device
    return logits_of(cnn, (batch.to(device) for batch in films.split(64)), by).cpu().double().numpy()[same_as]


def unchecked_logits(cnn: CNN, films: Iterable[Tensor], by: Normalisation) -> Tensor:
    """`logits_of` without the check for finite values."""
    cnn.eval()
    with torch.inference_mode(), full_precision():
        return torch.cat([cnn(normalise(batch, by)) for batch in films])
