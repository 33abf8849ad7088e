"""Do verdicts hold? Networks of known history are judged by the audit's own rule, on SYNTHETIC films.

Each set of films is a database in which every cue goes with one class, audited as a run is. The networks were trained
on other versions of the same films: without any cue, with every cue at random, or with one cue at a strength p and the
others at random. What the audit should find is therefore known. In one more set cues are as phantoms carry them, in
other styles than the audit's edits. Networks at the strength that verdicts read are judged once more as the budget
`quick` does it: on fewer films, by reference networks trained on fewer films.

An interrupted study goes on: each training is kept. ``python -m tests.benchmarks.controls [--few] [set …]``; with
``--few`` networks are judged on few films alone, which is what the power that `quick` quotes rests on.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image

from tblib.arrays import Ints, Pixels
from tblib.audit import fits, power, references
from tblib.audit.budgets import BUDGETS, DEEP
from tblib.audit.edit_effects import BOTH, effects_of
from tblib.audit.edited import PUT, TAKEN, EditedFilms, edited_films
from tblib.audit.effects import Effect, plain
from tblib.audit.jobs import Job
from tblib.audit.references import References
from tblib.audit.study import Audit, open_audit
from tblib.audit.verdicts import DECISIVE, USED, Evidence, judge_all
from tblib.catalogue import build_catalogue, save_catalogue
from tblib.classifiers.trained import train_run
from tblib.evaluate import evaluate
from tblib.films import edits
from tblib.films.cues import EDITED, LAYERS, TINT_SHARES
from tblib.films.database import open_database
from tblib.films.film import Film
from tblib.metrics import Estimate, wilson
from tblib.mitigation import ModelInput
from tblib.phantoms.phantom import phantom_film
from tblib.phantoms.presets import CLASSES, CLEAN, Preset, Prevalence
from tblib.prepare import prepare
from tblib.run import open_run
from tblib.system.code import code_digest
from tblib.system.files import replacing, write_json
from tblib.train import Training
from tests.benchmarks.films import FOLDER, SIZE, as_markdown

HERE = FOLDER / "controls"
FILMS = 480  # of a set, half of them tuberculosis
FEW = BUDGETS["quick"].films  # of them edited, and trained on by the reference networks
WAYS = {FILMS: replace(BUDGETS["standard"], films=FILMS, outside_references=0), FEW: BUDGETS["quick"]}
WITH, AGAINST = 0.6, 0.2  # share of films with a cue, of the class that it goes with in the database, and of the other
AT_RANDOM = (WITH + AGAINST) / 2  # share of films of both classes with a cue that a network sees at random
STRENGTHS = {0.65: 1, 0.8: 2, 0.95: 1}  # p of the one cue that tells -> networks a cue and set
NEVER, RANDOM, NATURAL = "never saw a cue", "saw every cue at random", "natural style"
TAKEN_FOR_OWN = "never saw a cue, taken for a model trained here"  # what the wrong reference networks would cost
Counts = Callable[[dict[str, Any], str], bool]  # whether a network's verdict on a cue is one on what it cannot know
ALARMS = ("network", "networks", "verdicts", "called used", "share (95 %)", "which")
EACH = 5  # networks of the first two kinds in a set
SETS = (2, 5, 6)  # sets 0, 1, 3 and 4 were there when the rule was chosen
WIDE_SETS, WIDE_EACH, WIDE_CUES = (2, 5), 3, ("L/R marker", "white rectangle", "film border", "grey histogram")
STYLED = 9  # the set whose films carry cues in the phantoms' own styles
BARE: Preset = {name: Prevalence(0, 0) for name in CLEAN}
# The phantoms' artefacts that make up each cue, with their shares among its carriers.
STYLES: dict[str, dict[str, float]] = {
    "tint": TINT_SHARES,
    "L/R marker": {"initials": 0.4, "plain": 0.2, "cyrillic": 0.2, "plate": 0.2},
    "white rectangle": {"white_rectangle": 1.0},
    "black box": {"black_box": 1.0},
    "film border": {"black_border": 0.5, "white_border": 0.35, "beige_border": 0.15},
    "grey histogram": {"equalised": 1.0},
    "sharpness, compression": {"blur": 1.0, "jpeg": 0.5},
}


class Network(NamedTuple):
    """A network to judge: its kind, the cue that told and at which strength, its seed, whether as wide as the CNN."""

    kind: str
    cue: str
    p: float
    seed: int
    wide: bool


# --- films --------------------------------------------------------------------------------------------------------


def shares(network: Network | None, number: int) -> dict[str, tuple[float, float]]:
    """Cue -> share of Normal and of tuberculosis films with it: in the database (None), or for a network."""
    found = {}
    for place, cue in enumerate(EDITED):
        towards = (place + number) % 2  # each cue goes with either class in half of the sets
        if network is None:
            found[cue.name] = (AGAINST, WITH) if towards else (WITH, AGAINST)
        elif network.cue == cue.name:
            found[cue.name] = (1 - network.p, network.p) if towards else (network.p, 1 - network.p)
        else:
            found[cue.name] = (0.0, 0.0) if network.kind == NEVER else (AT_RANDOM, AT_RANDOM)
    return found


def seed_of(number: int, place: int) -> int:
    """Seed of a film's chest, the same in all versions of it."""
    return 700_000 + 10_000 * number + place


