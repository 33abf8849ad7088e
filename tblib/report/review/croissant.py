"""Croissant metadata of a run's catalogue of films, as JSON-LD that programs can read.

Croissant 1.1 (Akhtar and others 2024, mlcommons.org/croissant) with the fields of its responsible-AI vocabulary 1.0. It
names the files beside it and the films' zip by their names alone: no folder of this machine, and no film.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from tblib.report.anchors import slug
from tblib.report.review import topics_films, topics_model
from tblib.report.review.citations import text_of
from tblib.report.review.reviewed import SYNTHETIC, Reviewed, joined
from tblib.run import usable
from tblib.show.text import listed
from tblib.system.files import digest_at, file_digest
from tblib.system.text import RESEARCH_USE

VERSIONS = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
CROISSANT = (  # terms of the context that stand for Croissant's own
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
    "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
    "source", "subField", "transform",
)  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
} | {term: f"cr:{term}" for term in CROISSANT}
TYPES = {"b": "sc:Boolean", "i": "sc:Integer", "u": "sc:Integer", "f": "sc:Float"}  # by the kind of a NumPy type
COLUMNS = {  # of catalogue.csv; all others are what a detector or a measurement of that name says of the film
    "file": "path of the film within the database",
    "label": "class, by the database",
    "problem": "why the film is left out; empty if it is not",
    "bytes": "size of the file",
    "sha256": "SHA-256 of the file",
    "mode": "mode of the file, as L or RGB",
    "width": "columns in pixels",
    "height": "rows in pixels",
    "bits": "depth that was taken for scaling to eight bits",
    "pixels_sha256": "SHA-256 of the shape and the decoded pixels",
    "one_channel": "whether the file has one channel",
    "equal_channels": "whether its channels are equal",
    "duplicate_group": "number of the group of near-duplicates; -1 if the film does not decode",
    "claimed_source": "address that the database names as the film's source",
}


def metadata(run: Reviewed) -> dict[str, Any]:
    """The metadata as a dictionary for JSON: files, the table's fields with their types, and what is known of its use.

    The films' zip is among the files if it still lies where the run read it, with the digest that it has now. A folder
    of films, or a zip that is gone, is named in the description alone.
    """
    archive = _archive(run)
    told = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSIONS,
        "name": f"{slug(run.database) or 'films'}-catalogue",
        "description": _description(run, bool(archive)),
        "version": "1.0.0",
        "datePublished": run.record["finished"][:10],
        "keywords": ["chest radiograph", "tuberculosis", *(["SYNTHETIC"] if run.synthetic else [])],
        "distribution": [_table(run), *archive],
        "recordSet": [_records(usable(run.run.table("catalogue.csv")))],
    }
    if "rahman2020" in run.known:
        told["citeAs"] = text_of("rahman2020")
    return told | _responsible(run)


def _description(run: Reviewed, has_archive: bool) -> str:
    what = f"One row per image file of {run.database} (digest {run.catalogue['digest']}): {run.films}."
    films = (
        "The zip's digest is that of the day on which this file was written."
        if has_archive
        else ("The films lie in a folder, or no longer where the run read them, and are not among the files.")
    )
    version = "The version is that of this description; the films themselves have none."
    date = "The date is that of the run, which published nothing."
    return " ".join([SYNTHETIC] * run.synthetic + [what, films, version, date, RESEARCH_USE])


def _table(run: Reviewed) -> dict[str, Any]:
    path = run.run.path("catalogue.csv")
    return _file("catalogue.csv", path, file_digest(path), "text/csv")


def _archive(run: Reviewed) -> list[dict[str, Any]]:
    path = Path(run.catalogue["path"])
    if not path.is_file():
        return []
    facts = path.stat()
    return [_file("films", path, digest_at(path, facts.st_size, facts.st_mtime_ns), "application/zip")]


def _file(name: str, path: Path, digest: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": kind,
        "sha256": digest,
    }


def _records(table: pd.DataFrame) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "rows",
        "name": "rows",
        "description": "One row per image file; cells of files that do not decode are empty.",
        "field": [_field(str(name), table[name].dtype.kind) for name in table],
    }


def _field(name: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"rows/{name}",
        "name": name,
        "description": COLUMNS.get(name, f"what is measured or detected on the film: {name.replace('_', ' ')}"),
        "dataType": TYPES.get(kind, "sc:Text"),
        "source": {"fileObject": {"@id": "catalogue.csv"}, "extract": {"column": name}},
    }


def _responsible(run: Reviewed) -> dict[str, Any]:
    """The fields of Croissant RAI 1.0 that a run can answer; those it cannot say so."""
    cues = [f"{row['cue']}: {row['verdict']}" for row in run.shortcuts["verdicts"]]
    people = (
        "None: all films are SYNTHETIC."
        if run.synthetic
        else "As nothing says that the films are synthetic: films of people; who they are is not known."
    )
    told = {
        "dataCollection": joined(*topics_films.sources(run)),
        "dataCollectionType": ["Synthetic data"] if run.synthetic else ["Secondary data analysis"],
        "dataCollectionMissingData": joined(*topics_films.missing(run)),
        "dataPreprocessingProtocol": [joined(*topics_model.preprocessing(run))],
        "dataAnnotationProtocol": [joined(*topics_films.reference(run))],
        "machineAnnotationTools": ["tblib, for all columns but file, label and claimed_source"],
        "dataBiases": [f"Verdicts on cues that may stand in for the label: {listed(cues)}."],
        "dataLimitations": [joined(*topics_films.disjoint(run)), joined(*topics_films.characteristics(run))],
        "dataUseCases": ["Measuring what the accuracy of a classifier rests on.", RESEARCH_USE],
        "personalSensitiveInformation": [people],
        "dataReleaseMaintenancePlan": "None: the run publishes nothing.",
    }
    return {f"rai:{name}": value for name, value in told.items()}
