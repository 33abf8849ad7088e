"""Where the lungs are on a film: masks that come with a database, or an estimate by a network that saw only phantoms.

The network is a U-Net (Ronneberger 2015) of 64 × 64 pixels, taught on synthetic films whose lung masks are known
(`tblib.phantom`), moved, turned, lit, bordered and covered far more than real films are. No real film, mask or
downloaded weight goes into it, so a real database with masks can judge it: `dice`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from joblib import Parallel, delayed
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from tblib import phantom
from tblib.catalogue import Database
from tblib.edits import Mask
from tblib.film import Pixels, resized
from tblib.metrics import Floats
from tblib.processes import workers
from tblib.run import ROOT, code_digest, file_digest
from tblib.weights import WeightsError, read_weights, write_weights

SIDE = 64  # px: a lung is some 25 of them wide
WIDTH = 8  # channels of the first level
PHANTOMS = 400  # films it is taught on
STEPS, BATCH, RATE = 450, 32, 4e-3
THREADS = 2  # while it is taught, whatever the machine has, so that machines of one kind get the same network
LEAST = 0.02  # of the film: a smaller lung field is none
MASK_FOLDERS = ("lungs", "masks", "mask", "lung_masks")  # that may hold a database's masks, under the films' names


class LungNetwork(nn.Module):
    """A U-Net of four levels: logits float (B, 1, SIDE, SIDE) from standardised films of that shape."""

    def __init__(self) -> None:
        super().__init__()
        widths = [WIDTH * 2**level for level in range(4)]
        self.down = nn.ModuleList(_two(i, o) for i, o in zip([1, *widths], widths, strict=False))
        self.up = nn.ModuleList(_two(widths[level + 1] + widths[level], widths[level]) for level in range(3))
        self.out = nn.Conv2d(WIDTH, 1, 1)

    def forward(self, films: Tensor) -> Tensor:
        """Logit of each pixel being lung."""
        seen: list[Tensor] = []
        features = films
        for level, block in enumerate(self.down):
            features = block(F.max_pool2d(features, 2) if level else features)
            seen.append(features)
        for level in (2, 1, 0):
            features = self.up[level](torch.cat([F.interpolate(features, scale_factor=2), seen[level]], 1))
        logits: Tensor = self.out(features)
        return logits


def lung_fields(films: Pixels, network: LungNetwork | None = None) -> Mask:
    """Bool (N, H, W): the estimated lung fields, at most two a film, of films uint8 (N, H, W).

    A film on which next to nothing looks like lung gets an empty mask. By default this machine's network is asked; a
    model that was trained on cropped films brings the one that they were cropped by.
    """
    network, shape = network or lung_network(), films.shape[1:]
    small = torch.from_numpy(np.stack([resized(film, SIDE) for film in films])).float().unsqueeze(1)
    fields = np.empty(films.shape, bool)
    with torch.inference_mode():
        logits = torch.cat([network(_standardised(batch)) for batch in small.split(64)])
    for i, logit in enumerate(logits[:, 0].numpy()):
        lung = _two_largest((logit > 0) & bool(small[i].std() > 0))  # a blank film has the outline of any film
        kept = np.where(lung, logit, -abs(logit) - 1e-3)
        scaled = Image.fromarray(kept).resize(shape[::-1], Image.Resampling.BILINEAR)
        fields[i] = np.asarray(scaled) > 0
    return fields


def known_fields(database: Database, files: list[str], size: int) -> Mask | None:
    """Bool (N, size, size): the masks that a database brings for its films `files`; None where one has none.

    A film's mask has its name. Where several have, as in class folders that count their films alike, it is the one
    that shares most folders with the film; where that is not one, the film has none.
    """
    masks: dict[str, list[str]] = {}
    for other in database.others:
        if _is_mask(other):
            masks.setdefault(PurePosixPath(other).stem, []).append(other)
    found = [_own_mask(file, masks.get(PurePosixPath(file).stem, [])) for file in files]
    if not all(found):
        return None
    return np.stack([_mask(database.read(name), size) for name in found])


def dice(one: Mask, other: Mask) -> Floats:
    """Float (N,): twice the shared area over the sum of both (Dice 1945), masks (N, H, W); 1 where both are empty."""
    shared, areas = (one & other).sum((1, 2)), one.sum((1, 2)) + other.sum((1, 2))
    return np.where(areas > 0, 2 * shared / np.maximum(areas, 1), 1.0)


@lru_cache(maxsize=1)
def lung_network() -> LungNetwork:
    """The network, ready for use: read from ``data/``, or taught there first (half a minute, once)."""
    path = ROOT / "data" / f"lungs-{_digest()[:8]}.safetensors"
    network = _kept_network(path)  # without the lock at first, as data/ may be one that can only be read
    if network is None:
        with FileLock(path.with_suffix(".lock")):
            network = _kept_network(path) or _taught_network(path)  # another process may have taught it meanwhile
    return network


def _kept_network(path: Path) -> LungNetwork | None:
    """The network that lies there; None where there is none, or a damaged one."""
    try:
        return network_of(read_weights(path)[0]) if path.exists() else None
    except (WeightsError, RuntimeError):
        return None


def _taught_network(path: Path) -> LungNetwork:
    if path.exists():
        print(f"The lung network is taught anew, as {path} is damaged.")
    state = teach()
    write_weights(path, state)
    return network_of(state)


def network_of(weights: dict[str, Tensor]) -> LungNetwork:
    """The network with these weights, as `teach` returns them, ready for use.

    Raises:
        RuntimeError: they are those of another network.
    """
    network = LungNetwork()
    network.load_state_dict(weights)
    return network.eval()


def save_network(path: Path) -> str:
    """Write this machine's network to `path` as safetensors, whole or not at all; SHA-256 of the file."""
    write_weights(path, lung_network().state_dict())
    return file_digest(path)


