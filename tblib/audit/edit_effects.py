"""What the model uses: cues added to films and removed from them, each compared with its placebo."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Floats, Ints, Pixels
from tblib.audit.edited import PUT, TAKEN, EditedFilms, Way, lacking
from tblib.audit.effects import FEWEST_GROUPS, Effect, effect, mean_change, plain
from tblib.audit.pairs import Viewers, added
from tblib.audit.references import References
from tblib.audit.study import Audit
from tblib.audit.verdicts import draw_shifts, show_at_least
from tblib.films.cues import AUDITED, EDITED, Cue
from tblib.metrics import Estimate, Scored, auroc, bootstrap_weights
from tblib.show.plots import BLUE, GREEN, GREY, MARKS, ORANGE, SKY, VERMILION, draw_film, nothing, panels, tiles
from tblib.show.text import by_name, percent, signed

Scores = dict[Way, tuple[Floats, Floats]]  # logits after the edit and after the placebo
WAYS, BOTH = (PUT, TAKEN), "both"
DOSED = 60  # films, evenly spaced, on which doses are tried; a few more are possible
TOO_FEW = "under five films"


@dataclass(frozen=True)
class CueEffects:
    """Effects of one cue's edits over the placebo, in logits towards the class that the cue is associated with.

    Attributes:
        towards: 1 if that is the positive class, −1 if it is the negative one.
        sufficiency: effect of adding the cue to films without it.
        necessity: effect of removing it from films that carry it.
        both: the two together, on all films that can be edited; the verdict rests on it.
        fall: how much further the AUROC falls once it is removed than with the placebo.
        by_class: way, label and effect, for each class alone.
        doses: dose, n, mean, low and high, towards the positive class; None if there is only one dose.
    """

    towards: float
    sufficiency: Effect | None = None
    necessity: Effect | None = None
    both: Effect | None = None
    fall: Estimate | None = None
    by_class: tuple[dict[str, Any], ...] = ()
    doses: tuple[dict[str, Any], ...] | None = None

    def plain(self) -> dict[str, Any]:
        """The effects as JSON-compatible values."""
        told = {
            "towards": self.towards,
            "sufficiency": self.sufficiency and plain(self.sufficiency),
            "necessity": self.necessity and plain(self.necessity),
            "both": self.both and plain(self.both),
            "fall": self.fall and self.fall._asdict(),
            "by_class": list(self.by_class),
        }
        return told if self.doses is None else told | {"doses": list(self.doses)}


def measure(audit: Audit, films: EditedFilms, references: References, doses: bool = True) -> dict[str, CueEffects]:
    """Name of each cue -> effects of its edits on the model, and on the reference networks."""
    scored = {way: (pairs.after, pairs.before) for way, pairs in films.pairs.items()}
    found = {}
    for cue in AUDITED:
        effects, put, taken = (
            effects_of(audit, films, references, cue.name, scored),
            scored.get((cue.name, PUT)),
            scored.get((cue.name, TAKEN)),
        )
        found[cue.name] = CueEffects(
            audit.associations[cue.name].towards,
            effects.get(PUT),
            effects.get(TAKEN),
            effects.get(BOTH),
            taken and _fall(audit, films, cue, *taken),
            _by_class(audit, films, cue.name, scored),
            _doses(audit, films, cue, put[0] - put[1]) if doses and put and len(cue.doses) > 1 else None,
        )
    return found


def _doses(audit: Audit, films: EditedFilms, cue: Cue, at_one: Floats) -> tuple[dict[str, Any], ...]:
    """Mean change of the logit at each dose, on a few films; the changes at dose 1 are known (`at_one`)."""
    few, rows = np.arange(len(films.rows))[:: max(1, len(films.rows) // DOSED)], []
    few = few[lacking(cue, films.table)[few]]
    masks = None if audit.edit_masks is None else audit.edit_masks[films.rows][few]
    one, pictures, seen = films.pairs[cue.name, PUT], [films.pictures[i] for i in few], audit.viewers(films.rows[few])
    for dose in cue.doses:
        if dose == 1:
            moved = at_one[np.isin(one.rows, few)]
        else:
            pairs = added(cue, pictures, seen, audit.seed, dose, masks)
            moved = pairs.after - pairs.before
        rows.append(_dose(audit, dose, moved, audit.group[films.rows[few]]))
    return tuple(rows)


def examples(audit: Audit) -> tuple[list[str], list[tuple[Pixels, Pixels, Pixels]]]:
    """Names of the cues that can be added; for each a film as the model gets it, edited, and with the placebo."""
    rows = audit.held_out_rows
    names, films = [], []
    for place, cue in enumerate(EDITED):
        can = rows[lacking(cue, audit.films.iloc[rows])]
        if len(can):
            row = can[[place % len(can)]]
            pairs = added(cue, audit.pictures(row), Viewers(audit.input), audit.seed)
            names.append(cue.name)
            films.append((audit.images[row[0]], pairs.edited[0], pairs.placebo[0]))
    return names, films


def effects_of(
    audit: Audit, films: EditedFilms, references: References, cue: str, scored: Scores, towards: float | None = None
) -> dict[str, Effect | None]:
    """Direction, or `BOTH` -> effect of a cue's edits on the network that `scored` the edited films and the placebos.

    Effects are `towards` the positive class (1), the negative one (−1), or that which the cue is associated with.
    Directions without reference networks are not part of `BOTH` if the other one has them.
    """
    towards = audit.associations[cue].towards if towards is None else towards
    given = {way: _given(audit, films, references, (cue, way), scored, towards) for way in WAYS if (cue, way) in scored}
    found = {way: effect(*each, audit.replicates, audit.seed) for way, each in given.items()}
    tested = [each for each in given.values() if each[-1] is not None] or list(given.values())
    return found | ({BOTH: effect(*_joined(tested), audit.replicates, audit.seed)} if tested else {})


Given = tuple[Floats, Floats, Floats, Ints, Floats | None]  # after, before, sign, group, references of `effect`


def _given(audit: Audit, films: EditedFilms, references: References, way: Way, scored: Scores, towards: float) -> Given:
    pairs, (after, before) = films.pairs[way], scored[way]
    return after, before, towards * pairs.sign, audit.group[films.rows[pairs.rows]], references.logits.get(way)


def _joined(parts: list[Given]) -> Given:
    after, before, sign, group = (np.concatenate([part[i] for part in parts]) for i in range(4))
    others = [part[4] for part in parts if part[4] is not None]
    return after, before, sign, group, np.concatenate(others, axis=2) if others else None


def _by_class(audit: Audit, films: EditedFilms, cue: str, scored: Scores) -> tuple[dict[str, Any], ...]:
    """Effects of a cue's edits on the films of each class alone."""
    rows, towards = [], audit.associations[cue].towards
    for way in (way for way in WAYS if (cue, way) in scored):
        pairs, (after, before) = films.pairs[cue, way], scored[cue, way]
        of = films.rows[pairs.rows]
        for label in (0, 1):
            own = audit.target[of] == label
            given = after[own], before[own], (towards * pairs.sign)[own], audit.group[of][own]
            one = effect(*given, None, audit.replicates, audit.seed)
            rows.append({"way": way, "label": label, "effect": one and plain(one)})
    return tuple(rows)


