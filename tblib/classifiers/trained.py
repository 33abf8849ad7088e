"""The training step of a run, and the model file, which holds the network and all that is needed to use it."""

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from scipy.special import expit
from torch import Tensor
from tqdm import tqdm

from tblib.arrays import Floats, Normalisation, Pixels
from tblib.checkpoint import WeightsError, read_weights, write_weights
from tblib.classifiers.choice import is_choice, read_choice
from tblib.mitigation import ModelInput, chosen, needs_lungs, randomised
from tblib.model import AGAIN, CNN, ModelError, folded, is_finite, logits_of_images, on_device
from tblib.phantoms.lungs import LungNetwork, network_of
from tblib.prepare import LUNGS_FILE, load_part
from tblib.run import GIVEN, Run
from tblib.system.code import code_digest
from tblib.system.files import file_digest, write_json, write_table
from tblib.train import Training, TrainingError, fit, segments

CHECKPOINT = "training.checkpoint"  # in the run folder during training
LUNGS = "lungs."  # prefix of the names of the lung network's tensors
MOST_THREADS = 1024  # largest number that a model may request
MAGIC = "tblib CNN"  # identifies model files of this program


@dataclass(frozen=True)
class TrainedModel:
    """A CNN in evaluation mode with the metadata of its file.

    Attributes:
        cnn: the network, `folded`, float32, channels last, on the CPU until moved.
        preparation: content of ``preparation.json``: class names, size, mean, sd, split.
        training: parameters and outcome of the training, including ``pos_weight``.
        lungs: the network that cropped its films, if any, so that other machines crop alike.
        digest: SHA-256 of its file; empty for one that was not read from a file.
    """

    cnn: CNN
    preparation: dict[str, Any]
    training: dict[str, Any]
    lungs: LungNetwork | None = None
    digest: str = ""
    name = "tblib's CNN"

    def scores(self, films: Sequence[Pixels]) -> Floats:
        """Float (N,): probability of the positive class for films of any size and either kind (`Classifier`).

        Raises:
            ModelError: a logit is not finite.
        """
        seen = Parallel(n_jobs=-1, prefer="threads")(delayed(self.input.of)(film) for film in films)
        return self.scores_of(np.array(seen, np.uint8).reshape(len(films), *self.input.shape))

    def scores_of(self, images: Pixels) -> Floats:
        """The same for films as its `input` makes them, uint8 (N, size, size) or (N, size, size, 3)."""
        return np.asarray(expit(self.logits(images)))

    def use_device(self) -> None:
        """Score films on this machine's card from now on, if it has one."""
        on_device(self.cnn)

    @property
    def channels(self) -> int:
        """1 if it sees films in grey, 3 if in colour."""
        return int(self.preparation.get("channels", 1))

    @property
    def size(self) -> int:
        """Side of the input in pixels."""
        return int(self.preparation["size"])

    @property
    def mitigation(self) -> str | None:
        """Mitigation applied to the films (`tblib.mitigation`); None in files of the first versions."""
        mitigation: str | None = self.preparation.get("mitigation")
        return mitigation

    def logits(self, images: Pixels) -> Floats:
        """Float (N,), of images uint8 (N, size, size) or (N, size, size, 3) as it gets them, where it is (`cnn`).

        Raises:
            ModelError: a logit is not finite.
        """
        return logits_of_images(self.cnn, images, self.normalisation)

    @property
    def input(self) -> ModelInput:
        """How films are turned into its input."""
        return ModelInput(self.size, self.mitigation, self.lungs, self.channels)

    @property
    def raised_odds(self) -> float:
        """By how much its training raised the odds of the positive class over those of the training films: by the
        weight of positives, and by films with drawn lesions, which are positive."""
        positives = self.preparation.get("parts", {}).get("train", {}).get(self.preparation["positive"], 0)
        drawn = self.preparation.get("drawn", {}).get("films", 0)
        return float(self.training["pos_weight"] * (1 + (drawn / positives if drawn else 0)))

    @property
    def normalisation(self) -> Normalisation:
        """Mean and sd of the grey levels of the training films."""
        return Normalisation(self.preparation["mean"], self.preparation["sd"])


def save_model(
    path: Path,
    weights: dict[str, Tensor],
    preparation: dict[str, Any],
    training: dict[str, Any],
    lungs: dict[str, Tensor] | None = None,
) -> None:
    """Write a network's state as safetensors with `preparation` and `training` in the metadata, atomically.
    If films are cropped to their lungs, `lungs` is the state of the network that finds them."""
    metadata = {
        "program": MAGIC,
        "version": importlib.metadata.version("tblib"),
        "preparation": json.dumps(preparation, ensure_ascii=False),
        "training": json.dumps(training, ensure_ascii=False),
    }
    tensors = weights | {f"{LUNGS}{name}": tensor for name, tensor in (lungs or {}).items()}
    write_weights(path, tensors, metadata)


