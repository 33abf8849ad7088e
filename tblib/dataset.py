"""The films of one part of the split as tensors on a device, in batches, augmented one batch at a time."""

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from tblib.arrays import Ints, Normalisation, Pixels
from tblib.devices import pick_device

# How the area beyond a film's edge is filled after augmentation -> grid_sample's name. Repeating the edge adds nothing;
# black adds a film border to both classes alike, so that borders predict the class less well.
PADDING = {"edge": "border", "black": "zeros"}


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the augmentation, each sampled uniformly from − to + the value.

    There is no flip: it would mirror the L/R marker and put the heart on the right, and neither occurs on real films.

    Attributes:
        shift: share of the side, in both directions.
        scale: share of the size.
        brightness: added, share of the full grey range.
        contrast: share of the distance to the film's own mean grey.
    """

    shift: float = 0.05
    scale: float = 0.08
    brightness: float = 0.08
    contrast: float = 0.15


class TBDataset(Dataset[tuple[Tensor, Tensor]]):
    """Films of one part with targets float32 (N,), 1 for the positive class, for one device.

    On a CUDA card the films are kept as uint8 in its memory if they fit. Elsewhere they stay in `images`, which may be
    a memory-mapped file, and are loaded batch by batch, so memory does not grow with the database.

    Attributes:
        device: where batches are returned.
        targets: float32 (N,), on the device.
        groups: int64 (N,), on the device.
        resident: whether the films are on the device, too.
    """

    def __init__(
        self,
        images: Pixels,
        targets: Ints,
        device: torch.device | None = None,
        rows: Ints | None = None,
        groups: Ints | None = None,
        resident: bool = True,
    ) -> None:
        """Use the films at `rows` int64 (N,), default all, of images uint8 (M, H, W) or (M, H, W, 3); targets and
        groups are (N,).

        The device is by default the one that `pick_device` selects. Groups, by default the targets, are used for
        balanced sampling. Films must not be `resident` if `batch` shall change them.
        """
        chosen = np.arange(len(images)) if rows is None else np.array(rows, dtype=np.int64)
        self.device = device = device or pick_device()
        self._targets = torch.from_numpy(np.array(targets)).float()  # (N,), read on the host without waiting
        self._groups = self._targets.long() if groups is None else torch.from_numpy(np.array(groups))  # (N,), the same
        self.targets, self.groups = self._targets.to(device), self._groups.to(device)
        self._images, self._chosen = images, torch.from_numpy(chosen)  # films not copied; rows (N,)
        self.resident = resident and device.type != "cpu" and _fits(len(chosen) * images[0].nbytes, device)
        self._films = planes(self._fetch(self._chosen)).to(device) if self.resident else None

    @property
    def side(self) -> int:
        """Pixels per side of a film."""
        return int(self._images.shape[1])

    @property
    def channels(self) -> int:
        """1 of grey films, 3 of colour films."""
        return 1 if self._images.ndim == 3 else int(self._images.shape[-1])

    def __len__(self) -> int:
        """Number of films."""
        return len(self._chosen)

    def __getitem__(self, rows: int | Tensor) -> tuple[Tensor, Tensor]:
        """Films uint8 and targets float32 at `rows`: one index, or int64 (B,) for a batch."""
        if isinstance(rows, int):
            films, targets, _ = self.batch(torch.tensor([rows]))
            return films[0], targets[0]
        return self.batch(rows)[:2]

    def batch(self, rows: Tensor, change: Callable[[Pixels], Pixels] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Films uint8 (B, C, H, W), targets float32 (B,) and groups int64 (B,) at `rows`, int64 (B,) from `order`.

        `change` maps films uint8 (B, H, W), or (B, H, W, 3), to the same shape in main memory, before the batch is
        moved to the device.

        Raises:
            ValueError: `change` is given, but the films are `resident`.
        """
        there = self.move(rows)
        if self._films is None:
            films = self._fetch(self._chosen[rows])
            changed = films if change is None else torch.from_numpy(change(films.numpy()))
            return self.move(planes(changed)), self.targets[there], self.groups[there]
        if change is not None:
            raise ValueError("Films that lie on the device are changed on no host; make the data with resident=False.")
        return self._films[there], self.targets[there], self.groups[there]

    def order(self, generator: torch.Generator | None = None, balanced: bool = False) -> Tensor:
        """Int64 (N,) on the films' device: their indices, shuffled if a CPU `generator` is given. With `balanced` they
        are sampled with replacement, so that targets, and groups within a target, weigh the same."""
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        if balanced:
            order = torch.multinomial(self._shares(), len(self), replacement=True, generator=generator)
        return order if self._films is None else self.move(order)

    def _shares(self) -> Tensor:
        """Float64 (N,): sampling weights by which both targets, and the groups within each, weigh the same."""
        groups, targets = self._groups, self._targets
        sizes = torch.bincount(groups).double()
        of_target = torch.stack([torch.bincount(groups[targets == label]).ne(0).sum() for label in (0, 1)]).double()
        return 1 / (sizes[groups] * of_target[targets.long()])

    def _fetch(self, rows: Tensor) -> Tensor:
        """Films uint8 (B, H, W), or (B, H, W, 3), at `rows` of the images; pages of a mapped file are released."""
        films = np.take(self._images, rows.numpy(), axis=0)
        mapped = self._images.base if getattr(self._images, "mode", None) == "r" else None
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not available on Windows
            mapped.madvise(mmap.MADV_DONTNEED)  # otherwise every page read would count as memory of this process
        return torch.from_numpy(films)

    def move(self, host: Tensor) -> Tensor:
        """Move a tensor to the device, asynchronously on CUDA.
        On MPS the host waits: the copy would read the memory later, after it may have been overwritten."""
        held = host.pin_memory() if self.device.type == "cuda" and host.device.type == "cpu" else host
        return held.to(self.device, non_blocking=self.device.type != "mps")


