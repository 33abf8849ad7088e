"""Figures: colours, axes and films; the label of each figure holds its alt text.

Blue and vermilion stand for the two classes and for nothing else. An effect is positive where it goes towards the
class that its cue goes with on these films.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation
from PIL import Image

from tblib.arrays import Floats, Ints, Pixels
from tblib.show.svg import size, svg

BLUE, VERMILION = "#0072B2", "#D55E00"  # of Okabe and Ito's palette for colour-blind readers
CLASSES = (BLUE, VERMILION)  # of the negative and the positive class, and of nothing else
INK, GREY, PURPLE, OCHRE = "#1A1A1A", "#6E6E6E", "#7B2D8E", "#8A6100"  # of all other series
SERIES = ((INK, "o"), (PURPLE, "s"), (GREY, "D"), (OCHRE, "^"))  # colour and mark
DPI = 110  # of pictures for pages that show no SVG
WIDTH = 7.2  # inches
TILE, SMALLEST = 1.4, 1.15  # inches per film: as a rule, and at least
FILM = 220  # px per side at which a film is shown at most: nearly twice those of a screen
FONT = 9.0  # points
FEW = "mark below the axis: at least one film"
TOWARDS = "+ towards the cue's class"  # what a positive effect is


class Study(Protocol):
    """What a figure needs to know of its run: whether the films are synthetic."""

    @property
    def synthetic(self) -> bool:
        """Whether its figures are stamped."""


def show(run: Study, figure: Figure | str) -> None:
    """Show a figure of a run in a notebook, or the sentence that says why there is nothing to plot."""
    if isinstance(figure, str):
        _display(figure, f'<p class="tex2jax_ignore mathjax_ignore">{escape(figure)}</p>')
    else:
        display_figure(figure, run.synthetic)


def display_figure(figure: Figure, synthetic: bool) -> None:
    """Show a figure in a notebook as SVG with its alt text, stamped SYNTHETIC if its films are synthetic.

    It is HTML, as an output of type image/svg+xml cannot have an alt text.
    """
    html = image(figure, synthetic)
    _display(f"SYNTHETIC films. {figure.get_label()}" if synthetic else str(figure.get_label()), html)


def image(figure: Figure, synthetic: bool) -> str:
    """A figure as an HTML element: SVG with its alt text, both stamped SYNTHETIC if its films are synthetic."""
    alt = _finished(figure, synthetic)
    text = svg(figure)
    width, height = size(text)
    source = f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode('ascii')}"
    return f'<img src="{source}" alt="{escape(alt)}" width="{width}" height="{height}">'


def _display(text: str, html: str) -> None:
    from IPython.display import display

    display({"text/plain": text, "text/html": html}, raw=True)


def picture(figure: Figure, synthetic: bool) -> tuple[bytes, str]:
    """A figure as PNG, and its alt text, both stamped SYNTHETIC if its films are synthetic."""
    alt = _finished(figure, synthetic)
    for film in figure.findobj(AxesImage):
        film.set_interpolation("auto")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    return buffer.getvalue(), alt


def _finished(figure: Figure, synthetic: bool) -> str:
    """The alt text of a figure, which is made ready to be saved."""
    alt = str(figure.get_label())
    if synthetic:
        stamp: dict[str, Any] = {"fontsize": FONT, "fontweight": "bold", "color": INK}
        frame = {"boxstyle": "square,pad=0.2", "edgecolor": INK, "facecolor": "white"}
        above = figure.transFigure + ScaledTranslation(0, 0.1, figure.dpi_scale_trans)  # legends are below
        figure.text(1, 1, "SYNTHETIC", ha="right", va="bottom", bbox=frame, transform=above, **stamp)
        alt = f"SYNTHETIC films. {alt}"
    _show_signs_as_they_are(figure)
    for ax in figure.findobj(Axes):
        ax.title.set_fontsize(FONT)  # a title takes its size from outside `_style`
    return alt


def _show_signs_as_they_are(figure: Figure) -> None:
    """Render dollar signs in names literally; only the powers of ten on a log axis are formulas."""
    axes: list[Axis] = figure.findobj(Axis)
    ticks = [(axis.get_scale() == "log", axis.get_ticklabels(which="both")) for axis in axes]
    powers = {text for logarithmic, texts in ticks if logarithmic for text in texts}
    for text in figure.findobj(Text):
        text.set_parse_math(text in powers)


def _style() -> Any:
    import seaborn as sns  # takes half a second, so it waits for the first figure

    sizes = dict.fromkeys(("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize"), FONT)
    return {**sns.axes_style("whitegrid"), **sizes, "axes.titlesize": FONT + 0.5}


def blank(alt: str, size: tuple[float, float]) -> Figure:
    """An empty figure with its alt text; size in inches, made smaller in proportion where it is wider than `WIDTH`."""
    shrunk = min(1.0, WIDTH / size[0])
    with mpl.rc_context(_style()):
        figure = Figure(figsize=(shrunk * size[0], shrunk * size[1]), layout="constrained")
    figure.set_label(alt)
    return figure


def panels(
    alt: str, count: int, size: tuple[float, float], columns: int | None = None, **how: Any
) -> tuple[Figure, npt.NDArray[Any]]:
    """A figure with `count` axes side by side, or in rows of `columns`."""
    figure = blank(alt, size)
    columns = columns or count
    with mpl.rc_context(_style()):
        axes = figure.subplots(-(-count // columns), columns, squeeze=False, **how).ravel()
    for spare in axes[count:]:
        spare.set_axis_off()
    for ax in axes:
        plain(ax)
    return figure, axes[:count]


def plain(ax: Axes) -> None:
    """Axes without a frame at the top and at the right, with labels of one size."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=FONT)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_fontsize(FONT)


