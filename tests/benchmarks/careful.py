"""The careful way: what a user who knows PyTorch's and torchvision's guides writes in one notebook, and no more.

Two processes decode each film once into a uint8 array on disk, with a table of what each file is; a loader hands out
whole batches, by two workers or none; torchvision.transforms.v2 augments a batch at a time; the network is channels
last, in bfloat16 where the processor computes in it; Adam is fused. Network, split, loss, schedule and the reach of the
augmentation are the project's own. `torch.compile` is left out, as it made steps slower (tests/benchmarks/README.md).

`LESS` is where it does less than the project.
"""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from tblib.devices import cpu_computes_in_bf16
from tblib.model import CNN
from tests.benchmarks.plain import f1

BATCH = 32
WORKERS = 2
CLASSES = ("Normal", "Tuberculosis")
ALIKE = 0.995  # correlation from which films count as near-duplicates
LESS = {  # by step
    "preparation": "looks for no markers, borders, boxes or tints",
    "training": "moves all films of a batch alike, keeps no checkpoint",
    "inference": "scores in bfloat16, which depend on the processor; a file that is no film stops it",
}
Arrays = npt.NDArray[np.uint8]


def read(content: bytes, size: int) -> tuple[Image.Image, Arrays]:
    """A picture file and its grey film, uint8 (size, size)."""
    picture = Image.open(io.BytesIO(content))
    return picture, np.asarray(picture.convert("L").resize((size, size), Image.Resampling.BILINEAR))


def decode(archive: Path, names: list[str], size: int) -> tuple[list[dict[str, Any]], Arrays]:
    """Rows of the table, and films uint8 (N, size, size), of some files of the zip."""
    rows, films = [], []
    with zipfile.ZipFile(archive) as file:
        for name in names:
            content = file.read(name)
            picture, film = read(content, size)
            digest = hashlib.sha256(content).hexdigest()
            rows.append({"file": name, "label": name.split("/")[-2], "mode": picture.mode, "sha256": digest})
            rows[-1] |= {"width": picture.width, "height": picture.height, "bytes": len(content)}
            films.append(film)
    return rows, np.stack(films)


def duplicate_groups(films: Arrays) -> npt.NDArray[Any]:
    """Number of each film's group of near-duplicates, (N,), compared at 16 px."""
    small = np.stack([np.asarray(Image.fromarray(film).resize((16, 16))) for film in films])
    return np.asarray(connected_components(np.corrcoef(small.reshape(len(small), -1)) > ALIKE)[1])


def split(table: pd.DataFrame, seed: int) -> pd.Series:
    """A part for each film: 80 % train, 10 % val, 10 % test, by class, near-duplicates together."""
    folds = StratifiedGroupKFold(10, shuffle=True, random_state=seed)
    part = pd.Series("train", index=table.index)
    for name, (_, held) in zip(("test", "val"), folds.split(table, table["label"], table["group"]), strict=False):
        part.iloc[held] = name
    return part


def prepare(archive: Path, folder: Path, size: int, seed: int = 0) -> tuple[float, float]:
    """From the zip to ``images.npy`` and ``table.csv``; mean and sd of the training part, grey levels."""
    with zipfile.ZipFile(archive) as file:
        names = sorted(
            name for name in file.namelist() if PurePath(name).parent.name in CLASSES and name.endswith(".png")
        )
    parts = [names[worker::WORKERS] for worker in range(WORKERS)]
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("fork")) as pool:
        done = list(pool.map(decode, [archive] * WORKERS, parts, [size] * WORKERS))
    images = np.concatenate([films for _, films in done])
    table = pd.DataFrame([row for rows, _ in done for row in rows])
    table["group"] = duplicate_groups(images)
    table["part"] = split(table, seed)
    np.save(folder / "images.npy", images)
    table.to_csv(folder / "table.csv", index=False)
    training = images[table["part"] == "train"].astype(np.float32)
    return float(training.mean()), float(training.std())


class Films(Dataset[tuple[Tensor, Tensor]]):
    """Films of a prepared array with their targets, handed out a batch at a time."""

    def __init__(self, images: Arrays, rows: npt.NDArray[Any], targets: npt.NDArray[Any]) -> None:
        self.images, self.rows, self.targets = images, rows, torch.tensor(targets, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, places: list[int]) -> tuple[Tensor, Tensor]:
        """Films uint8 (B, 1, S, S) and targets float32 (B,)."""
        return torch.from_numpy(self.images[self.rows[places]])[:, None], self.targets[places]