def teach(phantoms: int = PHANTOMS, steps: int = STEPS) -> dict[str, Tensor]:
    """Teach the network from nothing on so many synthetic films; its state."""
    drawn = Parallel(n_jobs=-1, **workers())(delayed(_phantom)(seed) for seed in range(phantoms))
    films, fields = (torch.from_numpy(np.stack(arrays)).float().unsqueeze(1) for arrays in zip(*drawn, strict=True))
    generator, threads = torch.Generator().manual_seed(0), torch.get_num_threads()
    torch.set_num_threads(THREADS)
    with torch.random.fork_rng(devices=[]):  # of the CPU alone: the network needs no card, and opens none
        torch.default_generator.manual_seed(0)
        network = LungNetwork().to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(phantoms, (BATCH,), generator=generator)
        seen, field = _disturbed(films[rows], fields[rows], generator)
        logits = network(seen.contiguous(memory_format=torch.channels_last))
        loss = F.binary_cross_entropy_with_logits(logits, field) + _dice_loss(logits.sigmoid(), field)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    torch.set_num_threads(threads)
    return {name: tensor.contiguous() for name, tensor in network.state_dict().items()}


def _two(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]
    return nn.Sequential(*layers)


def _standardised(films: Tensor) -> Tensor:
    mean, sd = films.mean((1, 2, 3), keepdim=True), films.std((1, 2, 3), keepdim=True)
    return (films - mean) / sd.clamp(min=1e-3)


def _two_largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    if not count or mask.mean() < LEAST:
        return np.zeros_like(mask)
    sizes = np.bincount(labels.ravel())[1:]
    return np.isin(labels, 1 + np.argsort(sizes)[-2:])


def _is_mask(file: str) -> bool:
    path = PurePosixPath(file)
    return path.suffix.lower() == ".png" and any(folder.lower() in MASK_FOLDERS for folder in path.parts[:-1])


def _own_mask(file: str, masks: list[str]) -> str:
    """Of the masks that have a film's name, the one whose folders are most like the film's, or ""."""
    folders = PurePosixPath(file).parts[:-1]
    shared = [len(set(folders) & set(PurePosixPath(mask).parts[:-1])) for mask in masks]
    return masks[shared.index(max(shared))] if shared and shared.count(max(shared)) == 1 else ""


