"""One size, one channel, exact statistics, and a split that parts no near-duplicates."""

import numpy as np
import pandas as pd
import pytest
from conftest import grey_film, png, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st
from test_catalogue import deep_entries, twelve_bits

from tblib.catalogue import build_catalogue, catalogued_database, save_catalogue
from tblib.films.database import open_database
from tblib.films.film import resized
from tblib.prepare import PARTS, PreparationError, normalisation, prepare, split
from tblib.run import Run


def catalogue(labels: list[str], groups: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "file": [f"{i:04d}.png" for i in range(len(labels))],
            "label": labels,
            "problem": "",
            "duplicate_group": groups,
        }
    )


@settings(deadline=None)
@given(
    normal=st.integers(20, 120),
    sick=st.integers(20, 60),
    duplicates=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_split_is_stratified_deterministic_and_parts_no_duplicates(normal, sick, duplicates, seed):
    groups = np.arange(normal + sick)
    for one, other in duplicates:
        groups[one % len(groups)] = groups[other % len(groups)]
    table = catalogue(["Normal"] * normal + ["Tuberculosis"] * sick, groups.tolist())
    part = split(table, seed)
    pd.testing.assert_series_equal(part, split(table, seed))
    assert (
        not table.assign(part=part).drop_duplicates(["duplicate_group", "part"])["duplicate_group"].duplicated().any()
    )
    for label, films in table.assign(part=part).groupby("label"):
        shares = films["part"].value_counts()
        for name, wanted in zip(PARTS, (0.8, 0.1, 0.1), strict=True):
            assert abs(shares.get(name, 0) - wanted * len(films)) <= 6, label  # up to a duplicate group of five


def test_split_without_duplicates_is_80_10_10_to_the_film_and_hangs_on_the_seed():
    table = catalogue(["Normal"] * 100 + ["Tuberculosis"] * 50, list(range(150)))
    first, second = split(table, 0), split(table, 1)
    counts = pd.crosstab(first, table["label"])
    assert counts.loc["train"].tolist() == [80, 40]
    assert counts.loc["val"].tolist() == [10, 5]
    assert counts.loc["test"].tolist() == [10, 5]
    assert (first != second).any()


def test_a_split_that_would_leave_a_part_without_a_class_is_refused():
    groups = [*range(40), *([40] * 18), 41, 42]  # eighteen of the twenty are one film
    part = split(catalogue(["Normal"] * 40 + ["Tuberculosis"] * 20, groups), 0)
    assert part[40:].value_counts().to_dict() == {"train": 18, "val": 1, "test": 1}
    mixed = [*range(38), 41, 42, *([40] * 18), 41, 42]  # and the other two are near-duplicates of normal films
    halves = [*range(40), *([40] * 12), *([41] * 12), 42]  # twice twelve, both to train, and nothing left for test
    for count, groups in ((20, mixed), (25, halves)):
        with pytest.raises(PreparationError, match="Class Tuberculosis has"):
            split(catalogue(["Normal"] * 40 + ["Tuberculosis"] * count, groups), 0)


def test_too_few_films_for_a_split_are_refused():
    with pytest.raises(PreparationError, match=r"Class Tuberculosis has 9 usable films.*at least 10"):
        split(catalogue(["Normal"] * 40 + ["Tuberculosis"] * 9, list(range(49))), 0)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_normalisation_is_exact(count, seed):
    images = np.random.default_rng(seed).integers(0, 256, (count + 2, 16, 16), dtype=np.uint8)
    found = normalisation(images, np.arange(count))
    assert found.mean == pytest.approx(images[:count].astype(float).mean(), abs=1e-12)
    assert found.sd == pytest.approx(images[:count].astype(float).std(), abs=1e-9)


@pytest.fixture
def run(tmp_path):
    films = {f"Normal/n{i}.png": png(grey_film(i)) for i in range(20)}
    films |= {f"Tuberculosis/t{i}.png": png(grey_film(40 + i)) for i in range(10)}
    films["Normal/broken.png"] = b"text"
    run = Run(tmp_path)
    save_catalogue(run, build_catalogue(open_database(write_zip(tmp_path / "db.zip", films))))
    return run


def test_images_are_the_films_in_the_order_of_the_split(run):
    database = open_database(run.path("db.zip"))
    content = prepare(run, database, size=32, seed=0)
    images, rows = run.images(), run.table("split.csv")
    assert images.shape == (30, 32, 32)
    assert images.dtype == np.uint8
    for row in rows.itertuples():
        number = int(row.file[8:-4]) if row.label == "Normal" else 40 + int(row.file[14:-4])
        np.testing.assert_array_equal(images[row.image], resized(grey_film(number), 32))
        assert row.target == (row.label == "Tuberculosis")
    train = images[rows.loc[rows["part"] == "train", "image"]]
    assert (content["mean"], content["sd"]) == pytest.approx((train.mean(), train.std()))
    assert content == run.facts("preparation.json")


def test_a_dark_film_of_12_bits_is_prepared_like_its_neighbours(tmp_path):
    """Whether or not the database that is handed over knows its depth, the catalogue does."""
    path, run = write_zip(tmp_path / "deep.zip", deep_entries(12, dark=2)), Run(tmp_path)
    save_catalogue(run, build_catalogue(open_database(path)))
    for database in (open_database(path), catalogued_database(run)):
        content = prepare(run, database, size=64, seed=0)
        assert content["bits"] == run.facts("preparation.json")["bits"] == 12
        images = run.images()[run.table("split.csv").set_index("file").loc[["Normal/n0.png", "Normal/n1.png"]]["image"]]
        for image, (seed, times) in zip(images, ((0, 8), (1, 20)), strict=True):
            np.testing.assert_array_equal(image, twelve_bits(seed, times) >> 4)


@pytest.mark.parametrize("size", [0, 16, 100, -32])
def test_sizes_that_the_cnn_cannot_take_are_refused_and_nothing_is_left(run, size):
    with pytest.raises(PreparationError, match="multiple of 16"):
        prepare(run, open_database(run.path("db.zip")), size, seed=0)
    assert not run.path("images.npy").exists()


def test_an_interrupted_preparation_leaves_the_old_arrays(run, monkeypatch):
    database = open_database(run.path("db.zip"))
    prepare(run, database, size=32, seed=0)
    before = run.path("images.npy").read_bytes()
    monkeypatch.setattr("tblib.mitigation.ModelInput.of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(run, database, size=64, seed=0)
    assert run.path("images.npy").read_bytes() == before
    assert not list(run.folder.glob("*.part"))
