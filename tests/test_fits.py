"""Fits: regions leave what they say, planted cues are found, nothing is found in nothing."""

import numpy as np
import pytest
import torch
from conftest import grey_film

from tblib.arrays import Normalisation
from tblib.audit import fits
from tblib.audit.fits import answer, control, mitigated, region
from tblib.audit.views import REGIONS
from tblib.metrics import Scored
from tblib.mitigation import MID_GREY
from tblib.model import CNN, ModelError, logits_of_images

N, SIDE = 96, 32
TRAIN = np.arange(N) % 4 != 0
LABEL = (np.arange(N) % 3 == 0).astype(np.int64)
SMALL = {"epochs": 16, "width": 4, "low_resolution_share": 0.0, "lr": 2e-3, "precision": "fp32"}
FILMS = np.stack([grey_film(i, SIDE) for i in range(N)])
FIELDS = np.zeros((N, SIDE, SIDE), bool)
FIELDS[:, 8:24, 8:24] = True


def with_block(films: np.ndarray, level: int = 255) -> np.ndarray:
    marked = films.copy()
    marked[:, 26:31, 4:20] = level
    return marked


# --- regions


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_leaves_the_film_or_one_grey(name):
    left = REGIONS[name].left_of(FILMS, FIELDS)
    assert left.shape == FILMS.shape
    if name == "lung shape only":
        assert set(np.unique(left)) == {0, 255}
    else:
        assert ((left == FILMS) | (left == MID_GREY)).all()


def test_a_border_is_as_wide_as_it_says_and_the_rest_is_gone():
    for name, width in (("border 5 %", 2), ("border 10 %", 3), ("border 15 %", 5)):
        left = REGIONS[name].left_of(FILMS, FIELDS)
        assert (left[:, width:-width, width:-width] == MID_GREY).all()
        np.testing.assert_array_equal(left[:, :width], FILMS[:, :width])


def test_lungs_only_and_outside_are_each_others_rest():
    inside, outside = REGIONS["lungs only"].left_of(FILMS, FIELDS), REGIONS["outside the lungs"].left_of(FILMS, FIELDS)
    np.testing.assert_array_equal(np.where(FIELDS, inside, outside), FILMS)
    np.testing.assert_array_equal(REGIONS["whole film"].left_of(FILMS, FIELDS), FILMS)


def test_another_films_outline_is_no_films_own():
    places = np.arange(N)[:, None, None]
    own = np.zeros((N, SIDE, SIDE), bool)
    own[np.arange(N), np.arange(N) % SIDE] = True  # a line of its own each
    cut = REGIONS["another film's lungs cut"].left_of(np.full_like(FILMS, 7), own)
    assert ((cut == 7).sum((1, 2)) == SIDE).all()
    rows = (cut == 7).any(2).argmax(1)
    assert (rows != places[:, 0, 0] % SIDE).mean() > 0.9


@pytest.mark.parametrize(("name", "share"), [
    ("border 5 %", 0), ("outside the lungs", 0), ("lung shape only", 0), ("lungs only", 1), ("whole film", 1),
    ("outside the centre", 1 - (32 - 2 * 6) ** 2 / 32**2),
])  # fmt: skip
def test_how_much_lung_a_region_leaves_in_view_is_counted(name, share):
    """All but the middle of a film shows lung where the lungs reach far out, and so does another film's outline."""
    fields = FIELDS if share in (0, 1) else np.ones_like(FIELDS)
    seen = REGIONS[name].in_view(fields, 0)
    assert (seen & fields).sum() / fields.sum() == pytest.approx(share)
    if name != "lung shape only":
        np.testing.assert_array_equal(seen, REGIONS[name].left_of(np.full_like(FILMS, 7), fields) == 7)


def test_a_kept_fit_is_known_by_the_precision_that_auto_came_to(monkeypatch):
    kept = set()
    for found in ("bf16", "fp32"):
        monkeypatch.setattr(fits, "pick_precision", lambda wanted, device, found=found: found)
        kept.add(fits.settled({"width": 4})["precision"])
    assert kept == {"bf16", "fp32"}
    monkeypatch.undo()
    assert fits.settled({"precision": "fp32"})["precision"] == "fp32"


