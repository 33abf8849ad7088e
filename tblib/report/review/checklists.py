"""Two checklists for reports of AI on images and of prediction models, CLAIM 2024 and TRIPOD+AI, answered by a run.

Their items are data, ``checklists.yml``, which also says against what their numbers were checked: public transcriptions
of the published lists, as the journals' pages could not be opened. What items ask is put in our own words.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tblib.report.review import topics_films, topics_model
from tblib.report.review.reviewed import Answer, Reviewed, place

CLAIM, TRIPOD = "claim", "tripod"
TOPICS = topics_films.TOPICS | topics_model.TOPICS


class Item(NamedTuple):
    """An item of a checklist with a run's answer."""

    number: str
    section: str
    answer: Answer


@cache
def published() -> dict[str, Any]:
    """Content of ``checklists.yml``: checklist -> title, source, checked, items."""
    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
    return content


def answered(run: Reviewed, checklist: str) -> list[Item]:
    """Each item of a checklist (`CLAIM` or `TRIPOD`) with what a run reports and what it does not."""
    return [Item(one["item"], one["section"], _answer(run, one)) for one in published()[checklist]["items"]]


def _answer(run: Reviewed, one: dict[str, str]) -> Answer:
    text, lacks = TOPICS[one["topic"]](run) if "topic" in one else ("", one["lacks"])
    return Answer(one["asks"], text, lacks, place(one["where"]) if text and "where" in one else "")


def counted(items: list[Item]) -> str:
    """How many items are reported, partly or not, as a sentence."""
    kinds = [item.answer.status for item in items]
    each = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("reported", "partly reported", "not reported"))
    return f"Of {len(items)} items: {each}."