def load_model(path: Path) -> TrainedModel:
    """Read a file written by `save_model`.

    Raises:
        ModelError: the file does not exist, is not a safetensors file, belongs to another program or network, or is
            unusable: weights that are not finite, or an invalid mean, size or class name.
        DamagedError: the file changed since its run wrote it.
    """
    run = Run(path.absolute().parent)
    if not path.is_file():
        how = run.command("--only", "training") if run.path("run.json").is_file() else "python -m tblib run"
        raise ModelError(f"There is no model file {path}. Train one first: {how}")
    try:
        weights, metadata = read_weights(path)
    except WeightsError as error:
        raise ModelError(f"{error} {AGAIN}") from error
    if metadata.get("program") != MAGIC:
        raise ModelError(f"{path} was not written by tblib; its weights fit no network here. Give a model.safetensors.")
    preparation, training = (_facts(path, metadata, name) for name in ("preparation", "training"))
    lungs = None
    found_by = {name.removeprefix(LUNGS): weights.pop(name) for name in list(weights) if name.startswith(LUNGS)}
    changed = preparation.get("remedy", "none") != "none"  # old name, with other code
    if changed or (needs_lungs(preparation.get("mitigation")) and not found_by):
        raise ModelError(
            f"{path} was trained on films that an earlier version had changed against shortcuts, and lacks what it "
            f"takes to change others in the same way; its answers here would be of other films. {AGAIN}"
        )
    try:
        shape = preparation["size"], training["dropout"], training.get("width", 32), preparation.get("channels", 1)
        cnn = _network(*shape, weights)
        lungs = network_of(found_by) if found_by else None
    except (RuntimeError, TypeError, ValueError) as error:  # including torch's errors on sizes beyond any memory
        raise ModelError(
            f"{path} holds another network than this version of tblib builds ({error}). {AGAIN}"
        ) from error
    finite = is_finite(cnn) and is_finite(folded(cnn)) and (lungs is None or is_finite(lungs))
    if not finite:  # a negative variance only shows once it is folded in
        raise ModelError(f"{path} holds weights that are no finite numbers, and would call every film alike. {AGAIN}")
    run.check_as_left(path.name)
    return TrainedModel(cnn, preparation, training, lungs, file_digest(path))


def _network(size: int, dropout: float, width: int, channels: int, weights: dict[str, Tensor]) -> CNN:
    """Build the network from `weights` without copies, so that a file that only claims a size takes no memory.
    Raises RuntimeError, TypeError or ValueError if the weights belong to another network."""
    with torch.device("meta"):
        cnn = CNN(size, dropout, width, channels)
    wanted = {name: tensor.dtype for name, tensor in cnn.state_dict().items()}
    other = next((name for name, tensor in weights.items() if tensor.dtype != wanted.get(name, tensor.dtype)), None)
    if other:
        raise TypeError(f"{other} is of {weights[other].dtype}, not {wanted[other]}")
    cnn.load_state_dict(weights, assign=True)
    return cnn


def is_number(value: object) -> bool:
    """Whether `value` is a finite number: not NaN, Infinity or an integer too large for a float."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_name(value: object) -> bool:
    """Whether `value` is text that can be shown: JSON may hold lone surrogates, which no file or terminal accepts."""
    return isinstance(value, str) and bool(value.strip()) and value == value.encode(errors="ignore").decode()


WANTED: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {  # metadata part -> key -> (test, valid values)
    "preparation": {
        "size": (lambda value: _is_count(value) and value % 16 == 0, "a multiple of 16"),
        "mean": (is_number, "a finite number"),
        "sd": (lambda value: is_number(value) and value > 0, "a finite number above 0"),
        "negative": (_is_name, "the name of a class"),
        "positive": (_is_name, "the name of a class"),
        "channels": (lambda value: _is_count(value) and value in (1, 3), "1 or 3"),
        "bits": (lambda value: _is_count(value) and value <= 32, "a number of bits"),
        "mitigation": (lambda value: value is None or isinstance(value, str), "names of mitigations"),
    },
    "training": {
        "dropout": (lambda value: is_number(value) and 0 <= value < 1, "a number of 0 or more, below 1"),
        "width": (_is_count, "a whole number above 0"),
        "threads": (lambda value: _is_count(value) and value <= MOST_THREADS, f"a whole number, 1 to {MOST_THREADS}"),
        "pos_weight": (lambda value: is_number(value) and value > 0, "a finite number above 0"),
        "chosen_by": (is_choice, "a set, its number of films and their digests"),
    },
}
# Evaluation needs the last two.
OPTIONAL = ("channels", "bits", "mitigation", "width", "chosen_by", "threads", "pos_weight")


def _facts(path: Path, metadata: dict[str, str], name: str) -> dict[str, Any]:
    """Read one part of a model file's metadata; raises ModelError if it is missing, or lacks a key for predictions."""
    try:
        facts: Any = json.loads(metadata.get(name, ""))
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise ModelError(f"{path} does not tell of its {name}; it is damaged. {AGAIN}")
    for key, (holds, wanted) in WANTED[name].items():
        if key not in facts and key not in OPTIONAL:
            raise ModelError(f"{path} does not tell the {key} of its {name}. {AGAIN}")
        if key in facts and not holds(facts[key]):
            raise ModelError(f"{path} cannot be used: its {key} is {facts[key]!r}, not {wanted}. {AGAIN}")
    return facts


