"""Fits: small CNNs trained as references, on a region of the films, on a planted cue, or with a mitigation.

Each function here is one job (`tblib.audit.jobs`): it gets arrays and settings, trains one CNN, and returns plain
numbers. Common arguments are films uint8 (N, S, S) with label or target (N,), 1 for the positive class, and duplicate
group (N,); train bool (N,), the training films, while the others are held out; the random seed; training, the settings
that differ from `SMALL`; and the device to compute on.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tblib.arrays import Ints, Mask, Normalisation, Pixels
from tblib.audit.views import REGIONS
from tblib.dataset import Augmentation, TBDataset
from tblib.devices import pick_precision
from tblib.metrics import Scored, auroc
from tblib.mitigation import randomised, shown_within
from tblib.model import CNN, folded, logits_of_images
from tblib.prepare import normalisation, with_drawn
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


def training_of(settings: dict[str, Any]) -> Training:
    """`SMALL` with some settings replaced; an augmentation may be given by its values."""
    given = settings.get("augmentation")
    return replace(SMALL, **settings | ({"augmentation": Augmentation(**given)} if isinstance(given, dict) else {}))


def settled(settings: dict[str, Any], device: str = "cpu") -> dict[str, Any]:
    """The settings with the precision that ``auto`` resolves to on `device`, by which a cached fit is identified."""
    wanted = training_of(settings).precision
    return settings | {"precision": pick_precision(wanted, torch.device(device))}


def area(scored: Scored) -> float | None:
    """AUROC; None if all films are of one class."""
    if len(np.unique(scored.target)) < 2:
        return None
    return float(auroc(scored, np.ones((1, len(scored.target))))[0])


def fitted(
    images: Pixels, target: Ints, groups: Ints | None, training: Training, device: str = "cpu"
) -> tuple[CNN, Normalisation]:
    """A CNN trained on images uint8 (N, S, S), which stays on `device`, and its normalisation."""
    randomises = training.has("randomise")
    by = normalisation(images, np.arange(len(images)))
    by = Normalisation(by.mean, max(by.sd, 1.0))  # a region may leave only a single grey level
    data = TBDataset(images, target, torch.device(device), groups=groups, resident=not randomises)
    return folded(fit(data, by, training, change=randomised if randomises else None).cnn), by


def region(
    images: Pixels,
    masks: Mask,
    target: Ints,
    train: Mask,
    name: str,
    seed: int,
    training: dict[str, Any],
    device: str = "cpu",
) -> dict[str, Any]:
    """Logits of the held-out films for one region (a key of `REGIONS`) and one seed."""
    left = REGIONS[name].left_of(images, masks, seed)
    cnn, by = fitted(left[train], target[train], None, replace(training_of(training), seed=seed), device)
    return {"logits": logits_of_images(cnn, left[~train], by).tolist()}


def reference(
    variants: Pixels,
    target: Ints,
    groups: Ints,
    held_out: Pixels,
    edited: Pixels,
    placebo: Pixels,
    seed: int,
    training: dict[str, Any],
    device: str = "cpu",
) -> dict[str, Any]:
    """Train a reference network on one of the `variants`, uint8 (V, N, S, S), of each film; see `answers`.

    `groups` (N,) are of label and cues, for mitigations in training.
    """
    chosen = np.random.default_rng([seed, len(variants)]).integers(len(variants), size=len(target))
    films = variants[chosen, np.arange(len(target))]
    network = fitted(films, target, groups, replace(training_of(training), seed=seed), device)
    return answers(*network, held_out, edited, placebo)


def outside_reference(
    images: Pixels,
    masks: Mask,
    target: Ints,
    groups: Ints,
    held_out: Pixels,
    edited: Pixels,
    placebo: Pixels,
    seed: int,
    training: dict[str, Any],
    device: str = "cpu",
) -> dict[str, Any]:
    """Train a reference network on films with the outside of another one, of either class; see `answers`."""
    other = np.random.default_rng([seed, 1]).permutation(len(images))
    films = shown_within(images, masks | masks[other], images[other])
    network = fitted(films, target, groups, replace(training_of(training), seed=seed), device)
    return answers(*network, held_out, edited, placebo)


def planted(
    plain: Pixels,
    put: Pixels,
    carries: Mask,
    target: Ints,
    held_out: Pixels,
    edited: Pixels,
    placebo: Pixels,
    seed: int,
    training: dict[str, Any],
    device: str = "cpu",
) -> dict[str, Any]:
    """Train on films `plain`, or with a cue, `put`, for those that `carries` (N,) names; see `answers`.

    If it names none, this is a negative control.
    """
    films = np.where(carries.reshape(-1, *(1,) * (plain.ndim - 1)), put, plain)
    network = fitted(films, target, None, replace(training_of(training), seed=seed), device)
    return answers(*network, held_out, edited, placebo)


def answers(cnn: CNN, by: Normalisation, held_out: Pixels, edited: Pixels, placebo: Pixels) -> dict[str, Any]:
    """Logits of a trained network: of held-out films, and of films after edits (`after`) and placebos (`before`)."""
    logits = logits_of_images(cnn, np.concatenate([held_out, edited, placebo]), by)
    parts = np.split(logits, [len(held_out), len(held_out) + len(edited)])
    return {name: part.tolist() for name, part in zip(("logits", "after", "before"), parts, strict=True)}


def mitigated(
    images: Pixels,
    edited: Pixels,
    others: Pixels,
    target: Ints,
    groups: Ints,
    train: Mask,
    drawn: Pixels,
    mitigation: str | None,
    seed: int,
    training: dict[str, Any],
    device: str = "cpu",
) -> dict[str, Any]:
    """Train a CNN with a mitigation (see `tblib.mitigation`); return its logits of held-out, edited and external films.

    All films are as the mitigation leaves them: `images` uint8 (N, S, S); `edited` uint8 (K, 2, n, S, S), n held-out
    films with cue k and with its placebo; external films `others` uint8 (M, S, S); `drawn` uint8 (D, S, S), training
    films with drawn lesions. `groups` (N,) are of label and cues.
    """
    how = replace(training_of(training), seed=seed, mitigation=mitigation)
    cnn, by = fitted(*with_drawn(images[train], target[train], groups[train], drawn), how, device)
    return {
        "logits": logits_of_images(cnn, images[~train], by).tolist(),
        "edited": [[logits_of_images(cnn, each, by).tolist() for each in pair] for pair in edited],
        "others": logits_of_images(cnn, others, by).tolist(),
    }
