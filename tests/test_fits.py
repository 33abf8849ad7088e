"""Fits: regions leave what they say, planted cues are found, nothing is found in nothing."""

import numpy as np
import pytest
import torch
from conftest import grey_film

from tblib.arrays import Normalisation
from tblib.audit import fits
from tblib.audit.fits import mitigated, region
from tblib.audit.views import REGIONS
from tblib.dataset import Augmentation
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
    elif name == "fine detail":
        assert np.abs(left.mean((1, 2)) - MID_GREY).max() < 2
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


def test_widened_lungs_leave_less_of_the_film():
    names = ("outside the lungs", *(f"outside the lungs + {pixels} px" for pixels in (5, 10, 25)))
    seen = [REGIONS[name].in_view(np.kron(FIELDS[:2], np.ones((1, 8, 8), bool)), 0).mean() for name in names]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == len(seen)
    assert REGIONS[names[-1]].in_view(np.zeros((1, 64, 64), bool), 0).all()  # no lung was found: nothing is hidden


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
    ("outside the centre", 1 - (32 - 2 * 6) ** 2 / 32**2), ("corners", 4 * 6**2 / 32**2),
    ("outside the lungs + 25 px", 0),
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


# --- reference networks and planted cues

EDITS = (with_block(FILMS[~TRAIN]), FILMS[~TRAIN])
TARGET, GROUPS = LABEL[TRAIN], np.zeros(TRAIN.sum(), np.int64)


def moved(found: dict) -> float:
    """Mean change of the logit by the block."""
    return float(np.subtract(found["after"], found["before"]).mean())


def planted(carries: np.ndarray, seed: int = 0) -> dict:
    arrays = FILMS[TRAIN], with_block(FILMS[TRAIN]), carries, TARGET, FILMS[~TRAIN], *EDITS
    return fits.planted(*arrays, seed, SMALL)


def test_a_cue_that_tells_all_moves_the_network_and_one_on_all_films_does_not():
    told, common = planted(TARGET == 1), planted(np.ones(TRAIN.sum(), bool))
    assert moved(told) > 1
    assert abs(moved(common)) < moved(told) / 2
    assert [len(told[name]) for name in ("logits", "after", "before")] == 3 * [(~TRAIN).sum()]


def test_a_fit_repeats():
    assert planted(TARGET == 1, 3) == planted(TARGET == 1, 3)


def test_a_reference_network_sees_one_variant_of_each_film():
    """Of films with the block and films without, both for every label: nothing to learn from it."""
    variants = np.stack([FILMS[TRAIN], with_block(FILMS[TRAIN])])
    found = fits.reference(variants, TARGET, GROUPS, FILMS[~TRAIN], *EDITS, 0, SMALL)
    assert abs(moved(found)) < moved(planted(TARGET == 1)) / 2
    telling = np.where((TARGET == 1)[:, None, None], with_block(FILMS[TRAIN]), FILMS[TRAIN])
    assert moved(fits.reference(telling[None], TARGET, GROUPS, FILMS[~TRAIN], *EDITS, 0, SMALL)) > 1


def test_an_outside_reference_cannot_learn_from_outside_the_lungs():
    telling = np.where((LABEL == 1)[:, None, None], with_block(FILMS), FILMS)[TRAIN]
    arrays = telling, FIELDS[TRAIN], TARGET, GROUPS, FILMS[~TRAIN], *EDITS
    assert abs(moved(fits.outside_reference(*arrays, 0, SMALL))) < moved(planted(TARGET == 1)) / 2


def test_an_augmentation_can_be_given_by_its_values():
    values = {"shift": 0.0, "scale": 0.0, "brightness": 0.0, "contrast": 0.1}
    assert fits.training_of({"augmentation": values}).augmentation == Augmentation(**values)
    assert fits.training_of({}).augmentation == Augmentation()


def test_randomising_ends_the_use_of_a_cue():
    films = np.where(LABEL[:, None, None] == 1, with_block(FILMS), FILMS)
    edited = np.stack([np.stack([with_block(FILMS[~TRAIN]), FILMS[~TRAIN]])])
    groups = LABEL.copy()
    effects = {}
    for mitigation in ("none", "randomise"):
        found = mitigated(films, edited, FILMS[:3], LABEL, groups, TRAIN, FILMS[:0], mitigation, 0, SMALL)
        effects[mitigation] = np.subtract(*np.array(found["edited"][0])).mean()
        assert len(found["logits"]) == (~TRAIN).sum()
        assert len(found["others"]) == 3
    assert effects["none"] > 1
    assert effects["randomise"] < effects["none"]


@pytest.mark.parametrize("mitigation", ["balance", "group_dro"])
def test_the_other_remedies_in_training_learn_too(mitigation):
    films = np.where(LABEL[:, None, None] == 1, with_block(FILMS), FILMS)
    groups = 2 * LABEL + (np.arange(N) % 2)
    none = np.empty((0, 2, 1, SIDE, SIDE), np.uint8)
    scores = np.array(
        mitigated(films, none, FILMS[:0], LABEL, groups, TRAIN, FILMS[:0], mitigation, 0, SMALL)["logits"]
    )
    held = LABEL[~TRAIN] == 1
    assert (scores[held][:, None] > scores[~held][None]).mean() > 0.9


def test_no_film_gives_no_logit():
    cnn, by = fits.trained([fits.Wanted(FILMS, LABEL, None, fits.training_of(SMALL | {"epochs": 1}), "cpu")])[0]
    assert logits_of_images(cnn, FILMS[:0], by).shape == (0,)


def test_a_logit_that_is_no_number_is_no_finding():
    cnn = CNN(SIDE, width=4)
    torch.nn.init.constant_(cnn.head[-1].bias, float("nan"))
    with pytest.raises(ModelError, match=f"gives {N} of {N} films a score that is no finite number"):
        logits_of_images(cnn, FILMS, Normalisation(100, 50))
