"""Which films chose the settings of a model: they are no external validation of what they chose."""

import hashlib
from typing import Any

from tblib.arrays import Pixels, TblibError
from tblib.films.database import data_path
from tblib.system.schemas import SchemaError, parsed

HOLDS = 0.05  # share of a set's films that chose, by which the set did; fewer are duplicates by chance
DIGITS = 16  # hexadecimal, of a film's digest: 64 bits, so that no two of a million films agree by chance
Choice = dict[str, Any]  # set: its name; n: its films; films: their digests (`film_digests`)


class ChoiceError(TblibError):
    """A record of a choice that cannot be used."""


def film_digests(thumbnails: Pixels) -> list[str]:
    """A digest of each film, from thumbnails uint8 (N, T, T) of the films as they are in their files.

    They stay the same if a film is renamed, packed elsewhere or saved anew without loss.
    """
    return [hashlib.sha256(thumbnail.tobytes()).hexdigest()[:DIGITS] for thumbnail in thumbnails]


def read_choice(file: str) -> Choice:
    """Which films chose, as the study of mitigations records it in a file.

    Raises:
        ChoiceError: it cannot be read, or is no such record.
    """
    try:
        record = parsed(data_path(file).read_bytes())
    except (OSError, SchemaError) as error:
        raise ChoiceError(f"The record of a choice, {file}, cannot be read: {error} (parameter chosen_by).") from error
    kept = {name: record.get(name) for name in ("set", "n", "films")} if isinstance(record, dict) else {}
    if not is_choice(kept):
        raise ChoiceError(
            f"{file} does not tell which films chose (set, n and films). Give the choice.json of make study-external, "
            "or leave out the parameter chosen_by."
        )
    return kept


def is_choice(value: object) -> bool:
    """Whether a value is what `read_choice` gives."""
    if not isinstance(value, dict) or set(value) != {"set", "n", "films"}:
        return False
    films = value["films"]
    return (
        isinstance(value["set"], str)
        and isinstance(films, list)
        and bool(films)
        and value["n"] == len(films)
        and all(isinstance(film, str) for film in films)
    )
