"""The top of the report: its sentences, and the table of key figures."""

from typing import Any

import pandas as pd

from tblib.audit import baselines
from tblib.eda.balance import left_out
from tblib.eda.baselines import FILE_FACTS, RULE
from tblib.show import evaluation
from tblib.show.text import estimate, percent


def headline(summary: dict[str, Any], metrics: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """The sentences at the top of the report."""
    rule = results["baselines"][RULE]["all"]
    return [
        evaluation.finding(metrics),
        f"With no look at a lung, the rule “one channel or visibly tinted ⇒ positive” has accuracy "
        f"{estimate(rule['accuracy_at_3500_700'], True)} at the balance 3,500 : 700, and file facts alone reach AUROC "
        f"{estimate(results['baselines'][FILE_FACTS]['all']['auroc'])}.",
        baselines.finding(results),
        left_out(summary),
    ]


def key_figures(
    summary: dict[str, Any], metrics: dict[str, Any], results: dict[str, Any], verdicts: dict[str, str]
) -> pd.DataFrame:
    """The table at the top of the report: name, and value with interval; `verdicts` come last."""
    test, rule = results["baselines"], results["baselines"][RULE]
    rows = {
        "Films": ", ".join(f"{n:,} {name}" for name, n in summary["films"].items()),
        "Image files left out": str(len(summary["left_out"])),
        "Majority-class accuracy (test)": percent(metrics["majority_accuracy"]),
        "CNN accuracy (test)": estimate(metrics["accuracy"], True),
        "CNN accuracy at 3,500 : 700": estimate(metrics["accuracy_at_3500_700"], True),
        "CNN F1": estimate(metrics["f1"]),
        "CNN sensitivity": estimate(metrics["sensitivity"], True),
        "CNN specificity": estimate(metrics["specificity"], True),
        "CNN AUROC": estimate(metrics["auroc"]),
        "Rule “one channel or tinted”: accuracy at 3,500 : 700": estimate(rule["all"]["accuracy_at_3500_700"], True),
        "Rule: accuracy on the test films": estimate(rule["test"]["accuracy"], True),
    }
    rows |= {
        f"AUROC of {name}, no lung seen": estimate(baseline["all"]["auroc"])
        for name, baseline in test.items()
        if name != RULE
    } | verdicts
    return pd.DataFrame({"figure": list(rows), "value (95 % interval)": list(rows.values())})
