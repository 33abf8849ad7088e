"""Training: loss, optimiser, schedule, history, and a checkpoint an interrupted training goes on from."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from tblib import TblibError
from tblib.dataset import OUTSIDE, Augmentation, TBDataset, augment, batches, draws, normalise
from tblib.film import Pixels
from tblib.model import AGAIN, CNN, ModelError, folded, is_finite, save_model
from tblib.prepare import LUNGS, Normalisation, load_images
from tblib.remedies import chosen, needs_lungs, randomised
from tblib.run import Run, code_digest, file_digest, write_json, write_table
from tblib.weights import WeightsError, read_weights, write_weights

CODE = ("box", "dataset", "edits", "model", "prepare", "remedies", "train")  # modules that a training runs
CHECKPOINT = "training.checkpoint"  # in the run folder while a training is under way
SAVE_EVERY = 5.0  # seconds of training between checkpoints, which take 90 MB
DRO_RATE = 0.01  # with which weights of groups grow, as in the paper
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
        patience: validations without a better loss before the rate is multiplied by `factor`.
        factor: see `patience`.
        augmentation: see `tblib.dataset.Augmentation`.
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 where the device computes in it.
        threads: CPU threads; 0 takes one a core. Results are bit-equal only at a fixed number.
        seed: of the weights, the order, the augmentation and the dropout.
        schedule: ``plateau``, see `patience`; or ``cosine``: the rate rises to `lr` over `warm_up`, then falls to 0.
        small: share of the epochs, the first ones, in which films are trained at half their side.
        warm_up: share of the steps in which the rate rises.
        outside: of a film that augmentation moves: ``edge``, repeated; or ``black``, see `tblib.dataset.OUTSIDE`.
        looks: validations in an epoch of whole films, one a step at most; epochs of smaller films have one.
        width: channels of the CNN's first block.
        remedy: names of `tblib.remedies`; here those that act in training.
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
    outside: str = "edge"
    looks: int = 1
    width: int = 32
    remedy: str = "none"

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
            (self.outside not in OUTSIDE, f"outside is {self.outside!r}; give {' or '.join(OUTSIDE)}"),
            (self.looks < 1, f"looks is {self.looks}; give 1 or more"),
            (self.width < 1, f"width is {self.width}; give 1 or more"),
        ]
        sentences = [sentence for is_wrong, sentence in wrong if is_wrong]
        if sentences:
            raise TrainingError("; ".join(sentences) + ".")
        chosen(self.remedy)  # says so if it is none

    @property
    def balanced(self) -> bool:
        """Whether films are drawn so that groups weigh the same."""
        return bool({"balance", "group_dro"}.intersection(chosen(self.remedy)))

    @property
    def randomises(self) -> bool:
        """Whether films are changed in main memory before each step, so that they cannot lie on the device."""
        return "randomise" in chosen(self.remedy)


RECIPES: dict[str, dict[str, Any]] = {
    "reference": {},
    "fast": {
        "epochs": 7,
        "lr": 4e-4,
        "batch_size": 16,
        "dropout": 0.0,  # seven epochs are too few to learn by heart
        "schedule": "cosine",
        "small": 3 / 7,
        "warm_up": 0.1,
        "outside": "black",
        "looks": 4,
    },
}


def recipe(name: str, **given: Any) -> Training:
    """The training of a named recipe; what is `given` wins over it.

    An `epochs`, `lr` or `batch_size` of 0, a `dropout` of -1 and an `outside` of "" stand for the recipe's own.

    Raises:
        TrainingError: there is no such recipe, or a value is out of its range.
    """
    if name not in RECIPES:
        raise TrainingError(f"There is no recipe {name!r}; give {' or '.join(RECIPES)}.")
    absent = {"epochs": 0, "lr": 0, "batch_size": 0, "dropout": -1, "outside": ""}
    own = {key: value for key, value in given.items() if key not in absent or value != absent[key]}
    return Training(**(RECIPES[name] | own))


@dataclass(frozen=True)
class Stretch:
    """What is trained between two validations.

    Attributes:
        epoch: from 0.
        steps: of the epoch.
        of: how many steps the epoch has.
        small: whether films are trained at half their side.
    """

    epoch: int
    steps: range
    of: int
    small: bool

    @property
    def end(self) -> float:
        """Epochs that are done behind it."""
        return round(self.epoch + self.steps.stop / self.of, 2)


class _Adam(Adam):
    """Adam that asks no card, before each step, whether it records a graph: one on the CPU would open a card so."""

    def _accelerator_graph_capture_health_check(self) -> None:
        """Nothing is recorded here."""


@dataclass
class _State:
    """All that training changes."""

    cnn: CNN
    optimiser: Adam
    schedule: ReduceLROnPlateau
    best: dict[str, Tensor]
    history: list[dict[str, float]]
    since: float  # when the last row of the history was written
    weights: Tensor  # (G,), what the loss of each group counts where the worst ones count most
    pos_weight: Tensor  # (), of a positive film in the loss


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
    return "bf16" if device.type == "cpu" and cpu_computes_in_bf16() else "fp32"


def cpu_computes_in_bf16() -> bool:
    """Whether this machine's processor has arithmetic for bfloat16."""
    if hasattr(torch.cpu, "get_capabilities"):
        return torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.cpu._is_avx512_bf16_supported()  # all that older PyTorch tells


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw by `seed` on the CPU and on `device`; behind it their generators stand as before.

    No other device is touched: `torch.manual_seed` and a bare `fork_rng` reach for every card that the machine has,
    and in each process of an audit on the CPU that opens a context on each of them.
    """
    module = {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)
    current = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    places = {"devices": [device], "device_type": device.type} if module else {"devices": []}
    with current, torch.random.fork_rng(**places):
        torch.default_generator.manual_seed(seed)
        if module:
            module.manual_seed(seed)
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 in float32, not in TF32, as cuDNN does unless told otherwise; behind it all is as before.

    Else a card and a CPU would give the same film different scores. PyTorch's old switches (``allow_tf32``) cannot
    be read in it where there are new ones: PyTorch raises where they say different things.
    """
    if not hasattr(torch.backends.cudnn, "conv"):
        with _full_precision_by_old_switches():
            yield
        return
    cudnn: Any = torch.backends.cudnn  # of which mypy does not know the switches
    onednn: Any = torch.backends.mkldnn
    switches: tuple[Any, ...] = (cudnn.conv, torch.backends.cuda.matmul, onednn.conv, onednn.matmul)
    before = [(switch, switch.fp32_precision) for switch in switches]
    turned = [(switch, was) for switch, was in before if was not in ("none", "ieee")]  # "none" is "ieee" here
    for switch, _ in turned:
        switch.fp32_precision = "ieee"
    try:
        yield
    finally:
        for switch, was in turned:
            switch.fp32_precision = was


