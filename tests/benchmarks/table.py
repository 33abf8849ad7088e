"""The benchmark's table: each figure beside its target, from what pytest-benchmark has written."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from tblib.run import ROOT

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
    return "\n".join(lines) + "\n"


def speed(test: dict[str, Any]) -> float:
    """Films a second, by the median."""
    return float(test["extra_info"]["films"] / test["stats"]["median"])


def write(path: Path) -> str:
    """The whole report: machine, commit and table, beside the measurements at `path`."""
    measured = json.loads(path.read_text(encoding="utf-8"))
    machine = measured["machine_info"]["cpu"].get("brand_raw", platform.machine())
    cores, commit = measured["machine_info"]["cpu"].get("count", "?"), measured["commit_info"]["id"][:7]
    report = f"# Benchmark\n\n{machine}, {cores} cores, commit {commit}, medians.\n\n{table(measured)}"
    path.with_suffix(".md").write_text(report, encoding="utf-8")
    return report


if __name__ == "__main__":
    print(write(FOLDER / "benchmark.json"))
