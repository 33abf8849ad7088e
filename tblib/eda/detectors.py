"""Detectors evaluated on films of known truth: real films annotated by eye, or the demo's, whose truth is recorded.

`tests/real_films.csv` holds the annotations of films of the Kaggle database. Two readers viewed contact sheets of
four films at full size, independently of each other and of every detector. Where they disagreed about a border, the
film was read a third time, and what remained unsettled ("?") is not scored. Half of the films, "tuning", could be
inspected during development of the detectors; the other half, "unseen", was only scored.
"""

import io
import time
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import TblibError
from tblib.eda.sample import Shown
from tblib.films.artefacts import artefacts
from tblib.films.boxes import Box, boxes_from_text
from tblib.films.cues import ON_FILMS
from tblib.films.database import Database
from tblib.metrics import Estimate, wilson
from tblib.show.plots import INK, SERIES, WIDTH, entry, legend_below, panels, whiskers
from tblib.show.text import captioned

SHAPES = tuple(cue.name for cue in ON_FILMS if cue.shape)
LETTER_AIM = 0.8  # target share of letters read correctly on detected markers
RANKED = {  # column of the catalogue -> truth of the demo that it should rank, and the sign of the association
    "equalised": ("equalised_strength", 1),
    "sharpness": ("blur", -1),
    "blockiness": ("jpeg", 1),
    "tint_evenness": ("unevenness", -1),
}
ROWS = {"t": (0.0, 0.4), "m": (0.27, 0.73), "b": (0.6, 1.0)}  # zones named by readers, as shares of the film's height
COLUMNS = {"l": (0.0, 0.4), "c": (0.27, 0.73), "r": (0.6, 1.0)}  # and of its width


class Zone(NamedTuple):
    """A rectangular part of a film, in shares of its sides."""

    top: float
    left: float
    bottom: float
    right: float


class AnnotationsError(TblibError):
    """A table of annotations that cannot be used."""


def known(database: Database, films: pd.DataFrame, annotations: Path) -> pd.DataFrame:
    """What is known about each annotated or synthetic film, with the index of `films`.

    Columns: part (tuning or unseen for annotations; demo), one column of True, False or None (unknown) for each of
    `ON_FILMS`, letter (of the side, "" for none), where (marker boxes as shares of the film's sides), and the columns
    of the demo's truth.csv named in `RANKED`.

    Args:
        database: its truth.csv beside a SYNTHETIC.json, if any, takes precedence over `annotations`.
        films: rows of its catalogue.
        annotations: CSV of films annotated by eye; films are matched by the SHA-256 of the file.

    Raises:
        AnnotationsError: the CSV cannot be read, or a column is missing.
    """
    truth = next((file for file in database.others if PurePosixPath(file).name == "truth.csv"), None)
    if truth and str(PurePosixPath(truth).with_name("SYNTHETIC.json")) in database.others:
        return _drawn(pd.read_csv(io.BytesIO(database.read(truth)), keep_default_na=False), films)
    return _read(read_annotations(annotations), films)


