"""References of a run in BibTeX: tblib, its database where it is known, and the methods that the run used.

The entries are data, ``citations.bib``. What could not be checked against public bibliographies is left out.
"""

import re
from functools import cache
from pathlib import Path

from tblib.report.review.reviewed import Reviewed
from tblib.system.text import printable

ENTRY = re.compile(r"^@\w+\{(\w+),.*?^\}$", re.MULTILINE | re.DOTALL)


@cache
def entries() -> dict[str, str]:
    """Key -> BibTeX entry, of all that may be cited."""
    text = Path(__file__).with_suffix(".bib").read_text(encoding="utf-8")
    return {found.group(1): found.group(0) for found in ENTRY.finditer(text)}


def text_of(key: str) -> str:
    """One entry in BibTeX."""
    return entries()[key]


def used(run: Reviewed) -> list[str]:
    """Keys of what a run should cite: all entries but those of databases and methods that it has not used."""
    results = run.shortcuts
    mitigations = "+".join(
        [*(row["mitigation"] for row in results["mitigations"]), str(run.preparation.get("mitigation"))]
    )
    unused = {
        "rahman2020": "rahman2020" not in run.known,
        "jaeger2014": "jaeger2014" not in run.known,
        "elkan2001": run.metrics["calibration"]["shift"] == 0,
        "sagawa2020": "group_dro" not in mitigations,
        "smilkov2017": results["saliency"]["gate"] is None,
        "adebayo2018": results["saliency"]["gate"] is None,
        "ronneberger2015": not results["lung_masks"].startswith("estimated"),
        "dice1945": not results["external"]["lungs"],
        "ongly2024": not results["external"].get("predicted"),
    }
    return [key for key in entries() if not unused.get(key, False)]


def bibliography(run: Reviewed) -> str:
    """The entries that a run should cite, as the content of a .bib file."""
    versions = {step["versions"].get("tblib", "") for step in run.record["steps"].values()}
    version = " and ".join(sorted(printable(one) for one in versions if one))
    return "\n\n".join(text_of(key) for key in used(run)).replace("VERSION", version) + "\n"
