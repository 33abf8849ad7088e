"""Unnamed shortcuts: places outside the lungs that move the model, whatever they show. A question, never a verdict."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tblib.arrays import Floats, Ints, Mask, Pixels
from tblib.audit.effects import probability
from tblib.audit.saliency import Saliency
from tblib.audit.study import Audit
from tblib.eda.baselines import cross_validated
from tblib.films import edits
from tblib.films.boxes import Box
from tblib.metrics import Estimate, Scored, bootstrap_weights, ranking
from tblib.show.plots import CLASSES, cased, draw_film, legend_below, short, tiles
from tblib.show.text import by_name, estimate

LOOKED = 20  # held-out films of each class
GRID = 8  # blocks per side
LUNG = 0.05  # most lung in a block
MOVES = 0.005  # least change of the probability for a block to count
CLUSTERS, SHOWN, EXAMPLES = 6, 4, 3  # clusters sought per class, shown, and films of each
SHUT = "No places are sought: maps of this model do not depend on what it has learned."


@dataclass(frozen=True)
class Unnamed:
    """Places outside the lungs that move the model.

    Attributes:
        places: label, row, column (of `GRID`), points (mean change of the probability, towards the class, where the
            block is not painted over), films (share that the place moves), auroc (of a baseline that sees the block).
        examples: for each place, rows of the films that it moves most.
        note: why none was sought, or empty.
    """

    places: list[dict[str, Any]]
    examples: list[Ints]
    note: str = ""


def measure(audit: Audit, maps: Saliency) -> Unnamed:
    """Paint over each block outside the lungs; cluster those that move the model by where they are and what they show.

    Films are held-out ones; nothing is sought if the sanity check of the saliency maps failed.
    """
    if not (maps.numbers["gate"] or {"open": True})["open"]:
        return Unnamed([], [], SHUT)
    places: list[dict[str, Any]] = []
    examples = []
    for label in (0, 1):
        rows = audit.held_out_rows[audit.target[audit.held_out_rows] == label][:LOOKED]
        moved = occluded(audit, rows, 1.0 if label else -1.0)
        for row, column, near in _clusters(audit.grey[rows], moved, audit.seed):
            strength = np.where(near[None], np.nan_to_num(moved), 0.0).max(axis=(1, 2))
            area = _baseline(audit, row, column)._asdict()
            films = float((strength > MOVES).mean())
            points = 100 * float(strength.mean())
            places.append(
                {"label": label, "row": row, "column": column, "points": points, "films": films, "auroc": area}
            )
            examples.append(rows[np.argsort(-strength)[:EXAMPLES]])
    return Unnamed(places, examples)


def block(row: int, column: int, shape: tuple[int, ...]) -> Box:
    """The box of a block on a film of this shape, (H, W) or (H, W, 3)."""
    down, across = ([round(side * place / GRID) for place in range(GRID + 1)] for side in shape[:2])
    return Box(down[row], across[column], down[row + 1], across[column + 1])


def occluded(audit: Audit, rows: Ints, sign: float) -> Floats:
    """Float (n, GRID, GRID): how far the probability moves, times `sign`, when a block is as it is and not painted over
    with what surrounds it; NaN for blocks with lung."""
    seen = _without_lung(audit.masks_in_files(rows))
    moved = np.full(seen.shape, np.nan)
    for i, film in enumerate(audit.pictures(rows)):
        places = np.argwhere(seen[i])
        painted = [edits.retouched(film, block(row, column, film.shape)).pixels for row, column in places]
        scores = probability(audit.logits_of([film, *painted], np.full(1 + len(painted), rows[i])))
        moved[i][seen[i]] = sign * (scores[0] - scores[1:])
    return moved


def _without_lung(masks: Mask) -> Mask:
    shares = np.empty((len(masks), GRID, GRID))
    for row in range(GRID):
        for column in range(GRID):
            box = block(row, column, masks.shape[1:])
            shares[:, row, column] = masks[:, box.top : box.bottom, box.left : box.right].mean(axis=(1, 2))
    return shares <= LUNG


def _clusters(films: Pixels, moved: Floats, seed: int) -> list[tuple[int, int, Mask]]:
    """Row, column and members (GRID, GRID) of the strongest clusters of blocks that move the model, strongest first."""
    from sklearn.cluster import KMeans  # takes a second to import

    strong = np.argwhere(np.nan_to_num(moved) > MOVES)
    if not len(strong):
        return []
    boxes = [block(row, column, films.shape[1:]) for _, row, column in strong]
    patches = [films[i, b.top : b.bottom, b.left : b.right] for (i, *_), b in zip(strong, boxes, strict=True)]
    shown = np.array([[patch.mean() / 64, patch.std() / 64] for patch in patches])
    features, weight = np.hstack([strong[:, 1:], shown]), moved[tuple(strong.T)]
    clusters = min(CLUSTERS, len(np.unique(features, axis=0)))
    fitted = KMeans(clusters, n_init=4, random_state=seed).fit(features, sample_weight=weight)
    found = []
    for cluster in np.argsort(-np.bincount(fitted.labels_, weights=weight))[:SHOWN]:
        own = fitted.labels_ == cluster
        sums = np.zeros((GRID, GRID))
        np.add.at(sums, tuple(strong[own, 1:].T), weight[own])
        row, column = np.unravel_index(sums.argmax(), sums.shape)
        found.append((int(row), int(column), sums > 0))
    return found


def _baseline(audit: Audit, row: int, column: int) -> Estimate:
    """AUROC of a baseline that sees one block of each film: 4×4 means, mean and sd."""
    box = block(row, column, audit.grey.shape[1:])
    patches = audit.grey[:, box.top : box.bottom, box.left : box.right].astype(float)
    side = min(patches.shape[1:]) // 4 * 4
    means = patches[:, :side, :side].reshape(len(patches), 4, side // 4, 4, side // 4).mean(axis=(2, 4))
    features = np.hstack([means.reshape(len(patches), -1), patches.std(axis=(1, 2))[:, None]])
    score = cross_validated(pd.DataFrame(features), audit.target, audit.group, audit.seed, kind="logistic")
    scored = Scored(audit.target, score, audit.group)
    return ranking(scored, bootstrap_weights(scored, audit.replicates, audit.seed))


def figure(audit: Audit, found: Unnamed) -> Figure | str:
    """For each place the films that it moves most, with the place outlined."""
    if not found.places:
        return found.note or "No place outside the lungs moves the model."
    classes = audit.database.classes
    told = "; ".join(_place(one, classes) for one in found.places)
    shown = [(one, row) for one, rows in zip(found.places, found.examples, strict=True) for row in rows]
    most = max(found.places, key=lambda one: one["points"])
    alt = f"A place outside the lungs moves the model by {most['points']:+.1f} points towards {classes[most['label']]}."
    figure, axes = tiles(len(shown), 2 * EXAMPLES, f"{alt} All places, {told}.", legend=True)
    for ax, (one, row) in zip(axes, shown, strict=True):
        name = short(str(audit.films["file"].iloc[row]))
        draw_film(ax, audit.images[row], f"{name}\n{one['points']:+.1f} points")
        box = block(one["row"], one["column"], audit.grey.shape[1:])
        ax.add_patch(Rectangle((box.left - 0.5, box.top - 0.5), box.width, box.height, **_outline(one["label"])))
    boxes = [Rectangle((0, 0), 1, 1, label=f"towards {classes[label]}", **_outline(label)) for label in (0, 1)]
    legend_below(figure, 2, boxes)
    return figure


def _outline(label: int) -> dict[str, Any]:
    """How a place that moves the model towards a class is outlined."""
    casing = cased(3.6, "white")  # class colours are dark
    return {"fill": False, "edgecolor": CLASSES[label], "linewidth": 1.8, "path_effects": casing}


def _place(one: dict[str, Any], classes: tuple[str, str]) -> str:
    return (
        f"{classes[one['label']]}, row {one['row'] + 1} and column {one['column'] + 1} of {GRID}: "
        f"{one['points']:+.1f} points"
    )


def finding(found: Unnamed, classes: tuple[str, str]) -> str:
    """The strongest place of each class, as a question."""
    if not found.places:
        return found.note or "No place outside the lungs moves the model."
    strongest = [next((one for one in found.places if one["label"] == label), None) for label in (1, 0)]
    told = "; ".join(
        f"{_place(one, classes)} on average, a baseline on that block alone {estimate(one['auroc'])}"
        for one in strongest
        if one
    )
    return (
        f"Outside the lungs, these places move the model most towards each class: {told}. What is there is to be seen."
    )


def table(found: Unnamed, classes: tuple[str, str]) -> pd.DataFrame:
    """One row per place: class, where, mean change of the probability, share of films, AUROC of the block alone."""
    rows = [
        {
            "towards": classes[one["label"]],
            "place": f"row {one['row'] + 1}, column {one['column'] + 1} of {GRID}",
            "probability, points": f"{one['points']:+.1f}",
            "films moved": f"{100 * one['films']:.0f} %",
            "AUROC of a baseline on the block": estimate(one["auroc"]),
        }
        for one in found.places
    ]
    return by_name(
        pd.DataFrame(rows, columns=None if rows else ["towards"]),
        "towards",
        "Places outside the lungs that move the model",
    )
