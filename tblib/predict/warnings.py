"""Warnings: what to know about a film before trusting a model's prediction for it."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from tblib.arrays import Floats
from tblib.catalogue import need_same_films
from tblib.classifiers.likeness import Likeness, open_likeness
from tblib.films.artefacts import artefacts, facts
from tblib.films.cues import ON_FILMS
from tblib.films.film import Film
from tblib.run import Run, judged
from tblib.show.text import percent

READS = (  # of a run
    *("preparation.json", "split.csv", "images.npy"),
    *("predictions.csv", "catalogue.csv", "catalogue.json"),
)
UNLIKE = "not like the training films"  # topic of the warning of a film without a verdict


class FilmWarning(NamedTuple):
    """One warning: its topic in a word or two, and the sentence."""

    about: str
    sentence: str


@dataclass(frozen=True)
class Background:
    """What a run knows about films and cues, for judging a single film. Create it with `open_background`.

    Attributes:
        logits: class name -> float (n,), the model's logits of the run's test films; the negative class first.
        catalogue: of the run's database.
        verdicts: cue -> the audit's verdict; empty without an audit.
        likeness: tells films like the training films from others.
    """

    logits: dict[str, Floats]
    catalogue: pd.DataFrame
    verdicts: dict[str, str]
    likeness: Likeness

    @cached_property
    def shares(self) -> dict[str, dict[str, float]]:
        """Cue -> class name -> share of the database's films that carry it."""
        from tblib.eda import prevalence  # with matplotlib, which a verdict does without

        negative, positive = self.logits
        carried = prevalence.measure(self.catalogue, (negative, positive))
        return {cue: dict(zip(rows["label"], rows["share"], strict=True)) for cue, rows in carried.groupby("cue")}


def open_background(run: Run) -> Background:
    """Load the background of a run whose model was evaluated.

    Raises:
        MissingInputError: a file of an earlier step is missing.
        DamagedError: a file has changed since its step.
        DatabaseError: the catalogue describes other films than were prepared.
    """
    need_same_films(run)
    preparation = run.facts("preparation.json")
    test = judged(run.table("predictions.csv"))
    classes = preparation["negative"], preparation["positive"]
    audited = run.facts("shortcuts.json")["verdicts"] if run.path("shortcuts.json").is_file() else []
    return Background(
        {name: test.loc[test["label"] == name, "logit"].to_numpy() for name in classes},
        run.table("catalogue.csv"),
        {one["cue"]: one["verdict"] for one in audited},
        open_likeness(run),
    )


def warnings(film: Film, unlike: str, side: int, background: Background | None) -> list[FilmWarning]:
    """What to know about a film before trusting an answer: depth and unlikeness first, then its cues.

    Args:
        film: at most `tblib.films.shapes.WORK_SIDE` px per side, the size at which artefacts are detected.
        unlike: sentences on why it gets no verdict, or empty (`tblib.classifiers.likeness.Likeness.unlike`).
        side: of the model's input, pixels.
        background: of the model's run; without it, nothing is said about how common a cue is.
    """
    found = of_answer(film, unlike)
    height, width = film.pixels.shape[:2]
    if min(height, width) < side:
        size = f"{width} × {height} pixels, fewer than the {side} × {side} that the model looks at"
        found.append(FilmWarning("very small", f"The film has {size}: it was blown up."))
    carried = pd.DataFrame([facts(artefacts(film, film.pixels.size))])
    return found + [
        FilmWarning(cue.name, _of_cue(cue.name, background)) for cue in ON_FILMS if cue.carried(carried).item()
    ]


def of_answer(film: Film, unlike: str) -> list[FilmWarning]:
    """The warnings that need no search for cues: of the file alone (`of_file`), and that the film gets no verdict."""
    return of_file(film) + ([FilmWarning(UNLIKE, unlike)] if unlike else [])


def of_file(film: Film) -> list[FilmWarning]:
    """Warnings from the file alone: if it does not state its bit depth, its brightness was guessed."""
    if not film.guessed:
        return []
    told = f"Its file does not tell how many bits its grey levels have; it was scaled as one of {film.bits}."
    return [
        FilmWarning(
            "depth guessed", f"{told} If it has more, the film is darker than it was shown here, and if less, brighter."
        )
    ]


def _of_cue(cue: str, background: Background | None) -> str:
    told = f"{cue[:1].upper()}{cue[1:]}: found on this film."
    if background is None:
        return told
    shares = " and ".join(f"{percent(share)} of {name}" for name, share in background.shares[cue].items())
    told += f" In the run's database {shares} films carry it."
    verdict = background.verdicts.get(cue, "")
    return told + (f" The audit's verdict on this model: {verdict}." if verdict else "")
