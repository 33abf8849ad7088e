"""Colour spectra: file modes, red, green and blue of each class, and the tint of films."""

from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tblib.arrays import Floats
from tblib.eda.sample import Shown
from tblib.films.artefacts import TINT_VISIBLE
from tblib.show.plots import CLASSES, FONT, INK, WIDTH, blank, counted, entry, legend_below, panels, plain
from tblib.show.text import percent

CHANNELS = (("red", "#C0392B", "-"), ("green", "#1E8449", "--"), ("blue", "#2455A4", ":"))
MODES = ((INK, "white"), ("#8C8C8C", "black"), ("white", "black"), ("#5E5E5E", "white"))  # fill and text of bars


def measure(shown: list[Shown]) -> dict[str, Floats]:
    """Class -> float (3, 256): mean share of pixels per level of red, green and blue over its three-channel films."""
    spectra: dict[str, list[Floats]] = {}
    for item in shown:
        if item.film.pixels.ndim == 3:
            channels = np.moveaxis(item.film.pixels, 2, 0).reshape(3, -1)
            counts = np.stack([np.bincount(channel, minlength=256) for channel in channels])
            spectra.setdefault(item.row["label"], []).append(counts / channels.shape[1])
    return {label: np.mean(films, axis=0) for label, films in spectra.items()}


def figure(by_class: dict[str, Floats], shown: list[Shown] | None = None) -> Figure | str:
    """Mean histogram of red, green and blue of each class's three-channel files, which are among those `shown`."""
    if not by_class:
        return "No file has three channels, so there are no colour spectra."
    gaps = {name: float(np.abs(levels[0] - levels[2]).sum() / 2) for name, levels in by_class.items()}
    apart = "; ".join(f"{name}: {percent(gap, 0)} of the pixels" for name, gap in gaps.items())
    widest = max(gaps, key=lambda name: gaps[name])
    alt = f"Red and blue differ most in the films of {widest}. Difference of their mean histograms, {apart}."
    figure, axes = panels(alt, len(by_class), (6.4, 2.1 * len(by_class) + 0.3), 1, sharex=True, sharey=True)
    for ax, (name, levels) in zip(axes, by_class.items(), strict=True):
        for level, (channel, colour, style) in zip(levels, CHANNELS, strict=True):
            smooth = np.convolve(level, np.full(5, 0.2), mode="same")
            ax.plot(100 * smooth, color=colour, linestyle=style, linewidth=1.8, label=channel)
        own = [item for item in shown or [] if item.row["label"] == name and item.film.pixels.ndim == 3]
        title = f"{name}, mean of n = {len(own):,} films" if own else name
        ax.set(title=title, ylabel="share of pixels, %", xlim=(0, 255), ylim=(0, None))
    axes[-1].set_xlabel("level (0 black … 255 full)")
    top = 100 * max(float(np.quantile(levels, 0.995)) for levels in by_class.values())
    axes[0].set_ylim(0, 1.15 * top)
    legend_below(figure)
    return figure


def modes_figure(table: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Share of each file mode within each class."""
    shares = pd.crosstab(table["label"], table["mode"], normalize="index").loc[list(classes)]
    apart = shares.diff().abs().iloc[-1]
    mode = str(apart.idxmax())
    told = "; ".join(
        f"{name}: " + ", ".join(f"{m} {percent(v, 0)}" for m, v in row.items()) for name, row in shares.iterrows()
    )
    alt = f"Files of mode {mode} differ most between the classes, by {100 * apart[mode]:.0f} points. {told}."
    figure, (ax,) = panels(alt, 1, (6.4, 2.3))
    left = np.zeros(len(classes))
    places = [f"{name}\nn = {(table['label'] == name).sum():,}" for name in classes]
    for (name, share), (colour, text) in zip(shares.items(), cycle(MODES)):
        bars = ax.barh(places, share, left=left, color=colour, edgecolor=INK, height=0.6, label=entry(str(name)))
        inside = [f"{percent(each, 0)}" if each > 0.06 else "" for each in share]
        ax.bar_label(bars, inside, label_type="center", color=text, fontsize=FONT)
        left += share.to_numpy()
    ax.set(xlabel="share of the class's films", xlim=(0, 1))
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    legend_below(figure, 6)
    return figure


def modes_finding(table: pd.DataFrame, classes: tuple[str, str]) -> str:
    """How well the file mode alone separates the classes."""
    shares, equal = (
        " and ".join(f"{percent(table.loc[table['label'] == name, fact].mean())} of {name}" for name in classes)
        for fact in ("one_channel", "equal_channels")
    )
    return (
        f"{shares} films have one channel. No colour at all, that is one channel or three equal ones in every pixel, "
        f"is in {equal} films."
    )


def tint_figure(table: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Hue against strength of the mean colour of each three-channel film, and the tint strengths per class."""
    import seaborn as sns  # takes half a second, so it waits for the first figure

    seen = table["tint_strength"] > TINT_VISIBLE
    counts = {name: int(seen[table["label"] == name].sum()) for name in classes}
    most = max(counts, key=lambda name: counts[name]) if any(counts.values()) else ""
    told = f"Most films with a visible tint are of {most}" if most else "No film has a visible tint"
    figure = blank(f"{told}. Visibly tinted: {counted(counts)}.", (WIDTH, 3.9))
    wheel, line = figure.add_subplot(1, 2, 1, projection="polar"), figure.add_subplot(1, 2, 2)
    for name, colour in zip(classes, CLASSES, strict=True):
        films = table[(table["label"] == name) & (table["tint_strength"] > 0)]
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": colour, "linewidths": 0.9}
        wheel.scatter(np.deg2rad(films["hue"]), films["chroma"], s=12, **ring)
        strength = table.loc[(table["label"] == name) & ~table["one_channel"].astype(bool), "tint_strength"]
        if len(strength):
            label = entry(f"{name}, n = {len(strength):,} three-channel films")
            sns.ecdfplot(x=strength, ax=line, color=colour, label=label)
    wheel.set_title("hue (angle) and chroma\n(radius, share of full chroma)", fontsize=FONT)
    wheel.set_xticks(np.deg2rad([0, 60, 120, 180, 240, 300]), ["red", "yellow", "green", "cyan", "blue", "magenta"])
    wheel.yaxis.set_major_locator(MaxNLocator(3))
    wheel.tick_params(labelsize=FONT)
    line.axvline(TINT_VISIBLE, color=INK, linestyle=":", label="visible from here on")
    line.set(xlabel="tint strength: mean |R − B|, grey levels", ylabel="share of three-channel films", ylim=(0, 1.02))
    plain(line)
    legend_below(figure, 1)
    return figure


def finding(table: pd.DataFrame, classes: tuple[str, str]) -> str:
    """How many films are visibly tinted, and in which direction."""
    parts = []
    for name in classes:
        films = table[table["label"] == name]
        seen = films[films["tint_strength"] > TINT_VISIBLE]
        bluish = f", {percent((seen['tint_balance'] < 0).mean(), 0)} of them towards blue or cyan" if len(seen) else ""
        parts.append(f"{percent(len(seen) / len(films))} of the {name} films ({len(seen):,} of {len(films):,}{bluish})")
    return f"{' and '.join(parts)} are visibly tinted: their mean |R − B| is above {TINT_VISIBLE:g} grey levels."
