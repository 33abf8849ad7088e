"""The report: the executed notebooks of a run as one HTML page that needs no network access."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from bs4 import BeautifulSoup
from jinja2 import DictLoader, Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from nbconvert import HTMLExporter

from tblib.arrays import TblibError
from tblib.audit import verdicts
from tblib.report.parameters import NO_PATHS
from tblib.report.summary import headline, key_figures, orientation
from tblib.run import GIVEN, STEPS, Run
from tblib.show.text import how_many
from tblib.system.files import replacing
from tblib.system.text import RESEARCH_USE

LIVE = "application/vnd.jupyter.widget-view+json"  # MIME type of a live widget among a cell's outputs
FOLDED = """{%- extends 'basic/index.html.j2' -%}
{% block input_group %}<details><summary>Code</summary>{{ super() }}</details>{% endblock %}
{% block in_prompt %}{% endblock %}{% block empty_in_prompt %}{% endblock %}
{% block output_area_prompt %}{% endblock %}"""


class ReportError(TblibError):
    """No report can be made of a run."""


@dataclass(frozen=True)
class Chapter:
    """One notebook as a part of the page: its anchor, title, sections (anchor, title) and HTML."""

    anchor: str
    title: str
    sections: list[tuple[str, str]]
    body: Markup


def build_report(run: Run, record: dict[str, Any]) -> Path:
    """Write ``report.html`` from the notebooks, metrics and findings of a finished run (`record`: its ``run.json``).

    Raises:
        ReportError: an executed notebook is missing or damaged.
        DamagedError: a file of the run is damaged.
    """
    summary = run.facts("catalogue.json")
    results = summary, run.facts("metrics.json"), run.facts("shortcuts.json")
    made_from = f"{summary['database']}, {record['finished']}"
    page = Environment(
        loader=PackageLoader("tblib.report", "."), autoescape=select_autoescape(["html.j2"], default=True)
    )
    html = page.get_template("page.html.j2").render(
        title=f"What is the accuracy made of? Run “{record['name']}”",
        lead=f"Tuberculosis on chest films: {_subject(run)} and its shortcuts. {made_from}.",
        synthetic=summary["synthetic"],
        research_use=RESEARCH_USE,
        findings=[*orientation(*results[1:]), *verdicts.finding(results[2]), *headline(*results)],
        key_figures=html_table(key_figures(*results, verdicts.key_figures(results[2]))),
        chapters=[chapter(run.path(f"notebooks/{step.notebook}"), step.name) for step in STEPS],
        made=html_table(pd.DataFrame(_made(record, summary), columns=["", "this run"])),
        parameters=html_table(_parameters(record)),
        steps=html_table(_steps(record)),
        versions=html_table(_versions(record)),
    )
    path = run.path("report.html")
    with replacing(path) as part:
        part.write_text(html, encoding="utf-8")
    return path


def _subject(run: Run) -> str:
    """What is audited."""
    return f"“{run.facts(GIVEN)['name']}”, a model of somebody else," if run.path(GIVEN).is_file() else "a CNN"


def chapter(notebook: Path, anchor: str) -> Chapter:
    """Convert an executed notebook: code folded, headings one level down, anchors made unique by `anchor`."""
    exporter = HTMLExporter(
        template_name="basic", template_file="folded.html.j2", extra_loaders=[DictLoader({"folded.html.j2": FOLDED})]
    )
    soup = BeautifulSoup(exporter.from_notebook_node(_readable(notebook))[0], "html.parser")
    title, sections = anchor, []
    for number, heading in enumerate(soup.find_all(["h1", "h2", "h3"])):
        for link in heading.find_all("a", class_="anchor-link"):
            link.decompose()
        level = int(heading.name[1])
        heading.name, heading["id"] = f"h{level + 1}", anchor if level == 1 else f"{anchor}-{number}"
        if level == 1:
            title = heading.get_text()
        elif level == 2:
            sections.append((str(heading["id"]), heading.get_text()))
    for style in soup.find_all("style"):
        style.decompose()  # pandas adds one to each table; the page has its own
    for table in soup.find_all("table"):
        for part in table.find_all(style=True):
            del part["style"]
        del table["border"]
        table.wrap(soup.new_tag("div", attrs={"class": "wide"}))
    return Chapter(anchor, title, sections, Markup(str(soup)))


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


def _made(record: dict[str, Any], summary: dict[str, Any]) -> list[tuple[str, str]]:
    trained = f"trained on {record['device']} in {record['precision']} with {how_many(record['threads'], 'thread')}"
    if not record["threads"]:
        trained = f"the model was given, and is computed by {record['device']}"
    return [
        ("Database", summary["database"]),
        ("Database digest (SHA-256 over file names and contents)", summary["digest"]),
        ("Notes on the database", "; ".join(summary["notes"]) or "none"),
        ("Git commit", _of_steps({step: done["git_commit"] for step, done in record["steps"].items()})),
        ("Machine", f"{_of_steps({step: done['machine'] for step, done in record['steps'].items()})}; {trained}"),
        ("Finished", record["finished"]),
    ]


def _of_steps(values: dict[str, str]) -> str:
    """The value common to all steps, or each value with its steps."""
    steps: dict[str, list[str]] = {}
    for step, value in values.items():
        steps.setdefault(value, []).append(step)
    return (
        "; ".join(f"{value} ({', '.join(of)})" for value, of in steps.items()) if len(steps) > 1 else next(iter(steps))
    )


def _versions(record: dict[str, Any]) -> pd.DataFrame:
    """Version of each package when the steps were run: one, or several if it changed between steps."""
    made = {step: done["versions"] for step, done in record["steps"].items()}
    packages = dict.fromkeys(package for versions in made.values() for package in versions)
    rows = [
        (package, _of_steps({step: versions.get(package, "not reported") for step, versions in made.items()}))
        for package in packages
    ]
    return pd.DataFrame(rows, columns=["package", "version"])


def _parameters(record: dict[str, Any]) -> pd.DataFrame:
    rows = [
        (step, name, _without_folders(str(value)) if name in (*NO_PATHS, "model") else str(value))
        for step, done in record["steps"].items()
        for name, value in done["parameters"].items()
        if name not in ("run", "data")  # the database is named above
    ]
    return pd.DataFrame(rows, columns=["step", "parameter", "value"])


def _without_folders(paths: str) -> str:
    """File names without folders: paths on a machine are private, and the page may be shared."""
    return ", ".join(Path(path).name for path in paths.split(","))


def _steps(record: dict[str, Any]) -> pd.DataFrame:
    rows = [(step, f"{done['seconds']:.1f}", done["finished"]) for step, done in record["steps"].items()]
    return pd.DataFrame(rows, columns=["step", "seconds", "finished"])


def html_table(table: pd.DataFrame) -> Markup:
    """A table as HTML, its cells escaped."""
    return Markup(table.to_html(index=False, border=0, justify="left"))
