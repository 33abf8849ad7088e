"""Figures: colours, axes and films; the label of each figure holds its alt text."""

import io
from typing import Any, Protocol

import lazy_loader
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

from tblib.arrays import Floats, Pixels

sns = lazy_loader.load("seaborn")  # takes half a second to import, so it waits for the first figure
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#767676"  # Okabe and Ito's palette, for colour-blind readers
DPI = 110
GREEN, SKY, ORANGE = "#009E73", "#56B4E9", "#E69F00"
MARKS = "osD^vPX*"


class Study(Protocol):
    """What a figure needs to know of its run: whether the films are synthetic."""

    @property
    def synthetic(self) -> bool:
        """Whether its figures are stamped."""


def show(run: Study, figure: Figure) -> None:
    """Show a figure of a run in a notebook."""
    display_figure(figure, run.synthetic)


def display_figure(figure: Figure, synthetic: bool) -> None:
    """Show a figure in a notebook as PNG with its alt text, stamped SYNTHETIC if its films are synthetic."""
    from IPython.display import Image, display

    data, alt = picture(figure, synthetic)
    display(Image(data=data, format="png", alt=alt))


def picture(figure: Figure, synthetic: bool) -> tuple[bytes, str]:
    """A figure as PNG, and its alt text, both stamped SYNTHETIC if its films are synthetic."""
    alt = str(figure.get_label())
    if synthetic:
        figure.text(1, 0, "SYNTHETIC", ha="right", va="top", color=VERMILION, fontsize=9, fontweight="bold")
        alt = f"SYNTHETIC films. {alt}"
    _show_signs_as_they_are(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    return buffer.getvalue(), alt


def _show_signs_as_they_are(figure: Figure) -> None:
    """Render dollar signs in names literally; only the powers of ten on a log axis are formulas."""
    axes: list[Axis] = figure.findobj(Axis)
    ticks = [(axis.get_scale() == "log", axis.get_ticklabels(which="both")) for axis in axes]
    powers = {text for logarithmic, texts in ticks if logarithmic for text in texts}
    for text in figure.findobj(Text):
        text.set_parse_math(text in powers)


def blank(alt: str, size: tuple[float, float]) -> Figure:
    """An empty figure with its alt text; size in inches."""
    with mpl.rc_context({**sns.axes_style("whitegrid"), "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
    figure.set_label(alt)
    return figure


def nothing(sentence: str) -> Figure:
    """A figure that states why there is nothing to plot."""
    figure = blank(sentence, (6.4, 0.6))
    figure.text(0, 0.5, sentence, va="center")
    return figure


def panels(alt: str, count: int, size: tuple[float, float], **how: Any) -> tuple[Figure, npt.NDArray[Any]]:
    """A figure with `count` axes side by side."""
    figure = blank(alt, size)
    with mpl.rc_context({**sns.axes_style("whitegrid"), "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9}):
        axes = figure.subplots(1, count, squeeze=False, **how)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def tiles(count: int, columns: int, alt: str, legend: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes in rows of `columns`, for pictures."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = blank(alt, (10.0 * columns / max(columns, 5), (10.0 / max(columns, 5) + 0.42) * rows + 0.35 * legend))
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def draw_film(ax: Axes, pixels: Pixels, title: str) -> None:
    """Plot a film, grey or in colour, on axes without ticks."""
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    ax.set_title(title, fontsize=7)
    ax.set_axis_off()


def overlay(film: Pixels, found: Floats) -> Pixels:
    """Uint8 (S, S, 3): a film, uint8 (S, S), overlaid with its saliency map, float (S, S), from dark to bright."""
    share = np.clip(found / max(float(np.quantile(found, 0.99)), 1e-30), 0, 1)[..., None]
    colours = mpl.colormaps["inferno"](found / max(float(found.max()), 1e-30))[..., :3]
    return np.rint(film[..., None] * (1 - 0.75 * share) + 255 * colours * 0.75 * share).astype(np.uint8)


def whiskers(
    ax: Axes, value: pd.Series, low: pd.Series, high: pd.Series, place: npt.NDArray[Any], colour: str, label: str
) -> None:
    """Plot points with their intervals."""
    ax.hlines(place, low, high, color=colour, linewidth=2)
    ax.plot(value, place, "o", color=colour, markersize=5, label=label)


def entry(name: str) -> str:
    """A legend entry for a name; matplotlib would omit one that begins with an underscore."""
    return f"\u200a{name}" if name.startswith("_") else name


def counted(counts: dict[str, int]) -> str:
    """Names with their counts as text."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def short(file: str) -> str:
    """The file name without folders and extension, truncated if long."""
    stem = file.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return stem if len(stem) <= 18 else f"{stem[:17]}…"
