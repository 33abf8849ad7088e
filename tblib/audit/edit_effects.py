"""What the CNN uses: cues added to films and removed from them, each compared with its placebo."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Floats, Ints, Mask, Pixels
from tblib.audit import fits
from tblib.audit.effects import THRESHOLDS, Effect, effect, plain
from tblib.audit.pairs import Pairs, added, only, removed, restyled, swapped
from tblib.audit.study import Audit
from tblib.films.cues import AUDITED, EDITED, Cue
from tblib.metrics import Estimate, Scored, auroc, bootstrap_weights
from tblib.mitigation import ModelInput
from tblib.show.plots import BLUE, GREEN, GREY, MARKS, ORANGE, SKY, VERMILION, draw_film, nothing, panels, tiles
from tblib.show.text import by_name, percent, signed

DOSED = 60  # films, evenly spaced, on which doses are tried; a few more are possible
TOO_FEW = "under five films"


@dataclass(frozen=True)
class CueEffects:
    """Effects of one cue's edits over the placebo, in logits towards the class that the cue is associated with.

    Attributes:
        towards: 1 if that is the positive class, −1 if it is the negative one.
        sufficiency: effect of adding the cue to films without it.
        necessity: effect of removing it from films that carry it.
        fall: fall of the AUROC once it is removed.
        by_class: way, label and effect, for each class alone.
        doses: dose, n, mean, low and high, towards the positive class; None if there is only one dose.
    """

    towards: float
    sufficiency: Effect | None = None
    necessity: Effect | None = None
    fall: Estimate | None = None
    by_class: tuple[dict[str, Any], ...] = ()
    doses: tuple[dict[str, Any], ...] | None = None

    def plain(self) -> dict[str, Any]:
        """The effects as JSON-compatible values."""
        told = {
            "towards": self.towards,
            "sufficiency": self.sufficiency and plain(self.sufficiency),
            "necessity": self.necessity and plain(self.necessity),
            "fall": self.fall and self.fall._asdict(),
            "by_class": list(self.by_class),
        }
        return told if self.doses is None else told | {"doses": list(self.doses)}


def measure(audit: Audit, doses: bool = True) -> dict[str, CueEffects]:
    """Name of each cue -> effects of its edits on held-out films."""
    rows = audit.sampled(audit.held_out_rows, audit.budget.films)
    films = _Films(audit, rows, audit.greys(rows), audit.films.iloc[rows].reset_index(drop=True))
    found = {}
    for cue in AUDITED:
        effects = _effects(films, cue, _put(films, cue), removed(cue, films.greys, films.table, *films.how))
        found[cue.name] = replace(effects, doses=_doses(films, cue) if doses and cue.put else None)
    return found


@dataclass(frozen=True)
class _Films:
    """Films to edit: their rows, grey pixels and catalogue entries."""

    audit: Audit
    rows: Ints
    greys: list[Pixels]
    table: pd.DataFrame

    @property
    def how(self) -> tuple[ModelInput, int]:
        """The input of the model, and the random seed."""
        return self.audit.model.input, self.audit.seed

    def lacking(self, cue: Cue) -> Mask:
        """Bool (n,): films to which the cue can be added."""
        return np.ones(len(self.rows), bool) if cue.everywhere else cue.carried(self.table) <= 0


SWAPS: dict[str, Callable[[_Films], Pairs]] = {  # `Cue.swap` -> pairs of films with the cue of either class
    "marker style": lambda films: restyled(films.greys, films.table, films.audit.database.positive, *films.how),
    "outside the lungs": lambda films: swapped(
        films.audit.images[films.rows], films.audit.masks[films.rows], films.audit.target[films.rows], films.audit.seed
    ),
}


def _put(films: _Films, cue: Cue) -> Pairs | None:
    if cue.put is None:
        return SWAPS[cue.swap](films) if cue.swap else None
    masks = films.audit.edit_masks
    spared = None if masks is None else masks[films.rows]
    return only(added(cue, films.greys, *films.how, masks=spared), films.lacking(cue))


def _doses(films: _Films, cue: Cue) -> tuple[dict[str, Any], ...] | None:
    if len(cue.doses) < 2:
        return None
    few, masks = slice(None, None, max(1, len(films.rows) // DOSED)), films.audit.edit_masks
    spared = None if masks is None else masks[films.rows][few]
    pairs = {dose: added(cue, films.greys[few], *films.how, dose, spared) for dose in cue.doses}
    return tuple(_dose(films.audit, dose, only(each, films.lacking(cue)[few])) for dose, each in pairs.items())


def examples(audit: Audit) -> tuple[list[str], list[tuple[Pixels, Pixels, Pixels]]]:
    """Names of the cues that can be added; for each a film as the CNN gets it, edited, and with the placebo."""
    rows = audit.held_out_rows
    names, films = [], []
    for place, cue in enumerate(EDITED):
        lacking = rows if cue.everywhere else rows[cue.carried(audit.films.iloc[rows]) <= 0]
        if len(lacking):
            row = lacking[[place % len(lacking)]]
            pairs = added(cue, audit.greys(row), audit.model.input, audit.seed)
            names.append(cue.name)
            films.append((audit.images[row[0]], pairs.edited[0], pairs.placebo[0]))
    return names, films


def _effects(films: _Films, cue: Cue, put: Pairs | None, taken: Pairs) -> CueEffects:
    """Sufficiency and necessity of one cue, overall and per class, and the AUROC without it."""
    audit, rows = films.audit, films.rows
    towards, found, by_class = audit.associations[cue.name].towards, {}, []
    for way, pairs in (("sufficiency", put), ("necessity", taken)):
        if pairs is None or not len(pairs.rows):
            continue
        after, before = audit.predict(pairs.edited), audit.predict(pairs.placebo)
        sign = towards * pairs.sign
        moved, flipped = sign * (after - before), sign * fits.turned(after, before)
        group = audit.group[rows[pairs.rows]]
        found[way] = effect(moved, flipped, group, audit.replicates, audit.seed)
        for label in (0, 1):
            own = audit.target[rows[pairs.rows]] == label
            part = effect(moved[own], flipped[own], group[own], audit.replicates, audit.seed)
            by_class.append({"way": way, "label": label, "effect": part and plain(part)})
    fall = None
    if len(taken.rows):
        given = Scored(audit.target[rows], audit.logits[np.searchsorted(audit.held_out_rows, rows)], audit.group[rows])
        without = given.score.copy()
        without[taken.rows] = audit.predict(taken.edited)
        fall = _fall(audit, given, without)
    return CueEffects(towards, found.get("sufficiency"), found.get("necessity"), fall, tuple(by_class))


def _fall(audit: Audit, part: Scored, without: Floats) -> Estimate:
    """Fall of the AUROC when the logits of `part` are replaced by those `without` a cue."""
    weights, ones = bootstrap_weights(part, audit.replicates, audit.seed), np.ones((1, len(without)))
    value, drawn = (auroc(part, each) - auroc(replace(part, score=without), each) for each in (ones, weights))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(value[0]), float(low), float(high))


def _dose(audit: Audit, dose: float, pairs: Pairs) -> dict[str, Any]:
    """Mean change of the logit over the placebo at one dose, towards the positive class."""
    if not len(pairs.rows):
        return {"dose": dose, "n": 0, "mean": None, "low": None, "high": None}
    moved = audit.predict(pairs.edited) - audit.predict(pairs.placebo)
    found = effect(moved, np.zeros_like(moved), pairs.rows, audit.replicates, audit.seed)
    mean = found.mean if found else Estimate(None, None, None)
    return {"dose": dose, "n": len(moved), **mean._asdict()} | {"mean": mean.value}


def examples_figure(names: list[str], films: list[tuple[Pixels, Pixels, Pixels]]) -> Figure:
    """For each cue a film as it is, after the edit and after the placebo, all as the model sees them."""
    if not films:
        return nothing("No cue can be edited on these films.")
    figure, axes = tiles(3 * len(films), 9, f"Films as they are, edited and with a placebo: {', '.join(names)}.")
    for place, (name, triple) in enumerate(zip(names, films, strict=True)):
        for ax, film, what in zip(axes[3 * place : 3 * place + 3], triple, ("as it is", name, "placebo"), strict=True):
            draw_film(ax, film, what)
    return figure


def figure(edited: dict[str, CueEffects]) -> Figure:
    """Mean change of the logit and share of prediction flips of each cue, for sufficiency and necessity."""
    ways = (("sufficiency", "o", VERMILION, "put on films without it"), ("necessity", "s", BLUE, "taken off carriers"))
    names = [name for name, found in edited.items() if any(getattr(found, way) for way, *_ in ways)]
    told = "; ".join(
        f"{name}, {way}: {found.mean.value:+.2f} logits, {found.flips.value:.1%} of calls"
        for name in names
        for way, *_ in ways
        if (found := getattr(edited[name], way))
    )
    figure, axes = panels(f"Effects of edits over placebos. {told}.", 2, (9.6, 0.38 * len(names) + 1.2), sharey=True)
    for ax, part, title in zip(
        axes, ("mean", "flips"), ("logit, edit over placebo", "share of predictions flipped"), strict=True
    ):
        for shift, (way, mark, colour, label) in zip((-0.14, 0.14), ways, strict=True):
            for place, name in enumerate(names):
                if found := getattr(edited[name], way):
                    value = getattr(found, part)
                    ax.hlines(place + shift, value.low, value.high, color=colour, linewidth=1.6)
                    ax.plot(value.value, place + shift, mark, color=colour, markersize=5)
            ax.plot([], [], mark, color=colour, label=label)
        ax.axvline(0, color=GREY, linestyle=":")
        ax.set(xlabel=f"{title}, towards the cue's class")
        ax.grid(visible=False, axis="y")
    axes[1].axvline(THRESHOLDS["flips"], color=GREY, linestyle="--", linewidth=0.8)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    axes[1].legend(frameon=False, fontsize=8)
    return figure


def finding(edited: dict[str, CueEffects]) -> str:
    """Which edits change the logit most."""
    found = [
        (name, way, one)
        for name, both in edited.items()
        for way, one in (("put on", both.sufficiency), ("taken off", both.necessity))
        if one is not None
    ]
    if not found:
        return "No cue could be edited on these films."
    strongest = sorted(found, key=lambda item: -(item[2].flips.value or 0))[:3]
    told = "; ".join(
        f"{name} {way} {one.n} films: {one.mean.value:+.2f} logits, {percent(one.flips.value or 0)} of the calls"
        for name, way, one in strongest
    )
    return f"Over their placebos and towards the class that the cue goes with, these turn the most calls: {told}."


def table(edited: dict[str, CueEffects], classes: tuple[str, str]) -> pd.DataFrame:
    """One row per cue and direction: pairs, logit change, prediction flips, p before correction, change per class."""
    rows: list[dict[str, Any]] = []
    for name, found in edited.items():
        for way, text in (("sufficiency", "put on"), ("necessity", "taken off")):
            one: Effect | None = getattr(found, way)
            if one is None:  # the table of verdicts gives the reason
                continue
            row: dict[str, Any] = {"cue": name, "edit": text, "towards": classes[int(found.towards > 0)]}
            by = {classes[part["label"]]: part["effect"] for part in found.by_class if part["way"] == way}
            row |= {"pairs": one.n, "logit over placebo": signed(one.mean), "predictions flipped": one.flips.text(True)}
            row |= {"p, uncorrected": f"{one.p:.3g}"}
            row |= {f"on {label}": signed(Estimate(**part["mean"])) if part else TOO_FEW for label, part in by.items()}
            rows.append(row)
    return by_name(pd.DataFrame(rows, columns=None if rows else ["cue"]), "cue")


def doses_figure(edited: dict[str, CueEffects]) -> Figure:
    """Mean change of the logit over the placebo at each dose of each cue's edit."""
    told, shown = [], {name: found.doses for name, found in edited.items() if found.doses}
    figure, (ax,) = panels("", 1, (6.8, 3.2))
    for place, (name, rows) in enumerate(shown.items()):
        rows = tuple(row for row in rows if row["mean"] is not None)
        if not rows:
            continue
        told.append(f"{name}: " + ", ".join(f"×{row['dose']:g} {row['mean']:+.2f}" for row in rows))
        colour = (VERMILION, BLUE, GREEN, ORANGE, SKY, "black", GREY)[place % 7]
        x, y = [row["dose"] for row in rows], [row["mean"] for row in rows]
        ax.fill_between(x, [row["low"] for row in rows], [row["high"] for row in rows], color=colour, alpha=0.12)
        ax.plot(x, y, marker=MARKS[place % len(MARKS)], color=colour, label=name)
    ax.axhline(0, color=GREY, linestyle=":")
    ax.set(xlabel="dose (1 is the edit that is judged)", ylabel="logit towards positive, over placebo")
    ax.legend(frameon=False, fontsize=8, bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.set_label(f"Dose and response of edits, in logits over the placebo. {'; '.join(told)}.")
    return figure


def doses_finding(edited: dict[str, CueEffects]) -> str:
    """Which edits have a larger effect at a higher dose."""
    rising = []
    for name, found in edited.items():
        means = [row["mean"] for row in found.doses or () if row["mean"] is not None]
        if len(means) > 1 and all(abs(b) > abs(a) and a * b > 0 for a, b in pairwise(means)):
            rising.append(name)
    if not rising:
        return "No edit moves the logit further, the same way, at each higher dose."
    return f"The higher the dose, the further, and the same way, the logit moves for: {', '.join(rising)}."
