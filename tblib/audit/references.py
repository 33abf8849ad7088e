"""Reference networks: trained like the network under audit, on the same films and labels, with no cue to learn from.

Any network moves when something bright, sharp or odd appears on a film. Whether the one under audit uses a cue shows
only in comparison with networks that cannot have learnt it: they see every cue equally often in both classes
(*exposed*). A model that was trained on other films may never have seen a cue, and such networks move further; for it,
half of the references are *unexposed*: from their films all cues are taken that can be taken off or covered, and the
traces of that are left equally often in both classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed

from tblib.arrays import Floats, Ints, Mask, Pixels
from tblib.audit import fits
from tblib.audit.edited import PUT, EditedFilms, Way
from tblib.audit.jobs import Job
from tblib.audit.pairs import Pairs, spared, typical_markers
from tblib.audit.study import Audit
from tblib.audit.training_films import TrainingFilms, training_films
from tblib.films.cues import EDITED, LAYERS, Cue, put_marker, without, without_boxes

SEEN = 0.4  # least share of the exposed films of either class that carry a cue, even if hardly any does by nature
VARIANTS = 3  # of each training film; a network sees one of them
OUTSIDE: Way = ("outside the lungs", PUT)


@dataclass(frozen=True)
class References:
    """Logits of the reference networks.

    Attributes:
        logits: cue and direction -> float (K, 2, n), of films after the edit and after the placebo. That of the
            region outside the lungs has networks of its own, and is missing if none were trained.
        aurocs: AUROC of each network on the held-out films, as they are.
        trained_on: number of training films.
    """

    logits: dict[Way, Floats]
    aurocs: tuple[float, ...]
    trained_on: int


def measure(audit: Audit, films: EditedFilms, trained_here: bool | None = None) -> References:
    """Train the reference networks, or read those that were trained before, and score all edited films with them.

    If the model was trained on other films (`trained_here`, by default as `Audit.trained_here`), half of the networks
    are unexposed.
    """
    here = audit.trained_here if trained_here is None else trained_here
    tested, own = films.only(judged(audit)), training_films(audit)
    how = audit.reference_training
    shared: dict[str, npt.NDArray[Any]] = {"target": own.target, "groups": own.groups}
    shared |= {"held_out": audit.images[audit.held_out_rows]}
    named = tested.only({name for name, _ in tested.pairs} - {OUTSIDE[0]})
    seen = named.seen()
    seen = seen if seen.pairs else named
    found = audit.jobs(_named(audit, seen, own, shared, how, here), "reference networks")
    logits = seen.split(_both(found)) if found else {}
    if found:  # what small networks cannot see, as a file's number of channels, moves none of them
        unseen = {way: len(pairs.rows) for way, pairs in named.pairs.items() if way not in seen.pairs}
        logits |= {way: np.zeros((len(found), 2, count)) for way, count in unseen.items()}
    areas = tuple(fits.area(audit.held_out_with(np.array(one["logits"]))) or 0.5 for one in found)
    if OUTSIDE in tested.pairs and audit.budget.outside_references:
        jobs = _outside(audit, tested.pairs[OUTSIDE], own, shared, how)
        logits[OUTSIDE] = _both(audit.jobs(jobs, "outside references"))
    return References(logits, areas, len(own.rows))


def _both(found: list[dict[str, Any]]) -> Floats:
    """Float (K, 2, M): logits after edits and after placebos."""
    return np.array([[one["after"], one["before"]] for one in found])


def _named(
    audit: Audit,
    films: EditedFilms,
    own: TrainingFilms,
    shared: dict[str, npt.NDArray[Any]],
    how: dict[str, Any],
    here: bool,
) -> list[Job]:
    """Networks for the cues of the table: exposed all of them, or those of even seeds."""
    if not films.pairs:
        return []
    edited, placebo = films.stacked()
    kinds = [neutral_films(audit, own.rows, own.pictures, exposed) for exposed in ((True,) if here else (True, False))]
    return [
        Job(
            fits.reference,
            shared | {"edited": edited, "placebo": placebo, "variants": kinds[seed % len(kinds)]},
            {"seed": seed, "training": how},
        )
        for seed in range(audit.budget.references)
    ]


def _outside(
    audit: Audit, pairs: Pairs, own: TrainingFilms, shared: dict[str, npt.NDArray[Any]], how: dict[str, Any]
) -> list[Job]:
    """Networks for all outside the lungs, trained on films with the outside of another film, of either class."""
    arrays = shared | {"edited": pairs.edited, "placebo": pairs.placebo}
    arrays |= {"images": own.images, "masks": audit.masks_of(own.rows)}
    seeds = range(audit.budget.outside_references)
    return [Job(fits.outside_reference, arrays, {"seed": seed, "training": how}) for seed in seeds]


def judged(audit: Audit) -> set[str]:
    """Cues whose use is tested: those that exist, and those that the budget plants."""
    return set(audit.existing) | ({cue.name for cue in EDITED} if audit.budget.planted else set())


def neutral_films(audit: Audit, rows: Ints, pictures: list[Pixels], exposed: bool) -> Pixels:
    """Exposed or unexposed films, uint8 (VARIANTS, N, S, S) or (…, S, S, 3), from `pictures` of the films at `rows`.
    One with drawn lesions carries cues as a film of its own class does."""
    table, target = audit.films.iloc[rows].reset_index(drop=True), audit.target[rows]
    carried = {cue.name: _carried(audit, cue)[rows] for cue in EDITED}
    put = {name: put_chances(each, target, SEEN) for name, each in carried.items()}
    taken = {cue.name: put_chances(carried[cue.name], target) for cue in EDITED if cue.remove or cue.cover}
    kinds = typical_markers(table, audit.database.positive)
    masks = audit.edit_masks(rows)

    def of(place: int, given: Pixels) -> list[Pixels]:
        """The variants of one film."""
        row, mask, made = table.iloc[place], None if masks is None else masks[place], []
        lacks = {name: not each[place] for name, each in carried.items()}
        due = {name: chance[target[place]] if lacks[name] else 0.0 for name, chance in put.items()}
        rest = {name: chance for name, chance in due.items() if name not in taken}
        for variant in range(VARIANTS):
            rng = np.random.default_rng([audit.seed, place, 0 if exposed else 1, variant])
            if exposed:
                film = _exposed(given, row, due, kinds, mask, rng)
            else:
                gone = {name: each[target[place]] if lacks[name] else 1.0 for name, each in taken.items()}
                donors = {name: row if not lacks[name] else _donor(table, carried[name], row, rng) for name in gone}
                film = _exposed(_unexposed(given, gone, donors, rng), row, rest, [], mask, rng)
            made.append(audit.input.of(film))
        return made

    films = Parallel(n_jobs=-1, prefer="threads")(delayed(of)(place, film) for place, film in enumerate(pictures))
    return np.ascontiguousarray(np.array(films, np.uint8).swapaxes(0, 1))


def _donor(table: pd.DataFrame, carried: Mask, row: pd.Series, rng: np.random.Generator) -> pd.Series | None:
    """The row of a random film of the same size that carries a cue; None if there is none."""
    alike = np.flatnonzero(carried & (table["height"] == row["height"]) & (table["width"] == row["width"]))
    return table.iloc[int(rng.choice(alike))] if len(alike) else None


def put_chances(carried: Mask, target: Ints, least: float = 0.0) -> tuple[float, float]:
    """For each class, the chance with which films without a cue get it, so that it is equally common in both.

    From who carries it (N,), and target (N,). The common share is that of the class that carries it more often, or
    `least` if that is more.
    """
    shares = [float(carried[target == label].mean()) for label in (0, 1)]
    common = max(*shares, least)
    negative, positive = ((common - share) / (1 - share) if share < 1 else 0.0 for share in shares)
    return negative, positive


def _carried(audit: Audit, cue: Cue) -> Mask:
    """Bool (N,): films with a cue; of one that is a matter of degree, those with more than the median."""
    if cue.holds is not None:
        return cue.carried(audit.films) > 0
    score = audit.associations[cue.name].score
    return np.asarray(score > np.median(score))


def _exposed(
    film: Pixels,
    row: pd.Series,
    due: dict[str, float],
    kinds: list[tuple[str, str]],
    mask: Mask | None,
    rng: np.random.Generator,
) -> Pixels:
    """A film with cues put on it by chance; `due` are the chances. Its marker, old or new, gets one of the `kinds`."""
    if kinds and (taken := without_boxes(film, row, rng, "markers")):
        film = put_marker(taken[0].pixels, 1.0, rng, *kinds[rng.integers(len(kinds))]).pixels
    for cue in LAYERS:
        if cue.put is None or rng.random() >= due.get(cue.name, 0.0):
            continue
        if cue.put is put_marker and kinds:
            film = put_marker(film, 1.0, rng, *kinds[rng.integers(len(kinds))]).pixels
        else:
            film = spared(film, cue.put(film, 1.0, rng).pixels, mask if cue.spares_lungs else None)
    return film


def _unexposed(
    film: Pixels, gone: dict[str, float], donors: dict[str, pd.Series | None], rng: np.random.Generator
) -> Pixels:
    """A film without cues that can be taken off or covered, by the chances `gone`.

    Films that did not carry a cue are painted over, too, at the places of another film's (`donors`), as often in both
    classes: otherwise the traces of taking a cue off would tell the classes apart as the cue did.
    """
    for cue in EDITED:
        row = donors.get(cue.name)
        if row is not None and rng.random() < gone[cue.name]:
            film = without(cue, film, row, rng)
    return film
