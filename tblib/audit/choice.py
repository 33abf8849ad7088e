"""Films whose results chose a model's settings: on these films it flatters itself, which is no external validation."""

from collections.abc import Sequence
from typing import Any

from tblib.classifiers.choice import HOLDS, Choice
from tblib.show.text import listed

LABEL = "settings chosen on these films"
Sets = list[dict[str, Any]]  # results on external films, as in ``shortcuts.json``: one dictionary per set


def chose(digests: Sequence[str], chosen_by: Choice | None) -> bool:
    """Whether the films with these digests (N, at least 1) are among those whose results chose a model's settings.

    `chosen_by` is what its training record tells of them (name of the ``set``, ``n``, digests of its ``films``), None
    if nothing is known to have chosen. A share `HOLDS` of the films is enough: a part of a set is no other hospital.
    """
    known = set(chosen_by["films"]) if chosen_by else set()
    return sum(digest in known for digest in digests) >= max(1, HOLDS * len(digests))


def _has_chosen(one: dict[str, Any]) -> bool:
    """Whether a set of films chose; of results of earlier versions, which knew of no choice, it is False."""
    return bool(one.get("chose", False))


def reported(sets: Sets) -> Sets:
    """The sets that are external validation: no setting of the model was chosen on their films."""
    return [one for one in sets if not _has_chosen(one)]


def choosing(sets: Sets) -> Sets:
    """The sets on whose films settings of the model were chosen."""
    return [one for one in sets if _has_chosen(one)]


def labelled(one: dict[str, Any]) -> str:
    """Name of a set, with `LABEL` if it chose."""
    return f"{one['set']} ({LABEL})" if _has_chosen(one) else str(one["set"])


def names(external: dict[str, Any]) -> dict[str, list[str]]:
    """Names of the sets that chose, and of those that are reported as external validation, as ``run.json`` has them.

    `external` are the results of `tblib.audit.hospitals`. A set that chose under another name has both names.
    """
    chose = [external.get("chosen_by"), *(str(one["set"]) for one in choosing(external["sets"]))]
    return {
        "chose": list(dict.fromkeys(filter(None, chose))),
        "reported": [str(one["set"]) for one in reported(external["sets"])],
    }


def why_unknown(sets: Sets) -> str:
    """Why it is not known how the model does elsewhere, as the end of a sentence; empty if it was measured."""
    if reported(sets):
        return ""
    if not sets:
        return "no films of another hospital were given"
    return f"its settings were chosen on the films that were given, {listed([str(one['set']) for one in sets])}"
