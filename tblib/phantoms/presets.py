"""Presets: prevalence of artefacts in the demo, for each class."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tblib.arrays import TblibError
from tblib.films.edits import TINTS

CLASSES = ("Normal", "Tuberculosis")


class DemoError(TblibError):
    """A demo database that cannot be generated, with the reason in a sentence."""


class Prevalence(NamedTuple):
    """The share of each class's films that have an artefact, 0 … 1."""

    normal: float
    tuberculosis: float


Preset = Mapping[str, Prevalence]
COLOURS = ("one_channel", *TINTS, "neutral")  # a film has one of these or none: three equal channels
MARKERS = ("initials", "plain", "portable", "cyrillic", "outline", "plate", "handwritten")  # or none
BORDERS = {"black_border": (0.01, 0.01, 0.01), "white_border": (1.0, 1.0, 1.0), "beige_border": (0.93, 0.88, 0.76)}
# Channels, tints and white rectangles were counted on the Kaggle database; markers, borders and black boxes by eye on
# the films of tests/real_films.csv; the last three are estimates. Within a class artefacts are sampled independently,
# unlike in the real database, whose tinted tuberculosis films have the white rectangles and one-channel ones the
# markers.
KAGGLE: Preset = {
    "one_channel": Prevalence(0.00, 0.44),
    "blue": Prevalence(0.00, 0.26),
    "cyan": Prevalence(0.00, 0.20),
    "green": Prevalence(0.00, 0.03),
    "beige": Prevalence(0.00, 0.04),
    "neutral": Prevalence(0.00, 0.03),
    "initials": Prevalence(0.78, 0.01),
    "plain": Prevalence(0.08, 0.06),
    "portable": Prevalence(0.04, 0.00),
    "cyrillic": Prevalence(0.00, 0.20),
    "outline": Prevalence(0.01, 0.01),
    "plate": Prevalence(0.07, 0.01),
    "handwritten": Prevalence(0.00, 0.00),
    "black_border": Prevalence(0.13, 0.36),
    "white_border": Prevalence(0.17, 0.25),
    "beige_border": Prevalence(0.00, 0.08),
    "tilt": Prevalence(0.11, 0.33),
    "white_rectangle": Prevalence(0.00, 0.34),
    "black_box": Prevalence(0.02, 0.06),
    "equalised": Prevalence(0.85, 0.05),
    "blur": Prevalence(0.05, 0.45),
    "jpeg": Prevalence(0.10, 0.40),
    "even_light": Prevalence(0.00, 0.00),  # every second tinted film without it is darker towards the corners
}
CLEAN: Preset = {name: Prevalence(sum(share) / 2, sum(share) / 2) for name, share in KAGGLE.items()}
# The cues that an audit has to find; everything else is equal in both classes. Tints and white rectangles are more
# common than in the Kaggle database, so that a network needs both and learns them from few films. Light boxes are even:
# dark corners are a cue of their own, which comes with a tint and which no edit of the audit adds.
PLANTED: Preset = {
    **CLEAN,
    "one_channel": Prevalence(0.0, 0.10),
    "blue": Prevalence(0.0, 0.45),
    "cyan": Prevalence(0.0, 0.35),
    "green": Prevalence(0.0, 0.04),
    "beige": Prevalence(0.0, 0.06),
    "neutral": Prevalence(0.0, 0.0),
    "white_rectangle": Prevalence(0.0, 0.5),
    "even_light": Prevalence(1.0, 1.0),
}
PRESETS = {"kaggle": KAGGLE, "clean": CLEAN, "planted": PLANTED}


def read_preset(name: str) -> Preset:
    """Return the preset with a name in `PRESETS`, or read a CSV file: artefact,normal,tuberculosis.

    Artefacts missing in the file have prevalence 0.

    Raises:
        DemoError: the preset or file does not exist, or a row is invalid.
    """
    if name in PRESETS:
        return PRESETS[name]
    try:
        with Path(name).expanduser().open(newline="", encoding="utf-8-sig") as file:  # Excel puts a BOM before UTF-8
            rows = [_preset_row(name, row) for row in csv.DictReader(file)]
    except (OSError, RuntimeError, ValueError, csv.Error) as error:
        raise DemoError(
            f"There is no preset {name!r}: give {', '.join(PRESETS)} or a CSV file (artefact,normal,tuberculosis)."
        ) from error
    if not rows:
        raise DemoError(
            f"{name} names no artefact; give a line for each, under the header artefact,normal,tuberculosis."
        )
    table = dict.fromkeys(KAGGLE, Prevalence(0, 0)) | dict(rows)
    for group in (COLOURS, MARKERS, tuple(BORDERS)):
        for index, label in enumerate(CLASSES):
            if (total := sum(table[artefact][index] for artefact in group)) > 1 + 1e-9:
                raise DemoError(
                    f"{name}: a film has at most one of {', '.join(group)}; for {label} they add up to {total:g}."
                )
    return table


def _preset_row(name: str, row: dict[str, str]) -> tuple[str, Prevalence]:
    try:
        artefact, share = row["artefact"], Prevalence(float(row["normal"]), float(row["tuberculosis"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DemoError(
            f"{name}: every line needs artefact,normal,tuberculosis with two numbers, not {row}."
        ) from error
    if artefact not in KAGGLE:
        raise DemoError(f"{name}: there is no artefact {artefact!r}; there are {', '.join(KAGGLE)}.")
    if not all(0 <= value <= 1 for value in share):
        raise DemoError(
            f"{name}: shares lie between 0 and 1; those of {artefact} are {share.normal:g} and {share.tuberculosis:g}."
        )
    return artefact, share
