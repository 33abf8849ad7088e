"""Near-duplicates, and the hospitals claimed as sources."""

import numpy as np
import pandas as pd

from tblib.films.artefacts import carries_colour_cue
from tblib.run import usable
from tblib.show.text import captioned, how_many, percent


def duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Films with a near-duplicate: duplicate_group, kind (exact if all pixels are equal, else near), file, label."""
    films = usable(table)
    groups = films.groupby("duplicate_group")
    films = films.assign(
        size=groups["file"].transform("size"),
        kind=np.where(groups["pixels_sha256"].transform("nunique") == 1, "exact", "near"),
    )
    return films.loc[films["size"] > 1, ["duplicate_group", "kind", "file", "label"]].sort_values(
        ["duplicate_group", "file"]
    )


def duplicates_finding(table: pd.DataFrame) -> str:
    """How many films are in the database more than once."""
    if table.empty:
        return "No film has a near-duplicate."
    groups = table.drop_duplicates("duplicate_group")
    counts = groups["kind"].value_counts()
    mixed = table.drop_duplicates(["duplicate_group", "label"])["duplicate_group"].duplicated().sum()
    return (
        f"{len(table)} films are in the database more than once, in {how_many(len(groups), 'group')}: "
        f"{counts.get('exact', 0)} identical in every pixel, {mixed} with films of both classes. A split that divided "
        "them would test on training films."
    )


def sources(table: pd.DataFrame) -> pd.DataFrame:
    """Number of films and share with one channel or a visible tint, per class and claimed source (host of its URL)."""
    films = usable(table)
    host = films["claimed_source"].str.extract(r"^\w+://([^/]+)", expand=False).fillna("not reported")
    coloured = carries_colour_cue(films["one_channel"], films["tint_strength"])
    frame = pd.DataFrame({"label": films["label"], "claimed source": host, "cue": coloured})
    grouped = frame.groupby(["label", "claimed source"])["cue"]
    return grouped.agg(["size", "mean"]).set_axis(["films", "one channel or tinted"], axis=1).reset_index()


def sources_table(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `sources`, with shares in per cent."""
    shares = table["one channel or tinted"].map(percent)
    return captioned(table.assign(**{"one channel or tinted": shares}), "Where the database says its films come from")


def sources_finding(table: pd.DataFrame) -> str:
    """Whether the claimed sources explain the colour cue."""
    if (table["claimed source"] == "not reported").all():
        return "The database claims no sources."
    told = [
        f"{row['films']:,} {row['label']} films from {row['claimed source']} "
        f"({percent(row['one channel or tinted'], 0)})"
        for _, row in table.iterrows()
    ]
    return (
        f"The database claims these sources (in brackets the share with one channel or a tint): {'; '.join(told)}. The "
        "films themselves do not confirm it."
    )
