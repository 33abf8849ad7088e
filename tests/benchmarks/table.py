"""The benchmark's table: each figure beside its target, from what pytest-benchmark has written."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from tblib.run import ROOT
from tests.benchmarks import learning, limits, scale

FOLDER = ROOT / "reports" / "benchmark"
RATIOS = {  # project's test -> (what, the plain test, least ratio of films a second)
    "test_preparation_ours": ("preparation, zip to arrays", "test_preparation_plain", 4.0),
    "test_training_ours[bf16]": ("training, bf16", "test_training_plain", 3.0),
    "test_training_ours[fp32]": ("training, fp32", "test_training_plain", 1.3),
    "test_inference_ours": ("inference in batches", "test_inference_plain", 2.5),
}
SECONDS = {  # test -> (what, most seconds)
    "test_one_film_cold": ("one film by the command line, cold", 3.0),
    "test_one_film_warm": ("one film, warm", 0.06),
    "test_importing_what_the_eda_needs": ("importing what 01_eda needs", 1.5),
    "test_the_report": ("building the report", 5.0),
    "test_the_whole_demo": ("all notebooks of the demo", 240.0),
}


def table(measured: dict[str, Any]) -> str:
    """Markdown: medians, ratios, targets, and ``falls short`` where one is missed."""
    tests = {test["name"]: test for test in measured["benchmarks"]}
    lines = ["| step | plain way | project | ratio | target | |", "|---|---|---|---|---|---|"]
    for name, (what, other, least) in RATIOS.items():
        if name not in tests:
            lines.append(f"| {what} | | not measured here | | ≥ {least:g} | |")
            continue
        own, plain = speed(tests[name]), speed(tests[other])
        verdict = "" if own / plain >= least else "falls short"
        lines.append(
            f"| {what} | {plain:.1f} films/s | {own:.1f} films/s | {own / plain:.2f} | ≥ {least:g} | {verdict} |"
        )
    for name, (what, most) in SECONDS.items():
        median = tests[name]["stats"]["median"]
        verdict = "" if median <= most else "falls short"
        lines.append(f"| {what} | | {median:.3f} s | | ≤ {most:g} s | {verdict} |")
    return "\n".join([*lines, *_time_to_result()]) + "\n"


def _time_to_result() -> list[str]:
    """The learning study's line, where it has been run."""
    rows = learning.times_to_result()
    if not rows:
        return []
    plain = sum(row[2] for row in rows) / len(rows)
    own = [row[3] for row in rows if row[3]]
    what = f"| time to the plain way's best F1, mean of {len(rows)} seeds | {plain:.0f} s "
    if len(own) < len(rows):
        return [what + f"| reached with {len(own)} of {len(rows)} seeds | | ≥ 8 | falls short |"]
    ratio = plain / (sum(own) / len(own))
    return [what + f"| {sum(own) / len(own):.0f} s | {ratio:.2f} | ≥ 8 | {'' if ratio >= 8 else 'falls short'} |"]


def kept(name: str) -> dict[str, Any] | None:
    """What one of the separate measurements has written, if it was made here."""
    path = FOLDER / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def speed(test: dict[str, Any]) -> float:
    """Films a second, by the median."""
    return float(test["extra_info"]["films"] / test["stats"]["median"])


def write(path: Path) -> str:
    """The whole report: machine, commit and table, beside the measurements at `path`."""
    measured = json.loads(path.read_text(encoding="utf-8"))
    machine = measured["machine_info"]["cpu"].get("brand_raw", platform.machine())
    cores, commit = measured["machine_info"]["cpu"].get("count", "?"), measured["commit_info"]["id"][:7]
    report = f"# Benchmark\n\n{machine}, {cores} cores, commit {commit}, medians.\n\n{table(measured)}"
    report += f"\n## Results\n\n{learning.tables()}"
    grown, limit = kept("scale.json"), kept("limits.json")
    report += f"\n## Scale\n\n{scale.table(grown['rows'])}" if grown else ""
    report += f"\n## Where the time goes\n\n{limits.table(limit)}" if limit else ""
    path.with_suffix(".md").write_text(report, encoding="utf-8")
    return report


if __name__ == "__main__":
    print(write(FOLDER / "benchmark.json"))
