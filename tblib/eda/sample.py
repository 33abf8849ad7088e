"""Example films: chosen from a database and plotted as they are, with boxes, or side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Affine2D

from tblib.arrays import Pixels
from tblib.films.boxes import boxes_from_text, widths_from_text
from tblib.films.database import Database
from tblib.films.depth import shared_depth
from tblib.films.film import Film
from tblib.run import usable
from tblib.show.plots import blank, cased, draw_film, legend_below, short, tiles

BOXES = {  # colour and style of the outline, bright enough on films
    "markers": ("#F0E442", "-"),
    "white_rectangles": ("#FF8AD8", "--"),
    "black_boxes": ("#7FDBFF", "-."),
    "border": ("#5CE65C", ":"),
}
NAMES = {
    "markers": "marker",
    "white_rectangles": "white rectangle",
    "black_boxes": "black box",
    "border": "film border",
}


@dataclass(frozen=True)
class Shown:
    """A film to show: its row of the catalogue and its decoded pixels."""

    row: pd.Series
    film: Film


def pick(database: Database, table: pd.DataFrame, each: int, seed: int) -> list[Shown]:
    """`each` films per class (or all, if there are fewer) sampled with `seed`, negative class first."""
    films = usable(table)
    drawn = [
        members.sample(min(each, len(members)), random_state=seed).sort_values("file")
        for members in (films[films["label"] == name] for name in database.classes)
    ]
    shown = open_rows(database, pd.concat(drawn))
    return shown if "bits" in table else _evened(database, shown)


def uncatalogued(database: Database) -> pd.DataFrame:
    """Films of a database without a catalogue: file, label, and an empty problem."""
    return pd.DataFrame({"file": list(database.labels), "label": list(database.labels.values()), "problem": ""})


def thin(shown: list[Shown], count: int) -> list[Shown]:
    """At most `count` of the films, evenly spaced."""
    places = np.linspace(0, len(shown) - 1, min(count, len(shown))).round().astype(int)
    return [shown[place] for place in places]


def open_rows(database: Database, rows: pd.DataFrame) -> list[Shown]:
    """The films of some rows of a catalogue, in the same order."""
    return [Shown(row, database.film(row["file"])) for _, row in rows.iterrows()]


def _evened(database: Database, shown: list[Shown]) -> list[Shown]:
    """Films of a database without a catalogue, scaled by their common bit depth."""
    database = replace(database, bits=shared_depth((item.film.bits, item.film.guessed) for item in shown))
    return [
        Shown(item.row, database.film(item.row["file"]))
        if item.film.guessed and item.film.bits < database.bits
        else item
        for item in shown
    ]


def figure(shown: Sequence[Shown], columns: int = 8) -> Figure:
    """Films as stored in the files, in colour, each under its name."""
    alt = f"{len(shown)} films: " + ", ".join(_name(item) for item in shown) + "."
    figure, axes = tiles(len(shown), columns, alt)
    for ax, item in zip(axes, shown, strict=True):
        draw_film(ax, item.film.pixels, f"{_name(item)}\n{item.film.mode}")
    return figure


def boxes_figure(shown: Sequence[Shown], columns: int = 4) -> Figure | str:
    """Films with boxes around detected artefacts; below the name the column "mistake", if any."""
    if not shown:
        return "There is no such film."
    titles = ["\n".join([_name(item), *item.row.get("mistake", "").split("; ")]).strip() for item in shown]
    counts = {kind: sum(bool(_boxes(item, kind)) for item in shown) for kind in BOXES}
    told = ", ".join(f"{NAMES[kind]} on {count}" for kind, count in counts.items())
    named = "; ".join(title.replace("\n", " ", 1).replace("\n", ", ") for title in titles)
    lines = max(title.count("\n") + 1 for title in titles)
    alt = f"The detectors outlined artefacts on {sum(any(_boxes(i, k) for k in BOXES) for i in shown)} of {len(shown)}"
    figure, axes = tiles(len(shown), columns, f"{alt} films: {told}. Films: {named}.", lines, legend=True)
    for ax, item, title in zip(axes, shown, titles, strict=True):
        draw_film(ax, item.film.pixels, title)
        for kind in ("markers", "white_rectangles", "black_boxes"):
            for box in _boxes(item, kind):
                corner = box.left - 0.5, box.top - 0.5
                ax.add_patch(Rectangle(corner, box.width, box.height, **_outline(kind)))
        _border_outline(ax, item)
    handles = [Rectangle((0, 0), 1, 1, label=NAMES[kind], **_outline(kind)) for kind in BOXES]
    legend_below(figure, 4, handles)
    return figure


def _boxes(item: Shown, kind: str) -> Sequence[Any]:
    """The boxes of one kind on a film; of a border one entry."""
    if kind == "border":
        return [kind] if item.row["bordered"] else []
    return boxes_from_text(item.row[kind])


def _outline(kind: str) -> dict[str, Any]:
    """How boxes of a kind are drawn: bright lines in a dark casing, each in its own style."""
    colour, style = BOXES[kind]
    return {"fill": False, "edgecolor": colour, "linestyle": style, "linewidth": 1.5, "path_effects": cased()}


def before_after_figure(shown: Sequence[Shown], images: Pixels, columns: int = 4) -> Figure:
    """Films as stored, above the same films as networks get them, uint8 (n, H, W), or (n, H, W, 3) in colour."""
    count, kind = len(shown), "grey" if images.ndim == 3 else "RGB"
    names = ", ".join(_name(item) for item in shown)
    told = f"Preparation makes {count} films alike, {names}: {images.shape[1]}×{images.shape[2]} {kind}."
    rows = range(0, count, columns)
    figure, axes = tiles(2 * len(rows) * min(columns, count), columns, told)
    grid = np.array(axes).reshape(2 * len(rows), -1)
    for ax in axes:
        ax.set_axis_off()
    for i, item in enumerate(shown):
        above, below = grid[2 * (i // columns) : 2 * (i // columns) + 2, i % columns]
        draw_film(above, item.film.pixels, f"{_name(item)}\n{item.film.mode}, {item.film.pixels.shape[0]} px")
        draw_film(below, images[i], f"{kind}, {images.shape[1]} px")
    return figure


def side_by_side_figure(
    left: Sequence[Shown], right: Sequence[Shown], names: tuple[str, str], columns: int = 4
) -> Figure:
    """Grey films of two databases side by side, separated by a gap."""
    rows = -(-max(len(left), len(right)) // columns)
    figure = blank(
        f"{len(left)} films of {names[0]} (left) beside {len(right)} of {names[1]} (right).", (10.4, 1.25 * rows + 0.3)
    )
    halves: Any = figure.subfigures(1, 2, squeeze=False, wspace=0.03)
    for place, films, name in zip((0, 1), (left, right), names, strict=True):
        part = halves[0, place]
        part.suptitle(name, fontsize=9)
        axes = part.subplots(rows, columns, squeeze=False).ravel()
        for ax in axes:
            ax.set_axis_off()
        for ax, item in zip(axes, films, strict=False):
            ax.imshow(item.film.grey, cmap="gray", vmin=0, vmax=255)
    return figure


def _border_outline(ax: Axes, item: Shown) -> None:
    if item.row["bordered"]:
        top, right, bottom, left = widths_from_text(item.row["border"])
        height, width = item.film.pixels.shape[:2]
        film = Rectangle((left - 0.5, top - 0.5), width - left - right, height - top - bottom, fill=False)
        middle = Affine2D().rotate_deg_around(width / 2, height / 2, -item.row["border_tilt"])
        film.set(transform=middle + ax.transData, **_outline("border"))
        ax.add_patch(film)
        ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _name(item: Shown) -> str:
    return short(item.row["file"])
