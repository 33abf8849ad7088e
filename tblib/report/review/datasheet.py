"""The datasheet of a run's films (questions of Gebru and others 2021), as far as its artefacts answer them.

Where they do not, the datasheet says so; whoever collected the films would have to be asked.
"""

from tblib.report.review import topics_films, topics_model
from tblib.report.review.cards import Card
from tblib.report.review.reviewed import SYNTHETIC, Answer, Reviewed, place
from tblib.show.text import how_many
from tblib.system.text import RESEARCH_USE

BALANCE = place("eda/Balance")
DRAWN = "No: the films are SYNTHETIC."


def datasheet(run: Reviewed) -> Card:
    """The seven sections of a datasheet of the films that a run catalogued."""
    return {
        "Motivation": _motivation(run),
        "Composition": _composition(run),
        "Collection process": _collection(run),
        "Preprocessing, cleaning, labelling": _preprocessing(run),
        "Uses": _uses(run),
        "Distribution": _distribution(run),
        "Maintenance": [
            _asked(run, "Who maintains the films, and how errors are corrected", "The films are made anew.")
        ],
    }


def _asked(run: Reviewed, question: str, drawn: str) -> Answer:
    """A question that only whoever collected the films can answer; of SYNTHETIC ones, `drawn`."""
    if run.synthetic:
        return Answer(question, drawn)
    return Answer(question, "", "the artefacts of a run do not tell; ask whoever collected the films.")


def _motivation(run: Reviewed) -> list[Answer]:
    why = "To try out the study on films whose truth is known (tblib's demo)."
    return [
        _asked(run, "Why the films were collected", why),
        _asked(run, "Who collected them", "Nobody: tblib drew them."),
        _asked(run, "Who paid", "Nobody: tblib drew them."),
    ]


def _composition(run: Reviewed) -> list[Answer]:
    classes = " or ".join(run.classes)
    return [
        Answer("What one row is", f"An image file, taken as one chest film of class {classes}.", "", BALANCE),
        Answer("How many there are", f"{run.films}.", "", BALANCE),
        _asked(run, "Whether they are a sample of more", "Yes: as many as were asked for."),
        Answer(
            "What each row holds",
            "File facts, grey levels, detected artefacts, duplicates; see croissant.json.",
            "",
            "eda",
        ),
        Answer("Labels", *topics_films.reference(run), BALANCE),
        Answer("Missing information", *topics_films.missing(run), BALANCE),
        Answer("Films in it more than once", _duplicates(run), "", place("eda/Near-duplicates")),
        Answer("Recommended split", *topics_films.assignment(run), place("preparation/The split")),
        Answer(
            "Errors and noise",
            "Artefacts are found by detectors, which err.",
            "",
            place("eda/How often the detectors are right"),
        ),
        Answer("People in it", *_people(run)),
        Answer("Whether people can be identified", *topics_films.deidentification(run)),
        Answer("Groups of people", *_groups(run)),
    ]


def _people(run: Reviewed) -> tuple[str, str]:
    if run.synthetic:
        return DRAWN, ""
    return "Yes, as nothing says that the films are synthetic.", "who they are, and how many."


def _groups(run: Reviewed) -> tuple[str, str]:
    return (DRAWN, "") if run.synthetic else ("", "age, sex and origin; none are read.")


def _duplicates(run: Reviewed) -> str:
    films, groups = run.metrics["n"], run.metrics["duplicate_groups"]
    return f"Exact and near ones are grouped; the {how_many(films, 'film')} judged are {how_many(groups, 'group')}."


def _collection(run: Reviewed) -> list[Answer]:
    drawn = "They were not collected: tblib drew them, from a seed."
    return [
        Answer("How films were acquired", *topics_films.acquisition(run)),
        Answer("Where they come from", *topics_films.sources(run)),
        _asked(run, "Who took part in the collection, and over which time", drawn),
        _asked(run, "Ethical review and consent", "Not needed: the films are SYNTHETIC."),
    ]


def _preprocessing(run: Reviewed) -> list[Answer]:
    return [
        _asked(run, "What was done to the films before", "Nothing."),
        Answer("What the run does to them", *topics_model.preprocessing(run), place("preparation/Before and after")),
        Answer("Which are left out", *topics_films.criteria(run), BALANCE),
        Answer("Whether the raw films are kept", "The run changes no film: it reads them and writes files of its own."),
        Answer("Software", "tblib, under the MIT licence.", "", "made"),
    ]


def _uses(run: Reviewed) -> list[Answer]:
    cues = [row["cue"] for row in run.shortcuts["verdicts"] if row["verdict"] in ("AVAILABLE", "USED", "DECISIVE")]
    told = f"Cues that predict the label or are used by the model: {', '.join(cues)}." if cues else ""
    return [
        Answer("What this run uses them for", f"To train or audit {run.model}.", "", "shortcuts"),
        Answer(
            "What future users should know",
            told,
            "" if told else "cues that predict the label; the audit shows none.",
            "shortcuts" if told else "",
        ),
        Answer("What they should not be used for", f"{SYNTHETIC} {RESEARCH_USE}" if run.synthetic else RESEARCH_USE),
    ]


def _distribution(run: Reviewed) -> list[Answer]:
    return [
        Answer("How the films can be had", *topics_model.data_access(run)),
        _asked(run, "Licence and other terms", "tblib, which draws the films, is under the MIT licence."),
    ]
