"""Figures, sentences and tables of the third notebook for a model that is given to a run."""

import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Pixels
from tblib.classifiers.opened import Given
from tblib.films.database import Database
from tblib.run import GIVEN, Run
from tblib.show.plots import draw_film, short, tiles
from tblib.show.text import by_name

SEEN = {
    "yes": "it may have been trained on the films at hand",
    "no": "it was not trained on the films at hand",
    "unknown": "whether it was trained on the films at hand is not known",
}


def films(database: Database, table: pd.DataFrame) -> list[tuple[str, Pixels]]:
    """Name and pixels of the first film of each class in a run's ``split.csv``."""
    rows = table.groupby("label", sort=True).head(1).sort_values("label")
    return [(f"{short(str(row.file))}\n{row.label}", database.film(row.file).pixels) for row in rows.itertuples()]


def figure(given: Given, shown: list[tuple[str, Pixels]]) -> Figure:
    """For one film of each class, the film as it is and what the model gets of it."""
    names = ", ".join(name.replace("\n", ", ") for name, _ in shown)
    figure, axes = tiles(2 * len(shown), 4, f"Films as they are and as {given.name} gets them: {names}.")
    for place, (name, film) in enumerate(shown):
        seen = given.seen(film)
        draw_film(axes[2 * place], film, name)
        height, width = seen.shape[:2]
        draw_film(axes[2 * place + 1], seen, f"as the model gets it,\n{width} × {height} px")
    return figure


def finding(given: Given) -> str:
    """What is audited, and what is said of its training."""
    trained_on = given.spec.trained_on.rstrip(".")
    return (
        f"{given.name} is somebody else's model ({given.kind}); nothing is trained for it but what its audit needs. "
        f"Trained on: {trained_on}; {SEEN[given.spec.seen]}. It calls a film positive at a probability of "
        f"{given.spec.threshold:g} or more."
    )


def table(run: Run) -> pd.DataFrame:
    """The model's file, and what is done to a film and made of the output, one fact per row, from ``model.json``."""
    facts = run.facts(GIVEN)
    rows = facts["about"] | {f"spec: {name}": str(value) for name, value in facts["spec"].items()}
    return by_name(pd.DataFrame({"fact": list(rows), "value": list(rows.values())}), "fact", "The model that was given")


def operators(given: Given) -> pd.DataFrame:
    """Operators of the graph and how often each occurs; without rows for models that are no graph."""
    found = given.operators
    return by_name(
        pd.DataFrame({"operator": list(found), "times": list(found.values())}), "operator", "Operators of its file"
    )


def operators_finding(given: Given) -> str:
    """How large the graph is, in a sentence."""
    if not given.operators:
        return "What the model consists of is not known: it is called, and answers."
    most = ", ".join(f"{count} {name}" for name, count in list(given.operators.items())[:3])
    return f"The graph has {sum(given.operators.values()):,} operators, most of them {most}."
