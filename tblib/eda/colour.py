"""Colour spectra: file modes, red, green and blue of each class, and the tint of films."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Floats
from tblib.eda.sample import Shown
from tblib.films.artefacts import TINT_VISIBLE
from tblib.show.plots import BLUE, GREY, VERMILION, blank, counted, entry, nothing, panels, sns
from tblib.show.text import percent


def measure(shown: list[Shown]) -> dict[str, Floats]:
    """Class -> float (3, 256): mean share of pixels per level of red, green and blue over its three-channel films."""
    spectra: dict[str, list[Floats]] = {}
    for item in shown:
        if item.film.pixels.ndim == 3:
            channels = np.moveaxis(item.film.pixels, 2, 0).reshape(3, -1)
            counts = np.stack([np.bincount(channel, minlength=256) for channel in channels])
            spectra.setdefault(item.row["label"], []).append(counts / channels.shape[1])
    return {label: np.mean(films, axis=0) for label, films in spectra.items()}


def figure(by_class: dict[str, Floats]) -> Figure:
    """Mean histogram of red, green and blue of each class's three-channel files."""
    if not by_class:
        return nothing("No file has three channels, so there are no colour spectra.")
    gaps = {name: float(np.abs(levels[0] - levels[2]).sum() / 2) for name, levels in by_class.items()}
    apart = "; ".join(f"{name}: red and blue differ over {gap:.0%} of the pixels" for name, gap in gaps.items())
    figure, axes = panels(f"Mean colour spectra of each class. {apart}.", len(by_class), (8.6, 2.8), sharey=True)
    for ax, (name, levels) in zip(axes, by_class.items(), strict=True):
        for level, colour, style in zip(levels, ("#C0392B", "#1E8449", "#2455A4"), ("-", "--", ":"), strict=True):
            smooth = np.convolve(level, np.full(5, 0.2), mode="same")
            ax.plot(100 * smooth, color=colour, linestyle=style, linewidth=1.6)
        ax.set(title=name, xlabel="level (0 black … 255 full)", xlim=(0, 255), ylim=(0, None))
    axes[0].set_ylabel("% of pixels")
    axes[-1].legend(["red", "green", "blue"], frameon=False)
    top = 100 * max(float(np.quantile(levels, 0.995)) for levels in by_class.values())
    axes[0].set_ylim(0, 1.15 * top)
    return figure


def modes_figure(table: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Share of each file mode within each class."""
    shares = pd.crosstab(table["label"], table["mode"], normalize="index").loc[list(classes)]
    alt = "; ".join(f"{name}: " + ", ".join(f"{m} {v:.0%}" for m, v in row.items()) for name, row in shares.iterrows())
    figure, (ax,) = panels(f"Share of file modes in each class. {alt}.", 1, (6.4, 1.9))
    shares.plot.barh(stacked=True, ax=ax, color=sns.color_palette("colorblind", shares.shape[1]), width=0.6)
    ax.set(xlabel="share of the class's files", ylabel="", xlim=(0, 1))
    ax.invert_yaxis()
    ax.legend(title="mode", bbox_to_anchor=(1.01, 1), loc="upper left", frameon=False)
    ax.grid(visible=False, axis="y")
    return figure


def modes_finding(table: pd.DataFrame, classes: tuple[str, str]) -> str:
    """How well the file mode alone separates the classes."""
    shares = {name: table.loc[table["label"] == name, "one_channel"].mean() for name in classes}
    equal = {name: table.loc[table["label"] == name, "equal_channels"].mean() for name in classes}
    return (
        "One-channel files: " + " and ".join(f"{percent(share)} of {name}" for name, share in shares.items()) + "; "
        "files without any colour (one channel, or R = G = B in every pixel): "
        + " and ".join(f"{percent(share)} of {name}" for name, share in equal.items())
        + "."
    )


def tint_figure(table: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Hue against strength of the mean colour of each three-channel film, and the tint strengths per class."""
    counts = (
        table.groupby("label")["tint_strength"].agg(lambda strength: int((strength > TINT_VISIBLE).sum())).to_dict()
    )
    figure = blank(f"Tint of each film. Visibly tinted: {counted(counts)}.", (8.6, 3.6))
    wheel = figure.add_subplot(1, 2, 1, projection="polar")
    line = figure.add_subplot(1, 2, 2)
    for name, colour in zip(classes, (BLUE, VERMILION), strict=True):
        films = table[(table["label"] == name) & (table["tint_strength"] > 0)]
        wheel.scatter(np.deg2rad(films["hue"]), films["chroma"], s=9, color=colour, alpha=0.5, label=entry(name))
        strength = table.loc[(table["label"] == name) & ~table["one_channel"].astype(bool), "tint_strength"]
        if len(strength):
            sns.ecdfplot(x=strength, ax=line, color=colour, label=entry(f"{name} ({len(strength)} files)"))
    wheel.set_title("hue (angle) and chroma (radius)", fontsize=9)
    wheel.set_xticks(np.deg2rad([0, 60, 120, 180, 240, 300]), ["red", "yellow", "green", "cyan", "blue", "magenta"])
    wheel.tick_params(labelsize=8)
    line.axvline(TINT_VISIBLE, color=GREY, linestyle=":")
    line.set(xlabel="tint strength: mean |R − B|, grey levels", ylabel="share of three-channel files", ylim=(0, 1.02))
    if line.get_legend_handles_labels()[0]:
        line.legend(frameon=False, loc="lower right")
    return figure


def finding(table: pd.DataFrame, classes: tuple[str, str]) -> str:
    """How many films are visibly tinted, and in which direction."""
    parts = []
    for name in classes:
        films = table[table["label"] == name]
        seen = films[films["tint_strength"] > TINT_VISIBLE]
        bluish = f", {percent((seen['tint_balance'] < 0).mean(), 0)} of them towards blue or cyan" if len(seen) else ""
        parts.append(f"{len(seen):,} of {len(films):,} {name} ({percent(len(seen) / len(films))}){bluish}")
    return "Visibly tinted (mean |R − B| above 4 grey levels): " + "; ".join(parts) + "."
