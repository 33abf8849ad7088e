"""The audit of one run: its films, the model under audit, and the settings that all parts of the audit share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed

from tblib.arrays import Floats, Ints, Mask, Pixels, TblibError
from tblib.audit import fits
from tblib.audit.budgets import Budget, budget_of
from tblib.audit.effects import THRESHOLDS, holm
from tblib.audit.external import ExternalSet, find, paths, read_external, refuse_chosen, thumbnails_of, without_known
from tblib.audit.jobs import Job, run_jobs
from tblib.audit.lung_masks import BATCH, LungMasks
from tblib.audit.pairs import Viewers, beyond_edges, fineness
from tblib.catalogue import catalogued_database, need_same_films
from tblib.classifiers.opened import input_of, lungs_of, open_model
from tblib.classifiers.protocol import Classifier, logits, logits_of
from tblib.classifiers.trained import TrainedModel
from tblib.devices import pick_device
from tblib.eda.baselines import BORDER_STRIPS, baseline_scores, style_scores
from tblib.films.cues import AUDITED, Cue
from tblib.films.database import Database
from tblib.films.edits import three_channels
from tblib.films.film import grey_of, resized
from tblib.metrics import Estimate, Scored, bootstrap_weights, label_p, label_ps_within, ranking
from tblib.mitigation import FindsLungs, ModelInput, needs_lungs, on_films
from tblib.phantoms import lungs
from tblib.run import GIVEN, Run, usable

LEVEL = THRESHOLDS["level"]
MATCHED_ON = ("equalised", "sharpness", "border_mean", "grey_mean")  # artefact scores of the catalogue
FEWEST_REPLICATES = 40  # below, no bootstrap sample lies beyond the limits of a 95 % interval


class AuditError(TblibError):
    """An audit whose settings allow no verdict."""


@dataclass(frozen=True)
class Audit:
    """One run under audit, with its settings. Create it with `open_audit`.

    Attributes:
        model: the model under audit, tblib's CNN or another classifier.
        input: how small networks of the audit see films; tblib's CNN sees them in the same way.
        budget: how much is trained.
        external: comma-separated databases of other hospitals, on which results are reported, or None.
        scheduler: address of a Dask scheduler, or None.
        replicates: bootstrap samples per interval.
        selection: a database of another hospital, by which mitigations are compared, or None.
    """

    run: Run
    model: Classifier
    input: ModelInput
    budget: Budget
    external: str | None
    scheduler: str | None
    replicates: int
    seed: int
    selection: str | None = None

    @cached_property
    def device(self) -> str:
        """Where small networks are trained: ``cuda``, one after the other, if there is a card; else all CPU cores."""
        return "cuda" if not self.scheduler and pick_device().type == "cuda" else "cpu"

    @cached_property
    def training(self) -> dict[str, Any]:
        """Training settings of the budget that differ from `tblib.audit.fits.SMALL`."""
        return fits.settled(self.budget.training, self.device)

    @property
    def network(self) -> TrainedModel | None:
        """The model if it is a CNN of tblib, whose gradients are known; None if it is anything else."""
        return self.model if isinstance(self.model, TrainedModel) else None

    @property
    def of_tblib(self) -> bool:
        """Whether the model is a CNN of tblib, as the control studies' are: by its model file, or exported."""
        return self.network is not None or getattr(self.model, "of_tblib", False)

    @cached_property
    def trained_here(self) -> bool:
        """Whether the model was trained on these very films: it is the one that this run's training step left, or one
        given to the run of which that is known."""
        if self.run.path(GIVEN).is_file():
            return bool(self.run.facts(GIVEN)["seen"] == "yes")
        if self.network is None or not self.run.path("training.json").is_file():
            return False
        left = self.run.facts("training.json")
        return all(left.get(name) == value for name, value in self.network.training.items())

    @property
    def draws(self) -> bool:
        """Whether the model was trained on drawn lesions, too."""
        return self.network is not None and "drawn" in self.network.preparation

    @cached_property
    def reference_training(self) -> dict[str, Any]:
        """The same for reference networks and planted cues, but for what makes the model blind to some changes."""
        shaping, known = ("augmentation", "padding", "mitigation"), self.network.training if self.network else {}
        return self.training | {name: known[name] for name in shaping if name in known}

    @cached_property
    def films(self) -> pd.DataFrame:
        """Usable rows of the catalogue, with target, part, cues (as in ``split.csv``)."""
        split = self.run.table("split.csv")
        return usable(self.run.table("catalogue.csv")).assign(**{c: split[c] for c in ("target", "part", "cues")})

    @cached_property
    def images(self) -> Pixels:
        """Uint8 (N, S, S) or (N, S, S, 3): all films as small networks see them."""
        return np.asarray(self.run.images())

    @cached_property
    def grey(self) -> Pixels:
        """Uint8 (N, S, S): the same in grey."""
        return self.images if self.input.channels == 1 else np.stack([grey_of(film) for film in self.images])

    @cached_property
    def database(self) -> Database:
        """The database of the films."""
        return catalogued_database(self.run)

    @cached_property
    def train(self) -> Mask:
        """Bool (N,): training films. The others, validation and test, are held out."""
        return (self.films["part"] == "train").to_numpy()

    @cached_property
    def held_out_rows(self) -> Ints:
        """Int (H,): rows of the held-out films."""
        return np.flatnonzero(~self.train)

    @cached_property
    def fitted_rows(self) -> Ints:
        """Int (M,): rows of the training films for regions and mitigations, and of all held-out films."""
        trained = self.sampled(np.flatnonzero(self.train), self.budget.trained_on)
        return np.sort(np.concatenate([trained, self.held_out_rows]))

    @cached_property
    def reference_rows(self) -> Ints:
        """Int (M,): rows of the training films for reference networks and planted cues, at most ``budget.films``; a
        negative film counts twice if it is also seen with drawn lesions.

        Of the rarer class all are taken, up to its even share: networks that see it seldom learn little.
        """
        rng, most, times = np.random.default_rng(self.seed), self.budget.films, 2 if self.draws else 1
        members = [np.flatnonzero(self.train & (self.target == label)) for label in (0, 1)]
        negative = min(len(members[0]), max(most // (times + 1), (most - len(members[1])) // times))
        counts = (negative, most - times * negative)
        rarer_first = sorted((0, 1), key=lambda label: len(members[label]))
        return np.sort(np.concatenate([rng.permutation(members[label])[: counts[label]] for label in rarer_first]))

    def sampled(self, rows: Ints, most: int) -> Ints:
        """At most `most` of the rows, in order, stratified by class and part."""
        if len(rows) <= most:
            return rows
        from sklearn.model_selection import train_test_split

        strata = (2 * self.target + self.train)[rows]
        kept, _ = train_test_split(rows, train_size=most, stratify=strata, random_state=self.seed)
        return np.sort(kept)

    @cached_property
    def target(self) -> Ints:
        """Int (N,): 1 for the positive class."""
        return self.films["target"].to_numpy(np.int64)

    @cached_property
    def group(self) -> Ints:
        """Int (N,): duplicate groups."""
        return self.films["duplicate_group"].to_numpy(np.int64)

    @cached_property
    def groups(self) -> Ints:
        """Int (N,): groups of label and cues, for mitigations in training."""
        return np.asarray(pd.factorize(self.films["cues"], sort=True)[0])

    def masks_of(self, rows: Ints) -> Mask:
        """Bool (n, S, S): the database's own lung masks of the films at `rows`, or estimated ones, aligned with the
        CNN's input."""
        return self._estimated.of(rows) if self.known_masks is None else self.known_masks[rows]

    @cached_property
    def _estimated(self) -> LungMasks:
        return LungMasks(lambda rows: self.lungs.masks(self.grey[rows]), len(self.films))

    @property
    def lungs(self) -> FindsLungs:
        """What finds the lungs: the network that came with the model if its films were cropped by it."""
        return lungs_of(self.input)

    def masks_in_files(self, rows: Ints) -> Mask:
        """Bool (n, S, S): lung masks of the films at `rows` as they are in their files, whatever a mitigation does to
        them."""
        if self.input.mitigation is None:
            return self.masks_of(rows)
        known = lungs.known_masks(self.database, self.films["file"].iloc[rows].tolist(), self.input.size)
        return self._estimated_in_files.of(rows) if known is None else known

    @cached_property
    def _estimated_in_files(self) -> LungMasks:
        def find(rows: Ints) -> Mask:
            """Estimate those of a few films."""
            small = [resized(grey_of(film), self.input.size) for film in self.pictures(rows)]
            return self.lungs.masks(np.stack(small))

        return LungMasks(find, len(self.films), block=1)  # a film that is not asked for would be decoded

    def borders_of(self, rows: Ints) -> Mask:
        """Bool (n, S, S): borders of the films at `rows`; nowhere if a mitigation changed them."""
        if self.input.mitigation is None:
            return beyond_edges(self.films.iloc[rows], self.input.size)
        return np.zeros((len(rows), self.input.size, self.input.size), bool)

    def edit_masks(self, rows: Ints) -> Mask | None:
        """The lung masks of the films at `rows` if they are aligned with the films in the files; None if a mitigation
        changed the films."""
        return self.masks_of(rows) if self.input.mitigation is None else None

    @cached_property
    def known_masks(self) -> Mask | None:
        """The database's own lung masks; None if it has none, or if films were cropped."""
        if self.input.mitigation is not None:
            return None
        return lungs.known_masks(self.database, self.films["file"].tolist(), self.input.size)

    @cached_property
    def logits(self) -> Floats:
        """Float (H,): the model's logits of the held-out films, from the evaluation, above its threshold."""
        scored = self.run.table("predictions.csv").set_index("image")["logit"]
        return scored.loc[self.held_out_rows].to_numpy(float) - self.threshold

    @cached_property
    def threshold(self) -> float:
        """Logit of the model's own threshold. The audit counts logits from there, so that 0 separates the calls, and
        probabilities of 0.5 mean the same for every model and for reference networks."""
        own = next(iter(self.run.facts("metrics.json")["thresholds"].values()))
        return float(np.log(own / (1 - own)))

    @cached_property
    def held_out(self) -> Scored:
        """The held-out films with the model's logits."""
        return self.held_out_with(self.logits)

    def held_out_with(self, logits: Floats) -> Scored:
        """The held-out films with the logits (H,) of another model."""
        return Scored(self.target[~self.train], logits, self.group[~self.train])

    @cached_property
    def weights(self) -> Floats:
        """Float (R, H): bootstrap weights of the held-out films."""
        return bootstrap_weights(self.held_out, self.replicates, self.seed)

    @cached_property
    def sets(self) -> list[ExternalSet]:
        """External films as small networks see them, without those that the training database also contains, and none
        of those on which mitigations are chosen."""
        found = [self._elsewhere(path) for path in paths(self.external)]
        if found and self.selected:
            for one in found:
                refuse_chosen(one, self.selected)
        return found

    @cached_property
    def selected(self) -> ExternalSet | None:
        """The selection set as small networks see it, without films of the training database; None without one."""
        return self._elsewhere(self.selection) if self.selection else None

    def _elsewhere(self, path: str) -> ExternalSet:
        return without_known(read_external(path, self.input), self._thumbnails)

    @cached_property
    def _thumbnails(self) -> Pixels:
        return thumbnails_of(self.database, self.films["file"].tolist())

    @cached_property
    def associations(self) -> dict[str, Association]:
        """Association of each cue with the label."""
        return {cue.name: associated(self, cue) for cue in AUDITED}

    @cached_property
    def baseline_scores(self) -> dict[str, Floats]:
        """Baseline that sees no lung -> score (N,) of each film."""
        return baseline_scores(self.films, self.grey, self.target, self.group, self.seed)

    @cached_property
    def region_logits(self) -> dict[str, list[Floats]]:
        """Region of the ablation -> logits (H,) of the held-out films, for each small CNN retrained on it."""
        rows, seeds = self.fitted_rows, range(self.budget.seeds)
        shared: dict[str, npt.NDArray[Any]] = {"images": self.images[rows], "masks": self.masks_of(rows)}
        shared |= {"target": self.target[rows], "train": self.train[rows]}
        wanted = [
            {"name": name, "seed": seed, "training": self.training} for name in self.budget.regions for seed in seeds
        ]
        found = iter(self.jobs([Job(fits.region, shared, each) for each in wanted], "region ablation"))
        return {name: [np.array(next(found)["logits"]) for _ in seeds] for name in self.budget.regions}

    @cached_property
    def existing(self) -> tuple[str, ...]:
        """Cues that are associated with the label beyond chance, with Holm's correction."""
        adjusted = holm({cue.name: self.associations[cue.name].p for cue in AUDITED})
        return tuple(name for name, p in adjusted.items() if p <= LEVEL)

    @cached_property
    def given_others(self) -> dict[str, dict[str, float]]:
        """Cue -> other cue -> p-value of the first one's association with the label among films alike in the other.

        Of cues that exist those that can be put on films, or that a film has or has not, are compared with the latter.
        """
        own = [cue for cue in AUDITED if cue.name in self.existing and (cue.put or cue.compared)]
        exist = [cue for cue in own if cue.compared]
        found = {other.name: associated_given(self, own, other) for other in exist}
        return {c.name: {o.name: found[o.name][c.name] for o in exist if o is not c} for c in own}

    def logits_of(self, films: Sequence[Pixels], rows: Ints, small: Pixels | None = None) -> Floats:
        """Float (n,): the model's logits of versions of the films at `rows`, at any size, above its threshold; `small`
        are the same as `input` makes them, if that is done already: tblib's CNN sees these."""
        if self.network is not None and small is not None:
            return logits_of(self.network.scores_of(small)) - self.threshold
        return logits(self.model, films, self.films["file"].iloc[rows].tolist()) - self.threshold

    def viewers(self, rows: Ints) -> Viewers:
        """The model and small networks, as those who look at edits of the films at `rows`."""
        return Viewers(self.input, lambda films, small, places: self.logits_of(films, rows[places], small))

    def input_with(self, mitigation: str | None) -> ModelInput:
        """The input of a model of the same size with this mitigation."""
        done = on_films(mitigation)
        return replace(self.input, mitigation=done, lungs=self.lungs if needs_lungs(done) else None)

    def pictures(self, rows: Ints) -> list[Pixels]:
        """The films at `rows` at their own size: uint8 (H, W), or (H, W, 3) where networks see colour."""
        return self.pictures_in(rows, self.input.channels)

    def pictures_in(self, rows: Ints, channels: int) -> list[Pixels]:
        """The films at `rows` at their own size: uint8 (H, W) of one channel, (H, W, 3) of three."""

        def read(file: str) -> Pixels:
            """One film."""
            film = self.database.film(file)
            return film.grey if channels == 1 else three_channels(film.pixels)

        files = self.films["file"].iloc[rows]
        return list(Parallel(n_jobs=-1, prefer="threads")(delayed(read)(file) for file in files))

    def jobs(self, jobs: list[Job], what: str) -> list[dict[str, Any]]:
        """Results of jobs; each is saved in the run's ``audit`` folder as soon as it is available."""
        placed = [replace(job, settings=job.settings | {"device": self.device}) for job in jobs]
        return run_jobs(placed, self.run.path("audit"), self.scheduler, what)


def open_audit(
    run: Run,
    budget: str,
    external: str | None,
    scheduler: str | None,
    replicates: int,
    seed: int,
    selection: str | None = None,
) -> Audit:
    """Open an audit of a run.

    Raises:
        AuditError: too few replicates for an interval.
        BudgetError: there is no such budget.
        ExternalError: an external database, or the selection set, does not exist.
        DatabaseError: the catalogue describes other films than were prepared.
    """
    if replicates < FEWEST_REPLICATES:
        raise AuditError(
            f"{replicates} bootstrap samples allow no 95 % interval, and so no verdict; set replicates to "
            f"{FEWEST_REPLICATES} or more (1000 is usual)."
        )
    need_same_films(run)
    for path in paths(external) + ([selection] if selection else []):
        find(path)
    model, known = open_model(run), budget_of(budget)
    return Audit(run, model, input_of(run, model), known, external, scheduler, replicates, seed, selection)


@dataclass(frozen=True)
class Association:
    """Association of a cue with the label, over the films for which the cue is defined.

    Attributes:
        score: float (N,), strength of the cue on each film, as far as it can be determined; NaN where undefined.
        auroc: AUROC of the score.
        p: p-value of the association between score and label.
        towards: 1 if associated with the positive class, −1 if with the negative one.
    """

    score: Floats
    auroc: Estimate
    p: float
    towards: float

    @property
    def told(self) -> Mask:
        """Bool (N,): films that have a score."""
        return np.isfinite(self.score)


def associated(audit: Audit, cue: Cue) -> Association:
    """Compute the association of one cue; prefer `Audit.associations`, which caches it."""
    of_cue, fitted = SCORES.get(cue.score, (None, False))
    score = of_cue(audit) if of_cue else cue.carried(audit.films)
    told = np.isfinite(score)
    scored = Scored(audit.target[told], score[told], audit.group[told])
    if len(np.unique(scored.target)) < 2:
        return Association(score, Estimate(None, None, None), 1.0, 1.0)
    area = ranking(scored, bootstrap_weights(scored, audit.replicates, audit.seed))
    towards = 1.0 if fitted or (area.value or 0) >= 0.5 else -1.0
    return Association(score, area, label_p(scored, audit.seed, one_sided=fitted), towards)


def associated_given(audit: Audit, cues: Sequence[Cue], other: Cue) -> dict[str, float]:
    """Cue -> p-value of its association with the label among carriers of another cue, and among its non-carriers."""
    scores = [Scored(audit.target, audit.associations[cue.name].score, audit.group) for cue in cues]
    stratum = (other.carried(audit.films) > 0).astype(np.int64)
    return dict(zip((cue.name for cue in cues), label_ps_within(scores, stratum, audit.seed), strict=True))


# `Cue.score` -> score of each film, and whether it was fitted to the label, so that only a higher one is evidence.
SCORES: dict[str, tuple[Callable[[Audit], Floats], bool]] = {
    "marker style": (lambda audit: style_scores(audit.films, audit.target, audit.group, audit.seed), True),
    "sharpness": (lambda audit: sharpness_scores(audit), False),
    "border strips": (lambda audit: audit.baseline_scores[BORDER_STRIPS], True),
}


def sharpness_scores(audit: Audit) -> Floats:
    """Float (N,): how blurred each film is besides lungs and borders (`fineness`), a batch at a time."""
    batches = np.split(np.arange(len(audit.films)), np.arange(BATCH, len(audit.films), BATCH))
    hidden = (audit.masks_of(rows) | audit.borders_of(rows) for rows in batches)
    return -np.concatenate([fineness(audit.grey[rows], each) for rows, each in zip(batches, hidden, strict=True)])
