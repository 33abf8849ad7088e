"""Chapters of the report: executed notebooks as HTML, their figures and tables numbered and captioned."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag
from jinja2 import DictLoader
from markupsafe import Markup
from nbconvert import HTMLExporter

from tblib.arrays import TblibError
from tblib.report.anchors import anchor, slug
from tblib.report.glossary import link_terms
from tblib.show.text import NONE

LIVE = "application/vnd.jupyter.widget-view+json"  # MIME type of a live widget among a cell's outputs
FOLDED = """{%- extends 'basic/index.html.j2' -%}
{% block input_group %}<details><summary>Code</summary>{{ super() }}</details>{% endblock %}
{% block in_prompt %}{% endblock %}{% block empty_in_prompt %}{% endblock %}
{% block output_area_prompt %}{% endblock %}"""
SENTENCE = re.compile(r"(.+?[.!?])(?=\s|$)", re.DOTALL)
FIRST_NUMBER = re.compile(r"(?:[<>] ?)?([−+]?\d[\d,]*(?:\.\d+)?)")  # at the start of a cell
SPACED_PERCENT = re.compile(r"(?<=\d) %")
SYNTHETIC = "SYNTHETIC films."


class ReportError(TblibError):
    """No report can be made of a run."""


@dataclass(frozen=True)
class Chapter:
    """One notebook as a part of the page: its anchor, title, sections (anchor, title) and HTML."""

    anchor: str
    title: str
    sections: list[tuple[str, str]]
    body: Markup


@dataclass
class Numbers:
    """Figures and tables counted so far, and where they are.

    Attributes:
        counts: "Figure" or "Table" -> how many there are.
        by_section: anchor of a section -> names of its figures and tables ("Figure 3"), in order.
    """

    counts: Counter[str] = field(default_factory=Counter)
    by_section: dict[str, list[str]] = field(default_factory=dict)

    def next(self, kind: str, section: str) -> str:
        """Name of the next "Figure" or "Table", which lies in a section."""
        self.counts[kind] += 1
        name = f"{kind} {self.counts[kind]}"
        self.by_section.setdefault(section, []).append(name)
        return name


def chapter(notebook: Path, step: str, numbers: Numbers | None = None) -> Chapter:
    """Convert an executed notebook: code folded, headings one level down and with anchors, figures and tables numbered.

    Raises:
        ReportError: the notebook is missing, or not a complete notebook.
    """
    exporter = HTMLExporter(
        template_name="basic", template_file="folded.html.j2", extra_loaders=[DictLoader({"folded.html.j2": FOLDED})]
    )
    soup = BeautifulSoup(exporter.from_notebook_node(_readable(notebook))[0], "html.parser")
    for style in soup.find_all("style"):
        style.decompose()  # the page has its own
    title, sections = _anchors(soup, step)
    _number(soup, numbers or Numbers())
    link_terms(soup, soup)
    keep_percent_together(soup)
    return Chapter(step, title, sections, Markup(str(soup)))


def _anchors(soup: BeautifulSoup, step: str) -> tuple[str, list[tuple[str, str]]]:
    """Give each heading its level and anchor; return the title and the sections."""
    title, sections, given = step, list[tuple[str, str]](), set[str]()
    for heading in soup.find_all(["h1", "h2", "h3"]):
        for link in heading.find_all("a", class_="anchor-link"):
            link.decompose()
        level, text = int(heading.name[1]), heading.get_text()
        own = anchor(step, "" if level == 1 else text)
        while own in given:
            own += "-again"
        given.add(own)
        heading.name, heading["id"] = f"h{level + 1}", own
        if level == 1:
            title = text
        elif level == 2:
            sections.append((own, text))
    return title, sections


def numbered(html: Markup, numbers: Numbers, section: str, title: str) -> Markup:
    """A piece of the page with its figures and tables numbered and captioned; it stands in a section of this title."""
    soup = BeautifulSoup(html, "html.parser")
    _number(soup, numbers, section, title)
    keep_percent_together(soup)
    return Markup(str(soup))


def _number(soup: BeautifulSoup, numbers: Numbers, section: str = "", title: str = "") -> None:
    """Wrap figures and tables with their number and caption, section by section; it begins in that one."""
    for found in soup.find_all(["h2", "h3", "h4", "img", "table"]):
        if found.name[0] == "h":
            title = found.get_text()
            section = section if found.name == "h4" else str(found["id"])
        elif found.name == "img":
            as_figure(soup, found, numbers.next("Figure", section))
        else:
            as_table(soup, found, numbers.next("Table", section), title)


def as_figure(soup: BeautifulSoup, image: Tag, name: str) -> None:
    """Wrap a picture with a button that enlarges it, and the first sentence of its alt text as caption."""
    alt = str(image.get("alt", ""))
    stamp, told = (SYNTHETIC, alt[len(SYNTHETIC) :].strip()) if alt.startswith(SYNTHETIC) else ("", alt)
    found = SENTENCE.match(told)
    button = soup.new_tag("button", attrs={"type": "button", "class": "enlarge", "title": f"Enlarge {name.lower()}"})
    frame = image.wrap(button).wrap(soup.new_tag("figure", attrs={"class": "plot", "id": slug(name)}))
    _caption(soup, frame, name, f"{found.group(1) if found else told} {stamp}".strip())


def as_table(soup: BeautifulSoup, table: Tag, name: str, section: str) -> None:
    """Wrap a table with its caption, its own or the section's title, and let its numbers be sorted."""
    for part in table.find_all(style=True):
        del part["style"]
    del table["border"]
    own = table.find("caption")
    told = own.extract().get_text() if own else section
    _let_sort(table)
    region = {"class": "wide", "tabindex": "0", "role": "region", "aria-label": name}
    frame = table.wrap(soup.new_tag("div", attrs=region)).wrap(
        soup.new_tag("figure", attrs={"class": "table", "id": slug(name)})
    )
    _caption(soup, frame, name, told, first=True)


