"""Fits: small CNNs trained as references, on a region of the films, on a planted cue, or with a mitigation.

Each function here is one job (`tblib.audit.jobs`): it gets arrays and settings, trains one CNN, and returns plain
numbers. It is written as a generator, which yields what is to be trained and is sent the network (`asks`), so that
several of them are trained at once (`tblib.audit.stacked`). Common arguments are films uint8 (N, S, S) with label or
target (N,), 1 for the positive class, and duplicate group (N,); train bool (N,), the training films, while the others
are held out; the random seed; training, the settings that differ from `SMALL`; and the device to compute on.
"""

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from tblib.arrays import Ints, Mask, Normalisation, Pixels
from tblib.audit.stacked import can_be_stacked, fit_stacked
from tblib.audit.views import REGIONS
from tblib.dataset import Augmentation, TBDataset
from tblib.devices import pick_precision
from tblib.metrics import Scored, auroc
from tblib.mitigation import in_training, randomised, shown_within
from tblib.model import CNN, folded, logits_of_images
from tblib.prepare import normalisation, with_drawn
from tblib.train import Training, fit

CHANNELS = 16  # of the first blocks of networks that a CPU trains at once: as many as its widest vectors hold
STACKED = 8  # networks that a card trains at once
TRAINED_ON = ("images", "variants", "plain", "drawn", "target")  # arrays on which the number of training films depends
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


class Wanted(NamedTuple):
    """A training: films uint8 (N, S, S) with target (N,) and group (N,) or None, settings and device."""

    images: Pixels
    target: Ints
    groups: Ints | None
    training: Training
    device: str


Network = tuple[CNN, Normalisation]  # in evaluation mode, on the device of its training
Asking = Generator[Wanted, Network, dict[str, Any]]