def drawn(number: int, place: int, share: dict[str, tuple[float, float]], version: int) -> Pixels:
    """One film, uint8 (512, 512, 3), with cues by chance, put on it by the audit's edits or in the phantoms' style."""
    seed, of = seed_of(number, place), {name: each[place % 2] for name, each in share.items()}
    return styled(place, seed + 1_000_000 * version, of) if number == STYLED else composed(place, seed, version, of)


def styled(place: int, seed: int, share: dict[str, float]) -> Pixels:
    """A phantom that carries each cue with its chance, in one of the phantoms' styles."""
    preset = dict(BARE)
    for cue, parts in STYLES.items():
        preset |= {part: Prevalence(share[cue] * among, share[cue] * among) for part, among in parts.items()}
    return edits.three_channels(phantom_film(CLASSES[place % 2], seed, preset).pixels)


def composed(place: int, seed: int, version: int, share: dict[str, float]) -> Pixels:
    """A bare phantom on which each cue is put by the audit's edit, with its chance; a tint in colour."""
    rng = np.random.default_rng([seed, version])
    film = edits.three_channels(phantom_film(CLASSES[place % 2], seed, BARE).pixels)[:, :, 0]
    colours = None
    for cue in LAYERS:
        if cue.put is None or rng.random() >= share[cue.name]:
            continue
        if cue.name == "tint":
            tint = edits.TINTS[str(rng.choice(list(TINT_SHARES), p=list(TINT_SHARES.values())))]
            colours = edits.tinted(film, tint).pixels
            film = Film("RGB", colours).grey
        else:
            done = cue.put(film, 1.0, rng)
            film = done.pixels
            if colours is not None:
                colours = np.where(done.own[..., None], film[..., None], colours)
    return edits.three_channels(film) if colours is None else colours


def versions(number: int, share: dict[str, tuple[float, float]], version: int, films: int = FILMS) -> list[Pixels]:
    """All films of a set in one version."""
    return Parallel(n_jobs=-1)(delayed(drawn)(number, place, share, version) for place in range(films))


# --- the audit of a set -------------------------------------------------------------------------------------------


def audit_of(number: int) -> Audit:
    """The audit of a set's database; its films, catalogue and an unused model are made once."""
    run, path = open_run(str(HERE / f"set-{number}")), films_zip(number)
    if not run.path("metrics.json").exists():
        database = open_database(path)
        save_catalogue(run, build_catalogue(database))
        prepare(run, database, SIZE, number)
        train_run(run, Training(epochs=1, width=4, seed=number))
        evaluate(run, 50, number)
    return replace(open_audit(run, "standard", None, None, 400, number), budget=WAYS[FILMS])


