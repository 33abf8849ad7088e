"""Kinds of training that the study of mitigations tries beside those that a run can have.

Each takes what `tblib.audit.fits.mitigated` takes, and the name of the kind, and gives the same. The networks, films,
steps, rates and random numbers of the augmentation are those of `tblib.train.fit`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from tblib.arrays import Ints, Mask, Normalisation, Pixels
from tblib.audit.fits import training_of
from tblib.dataset import TBDataset, augment, augmentation_parameters, normalise, planes
from tblib.devices import full_precision, set_up
from tblib.mitigation import ModelInput
from tblib.model import CNN, folded, logits_of_images
from tblib.phantoms.lungs import lung_network
from tblib.phantoms.phantom import phantom_film
from tblib.phantoms.presets import CLASSES
from tblib.prepare import normalisation, with_drawn
from tblib.system.files import file_digest
from tblib.train import STREAM, Training, _begin, cosine, segments

ADAPTED = "batch statistics of the new hospital, of its unlabelled films"
SECOND = "lesion masks as a second output"
RELEVANCE = "a penalty on relevance outside the lungs"
PRETRAINED = "trained as a masked autoencoder first"
NAMES = (ADAPTED, SECOND, RELEVANCE, PRETRAINED)
CODE = file_digest(Path(__file__))[:8]
WEIGHT = 1.0  # of the second output's loss, and of the penalty
CELL = 16  # px: side of a masked patch, and of a cell of the last block
HIDDEN = 0.6  # share of the patches that are masked
PHANTOMS, PASSES, RATE = 400, 12, 2e-3  # of the autoencoder
FIRST_PHANTOM = 600_000  # its seed
DRAWN_AT = 4  # grey levels by which a film with a drawn lesion differs from the one without


@dataclass(frozen=True)
class Films:
    """Training films of one fit, with what some kinds of training know beside them.

    Attributes:
        images: uint8 (N, S, S); the last `drawn` of them carry drawn lesions.
        target: int (N,).
        lesions: uint8 (N, S, S), 255 where a lesion was drawn.
        known: bool (N,), whether all lesions of a film are known: of negative and of drawn ones.
    """

    images: Pixels
    target: Ints
    lesions: Pixels
    known: Mask


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
    kind: str,
    code: str = "",
    device: str = "cpu",
) -> dict[str, Any]:
    """Train a CNN in one of these kinds (`NAMES`), and return its logits, as `tblib.audit.fits.mitigated` does.

    `code` is the digest of this file, by which kept results of other code are told apart.
    """
    assert code in ("", CODE), "a worker has other code than the study"
    how = replace(training_of(training), seed=seed)
    films = _films(images[train], target[train], groups[train], drawn)
    by = normalisation(films.images, np.arange(len(films.images)))
    start = autoencoder(films.images[: train.sum()], mitigation, how) if kind == PRETRAINED else None
    cnn = fitted(films, by, how, start, second=kind == SECOND, relevance=kind == RELEVANCE)
    elsewhere = adapted(cnn, others, by) if kind == ADAPTED else copy.deepcopy(cnn)
    cnn, elsewhere = folded(cnn), folded(elsewhere)
    return {
        "logits": logits_of_images(cnn, images[~train], by).tolist(),
        "edited": [[logits_of_images(cnn, each, by).tolist() for each in pair] for pair in edited],
        "others": logits_of_images(elsewhere, others, by).tolist(),
    }


def _films(images: Pixels, target: Ints, groups: Ints, drawn: Pixels) -> Films:
    """The training films; what was drawn is where a drawn film differs from its own original, by smooth or not."""
    joined, labels, _ = with_drawn(images, target, groups, drawn)
    apart = np.abs(drawn.astype(np.int16) - images[target == 0][: len(drawn)]) > DRAWN_AT
    lesions = np.concatenate([np.zeros_like(images), 255 * apart.astype(np.uint8)])
    known = np.concatenate([target == 0, np.ones(len(drawn), bool)])
    return Films(joined, labels, lesions, known)


def fitted(
    films: Films,
    by: Normalisation,
    how: Training,
    start: dict[str, Tensor] | None = None,
    second: bool = False,
    relevance: bool = False,
) -> CNN:
    """Train a CNN; `start` are the weights of its blocks, if they were trained before."""
    data = TBDataset(films.images, films.target, torch.device("cpu"))
    how = how.settled(data)
    set_up(how.threads)
    state = _begin(how, data)
    cnn = state.cnn
    assert isinstance(cnn, CNN)
    if start:
        cnn.blocks.load_state_dict(start)
    torch.manual_seed(how.seed)
    outline = nn.Conv2d(how.width * 8, 1, 1)
    if second:
        state.optimiser.add_param_group({"params": outline.parameters()})
    beside = [torch.from_numpy(each).unsqueeze(1) for each in (films.lesions, _outside(films.images, relevance))]
    known = torch.from_numpy(films.known).float().view(-1, 1, 1, 1)
    weight, still = torch.tensor(how.pos_weight), replace(how.augmentation, brightness=0.0, contrast=0.0)
    for segment in segments(how, len(data)):
        generator = torch.Generator().manual_seed(how.seed * STREAM + segment.epoch)
        moves = augmentation_parameters(len(data), generator).split(how.batch_size, dim=1)
        order, side = data.order(generator).split(how.batch_size), data.side // (2 if segment.low_resolution else 1)
        cnn.train()
        for number in segment.steps:
            done = (segment.epoch + (number + 0.5) / segment.of) / how.epochs
            for group in state.optimiser.param_groups:
                group["lr"] = how.lr * cosine(done, how.warm_up)
            rows, move = order[number], moves[number]
            moved, target, _ = data.batch(rows)
            inputs = normalise(augment(moved, how.augmentation, move, side, how.padding), by)
            inputs.requires_grad_(relevance)
            with torch.autocast("cpu", torch.bfloat16) if how.precision == "bf16" else full_precision():
                features = F.interpolate(cnn.blocks(inputs), size=(cnn.side, cnn.side))
                logit, cells = cnn.head(features).squeeze(1).float(), outline(features).float()
            loss = F.binary_cross_entropy_with_logits(logit, target, pos_weight=weight)
            lesions, outside = (augment(each[rows], still, move, side, "black") / 255 for each in beside)
            if second:
                loss = loss + WEIGHT * _outlined(cells, lesions, known[rows])
            if relevance:
                loss = loss + WEIGHT * _astray(logit, inputs, outside)
            state.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            state.optimiser.step()
    return cnn


def _outside(images: Pixels, wanted: bool) -> Pixels:
    """Uint8 (N, S, S): 255 outside the estimated lungs; 0 everywhere if nobody wants to know."""
    return 255 * (~lung_network().masks(images)).astype(np.uint8) if wanted else np.zeros_like(images)


def _outlined(logits: Tensor, lesions: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy of the cells (B, 1, c, c) that hold a lesion, over films whose lesions are all known."""
    cells = (F.adaptive_max_pool2d(lesions, logits.shape[-1]) > 0.5).float()
    return (F.binary_cross_entropy_with_logits(logits, cells, reduction="none") * known).mean()


