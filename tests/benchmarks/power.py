"""Does the audit find what is there? Cues planted into clean demo films, networks as wide as the CNN itself.

True labels: lesions tell as well. Each cue is on none of the films before. An interrupted study goes on.
"""

from __future__ import annotations

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from tblib.arrays import Pixels
from tblib.audit import fits
from tblib.audit.budgets import DEEP
from tblib.audit.jobs import Job, run_jobs
from tblib.audit.pairs import added
from tblib.films.cues import JUDGES
from tblib.films.film import resized
from tblib.metrics import wilson
from tblib.mitigation import ModelInput
from tblib.phantoms.phantom import phantom_film
from tblib.phantoms.presets import CLASSES, CLEAN, Prevalence
from tests.benchmarks.films import FOLDER

FILMS, SIZE = 480, 128  # half of them tuberculosis
STRENGTHS = {0.8: 6, 0.5: 3}  # p -> trainings a cue
BARE = {name: Prevalence(0, 0) for name in CLEAN}


def drawn(place: int) -> Pixels:
    """One film without any artefact, uint8 (512, 512)."""
    pixels = phantom_film(CLASSES[place % 2], 70_000 + place, BARE).pixels
    return np.asarray(Image.fromarray(pixels).convert("L"))


def study() -> str:
    """Markdown: share called used, by cue and strength."""
    films = Parallel(n_jobs=-1)(delayed(drawn)(place) for place in range(FILMS))
    label, train = np.arange(FILMS) % 2, np.arange(FILMS) % 8 < 6
    shared = {"plain": np.stack([resized(film, SIZE) for film in films]), "label": label, "train": train}
    shared["group"] = np.arange(FILMS)
    pairs = {cue.name: added(cue, films, ModelInput(SIZE), 0) for cue in JUDGES}
    wanted = [(name, p, seed) for p, count in STRENGTHS.items() for name in pairs for seed in range(count)]
    jobs = [
        Job(
            fits.planted,
            shared | {"put": pairs[name].edited, "placebo": pairs[name].placebo},
            {"p": p, "shuffle": False, "seed": seed, "training": fits.settled(DEEP)},
        )
        for name, p, seed in wanted
    ]
    found = run_jobs(jobs, FOLDER / "power", what="planted cues")
    head = "| cue | " + " | ".join(f"p = {p:g}: used | moved over placebo" for p in STRENGTHS) + " |"
    lines = [head, "|---" * (1 + 2 * len(STRENGTHS)) + "|"]
    for name in pairs:
        cells = []
        for p in STRENGTHS:
            own = [result for (n, q, _), result in zip(wanted, found, strict=True) if (n, q) == (name, p)]
            for what in ("used", "moved"):
                hits = sum(result[what] for result in own)
                cells.append(f"{hits} of {len(own)}, {wilson(hits, len(own)).text(percent=True)}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    report = study()
    (FOLDER / "power.md").write_text(report, encoding="utf-8")
    print(report)
