"""Reference networks: the films they train on carry every cue equally often in both classes, or not at all."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tblib.audit import power
from tblib.audit.edited import PUT, edited_films
from tblib.audit.references import OUTSIDE, SEEN, VARIANTS, judged, measure, neutral_films, put_chances
from tblib.audit.study import Audit, open_audit
from tblib.audit.training_films import training_films
from tblib.catalogue import build_catalogue, usable
from tblib.films import cues
from tblib.films.artefacts import artefacts, facts
from tblib.films.database import open_database
from tblib.films.film import Film
from tblib.mitigation import ModelInput
from tblib.phantoms.demo import write_demo
from tblib.phantoms.lungs import lung_network
from tblib.phantoms.presets import CLEAN, Prevalence

MARKS = ("marker", "white_rectangle", "bordered")


@pytest.fixture(scope="module")
def unequal(tmp_path_factory) -> tuple[SimpleNamespace, pd.DataFrame]:
    """An audit of films of which one class has markers, the other one rectangles and borders; and their catalogue."""
    bare = {name: Prevalence(0, 0) for name in CLEAN}
    preset = bare | {
        "plain": Prevalence(0.9, 0.0),
        "white_rectangle": Prevalence(0.0, 0.6),
        "white_border": Prevalence(0.0, 0.6),
    }
    database = open_database(write_demo(tmp_path_factory.mktemp("demo") / "films.zip", 48, 0, preset))
    table = usable(build_catalogue(database).table)
    target = (table["label"] == database.positive).to_numpy(np.int64)
    audit = SimpleNamespace(
        films=table,
        target=target,
        database=database,
        seed=0,
        edit_masks=lambda rows: None,
        input=ModelInput(512),
        pictures=lambda rows: [database.film(file).grey for file in table["file"].iloc[rows]],
        associations={"sharpness, compression": SimpleNamespace(score=np.arange(len(table), dtype=float))},
    )
    return audit, table


def carried(films: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame([facts(artefacts(Film("L", film), film.size)) for film in films])


def test_exposed_films_carry_every_cue_as_often_in_both_classes(unequal):
    audit, table = unequal
    exposed = neutral_films(audit, np.arange(len(table)), audit.pictures(np.arange(len(table))), exposed=True)
    assert exposed.shape == (VARIANTS, len(table), 512, 512)
    found = carried(exposed.reshape(-1, 512, 512))
    positive = np.tile(audit.target == 1, VARIANTS)
    for name in MARKS:
        before = abs(np.diff(table.groupby(audit.target)[name].mean())[0])
        after = abs(found.loc[positive, name].mean() - found.loc[~positive, name].mean())
        assert before > 0.3
        assert after < 0.25, name


def test_unexposed_films_carry_no_marks(unequal):
    audit, table = unequal
    unexposed = neutral_films(audit, np.arange(len(table)), audit.pictures(np.arange(len(table))), exposed=False)
    found = carried(unexposed[0])
    for name in MARKS:
        assert table[name].mean() > 0.15
        assert found[name].mean() < 0.05, name


@given(st.lists(st.booleans(), min_size=8, max_size=60))
def test_chances_make_a_cue_equally_common(carries):
    target = np.arange(len(carries)) % 2
    own = np.array(carries)
    shares = [own[target == label].mean() for label in (0, 1)]
    expected = [
        share + (1 - share) * chance for share, chance in zip(shares, put_chances(own, target, SEEN), strict=True)
    ]
    assert expected == pytest.approx([max(*shares, SEEN)] * 2)


@pytest.fixture(scope="module")
def audit(smoke) -> Audit:
    return open_audit(smoke, "smoke", None, None, 50, 0)


def test_references_score_what_is_judged_with_as_many_networks_as_the_budget_says(audit):
    films = edited_films(audit)
    found = measure(audit, films)
    assert {name for name, _ in found.logits} <= judged(audit)
    assert {(cue.name, PUT) for cue in cues.EDITED} & set(films.pairs) <= set(found.logits)  # this budget plants cues
    for way, logits in found.logits.items():
        networks = audit.budget.outside_references if way == OUTSIDE else audit.budget.references
        assert logits.shape == (networks, 2, len(films.pairs[way].rows))
    assert len(found.aurocs) == audit.budget.references


def test_training_films_are_edited_only_for_a_model_that_knows_them_as_the_references_do(audit):
    here, elsewhere = (edited_films(audit, trained_here).rows for trained_here in (True, False))
    held_out = audit.held_out_rows[: audit.budget.films]
    assert set(elsewhere) == set(held_out)
    assert len(here) == min(audit.budget.films, len(audit.films))
    assert set(held_out) < set(here)
    assert (np.diff(here) > 0).all()


def test_a_stranger_is_compared_with_networks_that_saw_no_cue_too(audit):
    films = edited_films(audit)
    own, stranger = measure(audit, films, True), measure(audit, films, False)
    assert films.seen().pairs
    for way, logits in own.logits.items():
        if way not in films.seen().pairs:  # small networks have no number of channels
            assert not logits.any()
            assert not stranger.logits[way].any()
        elif way != OUTSIDE:
            np.testing.assert_array_equal(logits[::2], stranger.logits[way][::2])
            assert not np.array_equal(logits[1::2], stranger.logits[way][1::2])


def test_the_rarer_class_is_not_left_out_of_the_references_films(audit):
    rows = audit.reference_rows
    assert len(rows) == len(set(rows)) <= audit.budget.films
    assert audit.train[rows].all()
    positives = int((audit.target[audit.train] == 1).sum())
    assert int(audit.target[rows].sum()) == min(positives, audit.budget.films // 2)


@pytest.mark.parametrize(("negative", "positive"), [(544, 206), (544, 100), (50, 900), (900, 900), (30, 20)])
@pytest.mark.parametrize("drawn", [False, True])
def test_the_references_films_are_at_most_those_of_the_budget_with_drawn_lesions_or_without(negative, positive, drawn):
    target = np.repeat([0, 1], [negative, positive])
    given = {"draws": drawn, "budget": SimpleNamespace(films=480), "train": np.ones(len(target), bool), "seed": 0}
    rows = Audit.reference_rows.func(SimpleNamespace(**given, target=target))
    seen = [(2 if drawn else 1) * int((target[rows] == 0).sum()), int((target[rows] == 1).sum())]
    assert len(set(rows)) == len(rows)
    assert sum(seen) == min(480, (2 if drawn else 1) * negative + positive)
    assert seen[1] >= min(positive, 480 // (3 if drawn else 2))


def drawing(audit) -> Audit:
    """The same audit of a model that was trained on drawn lesions, too."""
    told = audit.model.preparation | {"drawn": {"films": 1, "sha256": ""}}
    return replace(audit, model=replace(audit.model, preparation=told))


def test_references_of_a_model_trained_on_drawn_lesions_are_trained_on_some_too(audit):
    plain, drawn, rows = training_films(audit), training_films(drawing(audit)), drawing(audit).reference_rows
    count, negative = len(rows), np.flatnonzero(audit.target[rows] == 0)
    assert not audit.draws
    np.testing.assert_array_equal(plain.rows, audit.reference_rows)
    np.testing.assert_array_equal(plain.images, audit.images[audit.reference_rows])
    np.testing.assert_array_equal(drawn.rows, np.concatenate([rows, rows[negative]]))
    np.testing.assert_array_equal(drawn.of[count:], negative)
    for name in ("target", "groups", "images"):
        np.testing.assert_array_equal(getattr(drawn, name)[:count], getattr(audit, name)[rows])
    assert (drawn.target[count:] == 1).all()
    assert not set(drawn.groups[count:]) & set(audit.groups)
    assert (drawn.images[count:] != audit.images[rows[negative]]).any((1, 2)).all()
    films = edited_films(audit)
    found, without = measure(drawing(audit), films), measure(audit, films)
    assert found.trained_on == len(drawn.rows)
    assert all(found.logits[way].shape == each.shape for way, each in without.logits.items())
    assert any((found.logits[way] != each).any() for way, each in without.logits.items())
    assert power.measure(drawing(audit), films, found)["curve"]


def test_drawn_lesions_come_with_cues_as_often_as_films_without_them(unequal):
    """Otherwise a reference network could learn a cue from them."""
    audit, table = unequal
    every = np.arange(len(table))
    films = {"images": np.stack(audit.pictures(every)), "groups": audit.target, "lungs": lung_network(), "draws": True}
    own = training_films(SimpleNamespace(**vars(audit), reference_rows=every, **films))
    exposed = neutral_films(audit, own.rows, own.pictures, exposed=True)
    found, positive = carried(exposed.reshape(-1, *exposed.shape[2:])), np.tile(own.target == 1, VARIANTS)
    for name in MARKS:
        shares = [found.loc[which, name].mean() for which in (positive, ~positive)]
        assert abs(np.diff(shares)[0]) < 0.25, name


def test_references_are_augmented_as_the_model_is(audit):
    assert audit.reference_training["augmentation"] == audit.model.training["augmentation"]
