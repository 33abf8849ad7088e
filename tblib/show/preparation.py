"""The figure and the sentence of the second notebook."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.show.plots import CLASSES, FONT, entry, legend_below, panels
from tblib.show.text import how_many, percent


def figure(split: pd.DataFrame) -> Figure:
    """Films of each class in each part."""
    counts = pd.crosstab(split["part"], split["label"]).loc[["train", "val", "test"]]
    told = "; ".join(f"{part}: " + ", ".join(f"{n} {v}" for n, v in row.items()) for part, row in counts.iterrows())
    share = counts.loc["train"].sum() / counts.to_numpy().sum()
    figure, (ax,) = panels(f"The training part has {percent(share, 0)} of the films. {told}.", 1, (6.4, 2.2))
    left = np.zeros(len(counts))
    for (name, films), colour in zip(counts.items(), CLASSES, strict=True):
        ax.barh(counts.index, films, left=left, color=colour, height=0.6, label=entry(str(name)))
        left += films.to_numpy()
    texts = [" + ".join(f"{count:,}" for count in row) for row in counts.to_numpy()]
    ax.bar_label(ax.containers[-1], texts, padding=4, fontsize=FONT)
    ax.invert_yaxis()
    ax.set(xlabel=f"films (n = {len(split):,})", xlim=(0, 1.2 * left.max()))
    ax.grid(visible=False, axis="y")
    legend_below(figure)
    return figure


def finding(content: dict[str, Any], split: pd.DataFrame) -> str:
    """That no duplicate group is divided between parts, the sizes of the parts, and the normalisation."""
    parted = split.drop_duplicates(["duplicate_group", "part"])["duplicate_group"].duplicated().sum()
    parts = "; ".join(
        f"{part} {sum(counts.values()):,} films ({counts.get(content['positive'], 0):,} {content['positive']})"
        for part, counts in content["parts"].items()
    )
    kept = "No duplicate group is" if not parted else f"{parted} duplicate groups are"
    return (
        f"{kept} in more than one part: {parts}. All parts are normalised by the grey levels of the training part: "
        f"mean {content['mean']:.3f}, sd {content['sd']:.3f}.{_drawn(content)}"
    )


def _drawn(content: dict[str, Any]) -> str:
    """How many training films carry drawn lesions, as a sentence; nothing if none does."""
    if "drawn" not in content:
        return ""
    count = how_many(content["drawn"]["films"], "film")
    return (
        f" In training {count} of {content['negative']} are also seen with SYNTHETIC lesions, drawn into their lungs "
        f"from phantoms, as {content['positive']}; no film that is scored has any."
    )