def films_zip(number: int, folder: Path = HERE, count: int = FILMS) -> Path:
    """The zip with a set's films, drawn once."""
    path = folder / f"set-{number}" / "films.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        films = versions(number, shares(None, number), 0, count)
        with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
            for place, film in enumerate(films):
                buffer = io.BytesIO()
                Image.fromarray(film).save(buffer, "PNG", compress_level=1)
                archive.writestr(f"films/{CLASSES[place % 2]}/{CLASSES[place % 2]}-{place}.png", buffer.getvalue())
    return path


def networks(number: int) -> list[Network]:
    """The networks that are judged on a set."""
    planned = [
        Network("uses one cue", cue.name, p, seed, False)
        for cue in EDITED
        for p, count in STRENGTHS.items()
        for seed in range(count)
    ]
    if number == STYLED:
        return [each._replace(kind=NATURAL) for each in planned if each.p == power.READ_AT]
    planned += [Network(kind, "", 0.0, seed, False) for kind in (NEVER, RANDOM) for seed in range(EACH)]
    if number in WIDE_SETS:
        planned += [Network(kind, "", 0.0, 50 + seed, True) for kind in (NEVER, RANDOM) for seed in range(WIDE_EACH)]
        planned += [Network("uses one cue", name, power.READ_AT, 50, True) for name in WIDE_CUES]
    return planned


def study(number: int, ways: Iterable[int] = WAYS) -> None:
    """Train all networks of a set and judge them, on all films and on few; finished trainings are kept."""
    whole, planned = audit_of(number), networks(number)
    chosen = {FILMS: planned} | ({} if number == STYLED else {FEW: [each for each in planned if on_few(each)]})
    chosen = {most: each for most, each in chosen.items() if most in ways}
    planned = [each for each in planned if any(each in some for some in chosen.values())]
    audits = {most: replace(whole, budget=WAYS[most]) for most in chosen}
    films = {most: edited_films(audit, True) for most, audit in audits.items()}
    for most, answers in zip(chosen, trained(whole, [*films.values()], planned, number), strict=True):
        own = [(network, one) for network, one in zip(planned, answers, strict=True) if network in chosen[most]]
        rows = [row | {"set": number} for row in judged_on(audits[most], films[most], own)]
        write_json(verdicts(number, most), {"rows": rows})