def train_run(run: Run, training: Training, chosen_by: str | None = None) -> pd.DataFrame:
    """Train the CNN on the run's training part; keep the weights with the lowest validation loss.

    `chosen_by` is the file of the record of a study that chose these settings; which films chose is kept with the
    model, so that no report takes them for external validation.

    Writes ``model.safetensors``, ``history.csv`` (one row per validation, returned) and ``training.json``. After an
    interruption the same call resumes from the last checkpoint and gives the same result. If a notebook is only shown
    anew (`Run.shown_anew`), existing results are used.
    """
    preparation = run.facts("preparation.json")
    run.path(GIVEN).unlink(missing_ok=True)  # of a model that was given before: this run's own takes its place
    chosen(training.mitigation)  # raises if it is unknown
    randomises = training.has("randomise")
    data, val = load_part(run, "train", resident=not randomises), load_part(run, "val")
    training = training.settled(data)
    outcome = asdict(training) | {"device": data.device.type, "torch": torch.__version__}
    outcome |= {"chosen_by": read_choice(chosen_by)} if chosen_by else {}
    lungs, fingerprint = _lungs_of(run, preparation), _fingerprint(run, outcome, preparation)
    if run.shown_anew and run.facts("training.json").get("fingerprint") == fingerprint:
        return run.table("history.csv")
    steps = sum(len(segment.steps) for segment in segments(training, len(data)))
    with tqdm(total=steps, desc="training", unit="step") as bar:

        def progress(steps: int, text: str) -> None:
            """Advance the bar by `steps`; `text`, if any, is shown behind it."""
            bar.update(steps)
            if text:
                bar.set_postfix_str(text)

        by, kept = Normalisation(preparation["mean"], preparation["sd"]), (run.path(CHECKPOINT), fingerprint)
        fitted = fit(data, by, training, val, randomised if randomises else None, kept, progress)
    history = pd.DataFrame(fitted.history)
    best = history.loc[history["val_loss"].idxmin()]
    outcome |= {"best_epoch": float(best["epoch"]), "best_val_loss": float(best["val_loss"])}
    weights = {name: tensor.cpu() for name, tensor in fitted.cnn.state_dict().items()}
    save_model(run.path("model.safetensors"), weights, preparation, outcome, lungs)
    write_table(run.path("history.csv"), history)
    seconds = float(history["seconds"].sum())
    speed = {"seconds": seconds, "films_per_second": training.epochs * len(data) / seconds}
    write_json(run.path("training.json"), outcome | speed | {"fingerprint": fingerprint})
    run.path(CHECKPOINT).unlink(missing_ok=True)
    return history


def _fingerprint(run: Run, outcome: dict[str, Any], preparation: dict[str, Any]) -> str:
    """SHA-256 of everything that a training depends on, so that no checkpoint of another training is resumed."""
    files = [file_digest(run.need(file)) for file in ("split.csv", "images.npy")]
    parts = [outcome, preparation, files, code_digest("tblib.train.fit", "tblib.prepare.load_part")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _lungs_of(run: Run, preparation: dict[str, Any]) -> dict[str, Tensor]:
    """State of the network that cropped the films, if any; raises TrainingError if it changed since preparation."""
    if not needs_lungs(preparation.get("mitigation")):
        return {}
    path = run.path(LUNGS_FILE)
    if not path.is_file() or file_digest(path) != preparation.get("lungs"):
        raise TrainingError(
            f"The network by which these films were cropped, {path}, is missing or another one than preparation left. "
            f"Prepare the films again: {run.command('--from', 'preparation')}"
        )
    return read_weights(path)[0]
