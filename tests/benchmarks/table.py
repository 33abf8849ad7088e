"""The benchmark's table: each figure beside its target, from what pytest-benchmark has written."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from tests.benchmarks import learning, limits, scale
from tests.benchmarks.films import FOLDER

RATIOS = {  # project's test -> (what, the plain test, least ratio of films per second)
    "test_preparation_ours": ("preparation, zip to arrays", "test_preparation_plain", 4.0),
    "test_training_ours[bf16]": ("training, bf16", "test_training_plain", 3.0),
    "test_training_ours[fp32]": ("training, fp32", "test_training_plain", 1.3),
    "test_inference_ours": ("inference in batches", "test_inference_plain", 2.5),
}
SECONDS = {  # test -> (what, most seconds)
    "test_one_film_cold": ("one film by the command line, cold", 3.0),
    "test_one_film_warm": ("one film, warm", 0.06),
    "test_a_change_in_the_panel": ("one change in the panel, from control to number and pictures", 0.2),
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
        rates = f"{plain:.1f} films/s | {own:.1f} films/s | {own / plain:.2f}"
        lines.append(f"| {what} | {rates} | ≥ {least:g} | {_verdict(own / plain >= least)} |")
    for name, (what, most) in SECONDS.items():
        median = tests[name]["stats"]["median"]
        lines.append(f"| {what} | | {median:.3f} s | | ≤ {most:g} s | {_verdict(median <= most)} |")
    return "\n".join([*lines, *_card(tests), *_time_to_result(), *_results(), *_scale()]) + "\n"


def _card(tests: dict[str, Any]) -> list[str]:
    """Twenty epochs over the whole database on a CUDA card."""
    if "test_training_on_a_card" not in tests:
        rows = ("20 epochs over 3,360 films on a card", "≤ 5 s"), ("training on a card", "≥ 20,000 films/s")
        return [f"| {what} | | not measured: no CUDA card here | | {target} | |" for what, target in rows]
    test = tests["test_training_on_a_card"]
    seconds, card = test["stats"]["median"], test["extra_info"]["card"]
    return [
        f"| 20 epochs over 3,360 films, {card} | | {seconds:.2f} s | | ≤ 5 s | {_verdict(seconds <= 5)} |",
        f"| training, {card} | | {speed(test):.0f} films/s | | ≥ 20,000 films/s | {_verdict(speed(test) >= 20_000)} |",
    ]


def _time_to_result() -> list[str]:
    """The learning study's line, where it has been run, over its first three seeds."""
    rows = learning.times_to_result()[:3]
    if not rows:
        return ["| time to the plain way's best F1 | | not measured here: make bench-long | | ≥ 8 | |"]
    plain = sum(row[2] for row in rows) / len(rows)
    own = [row[3] for row in rows if row[3]]
    what = f"| time to the plain way's best F1, mean of {len(rows)} seeds | {plain:.0f} s "
    if len(own) < len(rows):
        return [what + f"| reached with {len(own)} of {len(rows)} seeds | | ≥ 8 | falls short |"]
    ratio = plain / (sum(own) / len(own))
    return [what + f"| {sum(own) / len(own):.0f} s | {ratio:.2f} | ≥ 8 | {_verdict(ratio >= 8)} |"]


def _results() -> list[str]:
    """Whether speed cost results, where the learning study has been run."""
    ways = [way for way in ("reference", "fast") if learning.results(way) and learning.results("plain")]
    return [
        f"| test {name.upper()} of {way} | {plain:.4f} | {own:.4f} | | "
        f"{'−' if way == 'fast' else '±'}{spread:.4f} | {_verdict(holds)} |"
        for way in ways
        for name, own, plain, spread, holds in learning.equals_the_plain_way(way)
    ]


def _scale() -> list[str]:
    """Peak memory at the largest number of films, and how time grew up to it, where that was measured."""
    grown = kept("scale.json")
    if not grown:
        return ["| peak memory with 100,000 films | | not measured here: make bench-long | | < 3 GB | |"]
    lines = []
    for step in ("preparation", "training"):
        least, *_, most = [row for row in grown["rows"] if row["step"] == step]
        times = (most["seconds"] / most["films"]) / (least["seconds"] / least["films"])
        what, beside = f"{step}, {most['films']:,} SYNTHETIC films", f"time a film over that of {least['films']:,}"
        lines += [
            f"| {what}: peak memory | | {most['gb']:.2f} GB | | < 3 GB | {_verdict(most['gb'] < 3)} |",
            f"| {what}: {beside} | | | {times:.2f} | ≤ 1.2 | {_verdict(times <= 1.2)} |",
        ]
    return lines


def _verdict(met: bool) -> str:
    """What stands in the last column."""
    return "" if met else "falls short"


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
