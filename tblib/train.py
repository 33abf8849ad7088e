"""Training: loss, optimiser, schedule and history; an interrupted training resumes from its checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tblib.arrays import Normalisation, Pixels, TblibError
from tblib.checkpoint import State, resume, save_checkpoint
from tblib.dataset import PADDING, Augmentation, TBDataset, augment, augmentation_parameters, normalise
from tblib.devices import full_precision, pick_precision, seeded, set_up
from tblib.model import CNN, films_of, is_finite, unchecked_logits

SAVE_EVERY = 5.0  # seconds between checkpoints, which take 90 MB each
DRO_RATE = 0.01  # step size of the group weights in group DRO, as in the paper
STREAM = 1_000_003  # a prime: seed × STREAM + epoch gives each epoch of each seed its own random numbers

Change = Callable[[Pixels, np.random.Generator], Pixels]  # maps films uint8 (B, S, S) or (B, S, S, 3)


class TrainingError(TblibError):
    """A training that cannot be run."""


@dataclass(frozen=True)
class Training:
    """Training parameters.

    Attributes:
        lr: Adam's learning rate, its first or highest.
        batch_size: films per step.
        pos_weight: weight of a positive film in the loss; None means negatives / positives of the training part.
        dropout: share of hidden units dropped in the fully connected layers.
        patience: validations without a lower loss before the rate is multiplied by `factor`.
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 if the device computes in it natively.
        threads: CPU threads; None means one per core. Results are bit-identical only at a fixed number.
        seed: of weights, order, augmentation and dropout.
        schedule: ``plateau``, see `patience`; or ``cosine``: the rate rises to `lr` over `warm_up`, then falls to 0.
        low_resolution_share: share of the epochs, at the start, in which films are trained at half their side.
        warm_up: share of the steps in which the rate rises.
        padding: beyond the edge of films moved by augmentation: ``edge``, repeated; or ``black``.
        validations: per epoch at full resolution, at most one per step; epochs at low resolution have one.
        width: channels of the CNN's first block.
        mitigation: names of `tblib.mitigation` joined by "+", or None; only those in training apply here.
    """

    epochs: int = 20
    lr: float = 3e-4
    batch_size: int = 32
    pos_weight: float | None = None
    dropout: float = 0.3
    patience: int = 3
    factor: float = 0.5
    augmentation: Augmentation = Augmentation()  # noqa: RUF009  (frozen)
    precision: str = "auto"
    threads: int | None = None
    seed: int = 0
    schedule: str = "plateau"
    low_resolution_share: float = 0.0
    warm_up: float = 0.0
    padding: str = "edge"
    validations: int = 1
    width: int = 32
    mitigation: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges of all parameters.

        Raises:
            TrainingError: a value is out of range.
        """
        right = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "lr": (self.lr > 0, "a number above 0"),
            "batch_size": (self.batch_size >= 2, "2 or more"),
            "pos_weight": (self.pos_weight is None or self.pos_weight > 0, "a weight above 0, or none"),
            "dropout": (0 <= self.dropout < 1, "0 or more, below 1"),
            "patience": (self.patience >= 0, "0 or more validations"),
            "factor": (0 < self.factor < 1, "a number between 0 and 1"),
            "precision": (self.precision in ("auto", "fp32", "bf16"), "auto, fp32 or bf16"),
            "threads": (self.threads is None or self.threads >= 1, "1 or more, or none for one per core"),
            "schedule": (self.schedule in ("plateau", "cosine"), "plateau or cosine"),
            "low_resolution_share": (0 <= self.low_resolution_share < 1, "0 or more, below 1"),
            "warm_up": (0 <= self.warm_up < 1, "0 or more, below 1"),
            "padding": (self.padding in PADDING, " or ".join(PADDING)),
            "validations": (self.validations >= 1, "1 or more"),
            "width": (self.width >= 1, "1 or more"),
        }
        wrong = [f"{name} is {getattr(self, name)!r}; give {what}" for name, (good, what) in right.items() if not good]
        if wrong:
            raise TrainingError("; ".join(wrong) + ".")

    def has(self, *mitigations: str) -> bool:
        """Whether any of these is among the mitigations."""
        return not set(mitigations).isdisjoint((self.mitigation or "").split("+"))

    @property
    def balanced(self) -> bool:
        """Whether films are sampled so that groups have equal weight."""
        return self.has("balance", "group_dro")

    def settled(self, data: TBDataset) -> Training:
        """A copy with defaults filled in: weight, precision, threads."""
        return replace(
            self,
            pos_weight=self.pos_weight or imbalance(data.targets),
            precision=pick_precision(self.precision, data.device),
            threads=self.threads or torch.get_num_threads(),
        )


@dataclass(frozen=True)
class Segment:
    """The training between two validations: `steps` of the `of` steps in `epoch`, counted from 0.
    With `low_resolution` films are trained at half their side."""

    epoch: int
    steps: range
    of: int
    low_resolution: bool

    @property
    def end(self) -> float:
        """Epochs completed at its end."""
        return round(self.epoch + self.steps.stop / self.of, 2)


