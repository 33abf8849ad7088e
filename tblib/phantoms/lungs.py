"""Lung masks: those of a database, or estimates of a network trained on synthetic films only.

The network is a U-Net (Ronneberger 2015) of 64 × 64 pixels, trained on synthetic films with known lung masks
(`tblib.phantoms.phantom`), with much stronger moves, turns, lighting, borders and occlusion than on real films. It
uses no real film, mask or downloaded weight, so its masks can be evaluated on a real database that has masks: `dice`.
"""

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

from tblib.arrays import Floats, Mask, Pixels
from tblib.checkpoint import WeightsError, read_weights, write_weights
from tblib.films.database import Database
from tblib.films.film import resized
from tblib.phantoms import phantom
from tblib.phantoms.presets import CLASSES
from tblib.system.code import code_digest
from tblib.system.files import ROOT, file_digest
from tblib.system.processes import workers

SIDE = 64  # px: a lung is about 25 of them wide
WIDTH = 8  # channels of the first level
PHANTOMS = 400  # training films
STEPS, BATCH, RATE = 450, 32, 4e-3
THREADS = 2  # in training, regardless of the machine, so that machines of one kind get the same network
LEAST = 0.02  # share of the film: smaller areas are not lungs
MASK_FOLDERS = ("lungs", "masks", "mask", "lung_masks")  # may hold a database's masks, with the films' names


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

    def masks(self, films: Pixels) -> Mask:
        """Bool (N, H, W): estimated lungs, at most two areas per film, from films uint8 (N, H, W).
        A film on which next to nothing looks like lung gets an empty mask."""
        small = torch.from_numpy(np.stack([resized(film, SIDE) for film in films])).float().unsqueeze(1)
        masks = np.empty(films.shape, bool)
        with torch.inference_mode():
            logits = torch.cat([self(_standardised(batch)) for batch in small.split(64)])
        for i, logit in enumerate(logits[:, 0].numpy()):
            lung = _two_largest((logit > 0) & bool(small[i].std() > 0))  # a blank film would get an average outline
            kept = np.where(lung, logit, -abs(logit) - 1e-3)
            scaled = Image.fromarray(kept).resize(films.shape[:0:-1], Image.Resampling.BILINEAR)
            masks[i] = np.asarray(scaled) > 0
        return masks


def known_masks(database: Database, files: list[str], size: int) -> Mask | None:
    """Bool (N, size, size): the database's own masks for its films `files`; None if one film has none.

    Masks have the same name as their film. If several do, as with class folders numbered alike, the one that shares
    most folders with the film is used; if there is no single such one, the film has none.
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
    """The trained network: read from ``data/``, or trained first (a minute on two cores, once)."""
    path = ROOT / "data" / f"lungs-{code_digest('tblib.phantoms.lungs.train')[:8]}.safetensors"
    network = _kept_network(path)  # without the lock at first, as data/ may be read-only
    if network is None:
        with FileLock(path.with_suffix(".lock")):
            network = _kept_network(path) or _trained_network(path)  # another process may have trained it meanwhile
    return network


def _kept_network(path: Path) -> LungNetwork | None:
    """Read the network; None if the file is missing or damaged."""
    try:
        return network_of(read_weights(path)[0]) if path.exists() else None
    except (WeightsError, RuntimeError):
        return None


def _trained_network(path: Path) -> LungNetwork:
    if path.exists():
        print(f"The lung network is trained anew, as {path} is damaged.")
    state = train()
    write_weights(path, state)
    return network_of(state)


def network_of(weights: dict[str, Tensor]) -> LungNetwork:
    """The network with these weights, as `train` returns them, in evaluation mode.

    Raises:
        RuntimeError: the weights belong to another network.
    """
    network = LungNetwork()
    network.load_state_dict(weights)
    return network.eval()


def save_network(path: Path) -> str:
    """Write this machine's network to `path` as safetensors, atomically; return the file's SHA-256."""
    write_weights(path, lung_network().state_dict())
    return file_digest(path)


def train(phantoms: int = PHANTOMS, steps: int = STEPS) -> dict[str, Tensor]:
    """Train the network from scratch on synthetic films; return its state."""
    drawn = Parallel(n_jobs=-1, **workers())(delayed(_phantom)(seed) for seed in range(phantoms))
    films, fields = (torch.from_numpy(np.stack(arrays)).float().unsqueeze(1) for arrays in zip(*drawn, strict=True))
    generator, threads = torch.Generator().manual_seed(0), torch.get_num_threads()
    torch.set_num_threads(THREADS)
    with torch.random.fork_rng(devices=[]):  # CPU only: the network needs no card, and opens none
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
    """Of the masks with a film's name, the one whose folders are most similar to the film's, or ""."""
    folders = PurePosixPath(file).parts[:-1]
    shared = [len(set(folders) & set(PurePosixPath(mask).parts[:-1])) for mask in masks]
    return masks[shared.index(max(shared))] if shared and shared.count(max(shared)) == 1 else ""


def _mask(content: bytes, size: int) -> Mask:
    with Image.open(io.BytesIO(content)) as picture:
        grey = picture.convert("L").resize((size, size), Image.Resampling.BOX)
    return np.asarray(grey) >= 128


def _phantom(seed: int) -> tuple[Pixels, Pixels]:
    """One synthetic film with artefacts, and its lung mask 0 … 1, both (SIDE, SIDE)."""
    film = phantom.phantom_film(CLASSES[seed % 2], seed)
    grey = np.asarray(Image.fromarray(film.pixels).convert("L"))
    mask = Image.fromarray(255 * film.lungs.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return resized(grey, SIDE), (np.asarray(mask) >= 128).astype(np.uint8)


def _disturbed(films: Tensor, fields: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augment films 0 … 255 and masks (B, 1, SIDE, SIDE), moved together; films also get light, opacities and noise."""

    def drawn(*shape: int) -> Tensor:
        """Float32 (B, *shape), uniform in 0 … 1."""
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
    """A bright round haze on half of the films, similar to disease in the lungs."""
    down, across = (drawn(1, 1, 1) * SIDE for _ in range(2))
    width, place = (4 + 10 * drawn(1, 1, 1)) / 1.5, torch.arange(SIDE)
    haze = torch.exp(-((place[:, None] - down) ** 2 + (place - across) ** 2) / (2 * width**2))
    return haze * (drawn(1, 1, 1) < 0.5) * 0.4 * drawn(1, 1, 1)


def _dice_loss(probability: Tensor, field: Tensor) -> Tensor:
    shared, areas = (probability * field).sum((1, 2, 3)), probability.sum((1, 2, 3)) + field.sum((1, 2, 3))
    return 1 - (2 * shared / (areas + 1)).mean()
