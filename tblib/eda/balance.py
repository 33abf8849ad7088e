"""How many films each class has, and which files could not be used."""

from typing import Any

from matplotlib.figure import Figure

from tblib.show.plots import CLASSES, FONT, counted, panels
from tblib.show.text import how_many, percent


def figure(counts: dict[str, int]) -> Figure:
    """Bar chart of films per class."""
    few, many = sorted(counts, key=lambda name: counts[name])
    alt = f"There are {counts[many] / max(counts[few], 1):.1f} films of {many} for each of {few}: {counted(counts)}."
    figure, (ax,) = panels(alt, 1, (6.4, 1.7))
    bars = ax.barh(list(counts), list(counts.values()), color=CLASSES, height=0.6)
    ax.bar_label(bars, [f"{count:,}" for count in counts.values()], padding=4, fontsize=FONT)
    ax.set(xlabel=f"films (n = {sum(counts.values()):,})", xlim=(0, 1.12 * max(counts.values())))
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    return figure


def finding(summary: dict[str, Any]) -> str:
    """Majority-class accuracy, class balance, and what was left out."""
    films = summary["films"]
    majority = max(films, key=lambda name: films[name])
    share = films[majority] / sum(films.values())
    return (
        f"Calling every film {majority} is right on {percent(share)} of these {sum(films.values()):,} films "
        f"({' and '.join(f'{n:,} {name}' for name, n in films.items())}): an accuracy below that means nothing. "
        f"{left_out(summary)}"
    )


def left_out(summary: dict[str, Any]) -> str:
    """How many images could not be used and why, and how many files were skipped because they are not films."""
    gone = summary["left_out"]
    told = "Every image file decodes."
    if gone:
        first = f"the first is “{gone[0]['file']}”: “{gone[0]['problem']}”"
        told = f"Left out: {how_many(len(gone), 'image file')}; {first}"
    kinds = [f"{count:,} ({why})" for why, count in summary.get("passed_over", {}).items()]
    return told + (f" Files passed over as no films (passed_over.csv): {', '.join(kinds)}." if kinds else "")