def test_a_network_climbs_where_the_cue_is_and_not_elsewhere():
    films = np.where(LABEL[:, None, None] == 1, with_block(FILMS), FILMS)
    scores = {
        name: np.array(region(films, FIELDS, LABEL, TRAIN, name, 0, SMALL)["logits"])
        for name in ("outside the lungs", "lungs only")
    }
    held = LABEL[~TRAIN] == 1
    area = {name: (s[held][:, None] > s[~held][None]).mean() for name, s in scores.items()}
    assert area["outside the lungs"] > 0.95
    assert area["lungs only"] < 0.8


# --- planted cues


def planted(p: float, seed: int, shuffle: bool = True) -> dict:
    return fits.planted(FILMS, with_block(FILMS), FILMS, LABEL, np.arange(N), TRAIN, p, shuffle, seed, SMALL)


def test_a_plain_cue_that_tells_all_is_found():
    found = planted(1.0, 0)
    assert found["used"]
    assert found["auroc"] > 0.9
    assert found["cue_auroc"] == 1
    assert found["mean"] > 1


def test_a_cue_that_tells_nothing_is_seldom_called_used():
    assert sum(planted(0.5, seed)["used"] for seed in range(6)) <= 1


def test_a_trial_repeats():
    assert planted(0.8, 3) == planted(0.8, 3)


def test_in_negative_controls_labels_cannot_be_told():
    edited = np.stack([np.stack([with_block(FILMS), FILMS])])
    cues = np.zeros((1, N))
    cues[0, :20] = 1
    areas = []
    for seed in range(3):
        found = control(FILMS, edited, LABEL, np.arange(N), TRAIN, cues, ["block"], True, seed, SMALL)
        assert set(found) == {"auroc", "block"}
        areas.append(found["auroc"])
    assert 0.2 < np.mean(areas) < 0.8


def test_the_answer_is_towards_the_class_that_the_cue_goes_with():
    target = np.array([0, 1] * 20)
    up = np.where(np.arange(10) % 2, 1.0, 0.8)
    for sign in (1, -1):
        cue = Scored(target, (sign * target).astype(float), np.arange(40))
        found = answer(cue, sign * up, -sign * up, np.arange(10), 0)
        assert found["mean"] > 0
        assert found["flips"] == 1
        assert found["used"]
        away = answer(cue, -sign * up, sign * up, np.arange(10), 0)
        assert away["mean"] < 0
        assert not away["used"]


def test_a_cue_that_moves_but_does_not_tell_is_no_shortcut():
    cue = Scored(np.array([0, 1] * 20), np.array([0.0, 0, 1, 1] * 10), np.arange(40))
    found = answer(cue, np.ones(10), -np.ones(10), np.arange(10), 0)
    assert not found["used"]


def test_randomising_ends_the_use_of_a_cue():
    films = np.where(LABEL[:, None, None] == 1, with_block(FILMS), FILMS)
    edited = np.stack([np.stack([with_block(FILMS[~TRAIN]), FILMS[~TRAIN]])])
    groups = LABEL.copy()
    moved = {}
    for mitigation in ("none", "randomise"):
        found = mitigated(films, edited, FILMS[:3], LABEL, groups, TRAIN, mitigation, 0, SMALL)
        moved[mitigation] = np.subtract(*np.array(found["edited"][0])).mean()
        assert len(found["logits"]) == (~TRAIN).sum()
        assert len(found["others"]) == 3
    assert moved["none"] > 1
    assert moved["randomise"] < moved["none"]


@pytest.mark.parametrize("mitigation", ["balance", "group_dro"])
def test_the_other_remedies_in_training_learn_too(mitigation):
    films = np.where(LABEL[:, None, None] == 1, with_block(FILMS), FILMS)
    groups = 2 * LABEL + (np.arange(N) % 2)
    none = np.empty((0, 2, 1, SIDE, SIDE), np.uint8)
    scores = np.array(mitigated(films, none, FILMS[:0], LABEL, groups, TRAIN, mitigation, 0, SMALL)["logits"])
    held = LABEL[~TRAIN] == 1
    assert (scores[held][:, None] > scores[~held][None]).mean() > 0.9


def test_no_film_gives_no_logit():
    cnn, by = fits.fitted(FILMS, LABEL, None, fits.training_of(SMALL | {"epochs": 1}))
    assert logits_of_images(cnn, FILMS[:0], by).shape == (0,)


def test_a_logit_that_is_no_number_is_no_finding():
    cnn = CNN(SIDE, width=4)
    torch.nn.init.constant_(cnn.head[-1].bias, float("nan"))
    with pytest.raises(ModelError, match=f"gives {N} of {N} films a score that is no finite number"):
        logits_of_images(cnn, FILMS, Normalisation(100, 50))
