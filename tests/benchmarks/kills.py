"""Does anything outlive a command that is killed, and does the same command then end as if nothing had been?

Smoke studies in a checkout of their own are killed at random moments by SIGKILL, SIGTERM and SIGINT in turn.
After each kill every process that the command started must be gone within 5 s, found by a variable of its environment;
what files are left must be gone once the command has been started again; and the results of each run must be byte for
byte those of a run that nobody disturbed. Everything lies in ``reports/benchmark/kills/``. Not on Windows.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from tempfile import gettempdir

import psutil
from jupyter_core.paths import jupyter_runtime_dir

from tblib.system.files import ROOT
from tests.benchmarks.films import FOLDER

HERE = FOLDER / "kills"
CHECKOUT = HERE / "checkout"
MARK = "TBLIB_KILLS"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SOON = 5  # seconds within which all must have ended
A_RUN = 6  # kills, after which a run is let alone until it ends
RESULTS = ("split.csv", "predictions.csv", "metrics.json", "shortcuts.json", "images.npy", "model.safetensors")

Files = set[tuple[Path, int]]  # with their inodes, as a new file may have an old one's name


@dataclass
class Kill:
    """What one kill left behind."""

    signal: signal.Signals
    run: int
    after: float  # seconds since the command was started
    processes: int  # alive when it was killed
    code: int | None = None
    alive: int = 0  # SOON seconds later
    ended: float = 0  # seconds until none was alive, at most SOON
    files: Files = field(default_factory=set)  # lying about then
    stray: int = 0  # of these, once the command had been started again


def family(mark: str) -> list[psutil.Process]:
    """Living processes that carry the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # it has just ended, or is another user's
    return found


def start(run: int | str, mark: str) -> subprocess.Popen[bytes]:
    """The command of one run, whose output goes to a file beside it."""
    command = [sys.executable, "-m", "tblib", "run", "--params", "notebooks/parameters/smoke.yml", "--name", f"{run}"]
    environment = os.environ | {MARK: mark, "PYTHONPATH": str(CHECKOUT)}
    with (HERE / f"{run}.log").open("wb") as log:
        return subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=log, stderr=log, start_new_session=True)


def begun(run: int) -> bool:
    """Whether the command has come so far as to look at the steps, and has cleared what lay about."""
    return re.search(rb"^eda: ", (HERE / f"{run}.log").read_bytes(), re.MULTILINE) is not None


def lying_about(run: int, pids: set[int]) -> Files:
    """Half-written files of the run and in ``data/``, and what is named after one of the processes elsewhere."""
    folder = CHECKOUT / "reports" / str(run)
    found = [*folder.rglob("*.part"), *folder.rglob("*.running.ipynb"), *(CHECKOUT / "data").rglob("*.part")]
    for place in ("/dev/shm", gettempdir(), jupyter_runtime_dir()):
        for path in Path(place).glob("*"):
            if pids.intersection(map(int, re.findall(r"(?<![0-9a-z])\d+(?![0-9a-z])", path.name))):
                found.append(path)
    return with_inodes(found)


def with_inodes(paths: list[Path]) -> Files:
    """Those that are there."""
    return {(path, path.stat().st_ino) for path in paths if path.exists()}


def kill(process: subprocess.Popen[bytes], run: int, number: signal.Signals, mark: str, begin: float) -> Kill:
    """Kill the command, and see what is left of it."""
    pids = {one.pid for one in family(mark)}
    done = Kill(number, run, time.monotonic() - begin, len(pids))
    process.send_signal(number)
    killed = time.monotonic()
    while family(mark) and time.monotonic() - killed < SOON:
        time.sleep(0.1)
    done.ended, done.alive = time.monotonic() - killed, len(family(mark))
    time.sleep(max(0, SOON - done.ended))
    done.code, done.files = process.poll(), lying_about(run, pids)
    return done


