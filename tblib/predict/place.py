"""Rank of a film's score among those of the test films."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import logit

from tblib.arrays import Floats, Pixels
from tblib.show.plots import BLUE, VERMILION, draw_film, entry, overlay, panels


class Place(NamedTuple):
    """A film's score and those of the test films.

    Attributes:
        logit: of the film.
        threshold: of the operating point, as a probability.
        by_class: class name, negative first -> float (n,), logits of the test films; empty if unknown.
    """

    logit: float
    threshold: float
    by_class: dict[str, Floats]

    @property
    def threshold_logit(self) -> float:
        """The threshold as a logit."""
        return float(logit(self.threshold))

    @property
    def axis(self) -> tuple[float, float]:
        """Limits of the logit axis: they include the test films and a score of 0.5, with a margin."""
        known = np.concatenate([[-5.0, 5.0], *self.by_class.values()])
        return float(known.min()) - 0.5, float(known.max()) + 0.5

    def share(self, logit: float) -> float:
        """Position of a logit on the axis, clipped to 0 … 1."""
        low, high = self.axis
        return min(max((logit - low) / (high - low), 0.0), 1.0)


TICKS = (1e-6, 1e-3, 0.5, 0.999, 0.999999)  # scores marked on a logit axis, 7 apart


def place_sentence(place: Place) -> str:
    """How many test films of each class score at least as high."""
    higher = [
        f"{int((logits >= place.logit).sum())} of {len(logits)} {name}" for name, logits in place.by_class.items()
    ]
    return f"{' and '.join(higher)} test films score at least as high." if higher else ""


def place_figure(place: Place) -> Figure:
    """Plot a film's score among those of the test films."""
    figure, (ax,) = panels(place_sentence(place), 1, (4.4, 2.0))
    _draw_place(ax, place)
    return figure


def _draw_place(ax: Axes, place: Place) -> None:
    """Plot histograms of both classes' logits with ticks in scores, this film as a line, and the threshold as dots."""
    bins = np.linspace(*place.axis, 25)
    for (name, logits), colour in zip(place.by_class.items(), (BLUE, VERMILION), strict=False):
        counts = np.histogram(logits, bins)[0]
        ax.stairs(100 * counts / max(len(logits), 1), bins, fill=True, color=colour, alpha=0.6, label=entry(name))
    ax.axvline(place.threshold_logit, color="black", linestyle=":", label="threshold")
    ax.axvline(bins[0] + place.share(place.logit) * np.ptp(bins), color="black", linewidth=2, label="this film")
    inside = [tick for tick in TICKS if bins[0] <= logit(tick) <= bins[-1]]
    ax.set_xticks([logit(tick) for tick in inside], [f"{tick:.6g}" for tick in inside], fontsize=7)
    ax.set(xlabel="score (logit scale)", ylabel="% of the class's test films", xlim=(bins[0], bins[-1]))
    ax.legend(frameon=False, fontsize=7, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def answer_figure(name: str, given: Pixels, seen: Pixels, found: Floats | None, place: Place, sentence: str) -> Figure:
    """Plot a film as given, as the model sees it, with its saliency map if available, and the place of its score.

    `given` is uint8 (H, W) or (H, W, 3), `seen` uint8 (S, S), the map `found` float (S, S); `sentence` is the answer.
    """
    alt = f"The film {name} as given and as the model sees it. {sentence} {place_sentence(place)}"
    count = 3 if found is None else 4
    figure, axes = panels(alt, count, (8.6, 8.6 / count + 0.4), width_ratios=(*(1,) * (count - 1), 1.3))
    title = f"{name}\n{sentence}"  # file names may contain a $
    figure.suptitle(title, x=0.01, ha="left", fontsize=9, parse_math=False)
    draw_film(axes[0], given, "as given")
    draw_film(axes[1], seen, f"as the model sees it, {len(seen)} px")
    if found is not None:
        draw_film(axes[2], overlay(seen, found), "what moves the score")
    _draw_place(axes[-1], place)
    return figure