@dataclass(frozen=True)
class Fit:
    """A trained CNN, and a row per validation: epoch, lr, loss, accuracy and F1 of both parts, seconds."""

    cnn: CNN
    history: list[dict[str, float]]


class _Adam(Adam):
    """Adam without its check for graph capture at each step, which would open a card even when training on the CPU."""

    def _accelerator_graph_capture_health_check(self) -> None:
        """Do nothing."""


def fit(
    data: TBDataset,
    by: Normalisation,
    training: Training,
    val: TBDataset | None = None,
    change: Change | None = None,
    checkpoint: tuple[Path, str] | None = None,
    progress: Callable[[int, str], object] = lambda steps, text: None,
) -> Fit:
    """Train a CNN; keep the weights with the lowest validation loss, or the last ones without a validation part.

    Random numbers depend only on the seed and the numbers of epoch and validation, so training that was interrupted and
    resumed gives the same result.

    Args:
        data: training part; it must not be `resident` if `change` is given.
        by: normalisation of all parts.
        val: validation part; without it there is no history.
        change: applied to the films of a step by the mitigation "randomise" (`tblib.mitigation.randomised`).
        checkpoint: file of the checkpoint, and fingerprint of this training.
        progress: called with the number of steps since the last call and a text on the last validation.

    Raises:
        TrainingError: the loss or a weight is not finite.
    """
    training = training.settled(data)
    set_up(training.threads)
    state, saved = _begin(training, data), time.perf_counter()
    if checkpoint:
        resume(checkpoint[0], state, checkpoint[1])
    for segment in segments(training, len(data))[len(state.history) :]:
        begun = time.perf_counter()
        logits, targets = _steps(state, segment, data, by, training, change, progress)
        row = _validate(state, segment, logits, targets, val, by, training) if val else {}
        state.history.append(row | {"seconds": time.perf_counter() - begun} if val else {})  # rows also count segments
        if val:
            progress(0, f"epoch {segment.end:g}: val loss {row['val_loss']:.3f}, F1 {row['val_f1']:.3f}")
        if checkpoint and time.perf_counter() - saved >= SAVE_EVERY:
            save_checkpoint(checkpoint[0], state, checkpoint[1])
            saved = time.perf_counter()
    if val:
        state.cnn.load_state_dict(state.best)
    if not is_finite(state.cnn):
        raise TrainingError(f"The weights are no numbers after the last epoch; try a smaller lr than {training.lr}.")
    assert isinstance(state.cnn, CNN)
    return Fit(state.cnn, state.history if val else [])


def imbalance(targets: Tensor) -> float:
    """Negatives divided by positives: the positive weight that balances the classes."""
    positives = float(targets.sum())
    return (len(targets) - positives) / positives


def _begin(training: Training, data: TBDataset) -> State:
    device, groups = data.device, int(data.groups.max()) + 1
    cnn = new_cnn(training, data).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = new_optimiser(cnn, training, device)
    schedule = ReduceLROnPlateau(optimiser, factor=training.factor, patience=training.patience)
    return State(cnn, optimiser, schedule, {}, [], torch.full((groups,), 1 / groups, device=device))


def new_cnn(training: Training, data: TBDataset) -> CNN:
    """The CNN that a training begins with, by its seed, on the CPU."""
    with seeded(training.seed, torch.device("cpu")):
        return CNN(data.side, training.dropout, training.width, data.channels)


def new_optimiser(network: nn.Module, training: Training, device: torch.device) -> Adam:
    """Adam for a network on a device, fused where that is possible."""
    return _Adam(network.parameters(), lr=training.lr, fused=device.type in ("cpu", "cuda"))