def _mask(content: bytes, size: int) -> Mask:
    with Image.open(io.BytesIO(content)) as picture:
        grey = picture.convert("L").resize((size, size), Image.Resampling.BOX)
    return np.asarray(grey) >= 128


def _phantom(seed: int) -> tuple[Pixels, Pixels]:
    """One synthetic film with its artefacts, and its lung mask 0 … 1, both (SIDE, SIDE)."""
    film = phantom.phantom_film(phantom.CLASSES[seed % 2], seed)
    grey = np.asarray(Image.fromarray(film.pixels).convert("L"))
    mask = Image.fromarray(255 * film.lungs.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return resized(grey, SIDE), (np.asarray(mask) >= 128).astype(np.uint8)


def _disturbed(films: Tensor, fields: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Films 0 … 255 and masks (B, 1, SIDE, SIDE), moved together; films also lit, clouded and made noisy."""

    def drawn(*shape: int) -> Tensor:
        """Even numbers 0 … 1, a film each."""
        return torch.rand(len(films), *shape, generator=generator)

    zoom, aspect, angle = torch.exp(0.9 * (drawn() - 0.35)), torch.exp(0.5 * (drawn() - 0.5)), 0.3 * (drawn() - 0.5)
    rows = [zoom * aspect * angle.cos(), -zoom * angle.sin(), zoom * angle.sin(), zoom / aspect * angle.cos()]
    moves = torch.cat([torch.stack(rows, 1).view(-1, 2, 2), 0.5 * (drawn(2, 1) - 0.5)], 2)  # (B, 2, 3)
    grid = F.affine_grid(moves, list(films.shape), align_corners=False)
    field, inside = (F.grid_sample(each, grid, align_corners=False) for each in (fields, torch.ones_like(films)))
    moved = F.grid_sample(films, grid, padding_mode="border", align_corners=False) / 255
    level = torch.where(drawn(1, 1, 1) < 0.5, 0.0, torch.where(drawn(1, 1, 1) < 0.5, drawn(1, 1, 1), 1.0))
    film = torch.where(drawn(1, 1, 1) < 0.3, moved, moved * inside + level * (1 - inside))
    film = film ** torch.exp(1.6 * (drawn(1, 1, 1) - 0.5))
    line = torch.linspace(-0.5, 0.5, SIDE)
    film = film + (drawn(1, 1, 1) - 0.5) * line + (drawn(1, 1, 1) - 0.5) * line[:, None]
    film = ((film - 0.5) * (0.3 + drawn(1, 1, 1)) + 0.5 + 0.5 * (drawn(1, 1, 1) - 0.5)).clamp(0, 1)
    clouds = F.interpolate(torch.randn(len(films), 1, 6, 6, generator=generator), size=(SIDE, SIDE), mode="bicubic")
    noise = torch.randn(films.shape, generator=generator)
    film = film + 0.12 * drawn(1, 1, 1) * clouds + 0.06 * drawn(1, 1, 1) * noise
    return _standardised(film + _opacity(drawn)), field


def _opacity(drawn: Callable[..., Tensor]) -> Tensor:
    """A bright round haze on half of the films, as disease makes within the lungs."""
    down, across = (drawn(1, 1, 1) * SIDE for _ in range(2))
    width, place = (4 + 10 * drawn(1, 1, 1)) / 1.5, torch.arange(SIDE)
    haze = torch.exp(-((place[:, None] - down) ** 2 + (place - across) ** 2) / (2 * width**2))
    return haze * (drawn(1, 1, 1) < 0.5) * 0.4 * drawn(1, 1, 1)


def _dice_loss(probability: Tensor, field: Tensor) -> Tensor:
    shared, areas = (probability * field).sum((1, 2, 3)), probability.sum((1, 2, 3)) + field.sum((1, 2, 3))
    return 1 - (2 * shared / (areas + 1)).mean()


def _digest() -> str:
    """SHA-256 of the code that draws the phantoms and teaches the network, and of the packages that it is taught by."""
    return code_digest(("box", "chest", "edits", "phantom", "lungs"))
