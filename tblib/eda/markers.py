"""L/R markers: how many films of each class carry one, with which letter and style, and where on the film."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Floats
from tblib.eda import prevalence
from tblib.films.boxes import boxes_from_text
from tblib.metrics import Estimate, wilson
from tblib.show.plots import BLUE, VERMILION, entry, nothing, panels
from tblib.show.text import percent

GRID = 16  # cells per side of the map
UNREAD, NO_MARKER = "not read", "no marker"


@dataclass(frozen=True)
class Markers:
    """Laterality markers found on the films of two classes.

    Attributes:
        classes: negative first.
        films: number of films per class.
        letters: number of films per letter (rows) and class (columns).
        styles: the same per letter and style, excluding films without a marker.
        places: class -> float (GRID, GRID), share of its films with the centre of a marker in each cell.
        odds: odds ratio of carrying a marker with its interval, a row of `tblib.eda.prevalence.measure`.
    """

    classes: tuple[str, str]
    films: dict[str, int]
    letters: pd.DataFrame
    styles: pd.DataFrame
    places: dict[str, Floats]
    odds: dict[str, float]


def measure(films: pd.DataFrame, classes: tuple[str, str]) -> Markers:
    """Summarise the markers of a catalogue's usable films."""
    carried = films["marker"].astype(bool)
    letter = films["marker_letter"].fillna("").replace("", UNREAD)
    style = letter + ", " + films["marker_style"].fillna("")
    odds = prevalence.measure(films, classes).set_index("cue").loc["L/R marker"].iloc[0]
    return Markers(
        classes,
        {name: int((films["label"] == name).sum()) for name in classes},
        _counts(letter.where(carried, NO_MARKER), films["label"], classes),
        _counts(style[carried], films.loc[carried, "label"], classes),
        {name: _places(films[films["label"] == name]) for name in classes},
        odds[["odds_ratio", "odds_low", "odds_high"]].to_dict(),
    )


def _counts(kinds: pd.Series, labels: pd.Series, classes: tuple[str, str]) -> pd.DataFrame:
    """Number of films per kind and class, most common kind first."""
    counts = pd.crosstab(kinds, labels).reindex(columns=list(classes), fill_value=0)
    return counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]


def _places(films: pd.DataFrame) -> Floats:
    share = np.zeros((GRID, GRID))
    for row in films.itertuples():
        cells = {
            (
                min(int(GRID * (box.top + box.bottom) / 2 / row.height), GRID - 1),
                min(int(GRID * (box.left + box.right) / 2 / row.width), GRID - 1),
            )
            for box in boxes_from_text(row.markers)
        }
        for cell in cells:
            share[cell] += 1 / len(films)
    return share


def figure(found: Markers) -> Figure:
    """Map per class of where the markers lie on the film."""
    if not any(places.any() for places in found.places.values()):
        return nothing("No marker was found on any film.")
    most = {name: np.unravel_index(int(places.argmax()), places.shape) for name, places in found.places.items()}
    told = "; ".join(
        f"{name}: most often {_where(*(int(at) for at in cell))}, on {percent(found.places[name][cell])} of its films"
        for name, cell in most.items()
    )
    figure, axes = panels(f"Where markers lie on the film, as it is seen. {told}.", 2, (7.6, 3.6))
    top = max(float(places.max()) for places in found.places.values())
    for ax, (name, places) in zip(axes, found.places.items(), strict=True):
        drawn = ax.imshow(100 * places, cmap="viridis", vmin=0, vmax=100 * top, extent=(0, 1, 1, 0))
        ax.set(title=f"{name} ({found.films[name]:,} films)", xlabel="viewer's left … right", xticks=[], yticks=[])
        ax.set_ylabel("top … bottom" if ax is axes[0] else "")
        ax.grid(visible=False)
    figure.colorbar(drawn, ax=list(axes), label="% of the class's films", shrink=0.8)
    return figure


def _where(row: int, column: int) -> str:
    down = "at the top" if row < GRID / 3 else "at the bottom" if row >= 2 * GRID / 3 else "half-way down"
    across = "left" if column < GRID / 3 else "right" if column >= 2 * GRID / 3 else "middle"
    return f"{down}, {across}"


def styles_figure(found: Markers) -> Figure:
    """Which kinds of markers the films of each class carry."""
    if found.styles.empty:
        return nothing("No marker was found on any film.")
    shares = found.styles.head(10) / pd.Series(found.films)
    told = "; ".join(f"{kind}: " + ", ".join(f"{n} {v:.0%}" for n, v in row.items()) for kind, row in shares.iterrows())
    alt = f"Kinds of markers found, share of each class's films. {told}."
    figure, (ax,) = panels(alt, 1, (6.4, 0.9 + 0.3 * len(shares)))
    shares.rename(columns=entry).plot.barh(ax=ax, color=[BLUE, VERMILION], width=0.75)
    ax.set(xlabel="share of the class's films", ylabel="")
    ax.invert_yaxis()
    ax.legend(frameon=False)
    ax.grid(visible=False, axis="y")
    return figure


def finding(found: Markers) -> str:
    """How many films of each class carry a marker, the odds ratio, and the commonest kinds."""
    parts = []
    for name, films in found.films.items():
        kinds = found.styles[name][found.styles[name] > 0].sort_values(ascending=False, kind="stable").head(4)
        common = "; ".join(f"{kind} {count}" for kind, count in kinds.items())
        parts.append(f"{found.styles[name].sum()} of {films} {name}" + (f" (most often {common})" if common else ""))
    odds = f"{prevalence.odds_text(found.odds)}, {found.classes[1]} over {found.classes[0]}"
    return f"Markers were found on {' and '.join(parts)}. Odds ratio of carrying one: {odds}."


def table(found: Markers) -> pd.DataFrame:
    """One row per letter, one column per class: number of films, and their share with its Wilson interval."""
    cells = {
        name: [
            f"{count}, {Estimate(*wilson(int(count), found.films[name])).text(percent=True)}"
            for count in found.letters[name]
        ]
        for name in found.classes
    }
    return pd.DataFrame(cells, index=found.letters.index.rename(None))
