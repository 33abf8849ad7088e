"""Power of the audit: planted cues and negative controls."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tblib.arrays import Floats, Ints, Mask
from tblib.audit import fits
from tblib.audit.budgets import Budget
from tblib.audit.edit_effects import BOTH, effects_of
from tblib.audit.edited import PUT, EditedFilms, Way
from tblib.audit.effects import THRESHOLDS, is_used
from tblib.audit.jobs import Job
from tblib.audit.pairs import Viewers, added
from tblib.audit.references import References
from tblib.audit.study import Audit
from tblib.audit.training_films import training_films
from tblib.films.cues import AUDITED, EDITED, Cue
from tblib.metrics import Estimate, Scored, label_p, wilson
from tblib.show.plots import FONT, INK, SERIES, legend_below, panels, whiskers
from tblib.show.text import by_name, captioned, estimate, how_many, listed, percent
from tblib.system.code import code_digest
from tblib.system.files import ROOT

SCORED = ("after", "before")  # the order in `References.logits`
READ_AT = 0.8  # strength at which verdicts read the power
STUDY = ROOT / "tblib" / "audit" / "control_study.json"  # written by tests/benchmarks/controls.py
RULE = (  # the code on which the stored control study rests
    *("tblib.audit.fits.planted", "tblib.audit.fits.reference", "tblib.audit.fits.SMALL", "tblib.films.cues.CUES"),
    *("tblib.audit.effects.effect", "tblib.audit.effects.is_used", "tblib.audit.edit_effects._joined"),
    *("tblib.audit.pairs.added", "tblib.audit.pairs.removed"),
    *("tblib.audit.references._exposed", "tblib.audit.references._unexposed", "tblib.audit.references.put_chances"),
)


def measure(audit: Audit, films: EditedFilms, references: References) -> dict[str, Any]:
    """Plant cues and run negative controls: how often the audit finds cues that are there, and cues that are not.

    True labels, and all other cues are left in place. A cue is planted into the training films of the reference
    networks; the CNN trained on them is judged as the audited one is: on the same films, by the same rule.

    Returns:
        curve: one row per cue and strength: cue, p, n, used (share with Wilson interval), auroc (held-out films).
        controls: one row per kind (shuffled labels; parity of the file number; reference networks judged by the
        others): control, trainings, tests, used, auroc.
        trained_on, source: number of training films, and where the curve is from.
    """
    among = [_among_references(audit, films, references)] if references.logits else []
    if not audit.budget.planted:
        known = stored(audit.budget, audit.trained_here and audit.of_tblib)
        return known | {"controls": among, "trained_on": len(audit.reference_rows)}
    cues = [cue for cue in EDITED if (cue.name, PUT) in films.pairs]
    plants = [
        (cue, p, seed, carriers(audit, cue, p, seed))
        for cue in cues
        for p in audit.budget.planted
        for seed in range(audit.budget.replicas)
    ]
    absurd = [(kind, label, seed) for kind, label in _absurd(audit) for seed in range(audit.budget.controls)]
    jobs = [*_plant_jobs(audit, films, plants), *_control_jobs(audit, films, absurd)]
    found = audit.jobs(jobs, "planted cues")
    used = [
        _finds(audit, films, references, cue.name, one, 1.0, _planted_p(audit, cue, on))
        for (cue, _, _, on), one in zip(plants, found, strict=False)
    ]
    areas = [fits.area(audit.held_out_with(np.array(one["logits"]))) for one in found[: len(plants)]]
    controls = _controls(audit, films, references, absurd, found[len(plants) :])
    return {
        "curve": curve([(cue.name, p) for cue, p, *_ in plants], used, areas),
        "controls": controls + among,
        "trained_on": len(audit.reference_rows),
        "source": "this run",
    }


def at(power: dict[str, Any], cue: str) -> Estimate | None:
    """The power for a cue at `READ_AT`, None if it was not measured; `power` is from `measure`."""
    row = next((row for row in power["curve"] if row["cue"] == cue and row["p"] == READ_AT), None)
    return Estimate(**row["used"]) if row else None


def stored(budget: Budget, trained_here: bool) -> dict[str, Any]:
    """The curve of the stored control study on SYNTHETIC films, if it was made with the code at hand, in the way in
    which this budget judges a CNN of tblib that was trained on these films (`trained_here`), or any other model;
    otherwise an empty one."""
    kept: dict[str, Any] = json.loads(STUDY.read_text(encoding="utf-8")) if STUDY.is_file() else {"digest": ""}
    if kept["digest"] != code_digest(*RULE, packages=False) or kept["way"] != way(budget, trained_here):
        why = "this budget plants no cues, and the stored study is of other code, another budget or CNNs of tblib alone"
        return {"curve": [], "source": f"not measured: {why}"}
    return {"curve": kept["curve"], "source": kept["source"]}


def way(budget: Budget, trained_here: bool) -> dict[str, Any]:
    """What the verdict on a cue depends on, besides code and films: settings of the budget, origin of the model."""
    settings = {name: getattr(budget, name) for name in ("references", "films", "training")}
    return settings | {"trained_here": trained_here}


def carriers(audit: Audit, cue: Cue, p: float, seed: int) -> Mask:
    """Bool (M,): which films of ``reference_rows`` get the cue: of those without it a share p of the positive ones,
    and 1 − p of the negative ones."""
    rng = np.random.default_rng([audit.seed, seed, round(100 * p), EDITED.index(cue)])
    rows = audit.reference_rows
    lacks = np.ones(len(rows), bool) if cue.everywhere else cue.carried(audit.films.iloc[rows]) <= 0
    return lacks & (rng.random(len(rows)) < np.where(audit.target[rows] == 1, p, 1 - p))


def _planted_p(audit: Audit, cue: Cue, planted: Mask) -> float:
    """P-value of the association of a cue, planted or own, with the label in the training films of a planting."""
    rows = audit.reference_rows
    own = np.zeros(len(rows)) if cue.holds is None else cue.carried(audit.films.iloc[rows])
    return label_p(Scored(audit.target[rows], np.maximum(own, planted), audit.group[rows]), audit.seed)


def _plant_jobs(audit: Audit, films: EditedFilms, plants: list[tuple[Cue, float, int, Mask]]) -> list[Job]:
    own = training_films(audit)
    masks = audit.edit_masks(own.rows)
    names = {cue.name: cue for cue, *_ in plants}
    seen = Viewers(audit.input)
    put = {name: added(cue, own.pictures, seen, audit.seed, masks=masks).edited for name, cue in names.items()}
    shared: dict[str, npt.NDArray[Any]] = {"plain": own.images, "target": own.target}
    shared |= {"held_out": audit.images[~audit.train]}
    arrays = {}
    for name in names:
        edited, placebo = films.only({name}).stacked()
        arrays[name] = shared | {"put": put[name], "edited": edited, "placebo": placebo}
    return [
        Job(
            fits.planted,
            {**arrays[cue.name], "carries": on[own.of]},
            {"training": audit.reference_training, "seed": seed},
        )
        for cue, _, seed, on in plants
    ]


def _control_jobs(audit: Audit, films: EditedFilms, absurd: list[tuple[str, Ints, int]]) -> list[Job]:
    rows, (edited, placebo) = audit.reference_rows, films.stacked()
    images = audit.images[rows]
    arrays: dict[str, npt.NDArray[Any]] = {
        "plain": images,
        "put": images,
        "carries": np.zeros(len(rows), bool),
        "edited": edited,
    }
    arrays |= {"placebo": placebo, "held_out": audit.images[~audit.train]}
    return [
        Job(fits.planted, {**arrays, "target": label[rows]}, {"training": audit.reference_training, "seed": seed})
        for _, label, seed in absurd
    ]


def _finds(
    audit: Audit,
    films: EditedFilms,
    references: References,
    cue: str,
    logits: dict[str, Any],
    towards: float,
    exists_p: float,
) -> bool:
    """Whether the rule of the verdict calls a cue used by a network, whose `logits` are of this cue's edited films."""
    own = films.only({cue})
    after, before = (own.split(np.array(logits[name])) for name in SCORED)
    scored = {way: (after[way], before[way]) for way in own.pairs}
    found = effects_of(audit, films, references, cue, scored, towards).get(BOTH)
    if found is None or found.p is None:
        return False
    return is_used(min(1.0, len(AUDITED) * exists_p), found, min(1.0, _tests(audit, references, cue) * found.p))