def tiles(count: int, columns: int, alt: str, lines: int = 2, legend: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes for pictures under titles of up to so many `lines`.

    They stand in rows of `columns`, or of half as many where they would be too small.
    """
    columns = min(columns, count)
    columns = columns if WIDTH / columns >= SMALLEST else -(-columns // 2)
    rows = -(-count // columns)
    side = min(TILE, WIDTH / columns)
    figure = blank(alt, (side * columns, (side + 0.16 * lines) * rows + 0.35 * legend))
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def draw_film(ax: Axes, pixels: Pixels, title: str) -> None:
    """Plot a film, grey or in colour, on axes without ticks whose units are its own pixels."""
    height, width = pixels.shape[:2]
    shown = Image.fromarray(pixels)
    shown.thumbnail((FILM, FILM), Image.Resampling.BOX)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(np.asarray(shown), cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="none")
    ax.set_title(title, fontsize=FONT)
    ax.set_axis_off()


def cased(width: float = 3.0, colour: str = "black") -> list[Any]:
    """Path effects of a line that is to be seen on bright and on dark films: a casing of that width in points."""
    return [Stroke(linewidth=width, foreground=colour), Normal()]


def legend_below(figure: FigureBase, columns: int = 3, handles: Sequence[Any] | None = None) -> None:
    """A legend below the axes, where it hides no data; by default of all labelled series, each once."""
    if handles is None:
        axes: list[Axes] = figure.findobj(Axes)
        own = [pair for ax in axes for pair in zip(*ax.get_legend_handles_labels(), strict=True)]
        handles = list({label: handle for handle, label in reversed(own)}.values())[::-1]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=FONT)


def key(
    label: str, colour: str, mark: str = "", line: Any = "none", width: float = 1.5, hollow: bool = False
) -> Line2D:
    """An entry of a legend that no plotted series has."""
    face = "white" if hollow else colour
    return Line2D(
        [],
        [],
        color=colour,
        marker=mark,
        linestyle=line,
        linewidth=width,
        label=label,
        markerfacecolor=face,
        markersize=6,
    )


def draw_counts(ax: Axes, counts: Sequence[Ints], edges: Floats, names: Sequence[str], shares: bool = True) -> None:
    """Histograms of both classes, outlined and over each other; a mark below the axis shows a bin of a single film.

    Args:
        counts: films in each bin (n,), of the negative and of the positive class.
        edges: limits of the bins (n + 1,).
        names: of the classes.
        shares: plot shares of the class's films, not films.
    """
    centres = (np.asarray(edges)[:-1] + np.asarray(edges)[1:]) / 2
    for place, (each, name, colour) in enumerate(zip(counts, names, CLASSES, strict=False)):
        own = np.asarray(each)
        heights = own / max(own.sum(), 1) if shares else own
        ax.stairs(heights, edges, color=colour, fill=True, alpha=0.2)
        ax.stairs(heights, edges, color=colour, linewidth=1.4, label=entry(f"{name}, n = {own.sum():,} films"))
        found = centres[own > 0]
        below: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False, "markersize": 5}
        ax.plot(found, np.full(len(found), -0.035 - 0.05 * place), "|", color=colour, markeredgewidth=1.5, **below)
    ax.plot([], [], "|", color=GREY, markeredgewidth=1.5, markersize=5, label=FEW)
    ax.tick_params(axis="x", pad=11)


def overlay(film: Pixels, found: Floats) -> Pixels:
    """Uint8 (S, S, 3): a film, uint8 (S, S), overlaid with its saliency map, float (S, S), from dark to bright."""
    share = np.clip(found / max(float(np.quantile(found, 0.99)), 1e-30), 0, 1)[..., None]
    colours = mpl.colormaps["inferno"](found / max(float(found.max()), 1e-30))[..., :3]
    return np.rint(film[..., None] * (1 - 0.75 * share) + 255 * colours * 0.75 * share).astype(np.uint8)


def whiskers(
    ax: Axes,
    value: pd.Series,
    low: pd.Series,
    high: pd.Series,
    place: npt.NDArray[Any],
    colour: str,
    label: str = "",
    mark: str = "o",
) -> None:
    """Plot points with their intervals."""
    ax.hlines(place, low, high, color=colour, linewidth=2)
    ax.plot(value, place, mark, color=colour, markersize=5.5, label=label)


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