@contextmanager
def _full_precision_by_old_switches() -> Iterator[None]:
    """`full_precision` for PyTorch before 2.9, which has no others."""
    conv, matmul = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = conv
        torch.set_float32_matmul_precision(matmul)


def fit(run: Run, training: Training) -> pd.DataFrame:
    """Train the CNN on the run's training part; keep the state with the least validation loss.

    Writes ``model.safetensors``, ``history.csv`` (a row a validation, returned) and ``training.json``. After an
    interruption the same call goes on from the last checkpoint, with the same result as if nothing had
    happened: random numbers are drawn from the seed and the numbers of epoch and validation.
    """
    torch.set_num_threads(training.threads or torch.get_num_threads())
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory only serves to find reads of what nothing has written, and takes a twentieth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    keep_freed_memory()
    preparation, device = run.facts("preparation.json"), pick_device()
    by = Normalisation(preparation["mean"], preparation["sd"])
    data = {"train": load_part(run, "train", device, not training.randomises), "val": load_part(run, "val", device)}
    outcome = asdict(training) | {
        "pos_weight": training.pos_weight or imbalance(data["train"].targets),
        "precision": pick_precision(training.precision, device),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    lungs, fingerprint = _lungs_of(run, preparation), _fingerprint(run, outcome, preparation)
    state = _begin(training, preparation["size"], data["train"], outcome["pos_weight"])
    _resume(run.path(CHECKPOINT), state, fingerprint)
    steps = -(-len(data["train"]) // training.batch_size)  # of an epoch
    left = stretches(training, steps)[len(state.history) :]
    to_do, begun = sum(len(stretch.steps) for stretch in left), time.perf_counter()
    saved = state.since = begun
    with tqdm(total=to_do, desc="training", unit="step") as bar:
        for stretch in left:
            logits, targets = _steps(state, stretch, data["train"], by, training, outcome["precision"], bar)
            _look(state, stretch, logits, targets, data["val"], by, training, bar)
            if state.since - saved >= SAVE_EVERY:
                _save_checkpoint(run.path(CHECKPOINT), state, fingerprint)
                saved = time.perf_counter()
    seconds, films = time.perf_counter() - begun, to_do / steps * len(data["train"])
    outcome = _outcome(state, outcome)
    save_model(run.path("model.safetensors"), state.best, preparation, outcome, lungs)
    return _finish(run, state, outcome, seconds, films)


def load_part(run: Run, part: str, device: torch.device, resident: bool = True) -> TBDataset:
    """The films and targets of one part of the run's split, in the order of ``split.csv``; see `TBDataset`."""
    split = run.table("split.csv")
    split["group"] = pd.factorize(split["cues"], sort=True)[0]
    rows = split[split["part"] == part]
    columns = [rows[name].to_numpy() for name in ("target", "image", "group")]
    return TBDataset(load_images(run), columns[0], device, columns[1], columns[2], resident)


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


def _begin(training: Training, size: int, data: TBDataset, pos_weight: float) -> _State:
    device, groups = data.device, int(data.groups.max()) + 1
    with seeded(training.seed, torch.device("cpu")):
        cnn = CNN(size, training.dropout, training.width)
    cnn.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = _Adam(cnn.parameters(), lr=training.lr, fused=device.type in ("cpu", "cuda"))
    schedule = ReduceLROnPlateau(optimiser, factor=training.factor, patience=training.patience)
    weights = torch.full((groups,), 1 / groups, device=device)
    return _State(
        cnn, optimiser, schedule, {}, [], time.perf_counter(), weights, torch.tensor(pos_weight, device=device)
    )


def stretches(training: Training, steps: int) -> list[Stretch]:
    """The training cut at its validations, where an epoch has so many `steps`."""
    planned = []
    for epoch in range(training.epochs):
        small = epoch < training.small * training.epochs
        looks = 1 if small else min(training.looks, steps)
        ends = [steps * look // looks for look in range(looks + 1)]
        planned += [Stretch(epoch, range(*ends_of), steps, small) for ends_of in pairwise(ends)]
    return planned


def _steps(
    state: _State,
    stretch: Stretch,
    data: TBDataset,
    by: Normalisation,
    training: Training,
    precision: str,
    bar: tqdm[Any],
) -> tuple[Tensor, Tensor]:
    """One stretch of training steps: the logits (n,) and targets (n,) of its films as they were trained on.

    The host waits for the device in none of them.
    """
    generator = torch.Generator().manual_seed(training.seed * STREAM + stretch.epoch)
    drawn = data.move(draws(len(data), generator)).split(training.batch_size, dim=1)
    order = data.order(generator, training.balanced).split(training.batch_size)
    side = state.cnn.size // (2 if stretch.small else 1)
    logits, targets = [], []
    state.cnn.train()
    exact = full_precision() if precision == "fp32" else nullcontext()
    with exact, seeded(training.seed * STREAM + len(state.history), data.device):  # the dropout draws
        for number in stretch.steps:
            if training.schedule == "cosine":
                done = (stretch.epoch + (number + 0.5) / stretch.of) / training.epochs
                state.optimiser.param_groups[0]["lr"] = training.lr * cosine(done, training.warm_up)
            films, target, groups = data.batch(order[number], _change(training, stretch.epoch, number))
            moved = augment(films, training.augmentation, drawn[number], side, training.outside)
            logits.append(_step(state, normalise(moved, by), target, groups, training, precision))
            targets.append(target)
            bar.update()
    return torch.cat(logits), torch.cat(targets)


def _change(training: Training, *step: int) -> Callable[[Pixels], Pixels] | None:
    """What is done to a step's films before they are moved to the device; nothing, where no remedy asks for it."""
    return partial(randomised, rng=np.random.default_rng((training.seed, *step))) if training.randomises else None


def _look(
    state: _State,
    stretch: Stretch,
    logits: Tensor,
    targets: Tensor,
    val: TBDataset,
    by: Normalisation,
    training: Training,
    bar: tqdm[Any],
) -> None:
    """One pass over the validation part behind a stretch of steps; a row of history."""
    loss_of = nn.BCEWithLogitsLoss(pos_weight=state.pos_weight)
    row = _row("train", logits, targets, loss_of)
    row |= _row("val", _logits(state.cnn, films_of(val), by), val.targets, loss_of)  # unchecked: see the loss below
    rate = state.optimiser.param_groups[0]["lr"]
    if not math.isfinite(row["val_loss"]):
        raise TrainingError(f"The loss is no number in epoch {stretch.epoch + 1}; try a smaller lr than {rate}.")
    if training.schedule == "plateau":
        state.schedule.step(row["val_loss"])
    _record(state, {"epoch": stretch.end, "lr": rate, **row})
    bar.set_postfix_str(f"epoch {stretch.end:g}: val loss {row['val_loss']:.3f}, F1 {row['val_f1']:.3f}")


def learn(data: TBDataset, by: Normalisation, training: Training) -> CNN:
    """A CNN trained for all epochs without validation or checkpoint, `folded`: for many small trainings at once.

    Raises:
        TrainingError: it learnt weights that are no numbers.
    """
    torch.set_num_threads(training.threads or torch.get_num_threads())
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    keep_freed_memory()
    precision = pick_precision(training.precision, data.device)
    state = _begin(training, data[0][0].shape[-1], data, training.pos_weight or imbalance(data.targets))
    steps = -(-len(data) // training.batch_size)
    with tqdm(disable=True) as bar:
        for stretch in stretches(training, steps):
            _steps(state, stretch, data, by, training, precision, bar)
            state.history.append({})  # each stretch has random numbers of its own
    if not is_finite(state.cnn):
        raise TrainingError(f"The weights are no numbers behind the last epoch; try a smaller lr than {training.lr}.")
    return folded(state.cnn)


def _record(state: _State, row: dict[str, float]) -> None:
    """Add a row to the history, and keep the network's state if its validation loss is the least so far."""
    if row["val_loss"] < min((past["val_loss"] for past in state.history), default=float("inf")):
        state.best = {name: tensor.detach().cpu().clone() for name, tensor in state.cnn.state_dict().items()}
    now = time.perf_counter()
    state.history.append(row | {"seconds": now - state.since})
    state.since = now


def _step(state: _State, inputs: Tensor, target: Tensor, groups: Tensor, training: Training, precision: str) -> Tensor:
    """One step of the optimiser; float32 (B,) logits of inputs (B, 1, H, W). The host waits for nothing in it."""
    with torch.autocast(inputs.device.type, torch.bfloat16) if precision == "bf16" else nullcontext():
        logit: Tensor = state.cnn(inputs)
    # Films drawn in balance need no weight; the shift that evaluation takes out of the logits is the same.
    weight = None if training.balanced else state.pos_weight
    losses = F.binary_cross_entropy_with_logits(logit.float(), target, pos_weight=weight, reduction="none")
    loss = _worst_first(state, losses, groups) if "group_dro" in chosen(training.remedy) else losses.mean()
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    state.optimiser.step()
    return logit.detach().float()


def _worst_first(state: _State, losses: Tensor, groups: Tensor) -> Tensor:
    """The groups' mean losses, weighted: a group's weight grows with its loss, step by step (Sagawa 2020)."""
    counts = torch.zeros_like(state.weights).index_add(0, groups, torch.ones_like(losses)).clamp(min=1)
    means = torch.zeros_like(state.weights).index_add(0, groups, losses) / counts
    grown = state.weights * torch.exp(DRO_RATE * means.detach())
    state.weights = grown / grown.sum()
    return (state.weights * means).sum()


def cosine(done: float, warm_up: float) -> float:
    """Share of the highest rate when `done` of all steps, 0 … 1, are done: up in a line, down by half a cosine."""
    if done < warm_up:
        return done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def films_of(data: TBDataset, batch: int = 64) -> Iterable[Tensor]:
    """The films uint8 (B, 1, H, W) of `data` in order, batch by batch."""
    return (films for films, _ in batches(data, batch))


def infer(cnn: CNN, films: Iterable[Tensor], by: Normalisation) -> Tensor:
    """Float32 (N,) logits of films in batches of uint8 (B, 1, H, W), in evaluation mode and full precision.

    Raises:
        ModelError: a logit is no finite number; such a score would otherwise read as negative.
    """
    logits = _logits(cnn, films, by)
    lost = len(logits) - int(torch.isfinite(logits).sum())
    if lost:
        raise ModelError(f"The model gives {lost} of {len(logits)} films a score that is no finite number. {AGAIN}")
    return logits


def _logits(cnn: CNN, films: Iterable[Tensor], by: Normalisation) -> Tensor:
    cnn.eval()
    with torch.inference_mode(), full_precision():
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
    tensors["weights"] = state.weights
    texts = {
        "fingerprint": fingerprint,
        "groups": json.dumps(optimiser["param_groups"]),
        "schedule": json.dumps(state.schedule.state_dict()),
        "history": json.dumps(state.history),
    }
    write_weights(path, tensors, texts)


def _resume(path: Path, state: _State, fingerprint: str) -> None:
    """Bring `state` to where the checkpoint of the same training stands, if there is one."""
    if not path.is_file():
        return
    try:
        tensors, texts = read_weights(path)
    except WeightsError as error:
        print(f"The checkpoint cannot be used, and the training starts from the beginning. {error}")
        return
    if texts.get("fingerprint") != fingerprint:
        print("A checkpoint of another training lies here; this one starts from the beginning.")
        return
    slots: dict[int, dict[str, Tensor]] = {}
    state.weights.copy_(tensors.pop("weights"))
    for name, tensor in tensors.items():
        room, rest = name.split(".", 1)
        if room == "best":
            state.best[rest] = tensor
        elif room == "adam":
            slots.setdefault(int(rest.split(".")[0]), {})[rest.split(".")[1]] = tensor
    state.cnn.load_state_dict({name[4:]: tensor for name, tensor in tensors.items() if name.startswith("cnn.")})
    state.optimiser.load_state_dict({"state": slots, "param_groups": json.loads(texts["groups"])})
    for parameter, slot in state.optimiser.state.items():  # fused Adam takes all three in the order of their memory
        for name in ("exp_avg", "exp_avg_sq"):
            slot[name] = torch.empty_like(parameter, requires_grad=False).copy_(slot[name])
    state.schedule.load_state_dict(json.loads(texts["schedule"]))
    state.history = json.loads(texts["history"])
    print(f"An interrupted training goes on behind epoch {state.history[-1]['epoch']:g}.")


def _outcome(state: _State, outcome: dict[str, Any]) -> dict[str, Any]:
    """The outcome with the epoch that is kept."""
    best = min(state.history, key=lambda row: row["val_loss"])
    return outcome | {"best_epoch": best["epoch"], "best_val_loss": best["val_loss"]}


def _finish(run: Run, state: _State, outcome: dict[str, Any], seconds: float, films: float) -> pd.DataFrame:
    history = pd.DataFrame(state.history)
    write_table(run.path("history.csv"), history)
    write_json(run.path("training.json"), outcome | {"seconds": seconds, "films_per_second": films / seconds})
    run.path(CHECKPOINT).unlink(missing_ok=True)
    return history


def _fingerprint(run: Run, outcome: dict[str, Any], preparation: dict[str, Any]) -> str:
    """SHA-256 of all that a training depends on: a checkpoint of another one must not be resumed."""
    files = [file_digest(run.need(file)) for file in ("split.csv", "images.npy")]
    parts = [outcome, preparation, files, code_digest(CODE)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _lungs_of(run: Run, preparation: dict[str, Any]) -> dict[str, Tensor]:
    """The state of the network by which the films were cropped, where they were; it goes into the model file.

    Raises:
        TrainingError: it is not the one that preparation left.
    """
    if not needs_lungs(preparation.get("remedy", "none")):
        return {}
    path = run.path(LUNGS)
    if not path.is_file() or file_digest(path) != preparation.get("lungs"):
        raise TrainingError(
            f"The network by which these films were cropped, {path}, is missing or another one than preparation left. "
            f"Prepare the films again: {run.command('--from', 'preparation')}"
        )
    return read_weights(path)[0]