def _tests(audit: Audit, references: References, cue: str) -> int:
    """Number of tests of use that Holm's correction goes over if `cue` exists besides the cues that do."""
    exist = {*audit.existing, cue}
    return len(exist.intersection(name for name, _ in references.logits))


def _absurd(audit: Audit) -> list[tuple[str, Ints]]:
    """Labels (N,) that no film can tell."""
    shuffled = np.random.default_rng([audit.seed, 7]).permutation(audit.target)
    return [("shuffled labels", shuffled), ("parity of the file number", _parity(audit.films["file"]))]


def _parity(files: pd.Series) -> Ints:
    """1 if the number at the end of a file's name is odd, 0 if even; files without a number use their index."""
    number = files.str.extract(r"(\d+)\D*$", expand=False)
    places = pd.Series(np.arange(len(files)), index=files.index)
    return number.where(number.notna(), places.astype(str)).astype(object).map(int).to_numpy(np.int64) % 2


def _controls(
    audit: Audit,
    films: EditedFilms,
    references: References,
    absurd: list[tuple[str, Ints, int]],
    found: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    answers: dict[str, list[bool]] = {kind: [] for kind, *_ in absurd}
    areas: dict[str, list[float | None]] = {kind: [] for kind in answers}
    for (kind, label, _), one in zip(absurd, found, strict=True):
        held_out = Scored(label[~audit.train], np.array(one["logits"]), audit.group[~audit.train])
        areas[kind].append(fits.area(held_out))
        split = {name: films.split(np.array(one[name])) for name in SCORED}
        for cue in dict.fromkeys(name for name, _ in references.logits):
            own = audit.associations[cue]
            scored = Scored(label[own.told], own.score[own.told], audit.group[own.told])
            towards = 1.0 if (fits.area(scored) or 0.5) >= 0.5 else -1.0
            logits = {name: _of_cue(each, cue) for name, each in split.items()}
            answers[kind].append(_finds(audit, films, references, cue, logits, towards, label_p(scored, audit.seed)))
    return [_control(kind, answers[kind], areas[kind]) for kind in answers]


def _of_cue(logits: dict[Way, Floats], cue: str) -> Floats:
    """Logits of one cue's edited films, in both directions."""
    return np.concatenate([each for (name, _), each in logits.items() if name == cue])


def _among_references(audit: Audit, films: EditedFilms, references: References) -> dict[str, Any]:
    """Each reference network judged by the others, as if every cue existed: each cue called used is a false alarm."""
    answers = []
    for cue in dict.fromkeys(name for name, _ in references.logits):
        own = {way: each for way, each in references.logits.items() if way[0] == cue}
        towards, films_of = (
            audit.associations[cue].towards,
            replace(films, pairs={way: films.pairs[way] for way in own}),
        )
        for k in range(len(next(iter(own.values())))):
            left = {way: np.delete(each, k, axis=0) for way, each in own.items()}
            others = References(references.logits | left, (), 0)
            logits = {name: np.concatenate([each[k, i] for each in own.values()]) for i, name in enumerate(SCORED)}
            answers.append(_finds(audit, films_of, others, cue, logits, towards, 0.0))
    return _control("reference networks, judged by the others", answers, list(references.aurocs))


def _control(kind: str, answers: list[bool], areas: list[float | None]) -> dict[str, Any]:
    used = wilson(sum(answers), len(answers))._asdict()
    return {"control": kind, "trainings": len(areas), "tests": len(answers), "used": used, "auroc": _mean(areas)}


def curve(wanted: Iterable[tuple[str, float]], used: list[bool], areas: list[float | None]) -> list[dict[str, Any]]:
    """One row per cue and strength, from those of each planted network, whether its cue was found, and its AUROC."""
    found = pd.DataFrame([*wanted], columns=["cue", "p"]).assign(used=used, auroc=areas)
    return [
        {"cue": cue, "p": p, "n": len(own), "used": wilson(int(own["used"].sum()), len(own))._asdict()}
        | {"auroc": _mean(own["auroc"].tolist())}
        for (cue, p), own in found.groupby(["cue", "p"], sort=False)
    ]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def figure(planted: dict[str, Any]) -> Figure:
    """Share of planted cues that the audit detects as used, by strength, and false alarms of the negative controls."""
    rows, controls = planted["curve"], planted["controls"]
    told = "; ".join(
        f"{row['cue']} at p={row['p']:g}: {percent(row['used']['value'], 0)} of {row['n']}" for row in rows
    )
    alarms = "; ".join(
        f"{row['control']}: {percent(row['used']['value'])} of {how_many(row['tests'], 'test')}" for row in controls
    )
    cues, strengths = list(dict.fromkeys(row["cue"] for row in rows)), sorted({row["p"] for row in rows})
    alt = f"{_conclusion(planted)} Planted cues, {told or 'not measured'}. False alarms, {alarms}."
    heights = max(1.0, 0.24 * len(cues) * max(len(strengths), 1)), max(0.6, 0.42 * len(controls))
    size = (6.8, sum(heights) + 2.1)
    figure, (above, below) = panels(alt, 2, size, 1, sharex=True, height_ratios=heights)
    for number, p in enumerate(strengths):
        colour, mark = SERIES[number % len(SERIES)]
        down = 0.26 * (number - (len(strengths) - 1) / 2)
        own = [row for row in rows if row["p"] == p]
        times = sorted({row["n"] for row in own})
        label = f"planted at p = {p:g}, n = {' to '.join(map(str, times))} networks each"
        _draw_shares(above, [cues.index(row["cue"]) + down for row in own], own, colour, mark, label)
    above.axvline(THRESHOLDS["power"], color=INK, linestyle="--", linewidth=0.8, label="limit of the power")
    above.set_yticks(range(len(cues)), cues)
    above.set(title="planted cues", ylim=(max(len(cues), 1) - 0.4, -0.6))
    if not cues:
        above.text(0.5, 0.5, "not measured", ha="center", transform=above.transAxes, fontsize=FONT)
    _draw_shares(below, range(len(controls)), controls, INK, "o")
    below.axvline(THRESHOLDS["use"], color=INK, linestyle=":", label=f"level of the test ({THRESHOLDS['use']:g})")
    labels = [f"{row['control']}\nn = {row['tests']} tests".replace(", judged", ",\njudged") for row in controls]
    below.set_yticks(range(len(controls)), labels)
    below.set(title="negative controls", xlim=(-0.02, 1.02), ylim=(max(len(controls), 1) - 0.4, -0.6))
    below.set_xlabel("share called used (95 % interval): power above, false alarms below")
    for ax in (above, below):
        ax.grid(visible=False, axis="y")
    legend_below(figure, 2)
    return figure


def _draw_shares(
    ax: Axes, places: Iterable[float], rows: list[dict[str, Any]], colour: str, mark: str, label: str = ""
) -> None:
    """Shares called used with their intervals."""
    shares = pd.DataFrame([row["used"] for row in rows], columns=list(Estimate._fields))
    whiskers(ax, shares["value"], shares["low"], shares["high"], np.array([*places]), colour, label, mark)


def _conclusion(planted: dict[str, Any]) -> str:
    """What the figure shows, in a sentence."""
    strong = [row for row in planted["curve"] if row["p"] == READ_AT]
    alarms = sum(round(row["used"]["value"] * row["tests"]) for row in planted["controls"])
    tests = sum(row["tests"] for row in planted["controls"])
    enough = sum(row["used"]["low"] >= THRESHOLDS["power"] for row in strong)
    found = (
        f"the audit finds {enough} of {len(strong)} planted cues reliably" if strong else "its power is not measured"
    )
    return f"{found[0].upper()}{found[1:]} and raises {how_many(alarms, 'false alarm')} in {how_many(tests, 'test')}."


def finding(planted: dict[str, Any]) -> str:
    """How often the audit detects planted cues, and how often it raises a false alarm."""
    alarms = sum(round(row["used"]["value"] * row["tests"]) for row in planted["controls"])
    tests = sum(row["tests"] for row in planted["controls"])
    told = f"Where there was nothing to find, {how_many(alarms, 'false alarm')} came of {how_many(tests, 'test')}."
    strong = [row for row in planted["curve"] if row["p"] == READ_AT]
    if not strong:
        return f"Power at p = {READ_AT} is {planted['source']}. {told}"
    enough = [row["cue"] for row in strong if row["used"]["low"] >= THRESHOLDS["power"]]
    poor = [f"{row['cue']} ({percent(row['used']['value'], 0)})" for row in strong if row["cue"] not in enough]
    text = (
        f"The audit reliably finds {listed(enough) or 'no cue'} when planted at p = {READ_AT}: the lower limit of its "
        f"power is {percent(THRESHOLDS['power'], 0)} or more ({how_many(strong[0]['n'], 'planting')} each; "
        f"{planted['source']})."
    )
    missed = f" It is not sure to find {listed(poor)}, so that finding nothing there means little." if poor else ""
    return f"{text}{missed} {told}"


def table(planted: dict[str, Any]) -> pd.DataFrame:
    """One row per cue, one column per strength: share detected as used, with its interval."""
    rows = [
        (row["cue"], f"p = {row['p']:g}", f"{estimate(row['used'], True)}, n {row['n']}") for row in planted["curve"]
    ]
    wide = pd.DataFrame(rows, columns=["cue", "p", "used"]).pivot_table(
        index="cue", columns="p", values="used", aggfunc="first", sort=False
    )
    return captioned(wide.rename_axis(columns=None), "How often planted cues are called used")


def controls_table(planted: dict[str, Any]) -> pd.DataFrame:
    """One row per negative control: trainings, held-out AUROC, tests, called used."""
    rows = [
        {
            "negative control": row["control"],
            "trainings": row["trainings"],
            "AUROC, mean": "one class only" if row["auroc"] is None else f"{row['auroc']:.3f}",
            "tests": row["tests"],
            "called used": estimate(row["used"], True),
        }
        for row in planted["controls"]
    ]
    return by_name(pd.DataFrame(rows), "negative control", "False alarms where there is nothing to find")
