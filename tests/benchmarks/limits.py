"""Where the time goes, beside what the machine can do at most: ``python -m tests.benchmarks.limits``.

Everything is measured in this one process: the inflating of the films' zlib streams, the largest product of
matrices, and the steps of the project's own preparation and training.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from tblib.arrays import Normalisation
from tblib.dataset import Augmentation, augment, augmentation_parameters, normalise
from tblib.devices import keep_freed_memory, pick_precision
from tblib.films.artefacts import artefacts
from tblib.films.database import Database
from tblib.films.film import open_film, resized
from tblib.model import CNN, folded
from tblib.system.files import write_json
from tests.benchmarks.films import FOLDER, SIZE, database

BATCH, FILMS = 32, 120


def each(items: Sequence[Any], work: Callable[[Any], Any]) -> tuple[float, list[Any]]:
    """Milliseconds an item, the best of three rounds on one thread, and what the work gave."""
    best, made = float("inf"), []
    for _ in range(3):
        begun = time.perf_counter()
        made = [work(item) for item in items]
        best = min(best, (time.perf_counter() - begun) / len(items) * 1e3)
    return best, made


def stream(content: bytes) -> bytes:
    """The zlib stream of a PNG."""
    place, parts = 8, []
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] == b"IDAT":
            parts.append(content[place + 8 : place + 8 + length])
        place += 12 + length
    return b"".join(parts)


def preparation(given: Database) -> dict[str, float]:
    """Milliseconds a film of each part of its preparation, on one thread."""
    files = list(given.labels)[:: max(1, len(given.labels) // FILMS)]
    read, contents = each(files, given.read)
    inflate, _ = each([stream(content) for content in contents], zlib.decompress)
    decode, films = each(contents, lambda content: open_film(content, "film"))
    grey, greys = each(films, lambda film: film.grey)
    resize, _ = each(greys, lambda pixels: resized(pixels, SIZE))
    cues, _ = each(films, lambda film: artefacts(film, 1))
    return {
        "read from the zip": read,
        "decode the PNG": decode,
        "of which inflating, by zlib": inflate,
        "to grey": grey,
        "resize": resize,
        "look for cues, once, for the catalogue": cues,
    }


def decoding(given: Database) -> float:
    """Milliseconds a film of decoding on all cores, by threads, as preparation does."""
    contents = [given.read(file) for file in list(given.labels)[:: max(1, len(given.labels) // FILMS)]]
    with Parallel(n_jobs=-1, prefer="threads") as threads:

        def decode_all(_: int) -> None:
            """Every film once."""
            threads(delayed(open_film)(content, "film") for content in contents)

        return each([0], decode_all)[0] / len(contents)


def share_of_peak(content: dict[str, Any]) -> float:
    """What a training step computes of what the machine can."""
    return float(content["training"]["gflops"] / content[f"peak_{content['training']['precision']}"])


def share_of_inflating(content: dict[str, Any]) -> float:
    """Time of inflating the films on all cores, by zlib, over that of decoding them there."""
    return float(content["preparation"]["of which inflating, by zlib"] / content["cores"] / content["decoding"])


def peak(precision: torch.dtype) -> float:
    """Most GFLOP/s that any of five products of two matrices, or of five 1 × 1 convolutions, reaches.

    The convolution is the same arithmetic in another library: on some processors the product's does not use
    the widest vectors.
    """
    side = 2048
    one, weights = torch.randn(side, side).to(precision), torch.randn(512, 512, 1, 1).to(precision)
    films = torch.randn(8, 512, 64, 64).to(precision).contiguous(memory_format=torch.channels_last)
    product = min(each([one], lambda matrix: matrix @ matrix)[0] for _ in range(5))
    convolution = min(each([films], lambda batch: torch.nn.functional.conv2d(batch, weights))[0] for _ in range(5))
    return max(2 * side**3 / product, 2 * films.numel() * 512 / convolution) / 1e6


def training() -> dict[str, Any]:
    """Films a second, GFLOP/s and the operators that take most time in training steps, and of inference."""
    bf16 = pick_precision("auto", torch.device("cpu")) == "bf16"
    cnn = CNN(SIZE).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(cnn.parameters())
    moves = augmentation_parameters(BATCH, torch.Generator().manual_seed(0))
    films = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (BATCH, 1, SIZE, SIZE), dtype=np.uint8))
    targets, by = torch.zeros(BATCH), Normalisation(128, 64)

    def step(_: int) -> None:
        """One step with its augmentation."""
        inputs = normalise(augment(films, Augmentation(), moves), by)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = cnn(inputs)
        torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), targets).backward()
        optimiser.step()
        optimiser.zero_grad()

    step(0)
    milliseconds, _ = each(range(4), step)
    with FlopCounterMode(display=False) as counter:
        step(0)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step(0)
    events = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    cnn = folded(cnn)
    with torch.inference_mode(), FlopCounterMode(display=False) as forward:
        cnn(normalise(films, by))
    with torch.inference_mode():
        inferring, _ = each(range(4), lambda _: cnn(normalise(films, by)))
    return {
        "precision": "bf16" if bf16 else "fp32",
        "films_per_second": BATCH / milliseconds * 1e3,
        "gflops": counter.get_total_flops() / milliseconds / 1e6,
        "inference_films_per_second": BATCH / inferring * 1e3,
        "inference_gflops": forward.get_total_flops() / inferring / 1e6,
        "operators": {event.key: event.self_cpu_time_total / total for event in events[:8]},
    }


def table(content: dict[str, Any]) -> str:
    """Markdown: a film's preparation by part, arithmetic beside its peak, and the operators of a training step."""
    prepared, trained = content["preparation"], content["training"]
    lines = ["| preparing one film, one thread | ms |", "|---|---|"]
    lines += [f"| {name} | {milliseconds:.2f} |" for name, milliseconds in prepared.items()]
    lines += ["", "| arithmetic | GFLOP/s | of the peak |", "|---|---|---|"]
    peaks = {"fp32": content["peak_fp32"], "bf16": content["peak_bf16"]}
    lines += [f"| peak, {name} | {peak:.0f} | |" for name, peak in peaks.items()]
    for name, own, precision in (
        ("a training step", trained["gflops"], trained["precision"]),
        ("inference", trained["inference_gflops"], "fp32"),
    ):
        lines.append(f"| {name}, {precision} | {own:.0f} | {own / peaks[precision]:.0%} |")
    lines += ["", "| operator of a training step | share of its time |", "|---|---|"]
    lines += [f"| `{name}` | {share:.0%} |" for name, share in trained["operators"].items()]
    slowest, share = max(trained["operators"].items(), key=lambda item: item[1])
    steps = {name: milliseconds for name, milliseconds in prepared.items() if not name.startswith("of which")}
    longest = max(steps, key=lambda name: steps[name])
    lines += [
        "",
        f"What takes longest is `{slowest}` in training ({share:.0%}), and in preparation: {longest} "
        f"({steps[longest] / sum(steps.values()):.0%}).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write ``reports/benchmark/limits.json``."""
    keep_freed_memory()  # or fresh pages for each product would be measured, too
    content = {
        "cores": os.cpu_count(),
        "preparation": preparation(database()),
        "decoding": decoding(database()),
        "peak_fp32": peak(torch.float32),
        "peak_bf16": peak(torch.bfloat16),
        "training": training(),
    }
    write_json(FOLDER / "limits.json", content)


if __name__ == "__main__":
    main()
