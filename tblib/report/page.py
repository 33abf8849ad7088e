"""The report: the executed notebooks of a run as one HTML page that needs no network access."""

import base64
import hashlib
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from tblib.audit import first_figure, verdicts
from tblib.report import made
from tblib.report.anchors import slug
from tblib.report.chapters import Numbers, chapter, numbered
from tblib.report.first_screen import first_screen
from tblib.report.glossary import TERMS
from tblib.report.glossary import address as address_of_term
from tblib.report.review import reviewers
from tblib.report.summary import key_figures, orientation
from tblib.run import GIVEN, STEPS, Run
from tblib.show import tables
from tblib.show.plots import image
from tblib.system.files import replacing
from tblib.system.text import RESEARCH_USE


def build_report(run: Run, record: dict[str, Any]) -> str:
    """Write ``report.html`` from the notebooks, metrics and findings of a finished run (`record`: its ``run.json``).

    Returns:
        The headline.

    Raises:
        ReportError: an executed notebook is missing or damaged.
        DamagedError: a file of the run is damaged.
    """
    summary, metrics, results = (run.facts(f"{name}.json") for name in ("catalogue", "metrics", "shortcuts"))
    first, numbers = first_screen(summary, metrics, results), Numbers()
    environment = Environment(
        loader=PackageLoader("tblib.report", "."), autoescape=select_autoescape(["html.j2"], default=True)
    )
    script = files("tblib.report").joinpath("page.js").read_text(encoding="utf-8")
    html = environment.get_template("page.html.j2").render(
        first=first,
        figure=_figure(results, summary["synthetic"], numbers),
        orientation=orientation(metrics, results),
        truth=None if first.truth is None else _table(first.truth, numbers, "summary"),
        key_figures=_table(key_figures(summary, metrics, results, verdicts.key_figures(results)), numbers, "summary"),
        about=f"{_subject(run)}, audited on {summary['database']}. Run “{record['name']}”, {record['finished']}.",
        name=record["name"],
        positive=summary["positive"],
        synthetic=summary["synthetic"],
        research_use=RESEARCH_USE,
        chapters=[chapter(run.path(f"notebooks/{step.notebook}"), step.name, numbers) for step in STEPS],
        reviewers=(
            reviewers.ANCHOR,
            reviewers.TITLE,
            [(own, title, numbered(body, numbers, own, title)) for own, title, body in reviewers.sections(run, record)],
        ),
        terms={address_of_term(term): (term, meaning) for term, meaning in TERMS.items()},
        made=[(own, title, _table(table, numbers, own)) for own, title, table in made.tables(run, record)],
        numbers={section: [(name, slug(name)) for name in names] for section, names in numbers.by_section.items()},
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        table_script=base64.b64encode(files("itables").joinpath("html", "dt_bundle.js").read_bytes()).decode(),
    )
    with replacing(run.path("report.html")) as part:
        part.write_text(html, encoding="utf-8")
    return first.headline


def _subject(run: Run) -> str:
    """What is audited."""
    return f"“{run.facts(GIVEN)['name']}”, a model of somebody else" if run.path(GIVEN).is_file() else "A CNN of tblib"


def _figure(results: dict[str, Any], synthetic: bool, numbers: Numbers) -> Markup:
    """The figure of the first screen."""
    return numbered(Markup(image(first_figure.figure(results), synthetic)), numbers, "summary", "")


def _table(table: pd.DataFrame, numbers: Numbers, section: str) -> Markup:
    return numbered(tables.html(table), numbers, section, "")
