"""The report's key figures, and what to make of a model that ranks the wrong way."""

from typing import Any

import pandas as pd

from tblib.audit.choice import choosing, reported
from tblib.eda.baselines import RULE
from tblib.show.text import captioned, estimate, listed, percent


def orientation(metrics: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """That the model ranks the wrong way, and what external films suggest of the reason; nothing if it does not."""
    if not metrics["inverted"]:
        return []
    told = f"The model ranks the wrong way on these films: its AUROC, {estimate(metrics['auroc'])}, lies below 0.5."
    sets = [one for one in reported(results["external"]["sets"]) if one["auroc"]["low"] is not None]
    right, wrong = ([one for one in sets if side(one["auroc"])] for side in (_above, _below))
    if right and not wrong:
        where = listed([f"{one['set']} ({estimate(one['auroc'])})" for one in right])
        return [
            f"{told} It ranks rightly on {where}, so the class that counts as positive is the right one, and what it "
            "goes by is turned round on these films."
        ]
    if wrong and not right:
        where = listed([f"{one['set']} ({estimate(one['auroc'])})" for one in wrong])
        return [f"{told} So it does on {where}: the spec may name the wrong class (positive_index). Check it first."]
    more = "more " if choosing(results["external"]["sets"]) else ""  # than those on which its settings were chosen
    what = f"{more}films of other hospitals (external) would tell"
    what = "films of other hospitals do not tell, either" if sets else what
    return [f"{told} Whether its spec names the wrong class or these films turn it round, {what}."]


def _above(area: dict[str, float]) -> bool:
    return area["low"] > 0.5


def _below(area: dict[str, float]) -> bool:
    return area["high"] < 0.5


def key_figures(
    summary: dict[str, Any], metrics: dict[str, Any], results: dict[str, Any], verdicts: dict[str, str]
) -> pd.DataFrame:
    """The table at the top of the report: name, and value with interval; `verdicts` come last."""
    test, rule = results["baselines"], results["baselines"][RULE]
    rows = {
        "Films": ", ".join(f"{n:,} {name}" for name, n in summary["films"].items()),
        "Image files left out": str(len(summary["left_out"])),
        "Majority-class accuracy": percent(metrics["majority_accuracy"]),
        "Model: accuracy": estimate(metrics["accuracy"], True),
        "Model: accuracy at 3,500 : 700": estimate(metrics["accuracy_at_3500_700"], True),
        "Model: F1": estimate(metrics["f1"]),
        "Model: sensitivity": estimate(metrics["sensitivity"], True),
        "Model: specificity": estimate(metrics["specificity"], True),
        "Model: AUROC": estimate(metrics["auroc"]),
        "Rule “one channel or tinted”: accuracy at 3,500 : 700": estimate(rule["all"]["accuracy_at_3500_700"], True),
        "Rule: accuracy on the same films": estimate(rule["test"]["accuracy"], True),
    }
    rows |= {
        f"AUROC of {name}, no lung seen": estimate(baseline["all"]["auroc"])
        for name, baseline in test.items()
        if name != RULE
    } | verdicts
    table = pd.DataFrame({"figure": list(rows), "value (95 % interval)": list(rows.values())})
    return captioned(table, "Key figures of the run")
