"""Trials: small CNNs trained on what a rung leaves of the films, or on films with a cue planted into them.

Each function here is one job (`tblib.jobs`): it gets arrays and settings, trains one CNN, and returns plain numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tblib.budgets import BLIND
from tblib.dataset import TBDataset
from tblib.edits import Mask
from tblib.film import Pixels
from tblib.metrics import Floats, Scored, auroc, label_p
from tblib.model import CNN
from tblib.prepare import Normalisation, normalisation
from tblib.remedies import MID_GREY
from tblib.train import Training, infer, learn, pick_precision, recipe
from tblib.verdicts import effect, is_used

# One thread each, as there are many; wide enough for what a film carries around the lungs.
SMALL = recipe("fast", epochs=6, lr=1e-3, batch_size=8, small=1 / 6, looks=1, width=8, threads=1)
REPLICATES = 400  # bootstrap samples behind a planted cue's effect


def training_of(settings: dict[str, Any]) -> Training:
    """`SMALL` with what is set otherwise."""
    return replace(SMALL, **settings)


def settled(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the precision that ``auto`` comes to here, so that a kept fit is known by it."""
    wanted = training_of(settings).precision
    return settings | {"precision": pick_precision(wanted, torch.device("cpu"))}


def trained(
    images: Pixels, target: npt.NDArray[np.int64], groups: npt.NDArray[np.int64] | None, training: Training
) -> tuple[CNN, Normalisation]:
    """A CNN taught on images uint8 (N, S, S), on the CPU, and the normalisation that goes with it."""
    by = normalisation(images, np.arange(len(images)))
    by = Normalisation(by.mean, max(by.sd, 1.0))  # a rung may leave nothing but one grey level
    return learn(TBDataset(images, target, torch.device("cpu"), groups=groups), by, training), by


def logits_of(cnn: CNN, images: Pixels, by: Normalisation) -> Floats:
    """Float (N,): what a CNN says of images uint8 (N, S, S)."""
    if not len(images):
        return np.empty(0)
    films = torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1)
    return infer(cnn, films.split(64), by).double().numpy()


# --- the ladder ----------------------------------------------------------------------------------

CENTRE = 0.6  # of a side
SHAPE = "lung shape only"


def rung(images: Pixels, fields: Mask, name: str, seed: int = 0) -> Pixels:
    """What a rung leaves of films uint8 (N, S, S) with lung fields bool (N, S, S); the rest is `MID_GREY`."""
    if name == SHAPE:
        return np.where(fields, np.uint8(255), np.uint8(0))
    return np.where(in_view(fields, name, seed), images, np.uint8(MID_GREY))


def in_view(fields: Mask, name: str, seed: int = 0) -> Mask:
    """Bool (N, S, S): which pixels of films with these lung fields a rung leaves in view."""
    side = fields.shape[1]
    if name == SHAPE:
        return np.zeros_like(fields)
    if name.startswith("border"):
        return _outside(fields, max(1, round(float(name.split()[1]) / 100 * side)))
    if name == "outside the centre":
        return _outside(fields, round((1 - CENTRE) / 2 * side))
    if name == BLIND:
        return ~fields
    if name == "another film's lungs cut":
        return np.roll(fields[np.random.default_rng(seed).permutation(len(fields))], 1, axis=0)
    return np.ones_like(fields) if name == "whole film" else fields


def _outside(fields: Mask, width: int) -> Mask:
    """All but the middle of each film, from `width` pixels inwards."""
    seen = np.ones_like(fields)
    seen[:, width : fields.shape[1] - width, width : fields.shape[1] - width] = False
    return seen


def climb(
    images: Pixels,
    fields: Mask,
    target: npt.NDArray[np.int64],
    train: npt.NDArray[np.bool_],
    name: str,
    seed: int,
    training: dict[str, Any],
) -> dict[str, Any]:
    """One rung with one seed: the logits of the films that were not trained on."""
    left = rung(images, fields, name, seed)
    cnn, by = trained(left[train], target[train], None, replace(training_of(training), seed=seed))
    return {"logits": logits_of(cnn, left[~train], by).tolist()}


# --- planted cues --------------------------------------------------------------------------------


def plant(
    plain: Pixels,
    put: Pixels,
    placebo: Pixels,
    label: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
    train: npt.NDArray[np.bool_],
    p: float,
    shuffle: bool,
    seed: int,
    training: dict[str, Any],
) -> dict[str, Any]:
    """A cue planted with P(cue | positive) = p and P(cue | negative) = 1 − p, a CNN trained, and the audit's answer.

    Args:
        plain: films uint8 (N, S, S).
        put: the same with the cue.
        placebo: the same with its placebo.
        label: (N,), 1 for the positive class.
        group: twin groups (N,).
        train: bool (N,), films that are trained on; the others are judged by.
        p: 0.5 plants nothing that tells.
        shuffle: labels are dealt anew, so that nothing but the cue can tell.
        seed: of cue, labels and training.
        training: what differs from `SMALL`.
    """
    rng = np.random.default_rng([seed, round(100 * p)])
    target = _shuffled(label, train, rng) if shuffle else label
    carries = rng.random(len(target)) < np.where(target == 1, p, 1 - p)
    films = np.where(carries[:, None, None], put, plain)
    cnn, by = trained(films[train], target[train], None, replace(training_of(training), seed=seed))
    after, before = (logits_of(cnn, each[~train], by) for each in (put, placebo))
    held = Scored(target[~train], logits_of(cnn, films[~train], by), group[~train])
    return {"auroc": area(held)} | answer(
        Scored(target, carries.astype(float), group), after, before, group[~train], seed
    )