def _astray(logit: Tensor, inputs: Tensor, outside: Tensor) -> Tensor:
    """Share of the squared input gradients that lies outside the lungs (Ross 2017)."""
    slopes = torch.autograd.grad(logit.sum(), inputs, create_graph=True)[0].square()
    return ((slopes * outside).sum((1, 2, 3)) / (slopes.sum((1, 2, 3)) + 1e-12)).mean()


def autoencoder(images: Pixels, mitigation: str | None, how: Training) -> dict[str, Tensor]:
    """State of a CNN's blocks that were trained to fill in masked patches (He 2022) of films uint8 (N, S, S) and of
    SYNTHETIC ones after the same preparation; no label is shown."""
    size = images.shape[1]
    given = ModelInput(size, mitigation, lung_network())
    drawn = [phantom_film(CLASSES[number % 2], FIRST_PHANTOM + number).pixels for number in range(PHANTOMS)]
    films = planes(torch.from_numpy(np.concatenate([images, np.stack([given.of(film) for film in drawn])])))
    by = normalisation(images, np.arange(len(images)))
    set_up(how.threads or 1)
    torch.manual_seed(how.seed)
    cnn, decoder = CNN(size, 0.0, how.width), nn.Conv2d(8 * how.width, CELL**2, 1)
    batches = -(-len(films) // how.batch_size)
    optimiser = torch.optim.Adam([*cnn.blocks.parameters(), *decoder.parameters()])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=PASSES * batches)
    for _ in tqdm(range(PASSES), desc="autoencoder", unit="epoch"):
        for rows in torch.randperm(len(films)).split(how.batch_size):
            inputs, cells = normalise(films[rows], by), size // CELL
            hidden = F.interpolate((torch.rand(len(rows), 1, cells, cells) < HIDDEN).float(), scale_factor=CELL)
            filled = F.pixel_shuffle(decoder(cnn.blocks(inputs * (1 - hidden))), CELL)
            loss = ((filled - inputs).square() * hidden).sum() / hidden.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return cnn.blocks.state_dict()


def adapted(cnn: CNN, images: Pixels, by: Normalisation) -> CNN:
    """A copy whose batch statistics are those of other films, uint8 (N, S, S) (Li 2017)."""
    moved = copy.deepcopy(cnn).eval()
    for layer in moved.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
            layer.train()
    with torch.inference_mode():
        for batch in planes(torch.from_numpy(np.array(images))).split(64):
            moved(normalise(batch, by))
    return moved.eval()
