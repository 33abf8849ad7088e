"""What is in the database, as tables: prevalence of each artefact, colour spectra, twins, a few films to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tblib.artefacts import TINT_VISIBLE
from tblib.catalogue import Database, usable
from tblib.film import Film, open_film
from tblib.metrics import Floats, clustered_wilson, odds_ratio

CUES = {
    "one channel": lambda films: films["one_channel"],
    "visible tint": lambda films: films["tint_strength"] > TINT_VISIBLE,
    "L/R marker": lambda films: films["marker"],
    "white rectangle": lambda films: films["white_rectangle"],
    "black box": lambda films: films["black_box"],
    "film border": lambda films: films["bordered"],
}


@dataclass(frozen=True)
class Shown:
    """A film to look at: its row of the catalogue and its decoded picture."""

    row: pd.Series
    film: Film


def pick(database: Database, table: pd.DataFrame, each: int, seed: int) -> list[Shown]:
    """`each` films of each class (or all, where there are fewer) drawn by `seed`, negative class first."""
    films = usable(table)
    drawn = [
        members.sample(min(each, len(members)), random_state=seed).sort_values("file")
        for members in (films[films["label"] == name] for name in database.classes)
    ]
    return open_rows(database, pd.concat(drawn))


def open_rows(database: Database, rows: pd.DataFrame) -> list[Shown]:
    """The films of some rows of a catalogue, in their order."""
    return [Shown(row, open_film(database.read(row["file"]), row["file"])) for _, row in rows.iterrows()]


def prevalence(table: pd.DataFrame, classes: tuple[str, str]) -> pd.DataFrame:
    """How common each of `CUES` is in each class, and the odds ratio of positive over negative.

    One row a cue and class: cue, label, films, of, share, low, high (Wilson at 95 %, twins counted once),
    odds_ratio, odds_low, odds_high (Woolf; the same in both rows of a cue).
    """
    films = usable(table)
    members = {name: (films["label"] == name).to_numpy() for name in classes}
    rows = []
    for cue, of in CUES.items():
        carried = of(films).to_numpy(bool)
        counts = {name: (int(carried[rows_of].sum()), int(rows_of.sum())) for name, rows_of in members.items()}
        odds = odds_ratio(*counts[classes[1]], *counts[classes[0]])
        for name, inside in members.items():
            share = clustered_wilson(carried[inside], films["twin_group"].to_numpy()[inside])
            rows.append((cue, name, *counts[name], *share, *odds))
    columns = ["cue", "label", "films", "of", "share", "low", "high", "odds_ratio", "odds_low", "odds_high"]
    return pd.DataFrame(rows, columns=columns)


def colour_spectra(shown: list[Shown]) -> dict[str, Floats]:
    """Class -> float (3, 256): mean share of pixels at each level of red, green, blue, over its three-channel films."""
    spectra: dict[str, list[Floats]] = {}
    for item in shown:
        if item.film.pixels.ndim == 3:
            channels = np.moveaxis(item.film.pixels, 2, 0).reshape(3, -1)
            counts = np.stack([np.bincount(channel, minlength=256) for channel in channels])
            spectra.setdefault(item.row["label"], []).append(counts / channels.shape[1])
    return {label: np.mean(films, axis=0) for label, films in spectra.items()}


def twins(table: pd.DataFrame) -> pd.DataFrame:
    """Films that have a twin: twin_group, kind (exact where all pixels are equal, else near), file, label."""
    films = usable(table)
    groups = films.groupby("twin_group")
    films = films.assign(
        size=groups["file"].transform("size"),
        kind=np.where(groups["pixels_sha256"].transform("nunique") == 1, "exact", "near"),
    )
    return films.loc[films["size"] > 1, ["twin_group", "kind", "file", "label"]].sort_values(["twin_group", "file"])


def claimed_sources(table: pd.DataFrame) -> pd.DataFrame:
    """Films and share with one channel or a visible tint, for each class and claimed source (host of its URL)."""
    films = usable(table)
    host = films["claimed_source"].str.extract(r"^\w+://([^/]+)", expand=False).fillna("not reported")
    coloured = CUES["one channel"](films) | CUES["visible tint"](films)
    frame = pd.DataFrame({"label": films["label"], "claimed source": host, "cue": coloured})
    grouped = frame.groupby(["label", "claimed source"])["cue"]
    return grouped.agg(["size", "mean"]).set_axis(["films", "one channel or tinted"], axis=1).reset_index()
