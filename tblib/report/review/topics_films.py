"""What a run reports of its films on topics that checklists ask for, in words and numbers of its artefacts.

Each topic is a function of the run, whose name an item of ``checklists.yml`` gives. It returns what is reported and
what is not, either of which may be empty.
"""

from collections.abc import Callable
from typing import Any

from tblib.audit.choice import LABEL
from tblib.report.review.reviewed import NOT_TOLD, Reviewed, Said
from tblib.show.text import capital, estimate, how_many
from tblib.system.text import printable


def design(run: Reviewed) -> Said:
    """Prospective or retrospective."""
    if run.synthetic:
        return "Neither: the films are SYNTHETIC, drawn by a computer.", ""
    return "Retrospective: the films were there before the run.", "how the database's authors planned its collection."


def sources(run: Reviewed) -> Said:
    """Where films come from."""
    digest = run.catalogue["digest"][:12]
    told = f"{run.database} (digest {digest}…): {run.films}."
    if run.synthetic:
        return f"{told} All are SYNTHETIC.", ""
    claimed = f" The database names a source for {run.claimed:,} of them." if run.claimed else ""
    elsewhere = f" Other hospitals: {_each(run.sets)}." if run.sets else ""
    return (
        told + claimed + elsewhere + _chosen_on(run),
        "hospitals as confirmed by anything but the database itself, and how far its patients stand for others.",
    )


def _each(sets: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{printable(one['set'])}: {one['n']:,} films ({one['positives']:,} positive), AUROC {estimate(one['auroc'])}"
        for one in sets
    )


def _chosen_on(run: Reviewed) -> str:
    """Sets on which settings of the model were chosen, as a sentence after others; empty if there is none."""
    return f" {capital(LABEL)}, so no external validation: {_each(run.chosen_on)}." if run.chosen_on else ""


def criteria(run: Reviewed) -> Said:
    """Which films are in."""
    told = f"Every image file of the two classes that decodes: {run.films}; {_left_out(run)} {_passed_over(run)}"
    return told.strip(), "" if run.synthetic else "which patients the database's authors included and excluded."


def _left_out(run: Reviewed) -> str:
    return f"{how_many(len(run.catalogue['left_out']), 'image file')} left out as undecodable."


def _passed_over(run: Reviewed) -> str:
    kinds = [f"{count:,} ({printable(why)})" for why, count in run.catalogue.get("passed_over", {}).items()]
    return f"Files passed over as no films: {', '.join(kinds)}." if kinds else ""


def included(run: Reviewed) -> Said:
    """How many are in and out."""
    lacks = "" if run.synthetic else "numbers of patients, as it is not known who is on a film."
    return f"{capital(run.films)}; {_left_out(run)} {_passed_over(run)}".strip(), lacks


def characteristics(run: Reviewed) -> Said:
    """What is known of films in each class and part."""
    told = f"Class and part ({run.parts}), and how common each artefact is in each class."
    return told, "age, sex, treatment and clinical findings: none are read."


def missing(run: Reviewed) -> Said:
    """Missing data."""
    lacks = "" if run.synthetic else "clinical data that may be missing; none are read."
    return f"Films that do not decode are left out, and nothing is imputed: {_left_out(run)}", lacks


def subsets(run: Reviewed) -> Said:
    """Whether all films were used."""
    films = sum(run.catalogue["films"].values())
    used = sum(sum(counts.values()) for counts in run.preparation.get("parts", {}).values())
    return f"None selected: {used:,} of {films:,} usable films are in the split.", ""


def deidentification(run: Reviewed) -> Said:
    """How films were made anonymous."""
    if run.synthetic:
        return "The films are SYNTHETIC: there is nobody to identify.", ""
    return "", "what was taken off the films before they came to this program."


def acquisition(run: Reviewed) -> Said:
    """How films were taken."""
    if run.synthetic:
        return "The films were drawn by a computer, not taken.", ""
    return (
        f"File modes and depth ({run.catalogue.get('bits', 8)} bits), as found in the files.",
        "devices, projection, exposure and how films were digitised.",
    )


def reference(run: Reviewed) -> Said:
    """What the labels are."""
    negative, positive = run.classes
    if run.synthetic:
        return f"{positive} or {negative}, as the film was drawn.", ""
    return (
        f"The database's own labels, {positive} or {negative}, by folder or file name.",
        "by which examination the database's authors came to them, when, and why by that one.",
    )


def test_labels(run: Reviewed) -> Said:
    """Labels of the films judged."""
    lacks = "" if run.synthetic else "how the database's authors labelled them."
    return f"The {run.judged} carry the database's labels as all others do; none was labelled anew.", lacks


def assignment(run: Reviewed) -> Said:
    """How the split was made."""
    seed = run.preparation.get("seed")
    drawn = f", at random with seed {seed:g}" if seed is not None else ""
    return f"80, 10 and 10 % within each class{drawn}: {run.parts}.", ""


def disjoint(run: Reviewed) -> Said:
    """Level at which parts are disjoint."""
    lacks = "" if run.synthetic else "patients: who is on a film is not known, so two films of one may be in two parts."
    return "Groups of near-duplicate films are never divided between parts.", lacks


def data_use(run: Reviewed) -> Said:
    """Which films are for what."""
    if run.given:
        return f"Validation: thresholds and temperature. All other films: evaluation. Parts: {run.parts}.", ""
    return f"Training: weights; validation: epoch, thresholds, temperature; test: evaluation. Parts: {run.parts}.", ""


def external(run: Reviewed) -> Said:
    """Films of other hospitals."""
    if not run.sets:
        return "", f"how it does elsewhere: {run.why_unknown}.{_chosen_on(run)}"
    return f"{_each(run.sets)}.{_chosen_on(run)}", ""


def clusters(run: Reviewed) -> Said:
    """Hospitals apart."""
    if not run.sets:
        return "", f"differences between hospitals: {run.why_unknown}."
    return f"Each set of films on its own: {_each(run.sets)}.", "differences between hospitals within the database."


def differences(run: Reviewed) -> Said:
    """Development against evaluation."""
    if run.given:
        seen = {"yes": "may be among", "no": "are not among", "unknown": "may or may not be among"}[run.given["seen"]]
        return f"The films {seen} those that it was trained on.", NOT_TOLD + "those films themselves."
    here = "Test films are of the same database as the training films."
    if not run.sets:
        return here, f"films of other hospitals: {run.why_unknown}."
    return f"{here} Films of other hospitals: scores of either class are compared.", "their eligibility criteria."


TOPICS: dict[str, Callable[[Reviewed], Said]] = {
    topic.__name__: topic
    for topic in (
        design, sources, criteria, included, characteristics, missing, subsets, deidentification, acquisition,
        reference, test_labels, assignment, disjoint, data_use, external, clusters, differences,
    )
}  # fmt: skip
