"""Atomic file writes, and digests of files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tblib.system.processes import part_name
from tblib.system.shortages import ShortageError, shortage
from tblib.system.text import as_cell

if TYPE_CHECKING:
    import pandas as pd  # shell completion need not wait for it

ROOT = Path(__file__).resolve().parents[2]  # the checkout: notebooks/, data/, reports/


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path next to `path` to write to; rename it to `path` if the block succeeds, else remove it.

    Readers therefore find the old file or the whole new one, never a partial one.

    Raises:
        ShortageError: no space, memory or permission to write it.
    """
    part = path.with_name(part_name(path.name))
    try:
        yield part
        os.replace(part, path)
    except (OSError, MemoryError) as error:
        told = shortage(error, path)
        if told is None:
            raise
        raise ShortageError(told.replace(str(part), str(path))) from error
    finally:
        if part.exists():  # in a read-only folder even removing a missing file fails
            part.unlink()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as JSON, atomically; NaN raises an error."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV without its index, atomically; no cell can be a spreadsheet formula."""
    with replacing(path) as part:
        table.map(as_cell).to_csv(part, index=False, encoding="utf-8", lineterminator="\n")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=64)
def digest_at(path: Path, size: int, changed: int) -> str:
    """`file_digest`, cached as long as size and time of the file stay the same."""
    return file_digest(path)
