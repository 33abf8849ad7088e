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
from tblib.audit.verdicts import WAYS as MARKED
from tblib.audit.verdicts import draw_shifts, keys_of_shifts, show_at_least
from tblib.films.cues import AUDITED, EDITED, Cue
from tblib.metrics import Estimate, Scored, auroc, bootstrap_weights
from tblib.show.plots import FONT, INK, TOWARDS, WIDTH, draw_film, key, legend_below, panels, tiles
from tblib.show.text import by_name, capital, percent, signed

Scores = dict[Way, tuple[Floats, Floats]]  # logits after the edit and after the placebo
WAYS, BOTH = (PUT, TAKEN), "both"
TOLD = dict(zip(WAYS, ("put on films", "taken off films"), strict=True))
COLUMNS = 4  # of the figure of doses
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
    masks = audit.edit_masks(films.rows[few])
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


def examples_figure(names: list[str], films: list[tuple[Pixels, Pixels, Pixels]]) -> Figure | str:
    """For each cue a film as it is, after the edit and after the placebo, all as the model sees them."""
    if not films:
        return "No cue can be edited on these films."
    alt = f"Each of {len(names)} cues can be put on a film, and its placebo: {', '.join(names)}."
    figure, axes = tiles(3 * len(films), 6, alt)
    for place, (name, triple) in enumerate(zip(names, films, strict=True)):
        titles = ("as it is", f"with {name}".replace(", ", ",\n"), "with placebo")
        for ax, film, what in zip(axes[3 * place : 3 * place + 3], triple, titles, strict=True):
            draw_film(ax, film, what)
    return figure


def figure(edited: dict[str, CueEffects]) -> Figure:
    """Mean change of the probability, among reference networks, and share of prediction flips, in both directions."""
    names = [name for name, found in edited.items() if any(getattr(found, way) for way in WAYS)]
    each = [(name, way, one) for name in names for way in WAYS if (one := getattr(edited[name], way))]
    told = "; ".join(
        f"{name}, {TOLD[way]}: {100 * one.shift:+.1f} points, {percent(one.flips.value)} of predictions"
        for name, way, one in each
    )
    alt = "No cue could be edited on these films."
    if each:
        name, way, one = max(each, key=lambda item: item[2].shift)
        alt = f"{capital(name)} moves the model most, by {100 * one.shift:+.1f} points towards its class ({TOLD[way]})."
    figure, axes = panels(f"{alt} Over placebos, {told}.", 2, (WIDTH, 0.36 * len(names) + 1.5), sharey=True)
    for place, name in enumerate(names):
        both = [getattr(edited[name], way) for way in WAYS]
        draw_shifts(axes[0], place, [one and plain(one) for one in both], INK)
        for down, one, (_, mark, hollow) in zip((-0.16, 0.16), both, MARKED, strict=True):
            if one:
                axes[1].hlines(place + down, one.flips.low, one.flips.high, color=INK, linewidth=1.6)
                face = "white" if hollow else INK
                axes[1].plot(one.flips.value, place + down, mark, color=INK, markerfacecolor=face, markersize=5.5)
    show_at_least(axes[0])
    for ax, title in zip(axes, ("change of the probability, points", "net share of predictions flipped"), strict=True):
        ax.axvline(0, color=INK, linestyle=":")
        ax.set(xlabel=f"{title}\n({TOWARDS})")
        ax.grid(visible=False, axis="y")
    counts = {name: [one.n for of, _, one in each if of == name] for name in names}
    ticks = [f"{name}\n(n = {' and '.join(map(str, counts[name]))})" for name in names]
    axes[0].set_yticks(range(len(names)), ticks)
    axes[0].invert_yaxis()
    legend_below(figure, 3, [*keys_of_shifts(), key("95 % interval over films", INK, line="-")])
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
    told = [
        f"{name}, {text} {one.n} films: {100 * one.shift:+.1f} points (reference networks {_among(one)}), "
        f"{percent(one.flips.value or 0)} of the predictions flipped"
        for name, text, one in strongest
    ]
    return (
        "These edits move the model's probability most, beyond their placebos and towards the class that the cue goes "
        f"with: {'; '.join(told)}. An edit that moves the model further than the reference networks shows use."
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
    return by_name(
        pd.DataFrame(rows, columns=None if rows else ["cue"]), "cue", "What each edit changes beyond its placebo"
    )


def doses_figure(edited: dict[str, CueEffects]) -> Figure | str:
    """Mean change of the logit over the placebo at each dose of each cue's edit, towards the cue's class."""
    shown = {}
    for name, found in edited.items():
        rows = [row for row in found.doses or () if row["mean"] is not None]
        if rows:
            shown[name] = [_towards(row, found.towards) for row in rows]
    if not shown:
        return "No cue was put on enough films at several doses."
    told = "; ".join(
        f"{name}: " + ", ".join(f"×{row['dose']:g} {row['mean']:+.2f}" for row in rows) for name, rows in shown.items()
    )
    grow = [name for name, rows in shown.items() if all(a["mean"] < b["mean"] for a, b in pairwise(rows))]
    alt = f"For {len(grow)} of {len(shown)} cues the effect grows with the dose. Logits over the placebo, {told}."
    lines = -(-len(shown) // COLUMNS)
    figure, axes = panels(alt, len(shown), (WIDTH, 1.85 * lines + 0.5), COLUMNS, sharey=True)
    for ax, (name, rows) in zip(axes, shown.items(), strict=True):
        x = [row["dose"] for row in rows]
        ax.vlines(x, [row["low"] for row in rows], [row["high"] for row in rows], color=INK, linewidth=1.4)
        ax.plot(x, [row["mean"] for row in rows], "o-", color=INK, markersize=4.5)
        ax.axhline(0, color=INK, linestyle=":")
        counts = sorted({row["n"] for row in rows})
        title = f"{name}\nn = {' to '.join(map(str, counts))} films".replace(", ", ",\n")
        ax.set(title=title, xlim=(0.3, 2.2), xticks=(0.5, 1, 2))
    for ax in axes[::COLUMNS]:
        ax.set_ylabel("change of the logit\nover the placebo")
    figure.supxlabel(
        f"dose (1: the edit that is judged); changes are {TOWARDS};\nbars: 95 % interval over films", fontsize=FONT
    )
    return figure


def _towards(row: dict[str, Any], towards: float) -> dict[str, Any]:
    """A row of `CueEffects.doses`, towards the positive class, as an effect towards the cue's class."""
    low, high = sorted((towards * row["low"], towards * row["high"]))
    return row | {"mean": towards * row["mean"], "low": low, "high": high}


def doses_finding(edited: dict[str, CueEffects]) -> str:
    """Which edits have a larger effect at a higher dose."""
    rising = []
    for name, found in edited.items():
        means = [row["mean"] for row in found.doses or () if row["mean"] is not None]
        if len(means) > 1 and all(abs(b) > abs(a) and a * b > 0 for a, b in pairwise(means)):
            rising.append(name)
    if not rising:
        return "No edit moves the logit further, in the same direction, at each higher dose."
    return f"These edits move the logit further, in the same direction, at each higher dose: {', '.join(rising)}."
