"""Fits: small CNNs trained on a region of the films, on films with a planted cue, or with a mitigation.

Each function here is one job (`tblib.audit.jobs`): it gets arrays and settings, trains one CNN, and returns plain
numbers. Common arguments are films uint8 (N, S, S) with label or target (N,), 1 for the positive class, and duplicate
group (N,); train bool (N,), the training films, while the others are held out; the random seed; and training, the
settings that differ from `SMALL`.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tblib.arrays import Floats, Ints, Mask, Normalisation, Pixels
from tblib.audit.effects import effect, is_used
from tblib.audit.views import REGIONS
from tblib.dataset import TBDataset
from tblib.devices import pick_precision
from tblib.metrics import Scored, auroc, label_p
from tblib.mitigation import randomised
from tblib.model import CNN, folded, logits_of_images
from tblib.prepare import normalisation
from tblib.train import Training, fit

# Single-threaded, as many run in parallel; wide enough for what a film carries around the lungs.
SMALL = Training(
    epochs=6,
    lr=1e-3,
    batch_size=8,
    dropout=0.0,
    schedule="cosine",
    low_resolution_share=1 / 6,
    warm_up=0.1,
    padding="black",
    width=8,
    threads=1,
)
REPLICATES = 400  # bootstrap samples for the effect of a planted cue


def training_of(settings: dict[str, Any]) -> Training:
    """`SMALL` with some settings replaced."""
    return replace(SMALL, **settings)


def settled(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the precision that ``auto`` resolves to here, by which a cached fit is identified."""
    wanted = training_of(settings).precision
    return settings | {"precision": pick_precision(wanted, torch.device("cpu"))}


def answer(cue: Scored, after: Floats, before: Floats, group: Ints, seed: int) -> dict[str, Any]:
    """Association of one cue with the label, its effect, and whether that counts as use.

    `cue` holds the label of all films, the strength of the cue on each, and duplicate groups. `after` and `before` are
    logits (n,) of held-out films with the cue and with its placebo, and `group` (n,) their duplicate groups.
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
    """AUROC; None if all films are of one class."""
    if len(np.unique(scored.target)) < 2:
        return None
    return float(auroc(scored, np.ones((1, len(scored.target))))[0])


def turned(after: Floats, before: Floats) -> Floats:
    """Float (n,): 1 where the prediction at 0.5 is positive after the edit only, −1 where after the placebo only."""
    return (after > 0).astype(float) - (before > 0)


def _shuffled(label: Ints, train: Mask, rng: np.random.Generator) -> Ints:
    """Random labels, half of them positive among the training films and half among the others."""
    dealt = label.copy()
    for part in (train, ~train):
        dealt[part] = rng.permutation(np.arange(part.sum()) % 2)
    return dealt


def fitted(images: Pixels, target: Ints, groups: Ints | None, training: Training) -> tuple[CNN, Normalisation]:
    """A CNN trained on images uint8 (N, S, S) on the CPU, and its normalisation."""
    by = normalisation(images, np.arange(len(images)))
    by = Normalisation(by.mean, max(by.sd, 1.0))  # a region may leave only a single grey level
    data = TBDataset(images, target, torch.device("cpu"), groups=groups)
    return folded(fit(data, by, training, change=randomised if training.has("randomise") else None).cnn), by


def region(
    images: Pixels, masks: Mask, target: Ints, train: Mask, name: str, seed: int, training: dict[str, Any]
) -> dict[str, Any]:
    """Logits of the held-out films for one region (a key of `REGIONS`) and one seed."""
    left = REGIONS[name].left_of(images, masks, seed)
    cnn, by = fitted(left[train], target[train], None, replace(training_of(training), seed=seed))
    return {"logits": logits_of_images(cnn, left[~train], by).tolist()}


def planted(
    plain: Pixels,
    put: Pixels,
    placebo: Pixels,
    label: Ints,
    group: Ints,
    train: Mask,
    p: float,
    shuffle: bool,
    seed: int,
    training: dict[str, Any],
) -> dict[str, Any]:
    """Plant a cue with P(cue | positive) = p and P(cue | negative) = 1 − p, train a CNN and audit its use of the cue.

    `plain` are films uint8 (N, S, S), `put` the same with the cue, `placebo` with its placebo. At p = 0.5 the cue
    carries no information. With `shuffle` the labels are randomised, so that only the cue predicts them.
    """
    rng = np.random.default_rng([seed, round(100 * p)])
    target = _shuffled(label, train, rng) if shuffle else label
    carries = rng.random(len(target)) < np.where(target == 1, p, 1 - p)
    films = np.where(carries[:, None, None], put, plain)
    cnn, by = fitted(films[train], target[train], None, replace(training_of(training), seed=seed))
    after, before = (logits_of_images(cnn, each[~train], by) for each in (put, placebo))
    held_out = Scored(target[~train], logits_of_images(cnn, films[~train], by), group[~train])
    return {"auroc": area(held_out)} | answer(
        Scored(target, carries.astype(float), group), after, before, group[~train], seed
    )


def control(
    plain: Pixels,
    edited: Pixels,
    label: Ints,
    group: Ints,
    train: Mask,
    cues: Floats,
    names: list[str],
    shuffle: bool,
    seed: int,
    training: dict[str, Any],
) -> dict[str, Any]:
    """Negative control: train on labels that no film can predict, and audit each cue.

    `plain` are unedited films uint8 (N, S, S); `edited`, uint8 (K, 2, N, S, S), are the films with cue k and with its
    placebo. `label` (N,) is an absurd label, or any label if `shuffle` randomises it. `cues` is float (K, N), how much
    of cue k each film carries by itself; `names` are those of the K cues.
    """
    target = _shuffled(label, train, np.random.default_rng([seed, 7])) if shuffle else label
    cnn, by = fitted(plain[train], target[train], None, replace(training_of(training), seed=seed))
    held_out = Scored(target[~train], logits_of_images(cnn, plain[~train], by), group[~train])
    found: dict[str, Any] = {"auroc": area(held_out)}
    for k, name in enumerate(names):
        after, before = (logits_of_images(cnn, each[~train], by) for each in edited[k])
        found[name] = answer(Scored(target, cues[k], group), after, before, group[~train], seed)
    return found


def mitigated(
    images: Pixels,
    edited: Pixels,
    others: Pixels,
    target: Ints,
    groups: Ints,
    train: Mask,
    mitigation: str | None,
    seed: int,
    training: dict[str, Any],
) -> dict[str, Any]:
    """Train a CNN with a mitigation (see `tblib.mitigation`); return its logits of held-out, edited and external films.

    All films are as the mitigation leaves them: `images` uint8 (N, S, S); `edited` uint8 (K, 2, n, S, S), n held-out
    films with cue k and with its placebo; external films `others` uint8 (M, S, S). `groups` (N,) are of label and cues.
    """
    how = replace(training_of(training), seed=seed, mitigation=mitigation)
    cnn, by = fitted(images[train], target[train], groups[train], how)
    return {
        "logits": logits_of_images(cnn, images[~train], by).tolist(),
        "edited": [[logits_of_images(cnn, each, by).tolist() for each in pair] for pair in edited],
        "others": logits_of_images(cnn, others, by).tolist(),
    }
