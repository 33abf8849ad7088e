"""Which films are called unlike the training films: those of other hospitals should not be, and odd pictures should.

``likeness.json``'s score is compared with distances in the features of the run's CNN, whose limits are the 99 %
quantiles of the run's validation films. ``TBLIB_FILMS=folder python -m tests.benchmarks.unlike RUN`` prints Markdown;
the folder holds ``montgomery.zip`` and ``shenzhen_half.zip``.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from tblib.classifiers.likeness import MOST, TURNED, Likeness, fit_likeness, open_likeness, thumbnails
from tblib.classifiers.trained import TrainedModel, load_model
from tblib.dataset import normalise, planes
from tblib.films.film import grey_of, open_film, resized
from tblib.metrics import wilson
from tblib.run import MODEL, Run, run_folder
from tests.odd_pictures import KINDS, pictures

EACH, SEED = 120, 1  # pictures of a kind; not the seed of the pictures that the score was developed on
OTHERS = {"Montgomery": "montgomery.zip", "Shenzhen": "shenzhen_half.zip"}
OWN = "own test films"
NEIGHBOUR = 5  # whose distance counts
Films = np.ndarray  # uint8 (N, S, S)
Rows = np.ndarray  # float (N, D)
Score = Callable[[Films], np.ndarray]  # the higher, the stranger
EXPOSED: dict[str, Callable[[Films], Films]] = {  # within what hospitals produce
    "darker (gamma 1.6)": lambda films: (255 * (films / 255) ** 1.6).astype(np.uint8),
    "brighter (gamma 0.65)": lambda films: (255 * (films / 255) ** 0.65).astype(np.uint8),
    "half the contrast": lambda films: 64 + films // 2,
    "levels below 40 and above 215 clipped": lambda films: ((films - 40.0) * 255 / 175).clip(0, 255).astype(np.uint8),
    "8 % cut off each side": lambda films: _each(films, lambda film: film[_inner(film), _inner(film)]),
    "8 % black border": lambda films: _each(films, lambda film: np.pad(film, round(0.08 * len(film)))),
    "of 48 px": lambda films: _each(films, lambda film: resized(film, 48)),
    "mirrored left to right": lambda films: films[:, :, ::-1],
}


def main(run: Run) -> None:
    """Measure a run with a CNN of its own and print the tables."""
    model, sets = load_model(run.path(MODEL)), hospitals(run)
    odd = odd_films(sets)
    train, val, score = _part(run, "train"), _part(run, "val"), open_likeness(run)
    limited = {"gradients (likeness.json)": score.scores} | _distances(run, model, train)
    print("\n| films | flagged | share (95 %) |\n|---|---|---|")
    for name, films in (sets | _varied(sets, EXPOSED) | odd).items():
        flagged = _flagged(score, films)
        print(f"| {name} | {flagged.sum()} of {len(films)} | {_share(flagged)} |")
    print(f"\n| score | AUROC, worst kind | {' | '.join(sets)} | least flagged kind |")
    print("|---" * (len(sets) + 3) + "|")
    for name, found in limited.items():
        limit = 0 if found == score.scores else float(np.quantile(found(val), 0.99))
        print(_compared(name, found, limit, sets, odd))


def hospitals(run: Run) -> dict[str, Films]:
    """The run's test films, and those of other hospitals, as its small networks see them."""
    folder, model = Path(os.environ["TBLIB_FILMS"]), load_model(run.path(MODEL))
    found = {OWN: _part(run, "test")}
    for name, file in OTHERS.items():
        with zipfile.ZipFile(folder / file) as archive:
            names = [entry for entry in archive.namelist() if "/images/" in entry and entry.endswith(".png")]
            read = [grey_of(model.input.of(open_film(archive.read(entry), entry).pixels)) for entry in names]
        found[name] = np.stack(read)
    return found


def odd_films(sets: dict[str, Films]) -> dict[str, Films]:
    """Kind -> pictures that should be flagged: other kinds, and the films of all hospitals turned and in negative."""
    side = sets[OWN].shape[1]
    other = {kind: np.stack([resized(grey_of(film), side) for film in pictures(kind, EACH, SEED)]) for kind in KINDS}
    return other | _varied(sets, TURNED)


def _varied(sets: dict[str, Films], changes: dict[str, Callable[[Films], Films]]) -> dict[str, Films]:
    return {f"{name}, {how}": change(films) for how, change in changes.items() for name, films in sets.items()}


def _distances(run: Run, model: TrainedModel, train: Films) -> dict[str, Score]:
    """Distances from the training films in features of the CNN."""
    target = run.table("split.csv").query("part == 'train'")["target"].to_numpy()
    known: dict[int, tuple[Rows, Rows, Rows]] = {}  # id of films that `main` holds -> features, needed by each score

    def of(films: Films, at: int) -> Rows:
        if id(films) not in known:
            known[id(films)] = features(model, films)
        return known[id(films)][at]

    last, pooled, third = (partial(of, at=at) for at in range(3))
    return {
        "Mahalanobis, last layer, by class": mahalanobis(last, train, target),
        "relative Mahalanobis, last layer": mahalanobis(last, train, target, relative=True),
        "Mahalanobis, fourth block, pooled": mahalanobis(pooled, train, target),
        f"{NEIGHBOUR}th neighbour, last layer": neighbour(last, train),
        f"{NEIGHBOUR}th neighbour, third block, 4×4": neighbour(third, train),
    }


