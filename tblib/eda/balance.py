"""How many films each class has, and which files could not be used."""

from typing import Any

from matplotlib.figure import Figure

from tblib.show.plots import BLUE, VERMILION, counted, panels
from tblib.show.text import how_many, percent


def figure(counts: dict[str, int]) -> Figure:
    """Bar chart of films per class."""
    figure, (ax,) = panels("Bar chart of films per class: " + counted(counts) + ".", 1, (6.4, 1.7))
    bars = ax.barh(list(counts), list(counts.values()), color=[BLUE, VERMILION], height=0.6)
    ax.bar_label(bars, padding=4)
    ax.set(xlabel="films", xlim=(0, 1.12 * max(counts.values())))
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    return figure


def finding(summary: dict[str, Any]) -> str:
    """Class balance, majority-class accuracy and what was left out."""
    films = summary["films"]
    majority = max(films, key=lambda name: films[name])
    share = films[majority] / sum(films.values())
    text = (
        f"{sum(films.values()):,} usable films, " + " and ".join(f"{n:,} {name}" for name, n in films.items()) + ". "
        f"Calling every film {majority} is right {percent(share)} of the time: accuracy means nothing below that."
    )
    return f"{text} {left_out(summary)}"


def left_out(summary: dict[str, Any]) -> str:
    """How many images could not be used and why, and how many files were skipped because they are not films."""
    gone = summary["left_out"]
    told = "Every image file decodes."
    if gone:
        first = f"the first is “{gone[0]['file']}”: “{gone[0]['problem']}”"
        told = f"Left out: {how_many(len(gone), 'image file')}; {first}"
    kinds = [f"{count:,} ({why})" for why, count in summary.get("passed_over", {}).items()]
    return told + (f" Files passed over as no films (passed_over.csv): {', '.join(kinds)}." if kinds else "")
