"""What reviewers ask of a run, and where the answers lie: the artefacts of one run, and one question's answer."""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from tblib.arrays import TblibError
from tblib.audit.choice import choosing, reported, why_unknown
from tblib.films.kaggle import KAGGLE_FOLDER
from tblib.report.anchors import anchor
from tblib.run import GIVEN, Run
from tblib.show.text import how_many, own_point
from tblib.system.text import printable

NLM = re.compile(r"MCUCXR|CHNCXR")  # names of the films of Montgomery County and of Shenzhen
NOT_TOLD = "for a model of somebody else, "
Said = tuple[str, str]  # what is reported on a topic, and what is not; either may be empty
SYNTHETIC = "SYNTHETIC: every film of this run was drawn by a computer; no number says anything about patients."


class ReviewError(TblibError):
    """No card can be written of a run."""


class Answer(NamedTuple):
    """What a run answers to one question.

    Attributes:
        question: in our own words.
        text: what is known; empty if nothing is.
        lacks: what is not reported; empty if nothing is missing.
        link: anchor of the report's section that tells more, or empty.
    """

    question: str
    text: str
    lacks: str = ""
    link: str = ""

    @property
    def status(self) -> str:
        """``reported``, ``partly reported`` or ``not reported``."""
        if not self.text:
            return "not reported"
        return "partly reported" if self.lacks else "reported"

    @property
    def told(self) -> str:
        """What is known and what is not, as one text."""
        return joined(self.text, self.lacks)


@dataclass(frozen=True)
class Reviewed:
    """The artefacts of a complete run, as dictionaries.

    Attributes:
        record: ``run.json``.
        training: ``training.json``; None if the model was given to the run.
        given: ``model.json``; None if the run trained its model.
        known: databases among the films, by their file names: ``rahman2020``, ``jaeger2014``.
        claimed: number of usable films whose database names a source for them.
    """

    run: Run
    record: dict[str, Any]
    catalogue: dict[str, Any]
    preparation: dict[str, Any]
    metrics: dict[str, Any]
    shortcuts: dict[str, Any]
    training: dict[str, Any] | None
    given: dict[str, Any] | None
    known: frozenset[str]
    claimed: int

    @property
    def synthetic(self) -> bool:
        """Whether the films are the demo's."""
        return bool(self.catalogue["synthetic"])

    @property
    def database(self) -> str:
        """Name of the database's zip or folder, without the folders above it."""
        return printable(self.catalogue["database"])

    @property
    def model(self) -> str:
        """What the model is called."""
        return printable(self.given["name"] if self.given else f"CNN of the run {self.run.folder.name}")

    @property
    def classes(self) -> tuple[str, str]:
        """The negative and the positive class."""
        return printable(self.catalogue["negative"]), printable(self.catalogue["positive"])

    @property
    def films(self) -> str:
        """Usable films per class, as text."""
        counts = self.catalogue["films"]
        each = " and ".join(f"{count:,} {printable(name)}" for name, count in counts.items())
        return f"{how_many(sum(counts.values()), 'usable film')}, {each}"

    @property
    def parts(self) -> str:
        """Films and positives in each part of the split, as text."""
        positive = self.catalogue["positive"]
        return "; ".join(
            f"{part} {sum(counts.values()):,} ({counts.get(positive, 0):,} {printable(positive)})"
            for part, counts in self.preparation.get("parts", {}).items()
        )

    @property
    def judged(self) -> str:
        """The films that metrics are measured on, as text."""
        part = "films of all parts but validation" if self.given else "test films"
        return f"{self.metrics['n']:,} {part} ({self.metrics['positives']:,} positive)"

    @property
    def own_point(self) -> dict[str, Any]:
        """The model's own operating point in ``metrics.json``."""
        points = self.metrics["operating_points"]
        point: dict[str, Any] = points[own_point(points)]
        return point

    @property
    def sets(self) -> list[dict[str, Any]]:
        """Results on films of other hospitals, one per set; those on which settings were chosen are `chosen_on`."""
        return reported(self.shortcuts["external"]["sets"])

    @property
    def chosen_on(self) -> list[dict[str, Any]]:
        """Results on films on which settings of the model were chosen, one per set: no external validation."""
        return choosing(self.shortcuts["external"]["sets"])

    @property
    def why_unknown(self) -> str:
        """Why it is not known how the model does at other hospitals; empty if it was measured."""
        return printable(why_unknown(self.shortcuts["external"]["sets"]))


def reviewed(run: Run, record: dict[str, Any]) -> Reviewed:
    """Read what cards and checklists need of a complete run.

    Raises:
        DamagedError, MissingInputError: a file of the run is damaged or missing.
    """
    given = run.facts(GIVEN) if run.path(GIVEN).is_file() else None
    table = run.table("catalogue.csv")
    summary = run.facts("catalogue.json")
    own, other = (" ".join(found["file"]) for found in (table, run.table("external.csv")))
    known = {"rahman2020"} if KAGGLE_FOLDER in own and not summary["synthetic"] else set()
    known |= {"jaeger2014"} if NLM.search(own) or NLM.search(other) else set()
    return Reviewed(
        run=run,
        record=record,
        catalogue=summary,
        preparation=run.facts("preparation.json"),
        metrics=run.facts("metrics.json"),
        shortcuts=run.facts("shortcuts.json"),
        training=None if given else run.facts("training.json"),
        given=given,
        known=frozenset(known),
        claimed=int(((table["problem"] == "") & (table["claimed_source"] != "")).sum()),
    )


def place(where: str) -> str:
    """The anchor of a place in the report, written as ``chapter`` or ``chapter/heading``."""
    chapter, _, heading = where.partition("/")
    return anchor(chapter, heading)


def joined(text: str, lacks: str) -> str:
    """What is known and what is not, as one text."""
    return " ".join(part for part in (text, f"Not reported: {lacks}" * bool(lacks)) if part)


def json_of(answers: dict[str, list[Answer]]) -> list[dict[str, Any]]:
    """Sections of answers as values of JSON."""
    return [
        {"section": title, "answers": [one._asdict() | {"status": one.status} for one in rows]}
        for title, rows in answers.items()
    ]
