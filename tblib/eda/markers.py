"""L/R markers: how many films of each class carry one, with which letter and style, and where on the film."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Floats
from tblib.eda import prevalence
from tblib.films.boxes import boxes_from_text
from tblib.metrics import Estimate, wilson
from tblib.show.plots import CLASSES, FONT, WIDTH, entry, legend_below, panels
from tblib.show.text import captioned, percent

GRID = 16  # cells per side of the map
UNREAD, NO_MARKER = "not read", "no marker"
NONE_FOUND = "No marker was found on any film."


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


def figure(found: Markers) -> Figure | str:
    """Map per class of where the markers lie on the film."""
    if not any(places.any() for places in found.places.values()):
        return NONE_FOUND
    most = {name: np.unravel_index(int(places.argmax()), places.shape) for name, places in found.places.items()}
    told = "; ".join(
        f"{name}: most often {_where(*(int(at) for at in cell))}, on {percent(found.places[name][cell])} of its films"
        for name, cell in most.items()
    )
    carried = {name: found.styles[name].sum() / found.films[name] for name in found.classes}
    more = max(carried, key=lambda name: carried[name])
    alt = f"Films of {more} carry a marker more often, {_shares(carried)}. Where it lies on the film as seen: {told}."
    figure, axes = panels(alt, 2, (WIDTH, 3.6))
    top = max(float(places.max()) for places in found.places.values())
    for ax, (name, places) in zip(axes, found.places.items(), strict=True):
        drawn = ax.imshow(100 * places, cmap="viridis", vmin=0, vmax=100 * top, extent=(0, 1, 1, 0))
        title, across = f"{name}, n = {found.films[name]:,} films", "position: viewer's left … right"
        ax.set(title=title, xlabel=across, ylabel="position: bottom … top", xticks=[], yticks=[])
        ax.grid(visible=False)
    bar = figure.colorbar(drawn, ax=list(axes), shrink=0.8)
    bar.set_label("share of the class's films, %", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT)
    return figure


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {percent(share, 0)}" for name, share in shares.items())


def _where(row: int, column: int) -> str:
    down = "at the top" if row < GRID / 3 else "at the bottom" if row >= 2 * GRID / 3 else "half-way down"
    across = "left" if column < GRID / 3 else "right" if column >= 2 * GRID / 3 else "middle"
    return f"{down}, {across}"


def styles_figure(found: Markers) -> Figure | str:
    """Which kinds of markers the films of each class carry."""
    if found.styles.empty:
        return NONE_FOUND
    counts = found.styles.head(10)
    shares = counts / pd.Series(found.films)
    told = "; ".join(
        f"{kind}: " + ", ".join(f"{n} {percent(v, 0)}" for n, v in row.items()) for kind, row in shares.iterrows()
    )
    apart = shares.diff(axis=1).abs().iloc[:, -1].idxmax()
    alt = f"The kind “{apart}” differs most between the classes. Share of each class's films, {told}."
    figure, (ax,) = panels(alt, 1, (6.4, 1.3 + 0.42 * len(shares)))
    for (name, share), colour, down in zip(shares.items(), CLASSES, (-0.2, 0.2), strict=True):
        label = entry(f"{name}, n = {found.films[str(name)]:,} films")
        bars = ax.barh(np.arange(len(share)) + down, share, height=0.38, color=colour, label=label)
        ax.bar_label(bars, counts[name], padding=3, fontsize=FONT)
    ax.set(xlabel="share of the class's films (bars: number of films)", xlim=(0, 1.1 * shares.to_numpy().max()))
    ax.set_yticks(range(len(shares)), list(shares.index))
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    legend_below(figure)
    return figure


def finding(found: Markers) -> str:
    """How many films of each class carry a marker, the commonest kinds, and the odds ratio."""
    parts = []
    for name, films in found.films.items():
        kinds = found.styles[name][found.styles[name] > 0].sort_values(ascending=False, kind="stable").head(4)
        common = "; ".join(f"{kind} {count}" for kind, count in kinds.items())
        parts.append(
            f"{found.styles[name].sum()} of {films} {name} films" + (f" (most often {common})" if common else "")
        )
    odds = f"{prevalence.odds_text(found.odds)}, {found.classes[1]} over {found.classes[0]}"
    return f"A marker was found on {' and on '.join(parts)}. The odds ratio of carrying one is {odds}."


def table(found: Markers) -> pd.DataFrame:
    """One row per letter, one column per class: number of films, and their share with its Wilson interval."""
    cells = {
        name: [
            f"{count}, {Estimate(*wilson(int(count), found.films[name])).text(percent=True)}"
            for count in found.letters[name]
        ]
        for name in found.classes
    }
    letters = pd.DataFrame(cells, index=found.letters.index.rename("letter"))
    return captioned(letters, "Markers by letter and class")
