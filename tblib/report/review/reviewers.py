"""For reviewers: a run's model card, datasheet, checklists and references, as sections of the page and as files."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from tblib.report.review.cards import Card, figures, model_card
from tblib.report.review.checklists import CLAIM, TRIPOD, Item, answered, counted, published
from tblib.report.review.citations import bibliography
from tblib.report.review.croissant import metadata
from tblib.report.review.datasheet import datasheet
from tblib.report.review.reviewed import SYNTHETIC, Answer, Reviewed, ReviewError, json_of, reviewed
from tblib.run import Run, run_folder
from tblib.show import tables
from tblib.system.files import replacing, write_json
from tblib.system.text import RESEARCH_USE, printable

ANCHOR, TITLE = "reviewers", "For reviewers"
FILES = (
    "model_card.md", "model_card.json", "datasheet.md", "croissant.json", "checklists.md", "checklists.json",
    "citations.bib",
)  # fmt: skip
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")  # what Markdown reads as more than text
CARD_NOTE = "Sections of Mitchell and others (2019). Every number is of this run's files; intervals are at 95 %."
SHEET_NOTE = "Questions of Gebru and others (2021), in our own words, as far as this run's files answer them."
CITE_NOTE = "What a report on this run should cite, in BibTeX. What could not be checked was left out of the entries."


def sections(run: Run, record: dict[str, Any]) -> list[tuple[str, str, Markup]]:
    """Anchor, title and HTML of each section for the page; `record` is the run's ``run.json``.

    The HTML begins below an h3 that the page writes, has headings from h4 and links within the page alone.

    Raises:
        DamagedError, MissingInputError: a file of the run is damaged or missing.
    """
    facts = reviewed(run, record)
    lists = [(name, published()[name]["title"], _checklist_html(facts, name)) for name in (CLAIM, TRIPOD)]
    return [
        ("model-card", "Model card", _card_html(model_card(facts), CARD_NOTE)),
        ("datasheet", "Datasheet of the films", _card_html(datasheet(facts), SHEET_NOTE)),
        *lists,
        ("citations", "References", _paragraph(CITE_NOTE) + Markup("<pre>{}</pre>").format(bibliography(facts))),
    ]


def write_cards(name: str, overwrite: bool = False) -> list[Path]:
    """Write `FILES` about the run called `name` into its folder.

    Raises:
        ReviewError: the run is not complete, or the files are there already.
        DamagedError, MissingInputError: a file of the run is damaged or missing.
    """
    run = Run(run_folder(name))
    if not run.path("run.json").is_file() or not (record := run.facts("run.json"))["complete"]:
        raise ReviewError(f"{run.folder} holds no complete run; make it first: {run.command()}")
    paths = [run.path(file) for file in FILES]
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        raise ReviewError(f"{' and '.join(there)} would be replaced; ask for it with --overwrite, or move them.")
    facts = reviewed(run, record)
    for path, content in zip(paths, _contents(facts), strict=True):
        if isinstance(content, dict):
            write_json(path, content)
        else:
            with replacing(path) as part:
                part.write_text(content, encoding="utf-8")
    return paths


def _contents(run: Reviewed) -> tuple[str | dict[str, Any], ...]:
    """What each of `FILES` holds: text, or values of JSON."""
    card, lists = model_card(run), {name: answered(run, name) for name in (CLAIM, TRIPOD)}
    head = {"run": printable(run.run.folder.name), "synthetic": run.synthetic, "research_use": RESEARCH_USE}
    return (
        _markdown(run, "Model card", CARD_NOTE, _card_markdown(card)),
        head | {"model": run.model, "sections": json_of(card), "figures": figures(run)},
        _markdown(run, "Datasheet of the films", SHEET_NOTE, _card_markdown(datasheet(run))),
        metadata(run),
        _markdown(run, "Checklists", "", "\n".join(_checklist_markdown(name, items) for name, items in lists.items())),
        head | {name: _checklist_json(name, items) for name, items in lists.items()},
        bibliography(run),
    )


def _about(name: str, items: list[Item]) -> str:
    """Where a checklist is from, what was checked of it, and how many items are answered."""
    found = published()[name]
    return f"{found['source']}. {found['checked']} What items ask is put in our own words. {counted(items)}"


# --- HTML -----------------------------------------------------------------------------------------


def _paragraph(text: str) -> Markup:
    return Markup("<p>{}</p>").format(text)


def _wide(rows: list[dict[str, Any]]) -> Markup:
    return tables.html(pd.DataFrame(rows))


def _linked(answer: Answer) -> Markup:
    """What is reported, with a link to the section of the page that tells more."""
    link = Markup(' <a href="#{}">(more)</a>').format(answer.link) if answer.link else ""
    return Markup("{}{}").format(answer.told, link)


def _card_html(card: Card, note: str) -> Markup:
    parts = [_paragraph(note)]
    for title, answers in card.items():
        rows = [{"question": answer.question, "this run": _linked(answer)} for answer in answers]
        parts.append(Markup("<h4>{}</h4>").format(title) + _wide(rows))
    return Markup("").join(parts)


def _checklist_html(run: Reviewed, name: str) -> Markup:
    items = answered(run, name)
    rows = [
        {"item": item.number, "section": item.section, "asks": item.answer.question, "this run": _linked(item.answer)}
        for item in items
    ]
    return _paragraph(_about(name, items)) + _wide(rows)


# --- Markdown and JSON ----------------------------------------------------------------------------


def plain(text: str) -> str:
    """A text for Markdown in which nothing is markup: special characters behind a backslash, in one line."""
    return SPECIAL.sub(r"\\\1", printable(text))


def _markdown(run: Reviewed, title: str, note: str, body: str) -> str:
    synthetic = f"**{SYNTHETIC}**\n\n" if run.synthetic else ""
    lead = f"{plain(run.model)}, films of {plain(run.database)}. {note}".rstrip()
    return f"# {title}\n\n{synthetic}{lead}\n\n**{RESEARCH_USE}**\n\n{body}"


def _table_markdown(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(answer: Answer) -> str:
    more = f" ([more](report.html#{answer.link}))" if answer.link else ""
    return plain(answer.told) + more


def _card_markdown(card: Card) -> str:
    return "\n".join(
        f"## {title}\n\n"
        + _table_markdown(("question", "this run"), [(plain(answer.question), _cell(answer)) for answer in answers])
        for title, answers in card.items()
    )


def _checklist_markdown(name: str, items: list[Item]) -> str:
    rows = [(item.number, item.section, plain(item.answer.question), _cell(item.answer)) for item in items]
    table = _table_markdown(("item", "section", "asks", "this run"), rows)
    return f"## {published()[name]['title']}\n\n{plain(_about(name, items))}\n\n{table}"


def _checklist_json(name: str, items: list[Item]) -> dict[str, Any]:
    found = published()[name]
    answers = [
        {"item": item.number, "section": item.section} | item.answer._asdict() | {"status": item.answer.status}
        for item in items
    ]
    return {key: found[key] for key in ("title", "source", "checked")} | {"items": answers}
