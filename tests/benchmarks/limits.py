"""What limits the AUROC at another hospital: too few films, or films of one database?

Small networks with one mitigation are trained on half of the films, on all of them, on all of them and four fifths of
the other hospital's with its own labels, and on the latter alone; what is scored is the fifth that was not seen. The
films of the other hospital must be those that choose: who trains on labels of a set cannot report on it.

``python -m tests.benchmarks.limits DATA SELECTION MITIGATION``
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from tblib.arrays import Floats, Ints, Pixels
from tblib.audit import fits, trainings
from tblib.audit.jobs import Job
from tblib.audit.study import Audit
from tblib.films.database import Database
from tblib.metrics import Scored, auroc, bootstrap_weights
from tblib.mitigation import chosen
from tblib.prepare import drawn_images, read_images
from tests.benchmarks.external import HERE, REPLICATES, SMALL_SEEDS, Study
from tests.benchmarks.films import SIZE, as_markdown

FOLDS = 5


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


def job(audit: Audit, learnt: list[Films], scored: Films, mitigation: str | None, seed: int) -> Job:
    """The training of one small network on some films, which then scores others."""
    size, none = learnt[0].images.shape[1:], learnt[0].images[:0]
    target = np.concatenate([each.target for each in (*learnt, scored)])
    arrays = {
        "images": np.concatenate([each.images for each in (*learnt, scored)]),
        "edited": np.empty((0, 2, 0, *size), np.uint8),
        "others": none,
        "target": target,
        "groups": target,
        "train": np.arange(len(target)) < len(target) - len(scored.target),
        "drawn": np.concatenate([each.drawn[each.target == 0] if len(each.drawn) else none for each in learnt]),
    }
    return Job(fits.mitigated, arrays, {"mitigation": mitigation, "training": audit.training, "seed": seed})


def half(films: Films, seed: int) -> Films:
    """A random half of the films of each class."""
    order = np.random.default_rng(seed).permutation(len(films.target))
    rows = [order[films.target[order] == label] for label in (0, 1)]
    return films.some(np.concatenate([each[: len(each) // 2] for each in rows]))


def measure(audit: Audit, mitigation: str | None) -> pd.DataFrame:
    """A row for each choice of training films: AUROC on the other hospital's, over seeds, the mean of its fifths."""
    there, rows = audit.selected, audit.fitted_rows[audit.train[audit.fitted_rows]]
    assert there is not None
    own = films_of(audit, mitigation, audit.database, audit.films["file"].iloc[rows].tolist(), audit.target[rows])
    other = films_of(audit, mitigation, there.database, there.files, there.target)
    folds = list(
        StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(there.files, there.target, there.group)
    )
    ways = {
        "half of the films": lambda seen, seed: [half(own, seed)],
        "all films": lambda seen, seed: [own],
        f"all films and {FOLDS - 1} of {FOLDS} films of the other hospital": lambda seen, seed: [own, other.some(seen)],
        f"{FOLDS - 1} of {FOLDS} films of the other hospital": lambda seen, seed: [other.some(seen)],
    }
    found = []
    for name, learnt in ways.items():
        jobs = [
            job(audit, learnt(seen, seed), other.some(held), mitigation, seed)
            for seed in range(SMALL_SEEDS)
            for seen, held in folds
        ]
        logits = [np.array(each["logits"]) for each in audit.jobs(jobs, name)]
        by_seed = [logits[first : first + FOLDS] for first in range(0, len(logits), FOLDS)]
        values, replicates = areas(there.target, there.group, folds, by_seed)
        area, spread = trainings.over_trainings(values, replicates, 0), trainings.mean_and_sd(values.tolist())
        count = sum(len(each.target) for each in learnt(folds[0][0], 0))
        found.append({"trained on": name, "films": count, "AUROC": area.text(), "sd": f"{spread['sd']:.3f}"})
    return pd.DataFrame(found)


def areas(
    target: Ints, group: Ints, folds: list[tuple[Ints, Ints]], logits: list[list[Floats]]
) -> tuple[Floats, Floats]:
    """AUROC of each of K trainings, float (K,), and its bootstrap replicates, float (K, R): the mean over folds, as
    each fold is scored by a network of its own."""
    weights = bootstrap_weights(Scored(target, np.zeros(len(target)), group), REPLICATES, 0)
    ones = np.ones((1, len(target)))
    scored = [
        [(held, Scored(target[held], one, group[held])) for (_, held), one in zip(folds, each, strict=True)]
        for each in logits
    ]
    values = [np.mean([auroc(one, ones[:, held])[0] for held, one in each]) for each in scored]
    drawn = [np.mean([auroc(one, weights[:, held]) for held, one in each], axis=0) for each in scored]
    return np.array(values), np.stack(drawn)


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description="What limits the AUROC at another hospital.")
    parser.add_argument("data", help="the films to train on: a zip or folder")
    parser.add_argument("selection", help="films of another hospital")
    parser.add_argument("mitigation", help="names joined by +, or none")
    parser.add_argument("--out", type=Path, default=HERE, help="where trainings are kept")
    given = parser.parse_args()
    audit = Study(given.data, given.selection, [], given.out).audit(SIZE)
    print(as_markdown(measure(audit, None if given.mitigation == "none" else given.mitigation)))


if __name__ == "__main__":
    main()