def judged_on(
    audit: Audit, films: EditedFilms, found: list[tuple[Network, dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """Judge networks by their logits; those that never saw a cue as trained elsewhere, and as if trained here."""
    others = references.measure(audit, films, True)
    if any(network.kind == NEVER for network, _ in found):
        elsewhere = edited_films(audit, False)
        unexposed = references.measure(audit, elsewhere, False)
    for network, one in found:
        if network.kind == NEVER:
            yield judged(audit, elsewhere, unexposed, network, held_out_only(audit, films, one))
            network = network._replace(kind=TAKEN_FOR_OWN)
        yield judged(audit, films, others, network, one)


def on_few(network: Network) -> bool:
    """Whether a network is judged on few films, too: what a verdict of the budget `quick` needs to know."""
    return not network.wide and (network.kind == RANDOM or network.p == power.READ_AT)


def verdicts(number: int, most: int) -> Path:
    """The file with the verdicts on the networks of a set, judged on at most so many films."""
    return HERE / f"verdicts-{number}-{most}.json"


def trained(whole: Audit, sizes: list[EditedFilms], planned: list[Network], number: int) -> list[list[dict[str, Any]]]:
    """For each size of the edited films, the logits of each network, trained on all training films of a set."""
    rows, stacks = whole.reference_rows, [films.stacked() for films in sizes]
    edited, placebo = (np.concatenate(each) for each in zip(*stacks, strict=True))
    arrays = {"carries": np.zeros(len(rows), bool), "target": whole.target[rows]}
    arrays |= {"held_out": whole.images[~whole.train], "edited": edited, "placebo": placebo}
    jobs = []
    for network in planned:
        images = training_films(whole, network, number)
        settings = {"seed": 1000 + network.seed, "training": fits.settled(DEEP if network.wide else {})}
        jobs.append(Job(fits.planted, {**arrays, "plain": images, "put": images}, settings))
    found = whole.jobs(jobs, f"networks of set {number}")
    ends = np.cumsum([0, *(len(stack[0]) for stack in stacks)])
    return [[_answers(one, np.arange(*between)) for one in found] for between in pairwise(ends)]


def held_out_only(audit: Audit, films: EditedFilms, found: dict[str, Any]) -> dict[str, Any]:
    """A network's answers without those to edited training films."""
    kept = np.concatenate([~audit.train[films.rows[pairs.rows]] for pairs in films.pairs.values()])
    return _answers(found, np.flatnonzero(kept))


def _answers(found: dict[str, Any], which: Ints) -> dict[str, Any]:
    """A network's answers, of those to edited films only these."""
    return found | {name: np.array(found[name])[which] for name in ("after", "before")}


def training_films(audit: Audit, network: Network, number: int) -> Pixels:
    """Uint8 (M, S, S): the training films of the audit in the version that a network sees."""
    version = 1 + 100 * [NEVER, RANDOM, NATURAL, "uses one cue"].index(network.kind) + network.seed
    share, places = shares(network, number), [int(name.split("-")[-1].split(".")[0]) for name in audit.films["file"]]
    rows, given = audit.reference_rows, ModelInput(SIZE)

    def of(place: int) -> Pixels:
        return given.of(Film("RGB", drawn(number, place, share, version)).grey)

    return np.stack(Parallel(n_jobs=-1)(delayed(of)(places[row]) for row in rows))


def called_used(audit: Audit, effects: dict[str, dict[str, Effect | None]]) -> dict[str, bool]:
    """Name of each cue -> whether its verdict is USED or DECISIVE, from the effects of its edits on a network."""
    unknown = Estimate(None, None, None)
    evidence = {
        name: Evidence(
            audit.associations[name].auroc,
            audit.associations[name].p,
            unknown,
            ways.get(PUT),
            ways.get(TAKEN),
            ways.get(BOTH),
            given=audit.given_others.get(name, {}),
        )
        for name, ways in effects.items()
    }
    return {name: verdict.name in (USED, DECISIVE) for name, verdict in judge_all(evidence).items()}


def judged(
    audit: Audit, films: EditedFilms, others: References, network: Network, found: dict[str, Any]
) -> dict[str, Any]:
    """Give each cue a verdict as the audit does, from a network's logits."""
    after, before = (films.split(np.array(found[name])) for name in ("after", "before"))
    scored = {way: (after[way], before[way]) for way in films.pairs}
    effects = {cue.name: effects_of(audit, films, others, cue.name, scored) for cue in EDITED}
    used = called_used(audit, effects)
    return network._asdict() | {
        "auroc": fits.area(audit.held_out_with(np.array(found["logits"]))),
        "used": used,
        "effects": {name: {way: one and plain(one) for way, one in ways.items()} for name, ways in effects.items()},
    }


# --- tables -------------------------------------------------------------------------------------------------------


def results(numbers: Iterable[int] = SETS, most: int = FILMS) -> list[dict[str, Any]]:
    """All verdicts on networks of these sets that were made so far, judged on at most so many films."""
    files = [verdicts(number, most) for number in numbers]
    return [row for file in files if file.exists() for row in json.loads(file.read_text(encoding="utf-8"))["rows"]]


def clustered(hits: list[list[bool]]) -> Estimate:
    """Share of true answers with a 95 % interval in which each network counts once.

    Wilson's interval at n / D films, where D is the design effect: the variance of the networks' own counts over that
    of independent answers, at least 1 (Kish 1965).
    """
    n, each = sum(map(len, hits)), np.array([sum(own) for own in hits], float)
    rate, sizes = each.sum() / n, np.array([len(own) for own in hits])
    expected = (sizes * rate * (1 - rate)).mean()
    effect = max(1.0, float(((each - sizes * rate) ** 2).mean() / expected)) if expected else 1.0
    return wilson(rate * n / effect, n / effect)


def false_alarms(rows: list[dict[str, Any]], wide: bool | None = None) -> pd.DataFrame:
    """Cues that a network cannot have learnt, called USED or DECISIVE: one row per kind of network."""
    single = ("uses one cue", power.READ_AT)
    kinds: dict[str, Counts] = {
        NEVER: lambda row, cue: row["kind"] == NEVER,
        RANDOM: lambda row, cue: row["kind"] == RANDOM,
        "uses another cue": lambda row, cue: (row["kind"], row["p"]) == single and row["cue"] != cue,
        TAKEN_FOR_OWN: lambda row, cue: row["kind"] == TAKEN_FOR_OWN,
    }
    chosen = [row for row in rows if wide is None or row["wide"] == wide]
    lines = [line for kind, counts in kinds.items() if (line := alarms(kind, chosen, counts))]
    return pd.DataFrame(lines, columns=ALARMS)


def alarms(title: str, rows: list[dict[str, Any]], counts: Counts) -> tuple[Any, ...] | None:
    """A row of `ALARMS` over the verdicts that count, which are cues that the network cannot have learnt; None if no
    verdict does."""
    hits = [[used for cue, used in row["used"].items() if counts(row, cue)] for row in rows]
    hits = [own for own in hits if own]
    if not hits:
        return None
    wrong = sorted({cue for row in rows for cue, used in row["used"].items() if used and counts(row, cue)})
    share = clustered(hits).text(percent=True)
    return title, len(hits), sum(map(len, hits)), sum(map(sum, hits)), share, ", ".join(wrong)


def found(rows: list[dict[str, Any]], kind: str, wide: bool = False) -> list[dict[str, Any]]:
    """The curve of `tblib.audit.power`: one row per cue and strength."""
    own = [row for row in rows if row["kind"] == kind and row["wide"] == wide]
    own = sorted(own, key=lambda row: ([cue.name for cue in EDITED].index(row["cue"]), row["p"]))
    wanted = [(row["cue"], row["p"]) for row in own]
    return power.curve(wanted, [row["used"][row["cue"]] for row in own], [row["auroc"] for row in own])


def markdown() -> str:
    """The tables of all studies so far."""
    all_films, few, styled_films = results(), results(SETS, FEW), results((STYLED,))
    if not (all_films or few or styled_films):
        return "No control study has been run here: `make study-controls`.\n"
    parts = ["Called used although the network cannot have learnt it:", as_markdown(false_alarms(all_films))]
    parts += ["Of these, networks as wide as the CNN:", as_markdown(false_alarms(all_films, wide=True))]
    parts += [f"Judged on {FEW} films:", as_markdown(false_alarms(few))]
    for title, rows, kind, wide in (
        ("Power, small networks", all_films, "uses one cue", False),
        ("Power, networks as wide as the CNN", all_films, "uses one cue", True),
        (f"Power, judged on {FEW} films", few, "uses one cue", False),
        ("Power where cues are in the phantoms' styles and edits are not", styled_films, NATURAL, False),
    ):
        curve = found(rows, kind, wide)
        lines = [(row["cue"], row["p"], row["n"], Estimate(**row["used"]).text(percent=True)) for row in curve]
        parts += [f"{title}:", as_markdown(pd.DataFrame(lines, columns=["cue", "p", "networks", "called used"]))]
    return "\n\n".join(parts) + "\n"


def store() -> None:
    """Keep the power at few films for audits that plant no cues (`tblib.audit.power.stored`)."""
    curve = found(results(SETS, FEW), "uses one cue")
    n = sum(row["n"] for row in curve)
    made = f"of {n} networks judged on {FEW} films, made with the code of this audit"
    kept = {"digest": code_digest(*power.RULE, packages=False), "way": power.way(BUDGETS["quick"], True)}
    write_json(power.STUDY, kept | {"source": f"a control study on SYNTHETIC films, {made}", "curve": curve})


if __name__ == "__main__":
    few = "--few" in sys.argv
    numbers = [int(text) for text in sys.argv[1:] if text != "--few"] or [*SETS, *(() if few else (STYLED,))]
    for number in numbers:
        study(number, (FEW,) if few else WAYS)
    print(markdown())
    if {row["set"] for row in results(SETS, FEW)} == set(SETS):
        store()
