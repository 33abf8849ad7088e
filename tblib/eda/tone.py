"""Grey levels, mean films and fine detail of each class."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import fft

from tblib.arrays import Floats, Ints, Pixels
from tblib.eda.sample import Shown
from tblib.films.film import resized
from tblib.show.plots import CLASSES, WIDTH, blank, draw_counts, draw_film, entry, legend_below, panels, plain
from tblib.show.text import capital, percent

PORTRAIT = 512  # px per side at which films are compared, as in the Kaggle database
LEVELS = 64  # bins of a grey histogram
SPREAD = (5, 95)  # percentiles over films that bound the spread of a class


class Portrait(NamedTuple):
    """Average appearance of the films of one class.

    Attributes:
        mean_film: uint8 (PORTRAIT / 4, PORTRAIT / 4), mean of the grey films.
        histogram: float (3, LEVELS), share of pixels per grey level: mean over films and percentiles `SPREAD`.
        spectrum: float (3, PORTRAIT / 2 - 1), the same for log10 of the radially averaged power at 1 … cycles per film.
    """

    mean_film: Pixels
    histogram: Floats
    spectrum: Floats


def measure(shown: Iterable[Shown]) -> dict[str, Portrait]:
    """Class -> its portrait, for comparing detail and grey levels with another database."""
    greys: dict[str, list[Pixels]] = {}
    for item in shown:
        greys.setdefault(item.row["label"], []).append(resized(item.film.grey, PORTRAIT))
    return {label: _portrait(films) for label, films in greys.items()}


def _portrait(films: list[Pixels]) -> Portrait:
    quarters = [resized(film, PORTRAIT // 4).astype(np.float32) for film in films]
    histograms = np.stack(
        [np.bincount(film.ravel() // (256 // LEVELS), minlength=LEVELS) / film.size for film in films]
    )
    spectra = np.stack([np.log10(radial_power(film)) for film in films])
    return Portrait(np.mean(quarters, axis=0).round().astype(np.uint8), _spread(histograms), _spread(spectra))


def _spread(values: Floats) -> Floats:
    """Float (3, n) of (films, n): mean and percentiles `SPREAD` over films."""
    return np.stack([values.mean(0), *np.percentile(values, SPREAD, axis=0)])


def radial_power(grey: Pixels) -> Floats:
    """Radially averaged power of a square film at 1, 2, … cycles per side, float (side / 2 - 1,).

    The film is standardised to mean 0 and sd 1 first; a Hann window suppresses the effect of its edges.
    """
    side = len(grey)
    window, radius = _rings(side)
    film = grey.astype(np.float32) - grey.mean()
    film *= window / max(film.std(), 1e-6)
    power = np.abs(fft.rfft2(film)) ** 2
    counts, sums = np.bincount(radius), np.bincount(radius, power.ravel())
    return (sums / counts)[1 : side // 2] + 1e-12


@lru_cache(maxsize=1)
def _rings(side: int) -> tuple[Floats, Ints]:
    """Hann window (side, side), and for each term of `fft.rfft2`, flattened, its radial frequency in whole cycles."""
    line = np.hanning(side)
    radius = np.hypot(fft.fftfreq(side, 1 / side)[:, None], fft.rfftfreq(side, 1 / side)[None]).round().astype(int)
    return np.outer(line, line), radius.ravel()


def within_spread(mine: Portrait, theirs: Portrait) -> float:
    """Share of frequencies at which the mean spectrum of one class lies within the spread of the other's films."""
    mean, (low, high) = mine.spectrum[0], theirs.spectrum[1:]
    return float(((low <= mean) & (mean <= high)).mean())