def planes(films: Tensor) -> Tensor:
    """Films (B, 1, H, W) or (B, 3, H, W), as networks take them, from films (B, H, W) or (B, H, W, 3)."""
    return films.unsqueeze(1) if films.ndim == 3 else films.permute(0, 3, 1, 2)


def _fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes leave half of a CUDA card's free memory to the network; other devices share main memory."""
    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 2


def batches(data: TBDataset, size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of uint8 (B, C, H, W) and float32 (B,), shuffled if a CPU `generator` is given."""
    for rows in data.order(generator).split(size):
        yield data[rows]


def normalise(films: Tensor, by: Normalisation) -> Tensor:
    """Float32 (B, C, H, W), channels last: (level − mean) / sd, from levels 0 … 255 of any type."""
    return ((films.float() - by.mean) / by.sd).contiguous(memory_format=torch.channels_last)


def augmentation_parameters(count: int, generator: torch.Generator) -> Tensor:
    """Float32 (5, count), −1 … 1: parameters of `augment` for `count` films.
    They are sampled on the CPU, so that a seed means the same on every device, and moved once per epoch."""
    return 2 * torch.rand(5, count, generator=generator) - 1


def augment(films: Tensor, by: Augmentation, moves: Tensor, side: int | None = None, padding: str = "edge") -> Tensor:
    """Float32 (B, C, side, side), 0 … 255: films uint8 (B, C, H, W) with moves, scale, brightness and contrast.

    Args:
        by: ranges of the parameters.
        moves: float32 (5, B) of `augmentation_parameters`, on the films' device.
        side: of the output, default that of the films. At half of it each pixel is about the mean of four.
        padding: one of `PADDING`: how the area beyond the film's edge is filled.
    """
    channels, side = films.shape[1], side or films.shape[-1]
    # The same as an affine grid of each film's own, in a quarter of the time: nothing is turned or sheared.
    still = F.affine_grid(torch.eye(2, 3, device=films.device)[None], [1, channels, side, side], align_corners=False)
    scales, shifts = 1 + by.scale * moves[0], 2 * by.shift * moves[1:3].T  # the grid counts the side from −1 to 1
    grid = still * scales.view(-1, 1, 1, 1) + shifts.view(-1, 1, 1, 2)
    moved = F.grid_sample(films.float(), grid, padding_mode=PADDING[padding], align_corners=False)
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    contrast = 1 + by.contrast * moves[3].view(-1, 1, 1, 1)
    brightness = 255 * by.brightness * moves[4].view(-1, 1, 1, 1)
    return ((moved - mean) * contrast + mean + brightness).clamp(0, 255)
