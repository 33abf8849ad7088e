"""The audit of one run: its films, its CNN, how much is trained, and where; what all parts of it share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from tblib import external as outside
from tblib import lungs, probes, suspects, trials
from tblib.budgets import Budget, budget_of
from tblib.catalogue import Database, catalogued_database, need_same_films, usable
from tblib.edits import Mask
from tblib.film import Pixels
from tblib.jobs import Job, run_jobs
from tblib.metrics import Estimate, Floats, Scored, auroc, bootstrap_weights, label_p, ranking
from tblib.model import TrainedModel, load_model
from tblib.prepare import load_images
from tblib.run import Run
from tblib.suspects import Suspect

FEWEST = 5  # films of a group that its accuracy is given for
MATCHED_ON = ("equalised", "sharpness", "border_mean", "grey_mean")  # artefact scores of the catalogue


@dataclass(frozen=True)
class Audit:
    """One run under audit, and how. Make it with `open_audit`.

    Attributes:
        run: the run.
        model: the CNN at hand.
        budget: how much is trained.
        external: databases of other hospitals, separated by commas; may be empty.
        scheduler: of Dask; may be empty.
        replicates: bootstrap samples behind each interval.
        seed: of everything drawn.
    """

    run: Run
    model: TrainedModel
    budget: Budget
    external: str
    scheduler: str
    replicates: int
    seed: int

    @cached_property
    def training(self) -> dict[str, Any]:
        """What the budget's networks are trained with other than `trials.SMALL`."""
        return trials.settled(self.budget.training)

    @cached_property
    def films(self) -> pd.DataFrame:
        """The usable rows of the catalogue, with target, part, cues (as in ``split.csv``)."""
        split = self.run.table("split.csv")
        return usable(self.run.table("catalogue.csv")).assign(**{c: split[c] for c in ("target", "part", "cues")})

    @cached_property
    def images(self) -> Pixels:
        """Uint8 (N, S, S): all films as the CNN gets them."""
        return np.asarray(load_images(self.run))

    @cached_property
    def database(self) -> Database:
        """Where the films come from."""
        return catalogued_database(self.run)

    @cached_property
    def train(self) -> npt.NDArray[np.bool_]:
        """Bool (N,): films that networks are trained on. The others, validation and test, judge them."""
        return (self.films["part"] == "train").to_numpy()

    @cached_property
    def rows_held(self) -> npt.NDArray[np.int64]:
        """Int (H,): rows of the held-out films."""
        return np.flatnonzero(~self.train)

    @cached_property
    def taught(self) -> npt.NDArray[np.int64]:
        """Int (M,): rows of the films that rungs and remedies are trained on, and of all held-out ones."""
        return np.sort(np.concatenate([self.drawn(np.flatnonzero(self.train), self.budget.taught), self.rows_held]))

    def drawn(self, rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
        """At most so many of the rows, both classes and parts as they are common, in their order."""
        if len(rows) <= most:
            return rows
        from sklearn.model_selection import train_test_split

        strata = (2 * self.target + self.train)[rows]
        kept, _ = train_test_split(rows, train_size=most, stratify=strata, random_state=self.seed)
        return np.sort(kept)

    @cached_property
    def target(self) -> npt.NDArray[np.int64]:
        """Int (N,): 1 for the positive class."""
        return self.films["target"].to_numpy(np.int64)

    @cached_property
    def group(self) -> npt.NDArray[np.int64]:
        """Int (N,): twin groups."""
        return self.films["twin_group"].to_numpy(np.int64)

    @cached_property
    def fields(self) -> Mask:
        """Bool (N, S, S): the database's own lung masks, or estimates, as the CNN's input lies."""
        known = self.known_fields
        return lungs.lung_fields(self.images) if known is None else known

    @cached_property
    def known_fields(self) -> Mask | None:
        """The database's own lung masks; None where it brings none, or films were cropped."""
        if self.model.remedy != "none":
            return None
        return lungs.known_fields(self.database, self.films["file"].tolist(), self.model.size)

    @cached_property
    def logits(self) -> Floats:
        """Float (H,): what the CNN says of the held-out films."""
        return self.ask(self.images[~self.train])

    @cached_property
    def held(self) -> Scored:
        """The held-out films with the CNN's logits."""
        return Scored(self.target[~self.train], self.logits, self.group[~self.train])

    @cached_property
    def weights(self) -> Floats:
        """Float (R, H): bootstrap weights of the held-out films."""
        return bootstrap_weights(self.held, self.replicates, self.seed)

    @cached_property
    def sets(self) -> list[outside.ExternalSet]:
        """The other hospitals' films as the CNN gets them, without those that stand in the training database, too."""
        paths = outside.paths(self.external)
        if not paths:
            return []
        inside = outside.thumbnails_of(self.database, self.films["file"].tolist())
        read = (outside.read_external(path, self.model.size, self.model.remedy, self.model.lungs) for path in paths)
        return [outside.without_known(one, inside) for one in read]

    @cached_property
    def associations(self) -> dict[str, Association]:
        """How each suspect goes with the label."""
        return {one.name: associated(self, one) for one in suspects.SUSPECTS}

    def ask(self, images: Pixels) -> Floats:
        """Float (N,): the CNN's logits of images uint8 (N, S, S)."""
        return trials.logits_of(self.model.cnn, images, self.model.normalisation)

    def greys(self, rows: npt.NDArray[np.int64]) -> list[Pixels]:
        """The films at `rows`, grey and of their own size."""
        files = self.films["file"].iloc[rows]
        return [self.database.film(file).grey for file in files]

    def jobs(self, jobs: list[Job], what: str) -> list[dict[str, Any]]:
        """Results of jobs; each is kept in the run's ``audit`` folder as soon as it is there."""
        return run_jobs(jobs, self.run.path("audit"), self.scheduler, what)


def open_audit(run: Run, budget: str, external: str, scheduler: str, replicates: int, seed: int) -> Audit:
    """An audit of a run.

    Raises:
        BudgetError: there is no such budget.
        ExternalError: an external database is not there.
        CatalogueError: the catalogue is of other films than were prepared.
    """
    need_same_films(run)
    for path in outside.paths(external):
        outside.find(path)
    model = load_model(run.need("model.safetensors"))
    torch.set_num_threads(model.training["threads"])  # sums depend on it in their last bits
    return Audit(run, model, budget_of(budget), external, scheduler, replicates, seed)


@dataclass(frozen=True)
class Association:
    """How a suspect goes with the label, over all films or those that it can be told of.

    Attributes:
        score: float (N,), how much each film carries of it, as well as that can be told; NaN where it has no meaning.
        auroc: of the score.
        p: of the score going with the label by chance.
        towards: 1 where it goes with the positive class, −1 where with the negative one.
    """

    score: Floats
    auroc: Estimate
    p: float
    towards: float

    @property
    def told(self) -> npt.NDArray[np.bool_]:
        """Bool (N,): films that have a score."""
        return np.isfinite(self.score)


FITTED = (suspects.STYLE, suspects.OUTSIDE)  # scores that were fitted to the label: only a higher one means anything


def associated(audit: Audit, one: Suspect) -> Association:
    """The association of one suspect; better taken from `Audit.associations`, where it is made once."""
    score = _score(audit, one)
    told, fitted = np.isfinite(score), one.name in FITTED
    scored = Scored(audit.target[told], score[told], audit.group[told])
    if len(np.unique(scored.target)) < 2:
        return Association(score, Estimate(None, None, None), 1.0, 1.0)
    area = ranking(scored, bootstrap_weights(scored, audit.replicates, audit.seed))
    towards = 1.0 if fitted or (area.value or 0) >= 0.5 else -1.0
    return Association(score, area, label_p(scored, audit.seed, one_sided=fitted), towards)


def _score(audit: Audit, one: Suspect) -> Floats:
    if one.name == suspects.STYLE:
        return style_scores(audit.films, audit.target, audit.group, audit.seed)
    if one.name == suspects.SHARPNESS:
        return -suspects.fineness(audit.images, audit.fields)
    if one.name == suspects.OUTSIDE:
        return probes.cross_validated(probes.border_strips(audit.images), audit.target, audit.group, audit.seed)
    return one.score(audit.films)


def style_scores(films: pd.DataFrame, target: npt.NDArray[np.int64], group: npt.NDArray[np.int64], seed: int) -> Floats:
    """Float (N,): how like the positive class's a film's marker is, by letter and style, cross-validated.

    NaN for films without a marker: whether there is one is another suspect. All are NaN where a class has fewer than
    `FEWEST` carriers.
    """
    carried, score = films["marker"].astype(bool).to_numpy(), np.full(len(films), np.nan)
    kinds = pd.get_dummies(films.loc[carried, ["marker_letter", "marker_style"]].fillna("")).astype(float)
    of_class = np.bincount(target[carried], minlength=2)
    if of_class.min() >= FEWEST:
        score[carried] = probes.cross_validated(kinds, target[carried], group[carried], seed, kind="logistic")
    return score


def over_seeds(films: Scored, weights: Floats, logits: list[Floats]) -> dict[str, float]:
    """Mean AUROC of several networks on the same films, its sd over them, and an interval over films.

    Args:
        films: their targets and twin groups; the scores are not looked at.
        weights: float (R, N), bootstrap weights of the films.
        logits: of each network, float (N,).
    """
    each = [replace(films, score=score) for score in logits]
    values = [float(auroc(one, np.ones((1, len(one.target))))[0]) for one in each]
    low, high = np.quantile(np.mean([auroc(one, weights) for one in each], axis=0), [0.025, 0.975])
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": spread, "low": float(low), "high": float(high)}
