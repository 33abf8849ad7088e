"""The README's picture: the verdicts of the demo's audit, SYNTHETIC films, as an SVG that is written in place."""

from __future__ import annotations

import matplotlib as mpl

from tblib.audit import verdicts
from tblib.run import Run, run_folder
from tblib.show.plots import INK
from tblib.system.files import ROOT, replacing

TARGET = ROOT / "notebooks" / "abstract.svg"


def draw(run: Run) -> None:
    """Draw the abstract of a run's fifth notebook."""
    figure = verdicts.figure(run.facts("shortcuts.json"))
    figure.suptitle("SYNTHETIC films: what the audit of the demo found", fontsize=10, color=INK, x=0.01, ha="left")
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tblib"}), replacing(TARGET) as part:
        figure.savefig(part, format="svg", bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    draw(Run(run_folder("demo")))