def deny(
    plain: Pixels,
    edited: npt.NDArray[np.uint8],
    label: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
    train: npt.NDArray[np.bool_],
    cues: Floats,
    names: list[str],
    shuffle: bool,
    seed: int,
    training: dict[str, Any],
) -> dict[str, Any]:
    """A negative control: labels that no film can tell, and what the audit says of each cue then.

    Args:
        plain: films uint8 (N, S, S), as they are.
        edited: uint8 (K, 2, N, S, S): with cue k, and with its placebo.
        label: (N,): an absurd label, or any that is to be shuffled.
        group: twin groups (N,).
        train: bool (N,).
        cues: float (K, N), how much of cue k each film carries by itself.
        names: of the K cues.
        shuffle: labels are dealt anew.
        seed: of labels and training.
        training: what differs from `SMALL`.
    """
    target = _shuffled(label, train, np.random.default_rng([seed, 7])) if shuffle else label
    cnn, by = trained(plain[train], target[train], None, replace(training_of(training), seed=seed))
    held = Scored(target[~train], logits_of(cnn, plain[~train], by), group[~train])
    found: dict[str, Any] = {"auroc": area(held)}
    for k, name in enumerate(names):
        after, before = (logits_of(cnn, each[~train], by) for each in edited[k])
        found[name] = answer(Scored(target, cues[k], group), after, before, group[~train], seed)
    return found


def answer(cue: Scored, after: Floats, before: Floats, group: npt.NDArray[np.int64], seed: int) -> dict[str, Any]:
    """What the audit says of one cue: its association with the label, its effect, and whether that is called use.

    Args:
        cue: the label of all films, how much of the cue each carries, and twin groups.
        after: logits (n,) of held-out films with the cue.
        before: the same with the placebo.
        group: their twin groups (n,).
        seed: of the tests and the bootstrap.
    """
    value = area(cue)
    if value is None:
        return dict.fromkeys(("cue_auroc", "cue_p", "mean", "p", "flips")) | {"moved": False, "used": False}
    towards = 1.0 if value >= 0.5 else -1.0
    found = effect(towards * (after - before), towards * turned(after, before), group, REPLICATES, seed)
    p = label_p(cue, seed)
    return {
        "cue_auroc": value,
        "cue_p": p,
        "mean": found.mean.value if found else None,
        "p": found.p if found else None,
        "flips": found.flips.value if found else None,
        "moved": is_used(0.0, found, found.p if found else None),
        "used": is_used(p, found, found.p if found else None),
    }


def area(scored: Scored) -> float | None:
    """AUROC of films; None where they are all of one class."""
    if len(np.unique(scored.target)) < 2:
        return None
    return float(auroc(scored, np.ones((1, len(scored.target))))[0])


def turned(after: Floats, before: Floats) -> Floats:
    """Float (n,): 1 where the call at 0.5 turns positive from placebo to edit, −1 where it turns negative."""
    return (after > 0).astype(float) - (before > 0)


def _shuffled(
    label: npt.NDArray[np.int64], train: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Labels dealt anew, half of them positive, within the films that are trained on and within the others."""
    dealt = label.copy()
    for part in (train, ~train):
        dealt[part] = rng.permutation(np.arange(part.sum()) % 2)
    return dealt


# --- remedies ------------------------------------------------------------------------------------


def cure(
    images: Pixels,
    edited: npt.NDArray[np.uint8],
    others: Pixels,
    target: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    train: npt.NDArray[np.bool_],
    remedy: str,
    seed: int,
    training: dict[str, Any],
) -> dict[str, Any]:
    """A CNN trained with a remedy, and what it says of held-out films, of edited ones, and of other hospitals' films.

    Args:
        images: films uint8 (N, S, S), as the remedy leaves them.
        edited: uint8 (K, 2, n, S, S): n held-out films with cue k and with its placebo, as the remedy leaves them.
        others: external films uint8 (M, S, S), as the remedy leaves them.
        target: (N,), 1 for the positive class.
        groups: (N,), of label and cues.
        train: bool (N,).
        remedy: see `tblib.remedies`.
        seed: of the training.
        training: what differs from `SMALL`.
    """
    how = replace(training_of(training), seed=seed, remedy=remedy)
    cnn, by = trained(images[train], target[train], groups[train], how)
    return {
        "logits": logits_of(cnn, images[~train], by).tolist(),
        "edited": [[logits_of(cnn, each, by).tolist() for each in pair] for pair in edited],
        "others": logits_of(cnn, others, by).tolist(),
    }
