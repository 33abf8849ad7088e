"""Detectors against films of known truth: real ones that were read by eye, or the demo's, whose truth was written down.

`tests/real_films.csv` holds the reading of 180 films of the Kaggle database. Two readers went through contact sheets
of four films at full size, independently of each other and of every detector; where they differed about a border, the
film was looked at a third time, and what stayed unsettled ("?") is not scored. Half of the films, "tuning", could be
looked at while the detectors were made; the other half, "unseen", was scored only.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from tblib import TblibError
from tblib.box import Box, boxes_from_text
from tblib.catalogue import Database
from tblib.metrics import wilson
from tblib.survey import CUES

AIMS = {  # precision and recall from which a detector is good enough to be used by the audit
    "one channel": 1.0,
    "visible tint": 1.0,
    "L/R marker": 0.85,
    "white rectangle": 0.95,
    "black box": 0.95,
    "film border": 0.90,
    "film askew": 0.90,
    "equalised": 0.90,
}
SHAPES = ("L/R marker", "white rectangle", "black box", "film border")
LETTER_AIM = 0.8  # of the letters on markers that were found
RANKED = {  # column of the catalogue -> the demo's truth that it should rise with, and whether it falls instead
    "equalised": ("equalised_strength", 1),
    "sharpness": ("blur", -1),
    "blockiness": ("jpeg", 1),
    "tint_evenness": ("unevenness", -1),
}
ROWS = {
    "t": (0.0, 0.4),
    "m": (0.27, 0.73),
    "b": (0.6, 1.0),
}  # zones of a film that a reader names, shares of its height
COLUMNS = {"l": (0.0, 0.4), "c": (0.27, 0.73), "r": (0.6, 1.0)}  # and of its width


class Zone(NamedTuple):
    """A part of a film, in shares of its sides."""

    top: float
    left: float
    bottom: float
    right: float


class ReadingsError(TblibError):
    """A table of readings that cannot be used."""


def known(database: Database, films: pd.DataFrame, readings: Path) -> pd.DataFrame:
    """What is known of each film that was read or drawn; the index is that of `films`.

    Columns: part (tuning or unseen of the readings; demo), a column of True, False or None (not known) for each of
    `AIMS`, letter (of the side, "" for none), where (boxes of the markers as shares of the film's sides), and the
    columns of the demo's truth.csv that `RANKED` names.

    Args:
        database: if it holds a truth.csv beside a SYNTHETIC.json, that is the truth.
        films: rows of its catalogue.
        readings: CSV of films that were read by eye; a film is recognised by the SHA-256 of its file.

    Raises:
        ReadingsError: the CSV cannot be read, or a column is missing.
    """
    truth = next((file for file in database.others if PurePosixPath(file).name == "truth.csv"), None)
    if truth and str(PurePosixPath(truth).with_name("SYNTHETIC.json")) in database.others:
        return _drawn(pd.read_csv(io.BytesIO(database.read(truth)), keep_default_na=False), films)
    return _read(read_readings(readings), films)


def scores(films: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Precision and recall of each detector, with Wilson intervals at 95 %.

    One row a part and artefact that is known there: part, artefact, films, carried, found, right, precision,
    precision_low, precision_high, recall, recall_low, recall_high, aim. A marker is right only where it was found in
    its place. The last row of a part, "letter", says on how many markers found and legible to the reader the side's
    letter was read right; its precision counts the markers on which a letter was read, its recall all of them.
    """
    rows = []
    for part, members in truth.groupby("part"):
        outcome = outcomes(films.loc[members.index], members)
        for artefact, one in outcome.groupby("artefact", sort=False):
            counts = int(one["carried"].sum()), int(one["found"].sum()), int(one["right"].sum())
            rows.append((part, artefact, len(one), *counts, *_both(*counts), AIMS.get(str(artefact), LETTER_AIM)))
    names = ["precision", "precision_low", "precision_high", "recall", "recall_low", "recall_high"]
    return pd.DataFrame(rows, columns=["part", "artefact", "films", "carried", "found", "right", *names, "aim"])


def outcomes(films: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """One row a film and artefact whose truth is known: film (index of `films`), artefact, carried, found, right."""
    parts = []
    for artefact in AIMS:
        is_known = truth[artefact].notna().to_numpy()
        carried, found = truth.loc[is_known, artefact].astype(bool), CUES[artefact](films)[is_known].astype(bool)
        right = carried & found
        if artefact == "L/R marker":
            right &= _in_place(films.loc[is_known], truth.loc[is_known])
        parts.append(pd.DataFrame({"artefact": artefact, "carried": carried, "found": found, "right": right}))
        if artefact == "L/R marker":
            parts.append(_letters(films, truth, right[right].index))
    return pd.concat(parts).rename_axis("film").reset_index()


def missed(films: pd.DataFrame, truth: pd.DataFrame, artefacts: Iterable[str]) -> pd.DataFrame:
    """Rows of `films` on which a detector of `artefacts` was wrong, with a column "mistake" that says how."""
    wrong = outcomes(films.loc[truth.index], truth)
    wrong = wrong[wrong["artefact"].isin(list(artefacts)) & (wrong["carried"] | wrong["found"]) & ~wrong["right"]]
    kinds = wrong["found"].map({True: "false", False: "missed"}).where(~(wrong["carried"] & wrong["found"]), "wrong")
    texts = (wrong["artefact"] + " " + kinds).groupby(wrong["film"]).agg("; ".join)
    return films.loc[texts.index].assign(mistake=texts)


def separation(films: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """How well each score of `RANKED` tells treated films from others: AUROC, where both kinds are known."""
    from sklearn.metrics import roc_auc_score  # slow to import

    found = {}
    for column, (cause, sign) in RANKED.items():
        if cause in truth:
            rows = truth[cause].notna() & films.loc[truth.index, column].notna()
            treated = truth.loc[rows, cause] > 0
            if 0 < treated.sum() < len(treated):
                found[column] = float(roc_auc_score(treated, sign * films.loc[treated.index, column]))
    return found


def _both(carried: int, found: int, right: int) -> tuple[float | None, ...]:
    return (*wilson(right, found), *wilson(right, carried))


def _letters(films: pd.DataFrame, truth: pd.DataFrame, found: Iterable[int]) -> pd.DataFrame:
    """Of the markers found that have a side letter: whether one was read (found), and whether it is that one."""
    rows = truth.loc[found]
    rows = rows[rows["letter"] != ""]
    read = films.loc[rows.index, "marker_letter"].fillna("")
    right = [letter in side.split("+") for letter, side in zip(read, rows["letter"], strict=True)]
    return pd.DataFrame({"artefact": "letter", "carried": True, "found": read != "", "right": right}, index=rows.index)


def _in_place(films: pd.DataFrame, truth: pd.DataFrame) -> pd.Series:
    """Whether a marker that was found lies where one is: its middle in a box of `where`."""
    hits = [
        any(inside(box, zone, (row.height, row.width)) for box in boxes_from_text(row.markers) for zone in zones)
        for row, zones in zip(films.itertuples(), truth["where"], strict=True)
    ]
    return pd.Series(hits, index=films.index, dtype=bool)


def inside(box: Box, zone: Zone, shape: tuple[int, ...]) -> bool:
    """Whether the middle of a box, in pixels of a film of `shape` (height, width), lies in a zone."""
    down, across = (box.top + box.bottom) / 2 / shape[0], (box.left + box.right) / 2 / shape[1]
    return zone.top <= down <= zone.bottom and zone.left <= across <= zone.right


def zone(name: str) -> Zone:
    """The zone that a reader calls tl, tc, tr, ml … br: top, middle, bottom, and left, centre, right as seen."""
    (top, bottom), (left, right) = ROWS[name[0]], COLUMNS[name[1]]
    return Zone(top, left, bottom, right)


# --- where the truth comes from ------------------------------------------------------------------


def read_readings(path: Path) -> pd.DataFrame:
    """The table of films that were read by eye, as text.

    Raises:
        ReadingsError: the CSV cannot be read, or a column is missing.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ReadingsError(
            f"The readings {path} cannot be read ({error}); give a CSV like tests/real_films.csv."
        ) from error
    needed = {"sha256", "half", "tint", "marker", "letter", "place", "white_rectangle", "black_box", "border", "tilt"}
    if missing := sorted(needed - set(table.columns)):
        raise ReadingsError(f"The readings {path} lack the column(s) {', '.join(missing)}; see tests/real_films.csv.")
    return table


def _read(table: pd.DataFrame, films: pd.DataFrame) -> pd.DataFrame:
    rows = films[["sha256"]].reset_index().merge(table, on="sha256").set_index("index").rename_axis(None)
    answer = {"yes": True, "no": False}
    return pd.DataFrame(
        {
            "part": rows["half"],
            "one channel": None,
            "visible tint": rows["tint"].map(lambda tint: None if tint == "?" else tint != "none"),
            "L/R marker": rows["marker"].map(answer),
            "white rectangle": rows["white_rectangle"].map(answer),
            "black box": rows["black_box"].map(answer),
            "film border": rows["border"] != "",
            "film askew": rows["tilt"].map(answer),
            "equalised": None,
            "letter": rows["letter"],
            "where": [[zone(name) for name in place.split("+") if name] for place in rows["place"]],
        },
        index=rows.index,
    )


def _drawn(table: pd.DataFrame, films: pd.DataFrame) -> pd.DataFrame:
    names = films["file"].str.split("/").str[-2:].str.join("/")
    rows = pd.DataFrame({"file": names}).reset_index().merge(table, on="file").set_index("index").rename_axis(None)
    sizes = films.loc[rows.index, ["height", "width"]].to_numpy()
    return pd.DataFrame(
        {
            "part": "demo",
            "one channel": rows["one_channel"].astype(str) == "True",
            "visible tint": ~rows["tint"].isin(["", "neutral"]),
            "L/R marker": rows["marker"] != "",
            "white rectangle": rows["white_rectangle"] != "",
            "black box": rows["black_box"] != "",
            "film border": rows["border"] != "",
            "film askew": rows["tilt"].astype(float) != 0,
            "equalised": rows["equalised"].astype(float) > 0,
            "letter": rows["marker"].replace("Λ", "Л").where(rows["marker"].isin(list("LRЛΛП")), ""),
            "where": [
                [_share(box, *size) for box in boxes_from_text(text)]
                for text, size in zip(rows["marker_box"], sizes, strict=True)
            ],
            **{cause: pd.to_numeric(rows[cause]) for cause in ("blur", "jpeg")},
            "unevenness": pd.to_numeric(rows["unevenness"]).where(~rows["tint"].isin(["", "neutral"])),
        },
        index=rows.index,
    ).assign(**{"equalised_strength": pd.to_numeric(rows["equalised"])})


def _share(box: Box, height: int, width: int) -> Zone:
    return Zone(box.top / height, box.left / width, box.bottom / height, box.right / width)
