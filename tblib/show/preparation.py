"""The figure and the sentence of the second notebook."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tblib.show.plots import BLUE, VERMILION, entry, panels


def figure(split: pd.DataFrame) -> Figure:
    """Films of each class in each part."""
    counts = pd.crosstab(split["part"], split["label"]).loc[["train", "val", "test"]]
    told = "; ".join(f"{part}: " + ", ".join(f"{n} {v}" for n, v in row.items()) for part, row in counts.iterrows())
    figure, (ax,) = panels(f"Films a part. {told}.", 1, (6.4, 2.0))
    counts.rename(columns=entry).plot.barh(stacked=True, ax=ax, color=[BLUE, VERMILION], width=0.6)
    for container in ax.containers:
        ax.bar_label(container, label_type="center", color="white", fontsize=8)
    ax.invert_yaxis()
    ax.set(xlabel="films", ylabel="")
    ax.legend(frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
    ax.grid(visible=False, axis="y")
    return figure


def finding(content: dict[str, Any], split: pd.DataFrame) -> str:
    """Sizes of the parts of the split, and that no duplicate group is divided between parts."""
    parted = split.drop_duplicates(["duplicate_group", "part"])["duplicate_group"].duplicated().sum()
    parts = "; ".join(
        f"{part} {sum(counts.values()):,} ({counts.get(content['positive'], 0):,} {content['positive']})"
        for part, counts in content["parts"].items()
    )
    return (
        f"{parts}. Duplicate groups in more than one part: {parted}. Grey levels of the training part: "
        f"mean {content['mean']:.3f}, sd {content['sd']:.3f}, exact; they normalise all parts."
    )