def segments(training: Training, films: int) -> list[Segment]:
    """Split the training of `films` films at its validations."""
    planned, steps = [], -(-films // training.batch_size)
    for epoch in range(training.epochs):
        low_resolution = epoch < training.low_resolution_share * training.epochs
        validations = 1 if low_resolution else min(training.validations, steps)
        ends = [steps * number // validations for number in range(validations + 1)]
        planned += [Segment(epoch, range(*ends_of), steps, low_resolution) for ends_of in pairwise(ends)]
    return planned


def _steps(
    state: State,
    segment: Segment,
    data: TBDataset,
    by: Normalisation,
    training: Training,
    change: Change | None,
    progress: Callable[[int, str], object],
) -> tuple[Tensor, Tensor]:
    """Train one segment; return logits (n,) and targets (n,) of its films. The host never waits for the device."""
    pos_weight = torch.tensor(training.pos_weight, device=data.device)
    logits, targets = [], []
    state.cnn.train()
    exact = full_precision() if training.precision == "fp32" else nullcontext()
    with exact, seeded(training.seed * STREAM + len(state.history), data.device):  # for dropout
        for number, (inputs, target, groups) in zip(
            segment.steps, steps_of(segment, data, by, training, change), strict=True
        ):
            set_rate(state.optimiser, training, segment, number)
            logits.append(_step(state, inputs, target, groups, training, pos_weight))
            targets.append(target)
            progress(1, "")
    return torch.cat(logits), torch.cat(targets)


def steps_of(
    segment: Segment, data: TBDataset, by: Normalisation, training: Training, change: Change | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each step of a segment the network's inputs float32 (B, C, H, W), augmented, their targets float32 (B,) and
    groups int64 (B,)."""
    generator = torch.Generator().manual_seed(training.seed * STREAM + segment.epoch)
    moves = data.move(augmentation_parameters(len(data), generator)).split(training.batch_size, dim=1)
    order = data.order(generator, training.balanced).split(training.batch_size)
    side = data.side // (2 if segment.low_resolution else 1)
    for number in segment.steps:
        films, target, groups = data.batch(order[number], _change(change, (training.seed, segment.epoch, number)))
        moved = augment(films, training.augmentation, moves[number], side, training.padding)
        yield normalise(moved, by), target, groups


def set_rate(optimiser: Optimizer, training: Training, segment: Segment, number: int) -> None:
    """The learning rate of a step of a segment, where the schedule is ``cosine``."""
    if training.schedule == "cosine":
        done = (segment.epoch + (number + 0.5) / segment.of) / training.epochs
        optimiser.param_groups[0]["lr"] = training.lr * cosine(done, training.warm_up)


def _change(change: Change | None, seed: tuple[int, ...]) -> Callable[[Pixels], Pixels] | None:
    return None if change is None else lambda films: change(films, np.random.default_rng(seed))


def _step(
    state: State, inputs: Tensor, target: Tensor, groups: Tensor, training: Training, pos_weight: Tensor
) -> Tensor:
    """One optimiser step; float32 (B,) logits of inputs (B, 1, H, W). The host does not wait for the device."""
    bf16 = training.precision == "bf16"
    with torch.autocast(inputs.device.type, torch.bfloat16) if bf16 else nullcontext():
        logit: Tensor = state.cnn(inputs)
    # Balanced sampling needs no weight; the shift that evaluation subtracts from the logits is the same.
    weight = None if training.balanced else pos_weight
    losses = F.binary_cross_entropy_with_logits(logit.float(), target, pos_weight=weight, reduction="none")
    loss = _worst_first(state, losses, groups) if training.has("group_dro") else losses.mean()
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    state.optimiser.step()
    return logit.detach().float()


def _worst_first(state: State, losses: Tensor, groups: Tensor) -> Tensor:
    """Weighted mean of the groups' losses; a group's weight grows with its loss at every step (Sagawa 2020)."""
    counts = torch.zeros_like(state.group_weights).index_add(0, groups, torch.ones_like(losses)).clamp(min=1)
    means = torch.zeros_like(state.group_weights).index_add(0, groups, losses) / counts
    grown = state.group_weights * torch.exp(DRO_RATE * means.detach())
    state.group_weights = grown / grown.sum()
    return (state.group_weights * means).sum()


def cosine(done: float, warm_up: float) -> float:
    """Share of the highest rate after a share `done` of all steps, 0 … 1: linear warm-up, then half a cosine down."""
    if done < warm_up:
        return done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def _validate(
    state: State,
    segment: Segment,
    logits: Tensor,
    targets: Tensor,
    val: TBDataset,
    by: Normalisation,
    training: Training,
) -> dict[str, float]:
    """A row of history after a segment; keeps the best weights, and raises TrainingError if the loss is not finite."""
    loss_of = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(training.pos_weight, device=val.device))
    assert isinstance(state.cnn, CNN)
    row = _scores("train", logits, targets, loss_of)
    row |= _scores("val", unchecked_logits(state.cnn, films_of(val), by), val.targets, loss_of)
    rate = state.optimiser.param_groups[0]["lr"]
    if not math.isfinite(row["val_loss"]):
        raise TrainingError(f"The loss is no number in epoch {segment.epoch + 1}; try a smaller lr than {rate}.")
    if training.schedule == "plateau":
        state.schedule.step(row["val_loss"])
    if row["val_loss"] < min((past["val_loss"] for past in state.history), default=math.inf):
        state.best = {name: tensor.detach().cpu().clone() for name, tensor in state.cnn.state_dict().items()}
    return {"epoch": segment.end, "lr": rate, **row}


def _scores(part: str, logits: Tensor, targets: Tensor, loss_of: nn.Module) -> dict[str, float]:
    """Loss, accuracy and F1 at probability 0.5 of one part."""
    called, positive = logits > 0, targets > 0.5
    hits, wrong = int((called & positive).sum()), int((called != positive).sum())
    return {
        f"{part}_loss": float(loss_of(logits, targets)),
        f"{part}_accuracy": 1 - wrong / len(targets),
        f"{part}_f1": 2 * hits / (2 * hits + wrong) if hits or wrong else 0.0,
    }
