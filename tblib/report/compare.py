"""Several runs side by side, as one page and one CSV file: figures with intervals, verdicts, paired differences."""

from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape

from tblib.arrays import TblibError
from tblib.audit.choice import LABEL, choosing
from tblib.metrics import Estimate, Scored, auroc, bootstrap_weights
from tblib.run import GIVEN, MODEL, Run, judged, run_folder
from tblib.show import tables
from tblib.show.text import NONE, estimate, how_many, interval_of, listed, mean_and_interval
from tblib.system.files import ROOT, file_digest, replacing, write_table
from tblib.system.text import RESEARCH_USE, printable

FILES = ("comparison.html", "comparison.csv")
SHORT = 12  # characters of a digest that are shown
REPLICATES, SEED = 2000, 0  # of the bootstrap of differences
HERE, OTHER_FILMS = "the run's own films", "other films: not comparable"


class CompareError(TblibError):
    """Runs that cannot be compared."""


class Compared(NamedTuple):
    """What a comparison needs of one run.

    Attributes:
        metrics, results: content of ``metrics.json`` and ``shortcuts.json``.
        data: digest of the database.
        model: name of the model, and digest.
        films: set -> one row per film that was judged: file, target, logit, group. `HERE` are the run's own.
    """

    run: Run
    metrics: dict[str, Any]
    results: dict[str, Any]
    data: str
    model: tuple[str, str]
    films: dict[str, pd.DataFrame]


def default_folder() -> Path:
    """Where a comparison lies unless another folder is named."""
    return ROOT / "reports" / "comparison"


def compare(names: list[str], folder: Path, overwrite: bool = False) -> tuple[Path, Path]:
    """Write ``comparison.html`` and ``comparison.csv`` on several runs into a folder, which is made where needed.

    Raises:
        CompareError: fewer than two runs, one that is not complete, or files that are there already.
        DamagedError, MissingInputError: a file of a run is damaged or missing.
    """
    if len(names) < 2:
        raise CompareError("Name two runs or more: python -m tblib compare reports/one reports/other")
    runs = [_read(Run(run_folder(name))) for name in names]
    page, table = (folder / file for file in FILES)
    there = [str(path) for path in (page, table) if path.exists()]
    if there and not overwrite:
        raise CompareError(
            f"{' and '.join(there)} would be replaced; ask for it with --overwrite, or give --out FOLDER."
        )
    folder.mkdir(parents=True, exist_ok=True)
    rows, apart = pd.DataFrame([row(one) for one in runs]).fillna(NONE), pd.DataFrame(differences(runs))
    html = Environment(
        loader=PackageLoader("tblib.report", "."), autoescape=select_autoescape(["html.j2"], default=True)
    ).get_template("compare.html.j2")
    text = html.render(
        title=f"{how_many(len(runs), 'run')} side by side",
        synthetic=[one.run.folder.name for one in runs if one.run.synthetic],
        research_use=RESEARCH_USE,
        rows=tables.html(rows.set_index("run").T.rename_axis(None, axis=1).reset_index(names="")),
        differences=tables.html(apart),
        replicates=REPLICATES,
    )
    with replacing(page) as part:
        part.write_text(text, encoding="utf-8")
    write_table(table, rows)
    return page, table


def _read(run: Run) -> Compared:
    if not run.path("run.json").is_file() or not run.facts("run.json")["complete"]:
        raise CompareError(f"{run.folder} holds no complete run; make it first: {run.command()}")
    if run.path(GIVEN).is_file():
        facts = run.facts(GIVEN)
        model = facts["name"], facts["digest"]
    else:
        model = "CNN of tblib", file_digest(run.need(MODEL))
    own = judged(run.table("predictions.csv")).rename(columns={"duplicate_group": "group"})
    films = {HERE: own} | {str(name): each for name, each in run.table("external.csv").groupby("set", sort=False)}
    metrics, results = run.facts("metrics.json"), run.facts("shortcuts.json")
    return Compared(run, metrics, results, run.facts("catalogue.json")["digest"], model, films)


def row(one: Compared) -> dict[str, str]:
    """One run: where it comes from, its figures with intervals, and the verdict on each cue."""
    metrics = one.metrics
    cells = {
        "run": printable(one.run.folder.name),
        "films": one.run.facts("catalogue.json")["database"],
        "data digest": one.data[:SHORT],
        "model": printable(one.model[0]),
        "model digest": printable(one.model[1][:SHORT]),
        "trained on films judged": "no" if metrics["model"] is None else metrics["model"]["seen"],
        "films judged": f"{metrics['n']} ({metrics['positives']} positive)",
        "AUROC": estimate(metrics["auroc"]) + (" (ranks the wrong way)" if metrics["inverted"] else ""),
        **{name: estimate(metrics[name], True) for name in ("sensitivity", "specificity")},
    }
    for found in one.results["external"]["sets"]:
        label = f", {LABEL}" if choosing([found]) else ""
        cells[f"AUROC on {found['set']}"] = estimate(found["auroc"]) + label
    region = next((r for r in one.results["region_ablation"] if r["region"] == "outside the lungs"), None)
    if region:
        cells["small CNNs outside the lungs, AUROC"] = mean_and_interval(region)
    return cells | {f"verdict: {each['cue']}": each["verdict"] for each in one.results["verdicts"]}


def differences(runs: list[Compared]) -> list[dict[str, str]]:
    """One row per pair of runs and set of films that both judged: the first one's AUROC minus the second one's.

    Of a set it says on the settings of which run's model were chosen on it: the comparison favours that one.
    """
    rows = []
    for one, other in combinations(runs, 2):
        names = [printable(each.run.folder.name) for each in (one, other)]
        for name in [name for name in one.films if name in other.films]:
            same = one.data == other.data if name == HERE else None
            both = None if same is False else _paired(one.films[name], other.films[name])
            cells = {"minus": f"{names[0]} − {names[1]}", "on": name + _chosen_by(name, (one, other))}
            if both is None:
                rows.append(cells | {"films": NONE, "difference of the AUROC": OTHER_FILMS})
                continue
            text = estimate(interval_of(_difference(both)._asdict()))
            rows.append(cells | {"films": str(len(both)), "difference of the AUROC": text})
    return rows or [{"minus": "no two runs judged the same set of films"}]


def _chosen_by(name: str, runs: tuple[Compared, Compared]) -> str:
    """Which runs' models had settings chosen on a set of films, to follow its name; empty if none."""
    own = [
        printable(run.run.folder.name)
        for run in runs
        if any(found["set"] == name for found in choosing(run.results["external"]["sets"]))
    ]
    return f" ({LABEL}: {listed(own)})" if own else ""


def _paired(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame | None:
    """The films that both judged; None if there are none of one class, or their labels differ."""
    both = one.merge(other, on="file", suffixes=("", "_other"))
    if both["target"].nunique() < 2 or (both["target"] != both["target_other"]).any():
        return None
    return both


def _difference(both: pd.DataFrame) -> Estimate:
    """Difference of two AUROCs on the same films, with percentiles of a bootstrap of duplicate groups."""
    first, second = (
        Scored(both["target"].to_numpy(), both[name].to_numpy(), both["group"].to_numpy())
        for name in ("logit", "logit_other")
    )
    weights, ones = bootstrap_weights(first, REPLICATES, SEED), np.ones((1, len(both)))
    value = float(auroc(first, ones)[0] - auroc(second, ones)[0])
    low, high = np.quantile(auroc(first, weights) - auroc(second, weights), [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)))
