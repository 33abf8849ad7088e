"""Saliency: which pixels move the model's logit, shown only if the map hangs on what the model has learnt."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter

from tblib.dataset import normalise
from tblib.edits import Mask
from tblib.film import Pixels
from tblib.metrics import Floats
from tblib.model import CNN, TrainedModel, folded
from tblib.prepare import Normalisation
from tblib.train import seeded

SAMPLES, NOISE = 8, 0.2  # noisy copies a map is averaged over, and their noise in sd of the grey levels
SMOOTH = 1 / 64  # of the side, by which a map is smoothed
ALIKE = 0.7  # rank correlation with maps of random weights from which the gate is shut: half of the variance is theirs


def maps(cnn: CNN, images: Pixels, by: Normalisation, seed: int) -> Floats:
    """Float (N, S, S), each film's sum 1: gradients of the logit over noisy copies (SmoothGrad, Smilkov 2017).

    Args:
        cnn: in evaluation mode, on the CPU.
        images: uint8 (N, S, S).
        by: the normalisation it was trained with.
        seed: of the noise.
    """
    from captum.attr import NoiseTunnel, Saliency  # a second of imports, for this one chapter

    tunnel = NoiseTunnel(Saliency(cnn))
    drawn = []
    with seeded(seed, torch.device("cpu")):
        for batch in torch.from_numpy(images.copy()).unsqueeze(1).split(16):
            films = normalise(batch, by).requires_grad_()
            found = tunnel.attribute(films, nt_type="smoothgrad_sq", nt_samples=SAMPLES, stdevs=NOISE)
            drawn.append(found.detach().squeeze(1).numpy())
    smooth = np.stack([gaussian_filter(one.astype(np.float64), SMOOTH * len(one)) for one in np.concatenate(drawn)])
    total: Floats = smooth / smooth.sum((1, 2), keepdims=True).clip(min=1e-30)
    return total


def gate(trained: TrainedModel, images: Pixels, seed: int) -> dict[str, Any]:
    """Whether maps change when the weights are random (Adebayo 2018).

    Returns:
        open, mean rank correlation of each film's map with that of an untrained network, the limit, films, seed.
    """
    with seeded(seed, torch.device("cpu")):
        random = folded(CNN(trained.size, 0.0, trained.training.get("width", 32)))
    by = trained.normalisation
    pairs = zip(maps(trained.cnn, images, by, seed), maps(random, images, by, seed), strict=True)
    alike = float(np.mean([_alike(one, other) for one, other in pairs]))
    return {"open": alike < ALIKE, "correlation": alike, "limit": ALIKE, "films": len(images), "seed": seed}


def _alike(one: Floats, other: Floats) -> float:
    """Rank correlation of two maps; 1 where one is flat, as of a network that has died: nothing learnt shows in it."""
    from scipy.stats import spearmanr  # 0.4 seconds that only those wait for who ask for a map

    return float(spearmanr(one.ravel(), other.ravel()).statistic) if np.ptp(one) and np.ptp(other) else 1.0


def inside(found: Floats, fields: Mask) -> Floats:
    """Float (n,): share of each map inside its lung field over the field's share of the film; 1 is chance.

    Films without a field are left out.
    """
    area = fields.mean((1, 2))
    share = (found * fields).sum((1, 2))
    ratio: Floats = share[area > 0] / area[area > 0]
    return ratio


def by_class(ratios: Floats, target: npt.NDArray[np.int64], replicates: int, seed: int) -> dict[str, dict[str, float]]:
    """Mean of `inside` for each class, with percentiles of a bootstrap of films."""
    rng, told = np.random.default_rng(seed), {}
    for label in (0, 1):
        own = ratios[target == label]
        drawn = rng.choice(own, (replicates, len(own))).mean(1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        told[str(label)] = {"value": float(own.mean()), "low": float(low), "high": float(high), "n": len(own)}
    return told
