"""Where it counts: the CNN on other hospitals' films, and remedies judged by them, by edits and by the worst group."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tblib import external as outside
from tblib import lungs, suspects, trials, verdicts
from tblib.audit import FEWEST, MATCHED_ON, Audit, over_seeds
from tblib.catalogue import Database
from tblib.edits import Mask
from tblib.evaluate import Calibration
from tblib.film import Pixels
from tblib.jobs import Job
from tblib.metrics import Scored, bootstrap_weights
from tblib.prepare import decode_into
from tblib.remedies import on_films

# --- other hospitals -----------------------------------------------------------------------------


def travel(audit: Audit) -> dict[str, Any]:
    """The CNN on the films of other hospitals: a row a set (`outside.measure`), and how well lungs are found there."""
    if not audit.sets:
        return {"sets": [], "lungs": _dice_of_known(audit), "note": "no external database was given"}
    metrics = audit.run.facts("metrics.json")
    scaling = Calibration(*(metrics["calibration"][name] for name in ("shift", "temperature", "note")))
    internal = audit.run.table("predictions.csv").query("part == 'test'")
    sets, masks = [], _dice_of_known(audit)
    for found in audit.sets:
        logits = audit.ask(found.images)
        sets.append(
            outside.measure(found, logits, internal, metrics["thresholds"], scaling, audit.replicates, audit.seed)
        )
        known = lungs.known_fields(found.database, found.files, outside.THUMBNAIL)
        if known is not None:
            masks.append(_dice(found.name, known, lungs.lung_fields(found.thumbnails)))
    return {"sets": sets, "lungs": masks, "note": ""}


def _dice_of_known(audit: Audit) -> list[dict[str, Any]]:
    """Dice of estimated against known lung fields of the run's own films, where it has masks."""
    if audit.known_fields is None:
        return []
    rows = audit.rows_held
    return [_dice("this database", audit.known_fields[rows], lungs.lung_fields(audit.images[rows]))]


def _dice(name: str, known: Mask, estimated: Mask) -> dict[str, Any]:
    values = lungs.dice(known, estimated)
    low, high = np.quantile(values, [0.05, 0.95])
    return {"set": name, "n": len(values), "dice": float(values.mean()), "p5": float(low), "p95": float(high)}


# --- remedies ------------------------------------------------------------------------------------

JUDGED_BY = ("L/R marker", "white rectangle", "film border", "grey histogram")  # edits whose effect a remedy is to end
EDITED_FILMS = 60  # held-out films that these are made on


def cure(audit: Audit) -> list[dict[str, Any]]:
    """Remedies compared over seeds: a row each, none of them judged by the internal accuracy.

    remedy, seeds, n, internal, worst_group, effect (the largest of `JUDGED_BY`: mean movement of the logit over the
    placebo, in sd of the logits), flips (the largest share of calls that one of them turns), matched, external.
    """
    rows = audit.drawn(audit.rows_held, EDITED_FILMS)
    greys, groups, taught = audit.greys(rows), pd.factorize(audit.films["cues"], sort=True)[0], audit.taught
    jobs, wanted = [], []
    for remedy in audit.budget.remedies:
        arrays = _remedied(audit, remedy, greys)
        arrays |= {"target": audit.target[taught], "groups": groups[taught], "train": audit.train[taught]}
        for seed in range(audit.budget.cures):
            settings = {"remedy": remedy, "seed": seed, "training": audit.training}
            jobs.append(Job(trials.cure, arrays, settings))
            wanted.append(remedy)
    found = audit.jobs(jobs, "remedies")
    return [
        _judged(audit, remedy, [one for name, one in zip(wanted, found, strict=True) if name == remedy])
        for remedy in audit.budget.remedies
    ]


def _remedied(audit: Audit, remedy: str, greys: list[Pixels]) -> dict[str, npt.NDArray[Any]]:
    """Images, edited films and external films as a remedy leaves them."""
    size, done = audit.model.size, on_films(remedy)
    own, found_by = audit.model.remedy, audit.model.lungs
    files = audit.films["file"].iloc[audit.taught].tolist()
    images = audit.images[audit.taught] if done == own else _decoded(audit.database, files, size, done, found_by)
    pairs = [
        suspects.added(suspects.suspect(name), greys, size, done, audit.seed, lungs=found_by) for name in JUDGED_BY
    ]
    others = [
        one.images if done == own else _decoded(one.database, one.files, size, done, found_by) for one in audit.sets
    ]
    empty = np.empty((0, size, size), np.uint8)
    return {
        "images": images,
        "edited": np.stack([np.stack([one.edited, one.placebo]) for one in pairs]),
        "others": np.concatenate([empty, *others]),
    }


def _decoded(
    database: Database, files: list[str], size: int, remedy: str, found_by: lungs.LungNetwork | None
) -> Pixels:
    images = np.empty((len(files), size, size), np.uint8)
    decode_into(images, database, files, remedy, found_by)
    return images


def _judged(audit: Audit, remedy: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    logits = [np.array(one["logits"]) for one in found]
    table = audit.films[~audit.train]
    pairs = verdicts.matched_pairs(table[list(MATCHED_ON)].to_numpy(float), audit.held.target)
    worst, effects, flips = [], [], []
    for one, scores in zip(found, logits, strict=True):
        groups = verdicts.worst_groups(table["cues"], audit.held.target, scores > 0)
        worst += groups.loc[groups["n"] >= FEWEST, "value"].head(1).tolist()  # the worst comes first
        moved = [np.subtract(*np.array(pair)) for pair in one["edited"]]
        turned = [trials.turned(*np.array(pair)) for pair in one["edited"]]
        effects.append(max(abs(float(move.mean())) for move in moved) / max(float(scores.std()), 1e-6))
        flips.append(max(float(np.abs(turn).mean()) for turn in turned))
    matched = [verdicts.matched_auroc(scores, pairs).value for scores in logits]
    return {
        "remedy": remedy,
        "seeds": len(found),
        "n": len(table),
        "internal": over_seeds(audit.held, audit.weights, logits),
        "worst_group": _mean_sd(worst),
        "effect": _mean_sd(effects),
        "flips": _mean_sd(flips),
        "matched": _mean_sd([value for value in matched if value is not None]) | {"pairs": len(pairs)},
        "external": _abroad(audit, found),
    }


def _abroad(audit: Audit, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """AUROC of a remedy's networks on each external set: mean, sd over seeds, interval over films."""
    rows, start = [], 0
    for one in audit.sets:
        part = slice(start, start + len(one.target))
        start += len(one.target)
        scored = Scored(one.target, np.zeros(len(one.target)), one.group)
        weights = bootstrap_weights(scored, audit.replicates, audit.seed)
        logits = [np.array(result["others"])[part] for result in found]
        rows.append({"set": one.name, "n": len(one.target), **over_seeds(scored, weights, logits)})
    return rows


def _mean_sd(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {"mean": None, "sd": None}
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}
