"""Baselines find a cue that is there, find nothing where there is none, and see only what they say they see."""

import numpy as np
import pandas as pd
import pytest

from tblib.eda.baselines import (
    FILE_FACTS,
    RULE,
    BaselineError,
    border_strips,
    cross_validated,
    fact_features,
    fact_importance,
    file_fact_baselines,
    grey_histogram,
    summarise,
    thumbnail,
)
from tblib.metrics import Scored
from tblib.run import usable

N = 160
TARGET = (np.arange(N) % 4 == 0).astype(np.int64)


def images(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (N, 64, 64), dtype=np.uint8)


def auroc(features: pd.DataFrame, group: np.ndarray | None = None, kind: str = "boosting") -> float:
    group = np.arange(N) if group is None else group
    score = cross_validated(features, TARGET, group, seed=0, kind=kind)
    return summarise(Scored(TARGET, score, group), 50, 0)["auroc"]["value"]


@pytest.mark.parametrize("see", [border_strips, grey_histogram, thumbnail])
def test_probes_find_nothing_in_noise(see):
    assert 0.3 < auroc(see(images())) < 0.7


@pytest.mark.parametrize("kind", ["boosting", "logistic"])
@pytest.mark.parametrize(("see", "rows", "columns"), [
    (border_strips, slice(0, 3), slice(None)),
    (thumbnail, slice(16, 32), slice(16, 32)),
    (grey_histogram, slice(30, 50), slice(30, 50)),
])  # fmt: skip
def test_probes_find_a_planted_cue(see, rows, columns, kind):
    films = images()
    films[TARGET == 1, rows, columns] = 230
    assert auroc(see(films), kind=kind) > 0.95


def test_border_strips_see_the_border_and_nothing_else():
    films = images()
    before = border_strips(films)
    films[:, 3:-3, 3:-3] = 0  # 5 % of 64 px are 3 px
    pd.testing.assert_frame_equal(border_strips(films), before)
    films[:, 2, 30] = 0
    assert not border_strips(films).equals(before)


def test_the_histogram_does_not_see_places():
    films = images()
    shuffled = np.random.default_rng(0).permuted(films.reshape(N, -1), axis=1).reshape(films.shape)
    pd.testing.assert_frame_equal(grey_histogram(films), grey_histogram(shuffled))
    np.testing.assert_allclose(grey_histogram(films).sum(axis=1), 1)


def test_the_thumbnail_is_16_means():
    films = images()
    small = thumbnail(films)
    assert small.shape == (N, 16)
    assert small.iloc[5, 0] == pytest.approx(films[5, :16, :16].mean())
    assert small.iloc[5, 15] == pytest.approx(films[5, 48:, 48:].mean())


def test_duplicates_do_not_leak_into_the_probe():
    rng = np.random.default_rng(0)
    noise = pd.DataFrame(rng.normal(size=(N // 4, 6)))
    label = rng.integers(0, 2, N // 4)
    copies, target, group = (np.repeat(x, 4, axis=0) for x in (noise.to_numpy(), label, np.arange(N // 4)))
    score = cross_validated(pd.DataFrame(copies), target, group, seed=0)
    apart = cross_validated(pd.DataFrame(copies), target, np.arange(N), seed=0)
    assert summarise(Scored(target, apart, np.arange(N)), 50, 0)["auroc"]["value"] > 0.9  # what leaking would give
    assert summarise(Scored(target, score, group), 50, 0)["auroc"]["value"] < 0.75


def test_a_class_with_one_film_cannot_be_probed():
    with pytest.raises(BaselineError, match="fewer than two films"):
        cross_validated(pd.DataFrame({"a": [1.0, 2, 3]}), np.array([0, 0, 1]), np.arange(3), seed=0)


def test_importance_names_the_fact_that_tells():
    facts = pd.DataFrame(np.random.default_rng(0).normal(size=(N, 3)), columns=["a", "b", "c"])
    facts["b"] += 4 * TARGET
    table = fact_importance(facts, TARGET, np.arange(N), seed=0)
    assert table["fact"].iloc[0] == "b"
    assert table["mean"].iloc[0] > 0.2
    assert table["mean"].iloc[1:].abs().max() < 0.1


def test_the_known_figures_of_the_database_come_out(real_films):
    table = usable(real_films)
    found = file_fact_baselines(table, "Tuberculosis", replicates=200, seed=0)
    assert found[RULE]["sensitivity"]["value"] >= 0.95
    assert found[RULE]["specificity"]["value"] == 1
    assert found[RULE]["accuracy_at_3500_700"]["value"] >= 0.99
    assert found[FILE_FACTS]["auroc"]["value"] >= 0.99
    assert found[FILE_FACTS]["accuracy_at_3500_700"]["value"] >= 0.99
    features, target, _ = fact_features(table, "Tuberculosis")
    assert len(features) == len(target) == 938
