"""Films whose results chose a model's settings: on these films it flatters itself, which is no external validation."""

import hashlib
from collections.abc import Sequence
from typing import Any

from tblib.arrays import Pixels
from tblib.show.text import listed

HOLDS = 0.05  # share of a set's films that chose; below, they may be duplicates by chance
DIGITS = 16  # hexadecimal, of each film's digest: 64 bits, so that no two of a million films agree by chance
LABEL = "settings chosen on these films"
Sets = list[dict[str, Any]]  # results on external films, as in ``shortcuts.json``: one dictionary per set


def film_digests(thumbnails: Pixels) -> list[str]:
    """First digits of the SHA-256 of each thumbnail uint8 (N, THUMBNAIL, THUMBNAIL) of unprepared films.

    They stay the same if files are renamed, packed otherwise or saved anew without loss, whatever a model does to
    films.
    """
    return [hashlib.sha256(one.tobytes()).hexdigest()[:DIGITS] for one in thumbnails]


def chose(digests: Sequence[str], chosen_by: dict[str, Any] | None) -> bool:
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


def names(sets: Sets) -> dict[str, list[str]]:
    """Names of the sets that chose, and of those that are reported as external validation, as ``run.json`` has them."""
    return {
        "chose": [str(one["set"]) for one in choosing(sets)],
        "reported": [str(one["set"]) for one in reported(sets)],
    }


def why_unknown(sets: Sets) -> str:
    """Why it is not known how the model does elsewhere, as the end of a sentence; empty if it was measured."""
    if reported(sets):
        return ""
    if not sets:
        return "no films of another hospital were given"
    return f"its settings were chosen on the films that were given, {listed(names(sets)['chose'])}"
