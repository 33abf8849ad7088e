"""Training: loss, optimiser, schedule, history, and a checkpoint an interrupted training goes on from."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from tblib import TblibError
from tblib.dataset import Augmentation, TBDataset, augment, batches, draws, normalise
from tblib.model import CNN, save_model
from tblib.prepare import Normalisation, load_images
from tblib.run import Run, replacing, write_json, write_table

CHECKPOINT = "training.checkpoint"  # in the run folder while a training is under way
STREAM = 1_000_003  # a prime: seed × STREAM + epoch gives each epoch of each seed random numbers of its own


class TrainingError(TblibError):
    """A training that cannot be done."""


@dataclass(frozen=True)
class Training:
    """The parameters of one training.

    Attributes:
        epochs: passes over the training part.
        lr: Adam's first learning rate.
        batch_size: films a step.
        pos_weight: weight of a positive film in the loss; 0 takes negatives / positives of the training part.
        dropout: share of hidden units dropped in the fully connected layers.
        patience: epochs without a better validation loss before the rate is multiplied by `factor`.
        factor: see `patience`.
        augmentation: see `tblib.dataset.Augmentation`.
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 where the device computes in it.
        threads: CPU threads; 0 takes one a core. Results are bit-equal only at a fixed number.
        seed: of the weights, the order, the augmentation and the dropout.
        schedule: ``plateau``, see `patience`; or ``cosine``: the rate rises to `lr` over `warm_up`, then falls to 0.
        small: share of the epochs, the first ones, in which films are trained at half their side.
        warm_up: share of the steps in which the rate rises.
    """

    epochs: int = 20
    lr: float = 3e-4
    batch_size: int = 32
    pos_weight: float = 0.0
    dropout: float = 0.3
    patience: int = 3
    factor: float = 0.5
    augmentation: Augmentation = Augmentation()  # noqa: RUF009  (frozen)
    precision: str = "auto"
    threads: int = 0
    seed: int = 0
    schedule: str = "plateau"
    small: float = 0.0
    warm_up: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be trained with, in a sentence.

        Raises:
            TrainingError: a value out of its range.
        """
        wrong = [
            (self.epochs < 1, f"epochs is {self.epochs}; give 1 or more"),
            (self.lr <= 0, f"lr is {self.lr}; give a number above 0"),
            (self.batch_size < 2, f"batch_size is {self.batch_size}; give 2 or more"),
            (self.pos_weight < 0, f"pos_weight is {self.pos_weight}; give 0 for the imbalance, or a weight"),
            (not 0 <= self.dropout < 1, f"dropout is {self.dropout}; give 0 or more, below 1"),
            (self.patience < 0, f"patience is {self.patience}; give 0 or more epochs"),
            (self.threads < 0, f"threads is {self.threads}; give 0 for one a core, or a number"),
            (not 0 < self.factor < 1, f"factor is {self.factor}; give a number between 0 and 1"),
            (
                self.precision not in ("auto", "fp32", "bf16"),
                f"precision is {self.precision!r}; give auto, fp32 or bf16",
            ),
        ]
        wrong += [
            (self.schedule not in ("plateau", "cosine"), f"schedule is {self.schedule!r}; give plateau or cosine"),
            (not 0 <= self.small < 1, f"small is {self.small}; give 0 or more, below 1"),
            (not 0 <= self.warm_up < 1, f"warm_up is {self.warm_up}; give 0 or more, below 1"),
        ]
        sentences = [sentence for is_wrong, sentence in wrong if is_wrong]
        if sentences:
            raise TrainingError("; ".join(sentences) + ".")


RECIPES: dict[str, dict[str, Any]] = {
    "reference": {},
    "fast": {
        "epochs": 6,
        "lr": 4e-4,
        "batch_size": 16,
        "dropout": 0.0,  # six epochs are too few to learn by heart
        "schedule": "cosine",
        "small": 0.5,
        "warm_up": 0.1,
    },
}


def recipe(name: str, **given: Any) -> Training:
    """The training of a named recipe; what is `given` wins over it.

    An `epochs`, `lr` or `batch_size` of 0 and a `dropout` of -1 stand for the recipe's own.

    Raises:
        TrainingError: there is no such recipe, or a value is out of its range.
    """
    if name not in RECIPES:
        raise TrainingError(f"There is no recipe {name!r}; give {' or '.join(RECIPES)}.")
    absent = {"epochs": 0, "lr": 0, "batch_size": 0, "dropout": -1}
    own = {key: value for key, value in given.items() if key not in absent or value != absent[key]}
    return Training(**(RECIPES[name] | own))


@dataclass
class _State:
    """All that an epoch changes."""

    cnn: CNN
    optimiser: Adam
    schedule: ReduceLROnPlateau
    best: dict[str, Tensor]
    history: list[dict[str, float]]


