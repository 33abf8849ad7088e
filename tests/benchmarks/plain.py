"""The plain way, as a first notebook on this database is usually written: what the project is measured against.

The zip is unpacked and its files are copied into folders for training, validation and test; torchvision's
ImageFolder decodes each PNG anew in every epoch, in the training process; mean and standard deviation take two passes;
float32, NCHW, replicate padding, batches of 32. The films' parts, the network's widths, the loss, the
schedule and the reach of the augmentation are the project's own, so that only the way differs.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from tblib.model import CNN

BATCH = 32
PARTS = ("train", "val", "test")


def unpack(archive: Path, rows: pd.DataFrame, folder: Path) -> None:
    """Unzip everything, then copy each film of ``split.csv`` (`rows`) to folder/<part>/<label>/."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder / "unzipped")
    for row in rows.itertuples():
        target = folder / row.part / row.label
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "unzipped" / row.file, target)


def films(folder: Path, part: str, size: int, *steps: Any) -> ImageFolder:
    """One part's films as grey float tensors of size × size, after `steps`; classes are numbered by name."""
    shape = transforms.Resize((size, size))
    return ImageFolder(str(folder / part), transforms.Compose([transforms.Grayscale(), shape, *steps]))


def mean_and_sd(folder: Path, size: int) -> tuple[float, float]:
    """Of the training part's pixels, 0 … 1: one pass for the mean, one for the standard deviation."""
    loader = DataLoader(films(folder, "train", size, transforms.ToTensor()), BATCH)
    count = len(loader.dataset) * size**2  # type: ignore[arg-type]
    mean = sum(float(batch.sum()) for batch, _ in loader) / count
    return mean, (sum(float(((batch - mean) ** 2).sum()) for batch, _ in loader) / count) ** 0.5


def prepare(archive: Path, rows: pd.DataFrame, folder: Path, size: int) -> tuple[float, float]:
    """From the zip to folders of films and the training part's mean and standard deviation."""
    unpack(archive, rows, folder)
    return mean_and_sd(folder, size)


def loaders(folder: Path, size: int, mean: float, sd: float) -> dict[str, DataLoader[Any]]:
    """A loader a part; the training part is shuffled and augmented film by film."""
    end = (transforms.ToTensor(), transforms.Normalize(mean, sd))
    moved = transforms.RandomAffine(0, translate=(0.05, 0.05), scale=(0.92, 1.08))
    jitter = transforms.ColorJitter(brightness=0.08, contrast=0.15)
    return {
        "train": DataLoader(films(folder, "train", size, moved, jitter, *end), BATCH, shuffle=True),
        **{part: DataLoader(films(folder, part, size, *end), BATCH) for part in ("val", "test")},
    }


def network(size: int, width: int = 32) -> CNN:
    """The project's network with replicate padding, in PyTorch's default memory format."""
    cnn = CNN(size, width=width)
    for module in cnn.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "replicate"
    return cnn


def imbalance(loader: DataLoader[Any]) -> float:
    """Negatives divided by positives."""
    targets = torch.tensor(loader.dataset.targets)  # type: ignore[attr-defined]
    return float((targets == 0).sum() / (targets == 1).sum())


def step(cnn: nn.Module, optimiser: torch.optim.Optimizer, loss_of: nn.Module, batch: Tensor, target: Tensor) -> None:
    """One optimiser step."""
    loss = loss_of(cnn(batch), target.float())
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    loss.item()  # shown in every plain loop


def infer(cnn: nn.Module, loader: DataLoader[Any]) -> tuple[Tensor, Tensor]:
    """Logits and targets (N,) of one part, batch by batch."""
    cnn.eval()
    with torch.no_grad():
        pairs = [(cnn(batch), target) for batch, target in loader]
    return torch.cat([logits for logits, _ in pairs]), torch.cat([target for _, target in pairs])


def f1(logits: Tensor, targets: Tensor) -> float:
    """F1 at probability 0.5."""
    called, positive = logits > 0, targets > 0.5
    hits, wrong = int((called & positive).sum()), int((called != positive).sum())
    return 2 * hits / (2 * hits + wrong) if hits or wrong else 0.0


def train(parts: dict[str, DataLoader[Any]], cnn: CNN, epochs: int) -> Iterator[dict[str, Any]]:
    """Train; after each epoch give its number, seconds, validation loss and F1, and the network's state."""
    optimiser = torch.optim.Adam(cnn.parameters(), lr=3e-4)
    schedule = ReduceLROnPlateau(optimiser, factor=0.5, patience=3)
    loss_of = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(imbalance(parts["train"])))
    for epoch in range(1, epochs + 1):
        begun = time.perf_counter()
        cnn.train()
        for batch, target in parts["train"]:
            step(cnn, optimiser, loss_of, batch, target)
        logits, targets = infer(cnn, parts["val"])
        loss = float(loss_of(logits, targets.float()))
        schedule.step(loss)
        yield {"epoch": epoch, "seconds": time.perf_counter() - begun, "val_loss": loss, "val_f1": f1(logits, targets)}