def loaders(images: Arrays, rows: pd.DataFrame, workers: int = 0, seed: int = 0) -> dict[str, DataLoader[Any]]:
    """A loader a part, of rows with the columns image, target and part; the training part is shuffled."""
    made = {}
    for part, of in rows.groupby("part"):
        data = Films(images, of["image"].to_numpy(), of["target"].to_numpy())
        how: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
        shuffled = {"shuffle": True, "generator": torch.Generator().manual_seed(seed)} if part == "train" else {}
        made[str(part)] = DataLoader(data, BATCH, collate_fn=lambda batch: batch, **how, **shuffled)
    return made


def transforms(mean: float, sd: float) -> tuple[nn.Module, nn.Module]:
    """From batches uint8 to the network's input: for training, where a batch is moved, and for scoring."""
    floats, normal = v2.ToDtype(torch.float32, scale=True), v2.Normalize([mean / 255], [sd / 255])
    moved = v2.RandomAffine(0, translate=(0.05, 0.05), scale=(0.92, 1.08), interpolation=InterpolationMode.BILINEAR)
    jitter = v2.ColorJitter(brightness=0.08, contrast=0.15)
    return v2.Compose([floats, moved, jitter, normal]), v2.Compose([floats, normal])


def network(size: int, width: int = 32) -> CNN:
    """The project's network, channels last."""
    return CNN(size, width=width).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def forward(cnn: nn.Module, inputs: Tensor) -> Tensor:
    """Logits float32 (B,), computed in bfloat16 where the processor does."""
    with torch.autocast("cpu", torch.bfloat16, enabled=cpu_computes_in_bf16()):
        logits: Tensor = cnn(inputs.contiguous(memory_format=torch.channels_last))
    return logits.float()


def infer(cnn: nn.Module, batches: Any, seen: nn.Module) -> tuple[Tensor, Tensor]:
    """Logits and targets (N,) of batches of films."""
    cnn.eval()
    with torch.inference_mode():
        pairs = [(forward(cnn, seen(films)), target) for films, target in batches]
    return torch.cat([logits for logits, _ in pairs]), torch.cat([target for _, target in pairs])


def train(
    parts: dict[str, DataLoader[Any]], cnn: CNN, by: tuple[float, float], epochs: int
) -> Iterator[dict[str, Any]]:
    """Train; after each epoch give its number, seconds, validation loss and F1."""
    moved, seen = transforms(*by)
    targets = parts["train"].dataset.targets  # type: ignore[attr-defined]
    loss_of = nn.BCEWithLogitsLoss(pos_weight=(targets == 0).sum() / (targets == 1).sum())
    optimiser = torch.optim.Adam(cnn.parameters(), lr=3e-4, fused=True)
    schedule = ReduceLROnPlateau(optimiser, factor=0.5, patience=3)
    for epoch in range(1, epochs + 1):
        begun = time.perf_counter()
        cnn.train()
        for films, target in parts["train"]:
            loss = loss_of(forward(cnn, moved(films)), target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        logits, truth = infer(cnn, parts["val"], seen)
        loss = float(loss_of(logits, truth))
        schedule.step(loss)
        yield {"epoch": epoch, "seconds": time.perf_counter() - begun, "val_loss": loss, "val_f1": f1(logits, truth)}


class Files(Dataset[tuple[Tensor, Tensor]]):
    """Film files in a folder, decoded when they are asked for; the second value stands for a target."""

    def __init__(self, files: list[Path], size: int) -> None:
        self.rows, self.size = files, size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        """A film uint8 (1, S, S)."""
        return torch.from_numpy(read(self.rows[place].read_bytes(), self.size)[1].copy())[None], torch.tensor(0.0)


def predict(cnn: nn.Module, files: list[Path], by: tuple[float, float], size: int, workers: int) -> Tensor:
    """Probabilities (N,) of film files."""
    loader = DataLoader(Files(files, size), BATCH, num_workers=workers)
    return infer(cnn, loader, transforms(*by)[1])[0].sigmoid()
