"""Rank of a film's score among those of the test films."""

import textwrap
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import logit

from tblib.arrays import Floats, Pixels
from tblib.show.plots import FONT, INK, WIDTH, blank, draw_counts, draw_film, legend_below, overlay, panels, plain


class Place(NamedTuple):
    """A film's score and those of the test films, all as logits of the probability shown.

    Attributes:
        logit: of the film.
        threshold: of the operating point.
        by_class: class name, negative first -> float (n,), logits of the test films; empty if unknown.
        label: what the probability is called.
    """

    logit: float
    threshold: float
    by_class: dict[str, Floats]
    label: str

    @property
    def axis(self) -> tuple[float, float]:
        """Limits of the logit axis: they include the test films and a probability of 0.5, with a margin."""
        known = np.concatenate([[-5.0, 5.0], *self.by_class.values()])
        return float(known.min()) - 0.5, float(known.max()) + 0.5

    def share(self, logit: float) -> float:
        """Position of a logit on the axis, clipped to 0 … 1."""
        low, high = self.axis
        return min(max((logit - low) / (high - low), 0.0), 1.0)


TICKS = (1e-6, 1e-3, 0.5, 0.999, 0.999999)  # probabilities marked on a logit axis, 7 apart


def place_sentence(place: Place) -> str:
    """How many test films of each class score at least as high."""
    higher = [
        f"{int((logits >= place.logit).sum())} of {len(logits)} {name}" for name, logits in place.by_class.items()
    ]
    return f"{' and '.join(higher)} test films score at least as high." if higher else ""


def place_figure(place: Place) -> Figure:
    """Plot a film's score among those of the test films."""
    figure, (ax,) = panels(place_sentence(place) or "No other film's score is known.", 1, (5.2, 3.0))
    _draw_place(ax, place)
    legend_below(figure, 1)
    return figure


def _draw_place(ax: Axes, place: Place) -> None:
    """Plot histograms of both classes' logits with ticks in per cent, this film as a line, the threshold as dots."""
    bins = np.linspace(*place.axis, 25)
    counts = [np.histogram(logits, bins)[0] for logits in place.by_class.values()]
    draw_counts(ax, counts, bins, list(place.by_class))
    ax.axvline(bins[0] + place.share(place.threshold) * np.ptp(bins), color=INK, linestyle=":", label="threshold")
    ax.axvline(bins[0] + place.share(place.logit) * np.ptp(bins), color=INK, linewidth=2, label="this film")
    inside = [tick for tick in TICKS if bins[0] <= logit(tick) <= bins[-1]]
    ax.set_xticks([logit(tick) for tick in inside], [f"{100 * tick:.6g} %" for tick in inside], fontsize=FONT)
    ax.set(xlabel=f"{place.label} (logit scale)", ylabel="share of test films", xlim=(bins[0], bins[-1]))


def answer_figure(
    name: str, given: Pixels, seen: Pixels, found: Floats | None, place: Place | None, sentence: str
) -> Figure:
    """Plot a film as given, as the model sees it, with its saliency map and the place of its score if available.

    `given` is uint8 (H, W) or (H, W, 3), `seen` uint8 (S, S), the map `found` float (S, S); `sentence` is the answer.
    """
    where = f" {place_sentence(place)}" if place else ""
    alt = f"{sentence}{where} Shown: the film {name} as given and as the model sees it."
    films = [("as given", given), (f"as the model sees it,\n{len(seen)} px", seen)]
    if found is not None:
        films.append(("what moves the score\n(bright: most)", overlay(seen, found)))
    figure = blank(alt, (WIDTH, 5.6 if place else 3.4))
    grid = figure.add_gridspec(2 if place else 1, len(films), height_ratios=(1.2, 1) if place else None)
    figure.suptitle(f"{name}\n{textwrap.fill(sentence, 100)}", x=0.01, ha="left", fontsize=FONT)
    for column, (title, film) in enumerate(films):
        draw_film(figure.add_subplot(grid[0, column]), film, title)
    if place:
        below = figure.add_subplot(grid[1, :])
        plain(below)
        _draw_place(below, place)
        legend_below(figure, 2)
    return figure
