"""The benchmark's table: each figure beside its targets, from what pytest-benchmark and others have written."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import careful, learning, limits, scale
from tests.benchmarks.films import FOLDER


@dataclass(frozen=True)
class Step:
    """A step that all ways take.

    Attributes:
        what: its name in the table.
        own, plain, careful: tests that time it; of several the fastest counts.
        over_plain, over_careful: the least ratio of films per second; None where nothing was promised.
        less: where the careful way does less.
    """

    what: str
    own: tuple[str, ...]
    plain: tuple[str, ...]
    careful: tuple[str, ...]
    over_plain: float | None
    over_careful: float | None
    less: str


STEPS = (
    Step(
        "preparation, from the zip, with its catalogue",
        ("test_preparation_ours",),
        ("test_preparation_plain",),
        ("test_preparation_careful",),
        4.0,
        1.5,
        careful.LESS["preparation"],
    ),
    Step(
        "preparation of films that are catalogued",
        ("test_preparation_of_catalogued_films",),
        ("test_preparation_plain",),
        ("test_preparation_careful",),
        None,
        None,
        "nothing: it makes its table, too",
    ),
    Step(
        "training",
        ("test_training_ours[bf16]", "test_training_ours[fp32]"),
        ("test_training_plain",),
        ("test_training_careful[0]", "test_training_careful[2]"),
        4.0,
        1.3,
        careful.LESS["training"],
    ),
    Step(
        "inference, from files",
        ("test_inference_ours",),
        ("test_inference_plain",),
        ("test_inference_careful[0]", "test_inference_careful[2]"),
        2.5,
        1.5,
        careful.LESS["inference"],
    ),
)
SECONDS = {  # test -> (what, most seconds)
    "test_one_film_cold": ("one film by the command line, cold", 2.0),
    "test_one_film_warm": ("one film, warm", 0.06),
    "test_a_change_in_the_panel": ("one change in the panel, from control to number and pictures", 0.2),
    "test_the_panels_page": ("the panel's page, from request to drop zone", 8.0),
    "test_help_and_mistyped_commands[--help-usage]": ("`--help`", 0.3),
    "test_help_and_mistyped_commands[runn-Did you mean run?]": ("a mistyped command", 1.0),
    "test_help_and_mistyped_commands[run -p epoch 3-Did you mean epochs?]": ("a mistyped parameter", 1.0),
    "test_importing_what_the_eda_needs": ("importing what 01_eda needs", 1.5),
    "test_the_report": ("building the report", 5.0),
    "test_the_whole_demo": ("all notebooks of the demo", 240.0),
}
AUDITS = {"quick": 120, "standard": 720}  # budget -> most seconds of the audit's notebook
F1_RATIOS = {"plain": 8.0, "careful": 3.0}
OF_PEAK, OF_INFLATING = 0.65, 0.8  # least shares of the machine's limits


def table(measured: dict[str, Any]) -> str:
    """Markdown: medians, ratios, targets, and ``falls short`` where one is missed."""
    tests = {test["name"]: test for test in measured["benchmarks"]}
    lines = [
        "| step | plain, films/s | careful, films/s | project, films/s | over plain | over careful | careful: less |",
        "|---|---|---|---|---|---|---|",
        *(_step(step, tests) for step in STEPS),
        *_time_to_result(),
        "",
        "| what | measured | target | |",
        "|---|---|---|---|",
        *_limits(),
        *(_seconds(name, tests) for name in SECONDS),
        *_audits(tests),
        *_card(tests),
        *_scale(),
    ]
    return "\n".join(lines) + "\n"


def _step(step: Step, tests: dict[str, Any]) -> str:
    rates = [fastest(names, tests) for names in (step.plain, step.careful, step.own)]
    if None in rates:
        return f"| {step.what} | | | not measured here | | | |"
    plain, other, own = (rate for rate in rates if rate is not None)
    ratios = f"{_ratio(own / plain, step.over_plain)} | {_ratio(own / other, step.over_careful)}"
    return f"| {step.what} | {plain:.1f} | {other:.1f} | {own:.1f} | {ratios} | {step.less} |"


def fastest(names: tuple[str, ...], tests: dict[str, Any]) -> float | None:
    """Films a second of the fastest of some tests; None where none was run."""
    return max((speed(tests[name]) for name in names if name in tests), default=None)


def _ratio(value: float | None, least: float | None) -> str:
    """A ratio beside its target, and whether it falls short; None is a result that was never reached."""
    if value is None:
        return f"not reached, ≥ {least:g}: falls short"
    return f"{value:.2f}" + ("" if least is None else f", ≥ {least:g}{_short(value >= least)}")


def _short(met: bool) -> str:
    return "" if met else ": falls short"


def _row(what: str, measured: str, target: str, met: bool) -> str:
    return f"| {what} | {measured} | {target} | {'' if met else 'falls short'} |"


def _missing(what: str, target: str, why: str = "make bench-long") -> str:
    return f"| {what} | not measured here: {why} | {target} | |"


def _time_to_result() -> list[str]:
    """Seconds by which half of the seeds had reached the careful way's median F1, where the study has been run."""
    lines = []
    for database in learning.DATABASES:
        times = learning.times_to_result(database)
        ways = {way: times.get(way) for way in ("plain", "careful", "fast")}
        what = f"time to F1, {learning.DATABASES[database]}, s"
        if "careful" not in times or "fast" not in times:
            lines.append(f"| {what} | | | not measured here: make bench-long | | | |")
            continue
        shown = " | ".join("" if way not in times else _time(time) for way, time in ways.items())
        ratios = " | ".join(_time_ratio(times, way, least) for way, least in F1_RATIOS.items())
        lines.append(f"| {what} | {shown} | {ratios} | looks at validation as often |")
    return lines