def scores(films: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Precision and recall of each detector, with 95 % Wilson intervals.

    One row per part and artefact known there: part, artefact, films, carried, found, right, precision, precision_low,
    precision_high, recall, recall_low, recall_high, aim. A marker counts as right only if it was found in the right
    place. The last row of a part, "letter", covers detected markers whose letter the reader could read: precision is
    over those on which a letter was read, recall over all of them.
    """
    rows, aims = [], {cue.name: cue.aim for cue in ON_FILMS}
    for part, members in truth.groupby("part"):
        outcome = outcomes(films.loc[members.index], members)
        for artefact, one in outcome.groupby("artefact", sort=False):
            carried, found, right = (int(one[name].sum()) for name in ("carried", "found", "right"))
            rates = (*wilson(right, found), *wilson(right, carried))
            aim = aims.get(str(artefact), LETTER_AIM)
            rows.append((part, artefact, len(one), carried, found, right, *rates, aim))
    names = ["precision", "precision_low", "precision_high", "recall", "recall_low", "recall_high"]
    return pd.DataFrame(rows, columns=["part", "artefact", "films", "carried", "found", "right", *names, "aim"])


def outcomes(films: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """One row per film and artefact with known truth: film (index of `films`), artefact, carried, found, right."""
    parts = []
    for cue in ON_FILMS:
        is_known, is_marker = truth[cue.name].notna().to_numpy(), cue.column == "marker"
        carried, found = truth.loc[is_known, cue.name].astype(bool), cue.carried(films)[is_known] > 0
        right = carried & found
        if is_marker:
            right &= _in_place(films.loc[is_known], truth.loc[is_known])
        parts.append(pd.DataFrame({"artefact": cue.name, "carried": carried, "found": found, "right": right}))
        if is_marker:
            parts.append(_letters(films, truth, right[right].index))
    return pd.concat(parts).rename_axis("film").reset_index()


def missed(films: pd.DataFrame, truth: pd.DataFrame, artefacts: Iterable[str]) -> pd.DataFrame:
    """Rows of `films` on which a detector of `artefacts` was wrong, with a column "mistake" that names the error."""
    wrong = outcomes(films.loc[truth.index], truth)
    wrong = wrong[wrong["artefact"].isin(list(artefacts)) & (wrong["carried"] | wrong["found"]) & ~wrong["right"]]
    kinds = wrong["found"].map({True: "false", False: "missed"}).where(~(wrong["carried"] & wrong["found"]), "wrong")
    texts = (wrong["artefact"] + " " + kinds).groupby(wrong["film"]).agg("; ".join)
    return films.loc[texts.index].assign(mistake=texts)


def separation(films: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """AUROC of each score of `RANKED` for separating treated from untreated films, where both kinds are known."""
    from sklearn.metrics import roc_auc_score  # slow to import

    found = {}
    for column, (cause, sign) in RANKED.items():
        if cause in truth:
            rows = truth[cause].notna() & films.loc[truth.index, column].notna()
            treated = truth.loc[rows, cause] > 0
            if 0 < treated.sum() < len(treated):
                found[column] = float(roc_auc_score(treated, sign * films.loc[treated.index, column]))
    return found


def _letters(films: pd.DataFrame, truth: pd.DataFrame, found: Iterable[int]) -> pd.DataFrame:
    """One row per detected marker with a side letter: whether a letter was read (found) and is correct (right)."""
    rows = truth.loc[found]
    rows = rows[rows["letter"] != ""]
    read = films.loc[rows.index, "marker_letter"].fillna("")
    right = [letter in side.split("+") for letter, side in zip(read, rows["letter"], strict=True)]
    return pd.DataFrame({"artefact": "letter", "carried": True, "found": read != "", "right": right}, index=rows.index)


def _in_place(films: pd.DataFrame, truth: pd.DataFrame) -> pd.Series:
    """Whether a detected marker is in the right place: its centre lies in a box of `where`."""
    hits = [
        any(inside(box, zone, (row.height, row.width)) for box in boxes_from_text(row.markers) for zone in zones)
        for row, zones in zip(films.itertuples(), truth["where"], strict=True)
    ]
    return pd.Series(hits, index=films.index, dtype=bool)


def inside(box: Box, zone: Zone, shape: tuple[int, ...]) -> bool:
    """Whether the centre of a box, in pixels of a film of `shape` (height, width), lies in a zone."""
    down, across = (box.top + box.bottom) / 2 / shape[0], (box.left + box.right) / 2 / shape[1]
    return zone.top <= down <= zone.bottom and zone.left <= across <= zone.right


def zone(name: str) -> Zone:
    """The zone that readers call tl, tc, tr, ml … br: top, middle, bottom, then left, centre, right as seen."""
    (top, bottom), (left, right) = ROWS[name[0]], COLUMNS[name[1]]
    return Zone(top, left, bottom, right)


def read_annotations(path: Path) -> pd.DataFrame:
    """Read the table of films annotated by eye, as text.

    Raises:
        AnnotationsError: the CSV cannot be read, or a column is missing.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise AnnotationsError(
            f"The annotations {path} cannot be read ({error}); give a CSV like tests/real_films.csv."
        ) from error
    needed = {"sha256", "half", "tint", "marker", "letter", "place", "white_rectangle", "black_box", "border", "tilt"}
    if missing := sorted(needed - set(table.columns)):
        raise AnnotationsError(f"The annotations {path} lack columns: {', '.join(missing)}; see tests/real_films.csv.")
    return table


def _read(table: pd.DataFrame, films: pd.DataFrame) -> pd.DataFrame:
    rows = films[["sha256"]].reset_index().merge(table, on="sha256").set_index("index").rename_axis(None)
    answer = {"yes": True, "no": False}
    return pd.DataFrame(
        {
            "part": rows["half"],
            "one-channel file": None,
            "tint": rows["tint"].map(lambda tint: None if tint == "?" else tint != "none"),
            **{cue.name: rows[cue.column].map(answer) for cue in ON_FILMS if cue.column in rows},
            "film border": rows["border"] != "",
            "film askew": rows["tilt"].map(answer),
            "grey histogram": None,
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
            "one-channel file": rows["one_channel"].astype(str) == "True",
            "tint": ~rows["tint"].isin(["", "neutral"]),
            "L/R marker": rows["marker"] != "",
            "white rectangle": rows["white_rectangle"] != "",
            "black box": rows["black_box"] != "",
            "film border": rows["border"] != "",
            "film askew": rows["tilt"].astype(float) != 0,
            "grey histogram": rows["equalised"].astype(float) > 0,
            "letter": rows["marker"].replace("Λ", "Л").where(rows["marker"].isin(list("LRЛΛП")), ""),
            "where": [
                [Zone(box.top / height, box.left / width, box.bottom / height, box.right / width) for box in boxes]
                for boxes, (height, width) in zip(map(boxes_from_text, rows["marker_box"]), sizes, strict=True)
            ],
            **{cause: pd.to_numeric(rows[cause]) for cause in ("blur", "jpeg")},
            "unevenness": pd.to_numeric(rows["unevenness"]).where(~rows["tint"].isin(["", "neutral"])),
        },
        index=rows.index,
    ).assign(**{"equalised_strength": pd.to_numeric(rows["equalised"])})


def detection_rate(shown: list[Shown]) -> float:
    """Films per second processed by the detectors on one core, without the first film, which draws the alphabet."""
    first, *rest = shown
    artefacts(first.film, first.row["bytes"])
    start = time.thread_time()
    for item in rest:
        artefacts(item.film, item.row["bytes"])
    return len(rest) / max(time.thread_time() - start, 1e-9)


def figure(scores: pd.DataFrame) -> Figure | str:
    """Precision and recall of each detector on films of known truth, with its target as a tick."""
    if scores.empty:
        return "No film of this database has a known truth."
    names, parts = list(dict.fromkeys(scores["artefact"])), list(dict.fromkeys(scores["part"]))
    told = "; ".join(
        f"{row.part}, {row.artefact}: precision {row.precision:.2f}, recall {row.recall:.2f}"
        for row in scores.itertuples()
    )
    good = int(((scores["precision"] >= scores["aim"]) & (scores["recall"] >= scores["aim"])).sum())
    alt = f"In {good} of {len(scores)} cases precision and recall of a detector reach their aim. {told}."
    figure, axes = panels(alt, 2, (WIDTH, 1.3 + 0.4 * len(names)), sharey=True)
    for number, part in enumerate(parts):
        rows = scores[scores["part"] == part]
        place = np.array([names.index(name) for name in rows["artefact"]]) + 0.24 * (number - (len(parts) - 1) / 2)
        label = entry(f"{part}, n = {rows['films'].max():,} films")
        for ax, what in zip(axes, ("precision", "recall"), strict=True):
            look = SERIES[number % len(SERIES)]
            whiskers(ax, rows[what], rows[f"{what}_low"], rows[f"{what}_high"], place, look[0], label, look[1])
            ax.plot(rows["aim"], place, "|", color=INK, markersize=10, markeredgewidth=1.5, label="aim")
    for ax, what in zip(axes, ("precision: share of what was found", "recall: share of carriers"), strict=True):
        ax.set(xlabel=f"{what}\n(95 % interval)", xlim=(-0.02, 1.02))
    axes[0].set(yticks=range(len(names)), yticklabels=names)
    axes[0].invert_yaxis()
    legend_below(figure)
    return figure


def finding(scores: pd.DataFrame) -> str:
    """Which detectors reach their targets, and which are too unreliable for an audit."""
    sentences = []
    for part, rows in scores.groupby("part", sort=False):
        if part == "tuning":
            continue
        good = rows[(rows["precision"] >= rows["aim"]) & (rows["recall"] >= rows["aim"])]
        poor = rows.drop(good.index)
        named = [f"{r.artefact} ({_rates(r)}; aim {r.aim:g})" for r in poor.itertuples()]
        sentences.append(
            f"On {rows['films'].max()} {'films of the demo' if part == 'demo' else part + ' films'} these detectors "
            f"reach their aim: {', '.join(good['artefact']) or 'none'}. "
            + (
                f"These fall short, and little should rest on them: {'; '.join(named)}."
                if named
                else "None falls short."
            )
        )
    return (
        " ".join(sentences) or "No film of this database was read by eye, so precision and recall are not known here."
    )


def _rates(row: Any) -> str:
    if pd.isna(row.recall):
        return "carried by no film"
    precision = "nothing found" if pd.isna(row.precision) else f"precision {row.precision:.2f}"
    return f"{precision}, recall {row.recall:.2f}, {row.carried} carriers"


def table(scores: pd.DataFrame) -> pd.DataFrame:
    """Precision and recall as text, one row per part and artefact."""
    texts = {what: [_rate_text(row, what) for _, row in scores.iterrows()] for what in ("precision", "recall")}
    kept = scores[["part", "artefact", "films", "carried", "found", "right"]]
    return captioned(kept.assign(**texts, aim=scores["aim"]), "Precision and recall of the detectors")


def _rate_text(row: pd.Series, what: str) -> str:
    low, high = row[f"{what}_low"], row[f"{what}_high"]
    return "not defined" if pd.isna(row[what]) else Estimate(row[what], low, high).text(percent=True)


def speed_finding(detecting: float) -> str:
    """How fast the detectors are on this machine."""
    return f"The detectors read {detecting:.0f} films per second on one core of this machine."


def separation_finding(found: dict[str, float]) -> str:
    """How well scores rank the demo's blurred, compressed, equalised or unevenly lit films."""
    if not found:
        return ""
    named = {
        "equalised": "evenness of the histogram finds equalised films",
        "sharpness": "sharpness finds blurred films",
        "blockiness": "blockiness finds films that were JPEGs",
        "tint_evenness": "evenness of tint finds uneven light boxes",
    }
    return "As scores (AUROC): " + "; ".join(f"{named[name]} {value:.3f}" for name, value in found.items()) + "."


def misses_finding(wrong: pd.DataFrame, truth: pd.DataFrame) -> str:
    """On how many films a shape detector was wrong."""
    judged = int((truth["part"] != "tuning").sum())
    if not judged:
        return "There is no film of known truth to be wrong about."
    return f"On {len(wrong)} of {judged} films of known truth at least one detector of shapes was wrong."
