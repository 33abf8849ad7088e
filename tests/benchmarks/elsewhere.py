"""What limits the AUROC at another hospital: too few films, or films of one database?

Small networks with one mitigation are trained on half of the films, on all of them, on all of them and most of another
hospital's with its own labels, and on the latter alone; what is scored is the part of its films that was not seen. That
hospital's films must be those that choose: who trains on labels of a set cannot report on it. On sets that report, the
same networks only explain what was reported: nothing may be chosen by these rows.

``python -m tests.benchmarks.elsewhere DATA SELECTION MITIGATION [REPORTING …]``
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from tblib.arrays import Floats, Ints, Pixels
from tblib.audit import fits
from tblib.audit.external import ExternalSet
from tblib.audit.jobs import Job
from tblib.audit.study import Audit
from tblib.films.database import Database
from tblib.metrics import Scored, auroc, bootstrap_weights
from tblib.mitigation import chosen
from tblib.prepare import drawn_images, read_images
from tblib.show.text import mean_and_interval
from tests.benchmarks.external import HERE, REPLICATES, SMALL_SEEDS, Study, over
from tests.benchmarks.films import SIZE, as_markdown

FOLDS = 4


@dataclass(frozen=True)
class Films:
    """Films of one database after a mitigation.

    Attributes:
        images: uint8 (N, S, S).
        target: int (N,).
        drawn: uint8 (N, S, S): each with drawn lesions, if the mitigation draws them; (0, S, S) otherwise.
    """

    images: Pixels
    target: Ints
    drawn: Pixels

    def some(self, rows: Ints) -> Films:
        """Those of some rows."""
        return Films(self.images[rows], self.target[rows], self.drawn[rows] if len(self.drawn) else self.drawn)


def films_of(audit: Audit, mitigation: str | None, database: Database, files: list[str], target: Ints) -> Films:
    """Films of a database, prepared."""
    given = audit.input_with(mitigation)
    to_draw = files if "lesions" in chosen(mitigation) else []
    drawn = drawn_images(database, to_draw, given, audit.lungs, audit.seed)
    return Films(read_images(database, files, given), target, drawn)


def job(audit: Audit, learnt: list[Films], scored: list[Pixels], mitigation: str | None, seed: int) -> Job:
    """The training of one small network on some films, which then scores others: two batches uint8 (N, S, S)."""
    here, there = scored
    size, none = here.shape[1:], here[:0]
    target = np.concatenate([*(each.target for each in learnt), np.zeros(len(here), np.int64)])
    arrays = {
        "images": np.concatenate([*(each.images for each in learnt), here]),
        "edited": np.empty((0, 2, 0, *size), np.uint8),
        "others": there,
        "target": target,
        "groups": target,
        "train": np.arange(len(target)) < len(target) - len(here),
        "drawn": np.concatenate([each.drawn[each.target == 0] if len(each.drawn) else none for each in learnt]),
    }
    return Job(fits.mitigated, arrays, {"mitigation": mitigation, "training": audit.training, "seed": seed})


def half(films: Films, seed: int) -> Films:
    """A random half of the films of each class."""
    order = np.random.default_rng(seed).permutation(len(films.target))
    rows = [order[films.target[order] == label] for label in (0, 1)]
    return films.some(np.concatenate([each[: len(each) // 2] for each in rows]))


Folds = list[tuple[Ints, Ints]]  # rows that are learnt, and rows that are scored
Ways = dict[str, tuple[Callable[[Ints, int], list[Films]], Folds]]  # by (rows that are learnt, seed)


def measure(audit: Audit, mitigation: str | None) -> pd.DataFrame:
    """A row for each choice of training films: AUROC over seeds on the other hospital's, and on sets that report."""
    there, rows = audit.selected, audit.fitted_rows[audit.train[audit.fitted_rows]]
    assert there is not None
    own = films_of(audit, mitigation, audit.database, audit.films["file"].iloc[rows].tolist(), audit.target[rows])
    other = films_of(audit, mitigation, there.database, there.files, there.target)
    given = audit.input_with(mitigation)
    reported = [read_images(one.database, one.files, given) for one in audit.sets]
    others = np.concatenate([own.images[:0], *reported])
    found = []
    for name, (learnt, folds) in _ways(own, other, there).items():
        jobs = [
            job(audit, learnt(seen, seed), [other.images[held], others], mitigation, seed)
            for seed in range(SMALL_SEEDS)
            for seen, held in folds
        ]
        results = audit.jobs(jobs, name)
        by_seed = [results[first : first + len(folds)] for first in range(0, len(results), len(folds))]
        row = {"trained on": name, "films": sum(len(each.target) for each in learnt(folds[0][0], 0))}
        here = [[np.array(each["logits"]) for each in one] for one in by_seed]
        found.append(
            row | {f"AUROC on {there.name}": mean_and_interval(over(*areas(there, [held for _, held in folds], here)))}
        )
        first = 0
        for one in audit.sets:
            last = first + len(one.target)
            logits = [[np.array(each["others"][first:last]) for each in seed] for seed in by_seed]
            found[-1][f"AUROC on {one.name}"] = mean_and_interval(
                over(*areas(one, [np.arange(last - first)] * len(folds), logits))
            )
            first = last
    return pd.DataFrame(found)


def _ways(own: Films, other: Films, there: ExternalSet) -> Ways:
    """Which films are learnt, by name."""
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    folds = list(splitter.split(there.files, there.target, there.group))
    whole = [(np.arange(0), np.arange(len(there.target)))]
    part = f"{FOLDS - 1} of {FOLDS} films of {there.name} with its labels"
    return {
        "half of the films": (lambda seen, seed: [half(own, seed)], whole),
        "all films": (lambda seen, seed: [own], whole),
        f"all films, and {part}": (lambda seen, seed: [own, other.some(seen)], folds),
        part: (lambda seen, seed: [other.some(seen)], folds),
    }


def areas(films: ExternalSet, parts: list[Ints], logits: list[list[Floats]]) -> tuple[Floats, Floats]:
    """AUROC of each of K trainings, float (K,), and its bootstrap replicates, float (K, R): the mean over parts of the
    films, as each part is scored by a network of its own."""
    whole = Scored(films.target, np.zeros(len(films.target)), films.group)
    weights, ones = bootstrap_weights(whole, REPLICATES, 0), np.ones((1, len(films.target)))
    scored = [
        [(rows, Scored(films.target[rows], one, films.group[rows])) for rows, one in zip(parts, each, strict=True)]
        for each in logits
    ]
    values = [np.mean([auroc(one, ones[:, rows])[0] for rows, one in each]) for each in scored]
    drawn = [np.mean([auroc(one, weights[:, rows]) for rows, one in each], axis=0) for each in scored]
    return np.array(values), np.stack(drawn)


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description="What limits the AUROC at another hospital.")
    parser.add_argument("data", help="the films to train on: a zip or folder")
    parser.add_argument("selection", help="films of another hospital")
    parser.add_argument("mitigation", help="names joined by +, or none")
    parser.add_argument("reporting", nargs="*", help="films of other hospitals, on which it was reported")
    parser.add_argument("--out", type=Path, default=HERE, help="where trainings are kept")
    given = parser.parse_args()
    audit = Study(given.data, given.selection, given.reporting, given.out).audit(SIZE)
    audit = replace(audit, external=",".join(given.reporting) or None)
    print(as_markdown(measure(audit, None if given.mitigation == "none" else given.mitigation)))


if __name__ == "__main__":
    main()
