"""Figures and sentences of the third notebook."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from tblib.arrays import Pixels
from tblib.dataset import Augmentation, TBDataset, augment, augmentation_parameters
from tblib.show.plots import GREY, INK, PURPLE, WIDTH, draw_film, legend_below, panels, tiles
from tblib.show.text import captioned, how_many, percent

DRAWN = "SYNTHETIC lesions"
PARTS = (("train", "training (augmented)", GREY, "--"), ("val", "validation", PURPLE, "-"))


def figure(history: pd.DataFrame) -> Figure:
    """Loss, accuracy, F1 and learning rate by epoch, with the kept epoch marked."""
    best = history.loc[history["val_loss"].idxmin()]
    last, kept = history["epoch"].iloc[-1], best["epoch"]
    alt = f"The validation loss is lowest after epoch {kept:g} of {last:g}; kept: epoch {kept:g}"
    alt = f"{alt}, validation accuracy {best['val_accuracy']:.3f}, F1 {best['val_f1']:.3f}."
    figure, axes = panels(alt, 4, (WIDTH, 4.8), 2, sharex=True)
    names = {"loss": "loss (cross-entropy)", "accuracy": "accuracy (share of films)", "f1": "F1"}
    for ax, (name, label) in zip(axes, names.items(), strict=False):
        for part, text, colour, style in PARTS:
            look: dict[str, Any] = {"color": colour, "label": text, "marker": ".", "markersize": 4}
            ax.plot(history["epoch"], history[f"{part}_{name}"], style, **look)
        ax.set(ylabel=label)
    axes[0].set_ylim(bottom=0)
    axes[3].step(history["epoch"], history["lr"], where="mid", color=INK)
    axes[3].set(ylabel="learning rate per step", yscale="log")
    for ax in axes:
        ax.axvline(best["epoch"], color=INK, linestyle=":", label="epoch that is kept")
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax in axes[2:]:
        ax.set_xlabel(f"epoch (n = {len(history)})")
    legend_below(figure)
    return figure


def finding(outcome: dict[str, Any], history: pd.DataFrame) -> str:
    """Which epoch was kept, and how training went."""
    kept = history.loc[history["epoch"] == outcome["best_epoch"]].iloc[0]
    falls = int((history["lr"].diff() < 0).sum())
    rate = f"fell {how_many(falls, 'time')}" if outcome["schedule"] == "plateau" else "rose and fell along a cosine"
    return (
        f"Epoch {outcome['best_epoch']:g} of {outcome['epochs']} is kept: validation loss {kept['val_loss']:.4f}, "
        f"accuracy {percent(kept['val_accuracy'])}, F1 {kept['val_f1']:.3f}. The learning rate {rate}. "
        f"Positive films weigh {outcome['pos_weight']:.2f}. Trained on {outcome['device']} in {outcome['precision']} "
        f"with {how_many(outcome['threads'], 'thread')}, {outcome['films_per_second']:.0f} films per second."
    )


def batch(
    data: TBDataset, preparation: dict[str, Any], augmentation: Augmentation, padding: str, count: int, seed: int
) -> tuple[Pixels, list[str]]:
    """One batch of the training part, augmented as in training: films uint8 (count, S, S[, 3]), and what each is: its
    class, and whether its lesions are drawn. `preparation` is the content of ``preparation.json``."""
    generator = torch.Generator().manual_seed(seed)
    rows = data.order(generator)[:count]
    films, targets = data[rows]
    moves = augmentation_parameters(len(films), generator).to(films.device)
    moved = augment(films, augmentation, moves, padding=padding).round().byte().permute(0, 2, 3, 1)
    shown = moved.cpu().numpy()
    own = len(data) - preparation.get("drawn", {}).get("films", 0)  # drawn ones come last
    names = [preparation["positive" if target else "negative"] for target in targets.tolist()]
    names = [f"{name}, {DRAWN}" if row >= own else name for name, row in zip(names, rows.tolist(), strict=True)]
    return shown[..., 0] if data.channels == 1 else shown, names


def batch_figure(films: Pixels, names: list[str]) -> Figure:
    """The films of one augmented batch, each with its class."""
    counts = "; ".join(f"{names.count(name)} {name}" for name in sorted(set(names)))
    figure, axes = tiles(len(films), 4, f"The CNN sees films shifted, turned and scaled: {counts}, in one batch.", 1)
    for ax, film, name in zip(axes, films, names, strict=True):
        draw_film(ax, film, name.replace(", ", ",\n"))
    return figure


def layers(cnn: nn.Module, film: Sequence[int]) -> pd.DataFrame:
    """One row per layer with parameters: type, output shape for one film (channels, H, W), number of parameters."""
    rows: list[dict[str, Any]] = []

    def note(layer: nn.Module, _: Any, output: Tensor) -> None:
        """Add the row of one layer as it is passed."""
        own = sum(parameter.numel() for parameter in layer.parameters())
        rows.append(
            {"layer": type(layer).__name__, "output": " × ".join(map(str, output.shape[1:])), "parameters": own}
        )

    leaves = [layer for layer in cnn.modules() if not list(layer.children()) and list(layer.parameters())]
    hooks = [layer.register_forward_hook(note) for layer in leaves]
    with torch.inference_mode():
        cnn.eval()(torch.zeros(1, *film))
    for hook in hooks:
        hook.remove()
    return captioned(pd.DataFrame(rows), "Layers of the CNN")


def layers_finding(table: pd.DataFrame) -> str:
    """Number of parameters of the CNN, and where most of them are, from its `layers`."""
    most = table.loc[table["parameters"].idxmax()]
    total = int(table["parameters"].sum())
    return (
        f"The CNN has {total:,} parameters in {len(table)} layers; {percent(most['parameters'] / total, 0)} of them "
        f"are in one: {most['layer']} with output {most['output']}."
    )