def grey_figure(table: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Distributions of mean grey, spread of grey and evenness of the grey histogram per class."""
    columns = {
        "grey_mean": "mean grey level (0 black … 255 white)",
        "grey_sd": "sd of the grey levels",
        "equalised": "evenness of the grey histogram (1 is flat)",
    }
    medians = table.groupby("label")[list(columns)].median()
    told = "; ".join(
        f"{text}: " + ", ".join(f"{n} {medians.loc[n, c]:.3g}" for n in classes) for c, text in columns.items()
    )
    flatter = classes[int(np.argmax(medians.loc[list(classes), "equalised"]))]
    alt = f"The grey histograms of {flatter} are the flatter ones. Medians, {told}."
    figure, axes = panels(alt, 3, (6.4, 5.6), 1)
    for ax, (column, text) in zip(axes, columns.items(), strict=True):
        edges = np.histogram_bin_edges(table[column].dropna(), 24)
        counts = [np.histogram(table.loc[table["label"] == name, column].dropna(), edges)[0] for name in classes]
        draw_counts(ax, counts, edges, classes)
        ax.set(xlabel=text, ylabel="share of films")
    legend_below(figure, 2)
    return figure


def grey_finding(table: pd.DataFrame, classes: tuple[str, str]) -> str:
    """Whether one class looks equalised."""
    groups = table.groupby("label")
    means, spreads = groups["grey_mean"].mean(), groups["grey_mean"].std()
    told = " and ".join(f"{means[name]:.0f} ± {spreads[name]:.0f} in {name}" for name in classes)
    even = groups["equalised"].median()
    flatter = max(classes, key=lambda name: even[name])
    return (
        f"The grey histograms of {flatter} films are the flatter ones: median evenness "
        f"{' and '.join(f'{even[name]:.2f} in {name}' for name in classes)}, where 1 is flat. Their mean grey levels "
        f"are {told} (mean ± sd over films, of 255)."
    )


def figure(by_database: dict[str, dict[str, Portrait]], most: int | None = None) -> Figure:
    """Mean film, grey histogram and power spectrum of each class, of at most so many films, by database."""
    told = []
    for name, classes in by_database.items():
        fine = {label: float(one.spectrum[0, one.spectrum.shape[1] // 2 :].mean()) for label, one in classes.items()}
        parts = ", ".join(f"{label} {value:.2f}" for label, value in fine.items())
        told.append(
            f"the films of {max(fine, key=lambda label: fine[label])} of {name} have more fine detail ({parts})"
        )
    count = sum(len(classes) for classes in by_database.values())
    alt = (
        f"{capital('; '.join(told))}, as mean log10 power; means, with the {SPREAD[0]} to {SPREAD[1]} % range of films."
    )
    figure = blank(alt, (WIDTH, 5.0))
    parts_of: Any = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.7))
    above, below = parts_of[:, 0]
    means = above.subplots(1, max(count, 4), squeeze=False)[0]
    histogram, spectrum = below.subplots(1, 2)
    drawn = [
        (name, label, one, colour, style)
        for (name, classes), style in zip(by_database.items(), ("-", "--", ":", "-."), strict=False)
        for (label, one), colour in zip(classes.items(), CLASSES, strict=True)
    ]
    for ax in means:
        ax.set_axis_off()
    for ax, (name, label, one, colour, style) in zip(means, drawn, strict=False):
        draw_film(ax, one.mean_film, f"mean film,\n{name},\n{label}")
        levels = np.arange(one.histogram.shape[1]) * 256 / one.histogram.shape[1]
        _band(histogram, levels, 100 * one.histogram, colour, style)
        text = entry(f"{name}, {label}" + (f", n ≤ {most} films" if most else ""))
        _band(spectrum, np.arange(1, one.spectrum.shape[1] + 1), one.spectrum, colour, style, text)
    highest = 100 * max(one.histogram[0, 1:-1].max() for classes in by_database.values() for one in classes.values())
    histogram.set(xlabel="grey level (0 black … 255 white)", ylabel="share of pixels, %")
    histogram.set(xlim=(0, 255), ylim=(0, 1.6 * highest))
    spectrum.set(xlabel="frequency, cycles per film", ylabel="log10 of the power", xscale="log")
    for ax in (histogram, spectrum):
        plain(ax)
    legend_below(below, 2)
    return figure


def _band(ax: Axes, place: npt.NDArray[Any], values: Floats, colour: Any, style: str, label: str = "") -> None:
    """A mean, and the percentiles of `SPREAD` as thin lines around a pale band."""
    mean, low, high = values
    ax.plot(place, mean, color=colour, linestyle=style, linewidth=1.8, label=label)
    for limit in (low, high):
        ax.plot(place, limit, color=colour, linestyle=style, linewidth=0.6)
    ax.fill_between(place, low, high, color=colour, alpha=0.1, linewidth=0)


def finding(looks: dict[str, dict[str, Portrait]]) -> str:
    """How the classes differ in detail and, with two databases, whether the first resembles the second."""
    (name, mine), *others = looks.items()
    fine = {label: float(one.spectrum[0, one.spectrum.shape[1] // 2 :].mean()) for label, one in mine.items()}
    told, most = (
        " and ".join(f"{value:.2f} in {label}" for label, value in fine.items()),
        max(fine, key=fine.__getitem__),
    )
    text = f"{most} films have the most fine detail: mean log10 power in the upper half of the spectrum {told}."
    for other, theirs in others:
        shares = {label: within_spread(mine[label], theirs[label]) for label in mine if label in theirs}
        parts = " and ".join(f"{percent(share, 0)} of the frequencies in {label}" for label, share in shares.items())
        text += (
            f" The mean power spectrum of {name} lies within the 5 to 95 % spread of the films of {other} at {parts}."
        )
    return text