def _fall(audit: Audit, films: EditedFilms, cue: Cue, without: Floats, placebo: Floats) -> Estimate:
    """How much further the AUROC falls when the cue is taken off its carriers than with the placebo in its place."""
    pairs, held_out = films.pairs[cue.name, TAKEN], ~audit.train
    edited = films.rows[held_out[films.rows]]  # the AUROC is that of films that the model was not trained on
    known = np.isin(audit.held_out_rows, edited)
    given = Scored(audit.target[edited], audit.logits[known], audit.group[edited])
    own = held_out[films.rows[pairs.rows]]
    taken = np.searchsorted(edited, films.rows[pairs.rows[own]])
    lost, kept = given.score.copy(), given.score.copy()
    lost[taken], kept[taken] = without[own], placebo[own]
    weights, ones = bootstrap_weights(given, audit.replicates, audit.seed), np.ones((1, len(edited)))
    value, drawn = (
        auroc(replace(given, score=kept), each) - auroc(replace(given, score=lost), each) for each in (ones, weights)
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(value[0]), float(low), float(high))


def _dose(audit: Audit, dose: float, moved: Floats, group: Ints) -> dict[str, Any]:
    """Mean change of the logit over the placebo at one dose, towards the positive class."""
    enough = len(np.unique(group)) >= FEWEST_GROUPS
    mean = mean_change(moved, group, audit.replicates, audit.seed) if enough else Estimate(None, None, None)
    return {"dose": dose, "n": len(moved), "mean": mean.value, "low": mean.low, "high": mean.high}


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
    """Mean change of the probability, among reference networks, and share of prediction flips, in both directions."""
    ways = ((PUT, VERMILION, "o", "put on films without it"), (TAKEN, BLUE, "s", "taken off carriers"))
    names = [name for name, found in edited.items() if any(getattr(found, way) for way in WAYS)]
    told = "; ".join(
        f"{name}, {way}: {100 * one.shift:+.1f} points, {one.flips.value:.1%} of predictions"
        for name in names
        for way in WAYS
        if (one := getattr(edited[name], way))
    )
    figure, axes = panels(f"Effects of edits over placebos. {told}.", 2, (9.6, 0.38 * len(names) + 1.2), sharey=True)
    for place, name in enumerate(names):
        both = [getattr(edited[name], way) for way in WAYS]
        draw_shifts(axes[0], place, [one and plain(one) for one in both], [VERMILION, BLUE])
        for down, one, (_, colour, mark, _) in zip((-0.14, 0.14), both, ways, strict=True):
            if one:
                axes[1].hlines(place + down, one.flips.low, one.flips.high, color=colour, linewidth=1.6)
                axes[1].plot(one.flips.value, place + down, mark, color=colour, markersize=5)
    show_at_least(axes[0])
    for _, colour, mark, label in ways:
        axes[1].plot([], [], mark, color=colour, label=label)
    axes[1].plot([], [], "|", color=GREY, label="reference networks")
    for ax, title in zip(axes, ("probability, edit over placebo", "share of predictions flipped"), strict=True):
        ax.axvline(0, color=GREY, linestyle=":")
        ax.set(xlabel=f"{title}, towards the cue's class")
        ax.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    axes[1].legend(frameon=False, fontsize=8)
    return figure