def study(kills: int, seed: int, keep_network: bool) -> tuple[list[Kill], list[tuple[int, int, list[str]]]]:
    """The kills, and of each run its number, its exit code and the files that differ from the undisturbed run's."""
    draw, signals = random.Random(seed), cycle(SIGNALS)
    begin = time.monotonic()
    if start("undisturbed", "none").wait():
        raise SystemExit(f"The undisturbed run failed: see {HERE / 'undisturbed.log'}")
    length, done, runs = time.monotonic() - begin, [], []  # type: float, list[Kill], list[tuple[int, int, list[str]]]
    while len(done) < kills:
        run = len(runs) + 1
        for path in (CHECKOUT / "data").glob("demo-*" if keep_network else "*"):
            path.unlink()  # so that drawing the demo is hit, and teaching the lungs' network
        mine: list[Kill] = []
        code = None
        while code is None:
            mark, begin = f"{os.getpid()}-{run}-{len(mine)}", time.monotonic()
            process = start(run, mark)
            may_kill = len(done) + len(mine) < kills and len(mine) < A_RUN
            try:
                code = process.wait(draw.uniform(1, length / 2) if may_kill else None)
            except subprocess.TimeoutExpired:
                if begun(run):
                    count_strays(mine)
                mine.append(kill(process, run, next(signals), mark, begin))
                print(mine[-1], flush=True)
        count_strays(mine)
        done += mine
        runs.append((run, code, differing(run)))
        print(runs[-1], flush=True)
    return done, runs


def count_strays(kills: list[Kill]) -> None:
    """What still lies about of kills after which the command has been started again."""
    for one in kills:
        one.stray = len(one.files & with_inodes([path for path, _ in one.files]))


def differing(run: int) -> list[str]:
    """Results that are not those of the undisturbed run, byte for byte."""
    here, there = (CHECKOUT / "reports" / name for name in (str(run), "undisturbed"))
    made = [name for name in RESULTS if (here / name).exists()]
    return [name for name in RESULTS if name not in made or (here / name).read_bytes() != (there / name).read_bytes()]


def table(kills: list[Kill], runs: list[tuple[int, int, list[str]]]) -> str:
    """Markdown: one row per signal, and a sentence on the runs."""
    head = ["signal", "kills", "processes killed, least to most", "alive 5 s later", "longest until all had ended, s"]
    head += ["exit codes", "files left", "of these after the next start"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for number in SIGNALS:
        mine = [one for one in kills if one.signal == number]
        if not mine:
            continue
        counts = [one.processes for one in mine]
        codes = ", ".join(sorted({str(one.code) for one in mine}))
        cells = [number.name, len(mine), f"{min(counts)} to {max(counts)}", sum(one.alive for one in mine)]
        cells += [f"{max(one.ended for one in mine):.1f}", codes, sum(len(one.files) for one in mine)]
        lines.append("| " + " | ".join(map(str, [*cells, sum(one.stray for one in mine)])) + " |")
    well = sum(code == 0 for _, code, _ in runs)
    equal = sum(not others for _, _, others in runs)
    lines += ["", f"{len(runs)} runs: {well} ended well, {equal} with results equal to those of the undisturbed run."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """0 when nothing was alive, nothing lay about and all results were equal."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--keep-network", action="store_true", help="take that of the lungs which lies in data/")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what runs in the background ignore it
    shutil.rmtree(HERE, ignore_errors=True)
    for name in ("tblib", "notebooks"):
        shutil.copytree(ROOT / name, CHECKOUT / name)
    for name in ("data", "reports", "tests"):
        (CHECKOUT / name).mkdir()
    shutil.copy(ROOT / "tests" / "real_films.csv", CHECKOUT / "tests")  # which the demo's parameters name
    if options.keep_network:
        for path in (ROOT / "data").glob("lungs-*"):
            shutil.copy(path, CHECKOUT / "data")
    kills, runs = study(options.kills, options.seed, options.keep_network)
    print(table(kills, runs))
    bad = any(one.alive or one.stray for one in kills) or any(code or others for _, code, others in runs)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