def features(model: TrainedModel, films: Films) -> tuple[Rows, Rows, Rows]:
    """Inputs of the last layer; means of the fourth block; means of the third block in 4×4 squares."""
    found: list[tuple[Tensor, ...]] = []
    with torch.inference_mode():
        for batch in planes(torch.from_numpy(np.array(films))).split(64):
            third = model.cnn.blocks[:3](normalise(batch, model.normalisation))
            fourth = model.cnn.blocks[3](third)
            squares = adaptive_avg_pool2d(third, 4).flatten(1)
            found.append((model.cnn.head[:-1](fourth), fourth.mean((2, 3)), squares))
    last, pooled, third_block = (torch.cat(each).double().numpy() for each in zip(*found, strict=True))
    return last, pooled, third_block


def mahalanobis(of: Callable[[Films], Rows], train: Films, target: np.ndarray, relative: bool = False) -> Score:
    """Distance from the nearer class, one covariance shrunk after Ledoit & Wolf (Lee et al. 2018); `relative`: less the
    distance from all films (Ren et al. 2021)."""
    rows = of(train)
    means = np.stack([rows[target == label].mean(0) for label in (0, 1)])
    within, among = LedoitWolf(assume_centered=True).fit(rows - means[target]), LedoitWolf().fit(rows)

    def score(films: Films) -> np.ndarray:
        given = of(films)
        nearest = np.min([within.mahalanobis(given - mean) for mean in means], axis=0)
        return nearest - among.mahalanobis(given) if relative else nearest

    return score


def neighbour(of: Callable[[Films], Rows], train: Films) -> Score:
    """Distance of features of length 1 from the `NEIGHBOUR`-th nearest training film (Sun et al. 2022)."""
    rows = _of_length_one(of(train))
    return lambda films: -np.sort(_of_length_one(of(films)) @ rows.T, axis=1)[:, -NEIGHBOUR]


def _compared(name: str, score: Score, limit: float, sets: dict[str, Films], odd: dict[str, Films]) -> str:
    like = {one: score(films) for one, films in sets.items()}
    strange, usual = {one: score(films) for one, films in odd.items()}, np.concatenate(list(like.values()))
    areas = [roc_auc_score(np.repeat([0, 1], [len(usual), len(one)]), np.r_[usual, one]) for one in strange.values()]
    least = min(strange, key=lambda kind: float((strange[kind] > limit).mean()))
    cells = [f"{(found > limit).sum()} of {len(found)}" for found in like.values()]
    worst = f"{(strange[least] > limit).mean():.0%} ({least})"
    return f"| {name} | {min(areas):.3f} | {' | '.join(cells)} | {worst} |"


def swapped(run: Run) -> None:
    """Print what is flagged where the films of another hospital are those of the training."""
    sets = hospitals(run) | {"all of the run": grey_films(run)}
    del sets[OWN]
    print("| found on | films | flagged | in negative | turned by 90° to the left |\n|---|---|---|---|---|")
    for source, films in sets.items():
        likeness = fit_likeness(thumbnails(np.random.default_rng(0).permutation(films)[:MOST]))
        for name, others in sets.items():
            if name != source:
                given = (others, *(TURNED[how](others) for how in ("in negative", "turned by 90° to the left")))
                cells = [f"{_flagged(likeness, each).sum()} of {len(each)}" for each in given]
                print(f"| {source} | {name} | {' | '.join(cells)} |")


def grey_films(run: Run) -> Films:
    """All films of a run in grey."""
    return np.stack([grey_of(film) for film in run.images()])


def _part(run: Run, part: str) -> Films:
    return grey_films(run)[run.table("split.csv")["part"].to_numpy() == part]


def _flagged(likeness: Likeness, films: Films) -> np.ndarray:
    """Bool (N,): which films get no verdict."""
    return np.array([bool(likeness.unlike(film)) for film in films])


def _share(flagged: np.ndarray) -> str:
    value, low, high = wilson(int(flagged.sum()), len(flagged))
    return f"{100 * (value or 0):.1f} % ({100 * (low or 0):.1f} … {100 * (high or 0):.1f})"


def _each(films: Films, change: Callable[[Films], Films]) -> Films:
    return np.stack([resized(np.ascontiguousarray(change(film)), films.shape[1]) for film in films])


def _inner(film: Films) -> slice:
    return slice(round(0.08 * len(film)), len(film) - round(0.08 * len(film)))


def _of_length_one(rows: Rows) -> Rows:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9)


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = Run(run_folder(sys.argv[1]))
    swapped(given)
    main(given)
