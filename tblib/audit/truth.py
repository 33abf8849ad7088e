"""Truth against verdicts, on SYNTHETIC films: what the demo's preset says of each cue, and whether the audit agrees."""

from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from tblib.audit.study import Audit
from tblib.audit.verdicts import DECISIVE, USED
from tblib.films.edits import TINTS
from tblib.phantoms.presets import BORDERS, MARKERS
from tblib.show.text import by_name, listed, percent
from tblib.system.schemas import SchemaError, parsed

SOURCES: dict[str, tuple[str, ...]] = {  # cue that can be put on films -> the preset's artefacts of which it is made
    "tint": tuple(TINTS),
    "L/R marker": MARKERS,
    "white rectangle": ("white_rectangle",),
    "black box": ("black_box",),
    "film border": tuple(BORDERS),
    "grey histogram": ("equalised",),
    "sharpness, compression": ("blur", "jpeg"),
}
NOT_KNOWN = "What these films carry by design is not known: they are not the demo's."


def measure(audit: Audit, judged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per cue: cue, shares (of the artefacts in each class), planted (whether they differ), verdict, agrees.

    `judged` are the ``verdicts`` of ``shortcuts.json``. Empty if the films are not the demo's.
    """
    shares = _shares(audit)
    if not shares:
        return []
    rows = []
    for row in judged:
        if row["cue"] in SOURCES:
            own = [shares[name] for name in SOURCES[row["cue"]] if name in shares]
            planted = any(normal != tuberculosis for normal, tuberculosis in own)
            used = row["verdict"] in (USED, DECISIVE)
            rows.append(
                {
                    "cue": row["cue"],
                    "shares": [min(1.0, sum(share[label] for share in own)) for label in (0, 1)],
                    "planted": planted,
                    "verdict": row["verdict"],
                    "agrees": used == planted,
                }
            )
    return rows


def _shares(audit: Audit) -> dict[str, tuple[float, float]]:
    """Artefact -> its share of the Normal and of the tuberculosis films, as the demo's preset has it."""
    database = audit.database
    file = next((each for each in database.others if PurePosixPath(each).name == "SYNTHETIC.json"), None)
    try:
        found = parsed(database.read(file)) if file else {}
        return {name: (float(pair[0]), float(pair[1])) for name, pair in found.get("shares", {}).items()}
    except (SchemaError, OSError, TypeError, ValueError, AttributeError, IndexError):
        return {}  # a file of that name that is not ours


def finding(rows: list[dict[str, Any]]) -> str:
    """Whether the verdicts agree with the truth."""
    if not rows:
        return NOT_KNOWN
    wrong = [row["cue"] for row in rows if not row["agrees"]]
    told = f"SYNTHETIC films: the verdicts agree with their truth for {len(rows) - len(wrong)} of {len(rows)} cues"
    return f"{told}; not for {listed(wrong)}." if wrong else f"{told}."


def table(rows: list[dict[str, Any]], classes: tuple[str, str]) -> pd.DataFrame:
    """One row per cue: its shares by design, whether it was planted, and the verdict."""
    cells = [
        {
            "cue": row["cue"],
            **{f"{name}, by design": percent(share, 0) for name, share in zip(classes, row["shares"], strict=True)},
            "planted": "yes" if row["planted"] else "no",
            "verdict": row["verdict"],
            "agrees": "yes" if row["agrees"] else "NO",
        }
        for row in rows
    ]
    return by_name(
        pd.DataFrame(cells, columns=None if cells else ["cue"]),
        "cue",
        "What the films carry by design, and what the audit found",
    )
