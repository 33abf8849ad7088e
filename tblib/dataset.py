"""The films as tensors: one part of the split for a device, in batches, augmented a whole batch at a time."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from tblib.film import Pixels
from tblib.prepare import Normalisation

# What lies outside a film that is moved -> grid_sample's name. The edge repeated adds nothing to the film; black adds
# a film border to films of both classes alike, so that borders tell less of the class.
OUTSIDE = {"edge": "border", "black": "zeros"}


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
    """Films of one part and their targets float32 (N,), 1 for the positive class, for one device.

    On a card the films lie as uint8 in its memory where they fit; elsewhere they stay where `images` has
    them, be it a mapped file, and each batch is fetched from there. So memory does not grow with the database.

    Attributes:
        device: where batches come out.
        targets: float32 (N,), there.
        groups: int64 (N,), there.
        resident: whether the films lie there, too.
    """

    def __init__(
        self,
        images: Pixels,
        targets: npt.NDArray[np.int64],
        device: torch.device,
        rows: npt.NDArray[np.int64] | None = None,
        groups: npt.NDArray[np.int64] | None = None,
        resident: bool = True,
    ) -> None:
        """Take the films at `rows` int64 (N,), by default all, of images uint8 (M, H, W); targets and groups are (N,).

        Groups, by default the targets, are those that a remedy may balance. Films that are to be changed before they
        are moved (`batch`) must not be `resident`.
        """
        chosen = np.arange(len(images)) if rows is None else np.array(rows, dtype=np.int64)
        self.device = device
        self._targets = torch.from_numpy(np.array(targets)).float()  # (N,), for the host to look at without waiting
        self._groups = self._targets.long() if groups is None else torch.from_numpy(np.array(groups))  # (N,), the same
        self.targets, self.groups = self._targets.to(device), self._groups.to(device)
        self._images, self._chosen = images, torch.from_numpy(chosen)  # not copied; (N,)
        self.resident = resident and device.type != "cpu" and _fits(len(chosen) * images[0].nbytes, device)
        self._films = self._fetch(self._chosen).to(device) if self.resident else None

    def __len__(self) -> int:
        """Number of films."""
        return len(self._chosen)

    def __getitem__(self, rows: int | Tensor) -> tuple[Tensor, Tensor]:
        """Films uint8 and targets float32 at `rows`: one number, or int64 (B,) for a batch."""
        if isinstance(rows, int):
            films, targets, _ = self.batch(torch.tensor([rows]))
            return films[0], targets[0]
        return self.batch(rows)[:2]

    def batch(self, rows: Tensor, change: Callable[[Pixels], Pixels] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Films uint8 (B, 1, H, W), targets float32 (B,) and groups int64 (B,) at `rows`, int64 (B,) of `order`.

        What is to `change` gets and gives films uint8 (B, H, W) in main memory, before each batch is moved once.

        Raises:
            ValueError: films that are to be changed are `resident`.
        """
        there = self.move(rows)
        if self._films is None:
            films = self._fetch(self._chosen[rows])
            changed = films if change is None else torch.from_numpy(change(films[:, 0].numpy())).unsqueeze(1)
            return self.move(changed), self.targets[there], self.groups[there]
        if change is not None:
            raise ValueError("Films that lie on the device are changed on no host; make the data with resident=False.")
        return self._films[there], self.targets[there], self.groups[there]

    def order(self, generator: torch.Generator | None = None, balanced: bool = False) -> Tensor:
        """Int64 (N,) where the films lie: the numbers of the films, shuffled where a CPU `generator` is given.

        With `balanced` they are drawn with replacement, both targets alike and their groups alike within a target.
        """
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        if balanced:
            order = torch.multinomial(self._shares(), len(self), replacement=True, generator=generator)
        return order if self._films is None else self.move(order)

    def _shares(self) -> Tensor:
        """Float64 (N,): how often each film is drawn where groups are to weigh the same within each target."""
        groups, targets = self._groups, self._targets
        sizes = torch.bincount(groups).double()
        of_target = torch.stack([torch.bincount(groups[targets == label]).ne(0).sum() for label in (0, 1)]).double()
        return 1 / (sizes[groups] * of_target[targets.long()])

    def _fetch(self, rows: Tensor) -> Tensor:
        """Films uint8 (B, 1, H, W) at `rows` of the images; the pages of a mapped file are given back."""
        films = np.take(self._images, rows.numpy(), axis=0)
        mapped = self._images.base if getattr(self._images, "mode", None) == "r" else None
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # Windows has not
            mapped.madvise(mmap.MADV_DONTNEED)  # or every page read would count as this process's memory
        return torch.from_numpy(films).unsqueeze(-3)

    def move(self, host: Tensor) -> Tensor:
        """To the device; a CUDA card computes on meanwhile.

        MPS copies while the host waits: it would read the memory later, when other numbers may lie there.
        """
        held = host.pin_memory() if self.device.type == "cuda" and host.device.type == "cpu" else host
        return held.to(self.device, non_blocking=self.device.type != "mps")


def _fits(size: int, device: torch.device) -> bool:
    """Whether so many bytes leave a CUDA card half of its free memory for the network; other devices share ours."""
    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 2


def batches(data: TBDataset, size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of uint8 (B, 1, H, W) and float32 (B,): shuffled where a CPU `generator` is given, else in order."""
    for rows in data.order(generator).split(size):
        yield data[rows]


def normalise(films: Tensor, by: Normalisation) -> Tensor:
    """Float32 (B, 1, H, W), channels last: (grey − mean) / sd, from grey levels 0 … 255 of any type."""
    return ((films.float() - by.mean) / by.sd).contiguous(memory_format=torch.channels_last)


def draws(count: int, generator: torch.Generator) -> Tensor:
    """Float32 (5, count), −1 … 1: what `augment` does to so many films, by the CPU `generator`.

    Drawn on the CPU a seed means the same on every device, and drawn for a whole epoch it is moved once.
    """
    return 2 * torch.rand(5, count, generator=generator) - 1


def augment(films: Tensor, by: Augmentation, drawn: Tensor, side: int | None = None, outside: str = "edge") -> Tensor:
    """Float32 (B, 1, side, side), 0 … 255: each film moved, scaled, brightened and stretched by its own draw.

    Args:
        films: uint8 (B, 1, H, W).
        by: how far.
        drawn: float32 (5, B) of `draws`, on the films' device.
        side: of what comes out, by default the films' own. At half of it each pixel is about the mean of four.
        outside: one of `OUTSIDE`: what a move brings in from beyond the film.
    """
    count, side = len(films), side or films.shape[-1]
    moves = torch.zeros(count, 2, 3, device=films.device)
    moves[:, 0, 0] = moves[:, 1, 1] = 1 + by.scale * drawn[0]
    moves[:, :, 2] = 2 * by.shift * drawn[1:3].T  # affine_grid counts the side from −1 to 1
    grid = F.affine_grid(moves, [count, 1, side, side], align_corners=False)
    moved = F.grid_sample(films.float(), grid, padding_mode=OUTSIDE[outside], align_corners=False)
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    contrast = 1 + by.contrast * drawn[3].view(-1, 1, 1, 1)
    brightness = 255 * by.brightness * drawn[4].view(-1, 1, 1, 1)
    return ((moved - mean) * contrast + mean + brightness).clamp(0, 255)
