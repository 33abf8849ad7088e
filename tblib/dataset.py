"""The films as tensors: one part of the split on the device, in batches, augmented a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from tblib.film import Pixels
from tblib.prepare import Normalisation


@dataclass(frozen=True)
class Augmentation:
    """How far a training film is moved, each drawn evenly from − to + the figure; no flip, ever.

    A flip would mirror the L/R marker and put the heart on the right: neither is a film one meets.

    Attributes:
        shift: of the side, in both directions.
        scale: of the size.
        brightness: added, of the full grey range.
        contrast: of the distance to the film's own mean grey.
    """

    shift: float = 0.05
    scale: float = 0.08
    brightness: float = 0.08
    contrast: float = 0.15


class TBDataset(Dataset[tuple[Tensor, Tensor]]):
    """Films uint8 (N, 1, H, W) and their targets float32 (N,), 1 for the positive class, on one device."""

    def __init__(self, images: Pixels, targets: npt.NDArray[np.int64], device: torch.device) -> None:
        """Copy images uint8 (N, H, W) and targets (N,) to `device`."""
        self.images = torch.from_numpy(np.array(images)).unsqueeze(1).to(device)  # (N, 1, H, W)
        self.targets = torch.from_numpy(np.array(targets)).to(device, torch.float32)  # (N,)

    def __len__(self) -> int:
        """Number of films."""
        return len(self.images)

    def __getitem__(self, rows: int | Tensor) -> tuple[Tensor, Tensor]:
        """Films uint8 and targets float32 at `rows`: one number, or int64 (B,) for a batch."""
        return self.images[rows], self.targets[rows]


def batches(data: TBDataset, size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of uint8 (B, 1, H, W) and float32 (B,): shuffled where a CPU `generator` is given, else in order."""
    order = torch.arange(len(data)) if generator is None else torch.randperm(len(data), generator=generator)
    for rows in order.to(data.images.device).split(size):
        yield data[rows]


def normalise(films: Tensor, by: Normalisation) -> Tensor:
    """Float32 (B, 1, H, W), channels last: (grey − mean) / sd, from grey levels 0 … 255 of any type."""
    return ((films.float() - by.mean) / by.sd).contiguous(memory_format=torch.channels_last)


def augment(films: Tensor, by: Augmentation, generator: torch.Generator) -> Tensor:
    """Float32 (B, 1, H, W), 0 … 255: each film moved, scaled, brightened and stretched by its own draw.

    Draws come from the CPU `generator`, so a seed means the same on every device. Pixels that a move
    brings in from outside repeat the film's edge: black ones would be a film border.
    """
    count = len(films)
    drawn = (2 * torch.rand(5, count, generator=generator) - 1).to(films.device)  # (5, B), −1 … 1
    moves = torch.zeros(count, 2, 3, device=films.device)
    moves[:, 0, 0] = moves[:, 1, 1] = 1 + by.scale * drawn[0]
    moves[:, :, 2] = 2 * by.shift * drawn[1:3].T  # affine_grid counts the side from −1 to 1
    grid = F.affine_grid(moves, list(films.shape), align_corners=False)
    moved = F.grid_sample(films.float(), grid, padding_mode="border", align_corners=False)
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    contrast = 1 + by.contrast * drawn[3].view(-1, 1, 1, 1)
    brightness = 255 * by.brightness * drawn[4].view(-1, 1, 1, 1)
    return ((moved - mean) * contrast + mean + brightness).clamp(0, 255)