def finding(edited: dict[str, CueEffects]) -> str:
    """Which edits change the probability most, and by how much they change that of reference networks."""
    found = [
        (name, text, one)
        for name, both in edited.items()
        for way, text in ((PUT, "put on"), (TAKEN, "taken off"))
        if (one := getattr(both, way)) is not None
    ]
    if not found:
        return "No cue could be edited on these films."
    strongest = sorted(found, key=lambda item: -item[2].shift)[:3]
    told = "; ".join(
        f"{name} {text} {one.n} films: {100 * one.shift:+.1f} points (reference networks: {_among(one)}), "
        f"{percent(one.flips.value or 0)} of the predictions flipped"
        for name, text, one in strongest
    )
    return (
        "Over their placebos and towards the class that the cue goes with, these move the model's probability most: "
        f"{told}."
    )


def _among(one: Effect) -> str:
    if not one.references:
        return "none"
    return f"{100 * np.mean(one.references):+.1f} ± {100 * np.std(one.references, ddof=1):.1f}"


def table(edited: dict[str, CueEffects], classes: tuple[str, str]) -> pd.DataFrame:
    """One row per cue and direction: pairs, logit change, prediction flips, p before correction, change per class."""
    rows: list[dict[str, Any]] = []
    for name, found in edited.items():
        for way, text in ((PUT, "put on"), (TAKEN, "taken off")):
            one: Effect | None = getattr(found, way)
            if one is None:  # the table of verdicts gives the reason
                continue
            row: dict[str, Any] = {"cue": name, "edit": text, "towards": classes[int(found.towards > 0)]}
            by = {classes[part["label"]]: part["effect"] for part in found.by_class if part["way"] == way}
            row |= {"pairs": one.n, "logit over placebo": signed(one.mean), "predictions flipped": one.flips.text(True)}
            row |= {"probability, points": f"{100 * one.shift:+.1f}", "reference networks": _among(one)}
            row |= {"p among them": "not tested" if one.p is None else f"{one.p:.3g}"}
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