def _time(seconds: float | None) -> str:
    return "by fewer than half" if seconds is None else f"{seconds:.0f}"


def _time_ratio(times: dict[str, float | None], way: str, least: float) -> str:
    other, own = times.get(way), times["fast"]
    if way not in times:
        return ""
    return _ratio(other / own if other and own else None, least)


def _limits() -> list[str]:
    """Training and decoding beside the machine's limits."""
    limit = kept("limits.json")
    if not limit:
        return [_missing("training, share of the bf16 peak", f"≥ {OF_PEAK:.0%}", "make bench")]
    training, decoding = limits.share_of_peak(limit), limits.share_of_inflating(limit)
    return [
        _row(f"training, share of the {limit['training']['precision']} peak", f"{training:.0%}", f"≥ {OF_PEAK:.0%}",
             training >= OF_PEAK),
        _row("decoding, share of what inflating on all cores allows", f"{decoding:.0%}", f"≥ {OF_INFLATING:.0%}",
             decoding >= OF_INFLATING),
    ]  # fmt: skip


def _seconds(name: str, tests: dict[str, Any]) -> str:
    what, most = SECONDS[name]
    if name not in tests:
        return _missing(what, f"≤ {most:g} s", "no browser" if "page" in name else "make bench")
    median = tests[name]["stats"]["median"]
    return _row(what, f"{median:.3f} s", f"≤ {most:g} s", median <= most)


def _audits(tests: dict[str, Any]) -> list[str]:
    """Seconds of the audit's notebook, at budget quick on the demo and at budget standard on the real sample."""
    whole, kept_ = tests.get("test_the_whole_demo"), kept("audit.json")
    found = {"quick": whole and whole["extra_info"]["audit"], "standard": kept_ and kept_["seconds"]}
    names = {"quick": "audit of the demo, budget quick", "standard": "audit of the real sample, budget standard"}
    return [
        _row(names[budget], f"{found[budget]:.0f} s", f"≤ {most} s", found[budget] <= most)
        if found[budget]
        else _missing(names[budget], f"≤ {most} s")
        for budget, most in AUDITS.items()
    ]


def _card(tests: dict[str, Any]) -> list[str]:
    """Twenty epochs over the whole database on a CUDA card."""
    if "test_training_on_a_card" not in tests:
        return [_missing("20 epochs over 3,360 films on a card", "≤ 5 s", "no CUDA card")]
    test = tests["test_training_on_a_card"]
    seconds, card = test["stats"]["median"], test["extra_info"]["card"]
    return [_row(f"20 epochs over 3,360 films, {card}", f"{seconds:.2f} s", "≤ 5 s", seconds <= 5)]


def _scale() -> list[str]:
    """Peak memory at the largest number of films, and how time grew up to it, where that was measured."""
    grown = kept("scale.json")
    if not grown:
        return [_missing("peak memory with 100,000 films", "< 3 GB")]
    lines = []
    for step in scale.STEPS:
        least, *_, most = [row for row in grown["rows"] if row["step"] == step]
        times = (most["seconds"] / most["films"]) / (least["seconds"] / least["films"])
        what, beside = f"{step}, {most['films']:,} SYNTHETIC films", f"time a film over that of {least['films']:,}"
        lines += [
            _row(f"{what}: peak memory", f"{most['gb']:.2f} GB", "< 3 GB", most["gb"] < 3),
            _row(f"{what}: {beside}", f"{times:.2f}", "≤ 1.2", times <= 1.2),
        ]
    if "workers" in grown:
        gain = grown["workers"]["one"] / grown["workers"]["two"]
        lines.append(_row("cluster: two workers over one", f"{gain:.2f}", "≥ 1.7", gain >= 1.7))
    return lines


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