def asks(of: Callable[..., Asking]) -> Callable[..., dict[str, Any]]:
    """A fit as a function. Its attribute ``together`` takes the arguments of several calls and trains all at once, if
    they are `alike`; this and `at_once` are attributes, too."""

    @wraps(of)
    def alone(*arguments: Any, **named: Any) -> dict[str, Any]:
        """What the fit returns, with a network trained by itself."""
        return _answered([of(*arguments, **named)])[0]

    def together(calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What each of these calls returns, with their networks trained at once."""
        return _answered([of(**call) for call in calls])

    alone.together, alone.alike, alone.at_once = together, alike, at_once  # type: ignore[attr-defined]
    return alone


def alike(arrays: dict[str, npt.NDArray[Any]], settings: dict[str, Any]) -> str:
    """Text that is the same for calls of a fit whose networks can be trained at once: on as many films of one shape,
    with the same settings but for the seed and what happened to the films before."""
    how = {name: value for name, value in settings.items() if name not in ("seed", "name", "mitigation")}
    shapes = {name: arrays[name].shape for name in TRAINED_ON if name in arrays}
    train = int(arrays["train"].sum()) if "train" in arrays else 0
    return json.dumps([how, in_training(settings.get("mitigation")), shapes, train], sort_keys=True)


def at_once(settings: dict[str, Any]) -> int:
    """How many networks are trained at once by calls of a fit with these settings: more would be no faster."""
    on_cpu = settings.get("device", "cpu") == "cpu"
    return max(1, CHANNELS // training_of(settings["training"]).width) if on_cpu else STACKED


def _answered(asking: Sequence[Asking]) -> list[dict[str, Any]]:
    """What fits return, once they were sent the networks that they ask for."""
    networks = trained([next(each) for each in asking])
    return [_returned(each, network) for each, network in zip(asking, networks, strict=True)]


def _returned(asking: Asking, network: Network) -> dict[str, Any]:
    try:
        asking.send(network)
    except StopIteration as end:
        found: dict[str, Any] = end.value
        return found
    raise RuntimeError("A fit trains one network.")


def trained(wanted: Sequence[Wanted]) -> list[Network]:
    """CNNs trained as wanted, at once where that is possible, and their normalisations."""
    sets, by = [], []
    for one in wanted:
        levels = normalisation(one.images, np.arange(len(one.images)))
        by.append(Normalisation(levels.mean, max(levels.sd, 1.0)))  # a region may leave only a single grey level
        resident = not one.training.has("randomise")
        sets.append(TBDataset(one.images, one.target, torch.device(one.device), groups=one.groups, resident=resident))
    trainings = [one.training for one in wanted]
    change = randomised if trainings[0].has("randomise") else None
    if len(wanted) > 1 and can_be_stacked(sets, trainings):
        cnns = fit_stacked(sets, by, trainings, change)
    else:
        each = zip(sets, by, trainings, strict=True)
        cnns = [fit(data, one, how, change=change if how.has("randomise") else None).cnn for data, one, how in each]
    return [(folded(cnn), one) for cnn, one in zip(cnns, by, strict=True)]


@asks
def region(
    images: Pixels,
    masks: Mask,
    target: Ints,
    train: Mask,
    name: str,
    seed: int,
    training: dict[str, Any],
    device: str = "cpu",
) -> Asking:
    """Logits of the held-out films for one region (a key of `REGIONS`) and one seed."""
    left = REGIONS[name].left_of(images, masks, seed)
    cnn, by = yield Wanted(left[train], target[train], None, replace(training_of(training), seed=seed), device)
    return {"logits": logits_of_images(cnn, left[~train], by).tolist()}


@asks
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
) -> Asking:
    """Train a reference network on one of the `variants`, uint8 (V, N, S, S), of each film; see `answers`.

    `groups` (N,) are of label and cues, for mitigations in training.
    """
    chosen = np.random.default_rng([seed, len(variants)]).integers(len(variants), size=len(target))
    films = variants[chosen, np.arange(len(target))]
    network = yield Wanted(films, target, groups, replace(training_of(training), seed=seed), device)
    return answers(*network, held_out, edited, placebo)


@asks
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
) -> Asking:
    """Train a reference network on films with the outside of another one, of either class; see `answers`."""
    other = np.random.default_rng([seed, 1]).permutation(len(images))
    films = shown_within(images, masks | masks[other], images[other])
    network = yield Wanted(films, target, groups, replace(training_of(training), seed=seed), device)
    return answers(*network, held_out, edited, placebo)


@asks
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
) -> Asking:
    """Train on films `plain`, or with a cue, `put`, for those that `carries` (N,) names; see `answers`.

    If it names none, this is a negative control.
    """
    films = np.where(carries.reshape(-1, *(1,) * (plain.ndim - 1)), put, plain)
    network = yield Wanted(films, target, None, replace(training_of(training), seed=seed), device)
    return answers(*network, held_out, edited, placebo)


def answers(cnn: CNN, by: Normalisation, held_out: Pixels, edited: Pixels, placebo: Pixels) -> dict[str, Any]:
    """Logits of a trained network: of held-out films, and of films after edits (`after`) and placebos (`before`)."""
    logits = logits_of_images(cnn, np.concatenate([held_out, edited, placebo]), by)
    parts = np.split(logits, [len(held_out), len(held_out) + len(edited)])
    return {name: part.tolist() for name, part in zip(("logits", "after", "before"), parts, strict=True)}


@asks
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
) -> Asking:
    """Train a CNN with a mitigation (see `tblib.mitigation`); return its logits of held-out, edited and external films.

    All films are as the mitigation leaves them: `images` uint8 (N, S, S); `edited` uint8 (K, 2, n, S, S), n held-out
    films with cue k and with its placebo; external films `others` uint8 (M, S, S); `drawn` uint8 (D, S, S), training
    films with drawn lesions. `groups` (N,) are of label and cues.
    """
    how = replace(training_of(training), seed=seed, mitigation=mitigation)
    cnn, by = yield Wanted(*with_drawn(images[train], target[train], groups[train], drawn), how, device)
    return {
        "logits": logits_of_images(cnn, images[~train], by).tolist(),
        "edited": [[logits_of_images(cnn, each, by).tolist() for each in pair] for pair in edited],
        "others": logits_of_images(cnn, others, by).tolist(),
    }