def pick_device() -> torch.device:
    """The first of cuda, mps and cpu that this machine has."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_precision(wanted: str, device: torch.device) -> str:
    """``fp32`` or ``bf16``; ``auto`` takes bf16 where the device has arithmetic for it."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False) else "fp32"


def fit(run: Run, training: Training) -> pd.DataFrame:
    """Train the CNN on the run's training part; keep the state with the least validation loss.

    Writes ``model.safetensors``, ``history.csv`` (a row an epoch, returned) and ``training.json``. After an
    interruption the same call goes on behind the last finished epoch, with the same result as if
    nothing had happened: each epoch draws its random numbers from the seed and its own number.
    """
    torch.set_num_threads(training.threads or torch.get_num_threads())
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory only serves to find reads of what nothing has written, and takes a twentieth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    keep_freed_memory()
    preparation, device = run.facts("preparation.json"), pick_device()
    data = {part: load_part(run, part, device) for part in ("train", "val")}
    outcome = asdict(training) | {
        "pos_weight": training.pos_weight or imbalance(data["train"].targets),
        "precision": pick_precision(training.precision, device),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    fingerprint = hashlib.sha256(json.dumps([outcome, preparation], sort_keys=True).encode()).hexdigest()
    state = _begin(training, preparation["size"], device)
    _resume(run.path(CHECKPOINT), state, fingerprint)
    begun, done = time.perf_counter(), len(state.history)
    steps = -(-len(data["train"]) // training.batch_size)
    with tqdm(total=training.epochs * steps, initial=done * steps, desc="training", unit="step") as bar:
        for epoch in range(done, training.epochs):
            with torch.random.fork_rng():
                torch.manual_seed(training.seed * STREAM + epoch)
                _epoch(state, data, Normalisation(preparation["mean"], preparation["sd"]), training, outcome, bar)
            _save_checkpoint(run.path(CHECKPOINT), state, fingerprint)
    work = (time.perf_counter() - begun, (training.epochs - done) * len(data["train"]))
    return _finish(run, state, preparation, outcome, work)


def load_part(run: Run, part: str, device: torch.device) -> TBDataset:
    """The films and targets of one part of the run's split, in the order of ``split.csv``."""
    rows = run.table("split.csv").query("part == @part")
    return TBDataset(load_images(run), rows["target"].to_numpy(), device, rows["image"].to_numpy())


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, up to 1 GiB, where the C library is glibc.

    By default glibc hands each large block back to the system, which clears its pages anew for the next
    step's activations: a quarter of a float32 step's time. (mallopt(3): M_MMAP_MAX is −4, M_TRIM_THRESHOLD −1.)
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(-4, 0)
        ctypes.CDLL(None).mallopt(-1, 2**30)


def imbalance(targets: Tensor) -> float:
    """Negatives divided by positives: the weight with which both classes count the same."""
    positives = float(targets.sum())
    return (len(targets) - positives) / positives


def _begin(training: Training, size: int, device: torch.device) -> _State:
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        cnn = CNN(size, training.dropout)
    cnn.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = Adam(cnn.parameters(), lr=training.lr)
    schedule = ReduceLROnPlateau(optimiser, factor=training.factor, patience=training.patience)
    return _State(cnn, optimiser, schedule, {}, [])


def _epoch(
    state: _State,
    data: dict[str, TBDataset],
    by: Normalisation,
    training: Training,
    outcome: dict[str, Any],
    bar: tqdm[Any],
) -> None:
    """One pass over the training part and one over the validation part; a row of history."""
    device = data["train"].device
    loss_of = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(outcome["pos_weight"], device=device))
    generator = torch.Generator().manual_seed(training.seed * STREAM + len(state.history))
    drawn = draws(len(data["train"]), generator).to(device).split(training.batch_size, dim=1)
    side = state.cnn.size // (2 if len(state.history) < training.small * training.epochs else 1)
    begun, rate = time.perf_counter(), state.optimiser.param_groups[0]["lr"]
    logits, targets = [], []
    state.cnn.train()
    for number, (films, target) in enumerate(batches(data["train"], training.batch_size, generator)):
        if training.schedule == "cosine":
            done = (len(state.history) + (number + 0.5) / len(drawn)) / training.epochs
            rate = state.optimiser.param_groups[0]["lr"] = training.lr * cosine(done, training.warm_up)
        inputs = normalise(augment(films, training.augmentation, drawn[number], side), by)
        logits.append(_step(state, inputs, target, loss_of, outcome["precision"]))
        targets.append(target)
        bar.update()
    row = _row("train", torch.cat(logits), torch.cat(targets), loss_of)
    row |= _row("val", infer(state.cnn, films_of(data["val"]), by), data["val"].targets, loss_of)
    if not math.isfinite(row["val_loss"]):
        raise TrainingError(f"The loss is no number in epoch {len(state.history) + 1}; try a smaller lr than {rate}.")
    if training.schedule == "plateau":
        state.schedule.step(row["val_loss"])
    if row["val_loss"] < min((past["val_loss"] for past in state.history), default=float("inf")):
        state.best = {name: tensor.detach().cpu().clone() for name, tensor in state.cnn.state_dict().items()}
    state.history.append({"epoch": len(state.history) + 1, "lr": rate, **row, "seconds": time.perf_counter() - begun})
    bar.set_postfix_str(f"epoch {len(state.history)}: val loss {row['val_loss']:.3f}, F1 {row['val_f1']:.3f}")


def _step(state: _State, inputs: Tensor, target: Tensor, loss_of: nn.Module, precision: str) -> Tensor:
    """One step of the optimiser; float32 (B,) logits of inputs (B, 1, H, W). The host waits for nothing in it."""
    with torch.autocast(inputs.device.type, torch.bfloat16) if precision == "bf16" else nullcontext():
        logit: Tensor = state.cnn(inputs)
    loss = loss_of(logit.float(), target)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    state.optimiser.step()
    return logit.detach().float()


def cosine(done: float, warm_up: float) -> float:
    """Share of the highest rate when `done` of all steps, 0 … 1, are done: up in a line, down by half a cosine."""
    if done < warm_up:
        return done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def films_of(data: TBDataset, batch: int = 64) -> Iterable[Tensor]:
    """The films uint8 (B, 1, H, W) of `data` in order, batch by batch."""
    return (films for films, _ in batches(data, batch))


def infer(cnn: CNN, films: Iterable[Tensor], by: Normalisation) -> Tensor:
    """Float32 (N,) logits of films in batches of uint8 (B, 1, H, W), in evaluation mode and full precision."""
    cnn.eval()
    with torch.inference_mode():
        return torch.cat([cnn(normalise(batch, by)) for batch in films])


def _row(part: str, logits: Tensor, targets: Tensor, loss_of: nn.Module) -> dict[str, float]:
    """Loss, accuracy and F1 at probability 0.5 of one part."""
    called, positive = logits > 0, targets > 0.5
    hits, wrong = int((called & positive).sum()), int((called != positive).sum())
    return {
        f"{part}_loss": float(loss_of(logits, targets)),
        f"{part}_accuracy": 1 - wrong / len(targets),
        f"{part}_f1": 2 * hits / (2 * hits + wrong) if hits or wrong else 0.0,
    }


def _save_checkpoint(path: Path, state: _State, fingerprint: str) -> None:
    optimiser = state.optimiser.state_dict()
    tensors = {f"cnn.{name}": tensor for name, tensor in state.cnn.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    tensors |= {f"adam.{i}.{name}": tensor for i, slot in optimiser["state"].items() for name, tensor in slot.items()}
    texts = {
        "fingerprint": fingerprint,
        "groups": json.dumps(optimiser["param_groups"]),
        "schedule": json.dumps(state.schedule.state_dict()),
        "history": json.dumps(state.history),
    }
    with replacing(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, texts)


def _resume(path: Path, state: _State, fingerprint: str) -> None:
    """Bring `state` to where the checkpoint of the same training stands, if there is one."""
    if not path.is_file():
        return
    try:
        with safe_open(path, framework="pt") as file:
            texts = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open has no items)
    except SafetensorError as error:
        print(f"The checkpoint cannot be read ({error}); the training starts from the beginning.")
        return
    if texts["fingerprint"] != fingerprint:
        print("A checkpoint of another training lies here; this one starts from the beginning.")
        return
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        room, rest = name.split(".", 1)
        if room == "best":
            state.best[rest] = tensor
        elif room == "adam":
            slots.setdefault(int(rest.split(".")[0]), {})[rest.split(".")[1]] = tensor
    state.cnn.load_state_dict({name[4:]: tensor for name, tensor in tensors.items() if name.startswith("cnn.")})
    state.optimiser.load_state_dict({"state": slots, "param_groups": json.loads(texts["groups"])})
    state.schedule.load_state_dict(json.loads(texts["schedule"]))
    state.history = json.loads(texts["history"])
    print(f"An interrupted training goes on behind epoch {len(state.history)}.")


def _finish(
    run: Run, state: _State, preparation: dict[str, Any], outcome: dict[str, Any], work: tuple[float, int]
) -> pd.DataFrame:
    history = pd.DataFrame(state.history)
    best = history.loc[history["val_loss"].idxmin()]
    seconds, films = work
    outcome |= {"best_epoch": int(best["epoch"]), "best_val_loss": float(best["val_loss"])}
    save_model(run.path("model.safetensors"), state.best, preparation, outcome)
    write_table(run.path("history.csv"), history)
    speed = films / seconds if films else 0.0
    write_json(run.path("training.json"), outcome | {"seconds": seconds, "films_per_second": speed})
    run.path(CHECKPOINT).unlink(missing_ok=True)
    return history
