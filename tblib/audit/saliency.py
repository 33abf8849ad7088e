"""Saliency: which pixels change the model's logit, shown only if the map depends on what the model has learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from tblib.arrays import Floats, Ints, Mask, Normalisation, Pixels
from tblib.classifiers.trained import TrainedModel
from tblib.dataset import normalise, planes
from tblib.devices import seeded
from tblib.model import CNN, folded
from tblib.show.plots import OCHRE, cased, draw_film, key, legend_below, overlay, short, tiles
from tblib.show.text import estimate, interval_of

if TYPE_CHECKING:
    from tblib.audit.study import Audit  # takes most of a second to import, and predictions need only the maps

SAMPLES, NOISE = 8, 0.2  # noisy copies averaged per map, and their noise in sd of the grey levels
SMOOTH = 1 / 64  # width of the smoothing of a map, as a share of the side
ALIKE = 0.7  # rank correlation with maps of random weights that closes the gate: half of the variance is theirs


def maps(cnn: CNN, images: Pixels, by: Normalisation, seed: int) -> Floats:
    """Float (N, S, S), summing to 1 per film: logit gradients averaged over noisy copies (SmoothGrad, Smilkov 2017).

    `cnn` is in evaluation mode on the CPU, `images` are uint8 (N, S, S) or (N, S, S, 3), and `by` is the normalisation
    of `cnn`. In colour the map is the mean over channels.
    """
    from captum.attr import NoiseTunnel, Saliency  # takes a second to import, and only this chapter needs it

    tunnel = NoiseTunnel(Saliency(cnn))
    drawn = []
    with seeded(seed, torch.device("cpu")):
        for batch in planes(torch.from_numpy(images.copy())).split(16):
            films = normalise(batch, by).requires_grad_()
            found = tunnel.attribute(films, nt_type="smoothgrad_sq", nt_samples=SAMPLES, stdevs=NOISE)
            drawn.append(found.detach().mean(1).numpy())
    smooth = np.stack([gaussian_filter(one.astype(np.float64), SMOOTH * len(one)) for one in np.concatenate(drawn)])
    total: Floats = smooth / smooth.sum((1, 2), keepdims=True).clip(min=1e-30)
    return total


def gate(trained: TrainedModel, images: Pixels, seed: int) -> dict[str, Any]:
    """Whether maps change when the weights are randomised (Adebayo 2018).

    Returns open, the mean rank correlation of each film's map with that of an untrained CNN, the limit, films, seed.
    """
    with seeded(seed, torch.device("cpu")):
        random = folded(CNN(trained.size, 0.0, trained.training.get("width", 32), trained.channels))
    by = trained.normalisation
    pairs = zip(maps(trained.cnn, images, by, seed), maps(random, images, by, seed), strict=True)
    alike = float(np.mean([_alike(one, other) for one, other in pairs]))
    return {"open": alike < ALIKE, "correlation": alike, "limit": ALIKE, "films": len(images), "seed": seed}


def _alike(one: Floats, other: Floats) -> float:
    """Rank correlation of two maps; 1 if one is flat, as for a dead network, which shows nothing learned."""
    from scipy.stats import spearmanr  # takes 0.4 s to import, and only maps need it

    return float(spearmanr(one.ravel(), other.ravel()).statistic) if np.ptp(one) and np.ptp(other) else 1.0


def inside(found: Floats, fields: Mask) -> Floats:
    """Float (n,): share of each map inside the lungs, over their share of the film (1: chance), without empty masks."""
    area = fields.mean((1, 2))
    share = (found * fields).sum((1, 2))
    ratio: Floats = share[area > 0] / area[area > 0]
    return ratio


def by_class(ratios: Floats, target: Ints, replicates: int, seed: int) -> dict[str, dict[str, float]]:
    """Mean of `inside` for each class, with percentiles of a bootstrap over films."""
    rng, told = np.random.default_rng(seed), {}
    for label in (0, 1):
        own = ratios[target == label]
        drawn = rng.choice(own, (replicates, len(own))).mean(1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        told[str(label)] = {"value": float(own.mean()), "low": float(low), "high": float(high), "n": len(own)}
    return told


OUTLINE = "#7FDBFF"  # of lungs, bright enough on films
NO_GRADIENTS = "No maps are shown: this model gives scores alone, and a map takes its gradients."
GATED = 12  # films per class for which maps are computed; the gate uses half of them
SHOWN = 6  # maps shown


@dataclass(frozen=True)
class Saliency:
    """Saliency maps of held-out films, and their gate.

    Attributes:
        numbers: gate, from `gate`, or None if the model gives no gradients; inside, from `by_class`, or None without
            maps.
        rows: int (n,), rows of the films whose maps are shown.
        maps: float (n, S, S), their maps.
    """

    numbers: dict[str, Any]
    rows: Ints
    maps: Floats


def measure(audit: Audit) -> Saliency:
    """Saliency maps of held-out films."""
    if audit.network is None:
        return Saliency({"gate": None, "inside": None}, np.empty(0, np.int64), np.empty((0, *audit.grey.shape[1:])))
    held_out, network = audit.held_out_rows, audit.network
    rows = np.concatenate([held_out[audit.target[held_out] == label][:GATED] for label in (0, 1)])
    told = gate(network, audit.images[rows[::2]], audit.seed)
    if not told["open"]:
        return Saliency({"gate": told, "inside": None}, rows[:0], np.empty((0, *audit.grey.shape[1:])))
    found = maps(network.cnn, audit.images[rows], network.normalisation, audit.seed)
    masks = audit.masks_of(rows)
    seen = masks.any((1, 2))
    ratios = inside(found[seen], masks[seen])
    shares = by_class(ratios, audit.target[rows][seen], audit.replicates, audit.seed)
    shown = np.concatenate([np.flatnonzero(audit.target[rows] == label)[: SHOWN // 2] for label in (0, 1)])
    return Saliency({"gate": told, "inside": shares}, rows[shown], found[shown])


def figure(audit: Audit, found: Saliency) -> Figure | str:
    """Films overlaid with their saliency maps and lung outlines, or the reason why there are none."""
    told, films = found.numbers["gate"], audit.films.iloc[found.rows]
    if told is None:
        return NO_GRADIENTS
    if not told["open"]:
        return (
            f"No maps are shown: they correlate at {told['correlation']:.2f} with those of random weights "
            f"(limit {told['limit']})."
        )
    shares = [part["value"] for part in found.numbers["inside"].values() if part["value"] is not None]
    where = "no more in the lungs than by chance" if shares and max(shares) <= 1 else "more in the lungs than by chance"
    names = ", ".join(f"{short(str(row.file))} ({row.label})" for row in films.itertuples())
    alt = f"What moves the score lies {where if shares else 'where the maps are bright'}"
    ratios = f", {', '.join(f'{share:.2f}' for share in shares)} times as much by class" if shares else ""
    figure, axes = tiles(len(films), 3, f"{alt}{ratios}. Saliency maps with lung outlines: {names}.", legend=True)
    masks = audit.masks_of(found.rows)
    shown = zip(axes, found.rows, found.maps, films.itertuples(), masks, strict=True)
    for ax, place, its_map, row, mask in shown:
        draw_film(ax, overlay(audit.images[place], its_map), f"{short(str(row.file))}\n{row.label}")
        if mask.any():
            lungs = ax.contour(mask, levels=[0.5], colors=[OUTLINE], linewidths=1.0)
            lungs.set_path_effects(cased(2.2))
    outline = key("lungs", OUTLINE, line="-", width=1.0)
    outline.set_path_effects(cased(2.2))
    legend_below(figure, 2, [outline, key("bright: moves the score most", OCHRE, "s")])
    return figure


def finding(found: Saliency, classes: tuple[str, str]) -> str:
    """Whether maps may be shown, and what share of them lies inside the lungs."""
    numbers, gate = found.numbers, found.numbers["gate"]
    if gate is None:
        return NO_GRADIENTS
    told = (
        f"they correlate with maps of random weights at {gate['correlation']:.2f} ({gate['films']} films; limit "
        f"{gate['limit']})"
    )
    if not gate["open"]:
        return f"The maps do not depend on what the CNN has learnt: {told}. So none is shown."
    shares = " and ".join(
        f"{estimate(interval_of(part))} in {classes[int(label)]} films" for label, part in numbers["inside"].items()
    )
    return (
        f"The maps depend on what the CNN has learnt: {told}. The lungs have {shares} times the share of the map that "
        "chance would give them."
    )