def _let_sort(table: Tag) -> None:
    """Say by which number the cells of a column are sorted, where each begins with one or is a dash."""
    rows = [row.find_all(["td", "th"]) for row in table.select("tbody tr")]
    for column in zip(*rows, strict=False):
        found = [FIRST_NUMBER.match(cell.get_text().strip()) for cell in column]
        if any(found) and all(one or cell.get_text() == NONE for one, cell in zip(found, column, strict=True)):
            for one, cell in zip(found, column, strict=True):
                cell["data-order"] = one.group(1).replace(",", "").replace("−", "-") if one else "-1e9"


def _caption(soup: BeautifulSoup, frame: Tag, name: str, told: str, first: bool = False) -> None:
    caption = soup.new_tag("figcaption")
    number = soup.new_tag("a", href=f"#{slug(name)}", attrs={"class": "number"})
    number.string = f"{name}."
    caption.extend([number, f" {told.rstrip()}"])
    frame.insert(0, caption) if first else frame.append(caption)


def keep_percent_together(page: Tag) -> None:
    """Keep a number and its per-cent sign in one line of prose."""
    for text in page.find_all(string=SPACED_PERCENT):
        if text.find_parent(["p", "li", "figcaption", "dd"]) and not text.find_parent(["pre", "code"]):
            text.replace_with(SPACED_PERCENT.sub("\u00a0%", text))


def executed(path: Path) -> nbformat.NotebookNode:
    """Read an executed notebook.

    Raises:
        ReportError: it is missing, or not a complete notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises arbitrary errors on files that are not notebooks
        raise ReportError(f"The executed notebook {path} is missing or damaged ({type(error).__name__}).") from error
    return notebook


def _readable(path: Path) -> nbformat.NotebookNode:
    """The notebook without what is useless on a page: set parameters, progress bars, live widgets."""
    notebook = executed(path)
    notebook.metadata.pop("widgets", None)
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        cell.outputs = [still for output in cell.get("outputs", []) if (still := _still(output))]
    return notebook


def _still(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """An output as shown on a page: no progress bars, and the fallback picture, if any, of a live widget."""
    if output.output_type == "stream":
        return output if output.name != "stderr" else None
    if output.get("data", {}).pop(LIVE, None) is None:
        return output
    output.data.pop("text/plain", None)
    return output if output.data else None
