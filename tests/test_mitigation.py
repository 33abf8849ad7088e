"""Mitigations: what each does to a film, and that one name means the same wherever a film is prepared."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import grey_film, png

from tblib.dataset import TBDataset
from tblib.films import edits
from tblib.films.artefacts import artefacts
from tblib.films.boxes import Box, box_around
from tblib.films.film import Film, resized
from tblib.mitigation import (
    DRAWN,
    IN_TRAINING,
    MID_GREY,
    ON_FILMS,
    MitigationError,
    ModelInput,
    chosen,
    evened,
    hull,
    on_films,
    other_outline,
    painted_out,
    randomised,
)
from tblib.phantoms import lungs, reference
from tblib.phantoms.lesions import with_lesions
from tblib.phantoms.phantom import phantom_film
from tblib.phantoms.presets import CLASSES
from tblib.prepare import cue_groups


def lung_film(seed: int = 7) -> np.ndarray:
    pixels = phantom_film(CLASSES[0], seed, dict.fromkeys(_presets(), (0.0, 0.0))).pixels
    return pixels if pixels.ndim == 2 else pixels[..., 0].copy()


def _presets():
    from tblib.phantoms.presets import KAGGLE

    return KAGGLE


def test_names_are_joined_by_plus_and_put_in_order():
    assert chosen(None) == ()
    assert chosen("randomise+equalise+lung_crop") == ("lung_crop", "equalise", "randomise")
    assert on_films("randomise+equalise") == "equalise"
    assert on_films("randomise") is None
    with pytest.raises(MitigationError, match="no mitigation 'equalize'; give none, or some of paint_out"):
        chosen("equalize")


@pytest.mark.parametrize("mitigation", [None, *DRAWN, *IN_TRAINING])
def test_what_is_done_in_training_leaves_films_as_they_are(mitigation):
    film = grey_film(1, 200)
    np.testing.assert_array_equal(ModelInput(64, mitigation).of(film), resized(film, 64))
    assert on_films(mitigation) is None


def test_what_finds_the_lungs_must_be_known_where_it_is_needed():
    with pytest.raises(ValueError, match="lung_crop needs to know what finds the lungs"):
        ModelInput(64, "lung_crop").of(grey_film(1, 200))


@pytest.mark.parametrize("mitigation", [*ON_FILMS, "+".join(ON_FILMS)])
def test_every_mitigation_gives_a_film_of_the_models_size_and_leaves_the_given_one_alone(mitigation):
    film = edits.white_rectangle(lung_film(), Box(440, 150, 490, 300)).pixels
    before = film.copy()
    got = ModelInput(96, mitigation, lungs.lung_network()).of(film)
    assert got.shape == (96, 96)
    assert got.dtype == np.uint8
    assert (got != resized(film, 96)).any()
    np.testing.assert_array_equal(film, before)


def test_equalised_films_have_the_same_histogram_whatever_their_tone():
    film = lung_film()
    dull = (60 + film * 0.4).astype(np.uint8)
    one, other = (np.histogram(ModelInput(128, "equalise").of(each), 8, (0, 256))[0] for each in (film, dull))
    assert np.abs(one - other).max() < 0.05 * 128 * 128


def test_levels_are_spread_over_the_lungs_alone():
    film, lungs = grey_film(2, 64), np.zeros((64, 64), bool)
    lungs[20:44, 10:54] = True
    even = evened(film, lungs)
    assert np.abs(np.quantile(even[lungs], [0.25, 0.5, 0.75]) - [64, 128, 191]).max() < 12
    assert (np.diff([even[film == level].max() for level in np.unique(film)]) >= 0).all()  # order is kept


def test_a_border_crop_takes_a_border_away():
    film = grey_film(3, 200)
    bordered = film.copy()
    bordered[:10] = bordered[-10:] = bordered[:, :10] = bordered[:, -10:] = 255
    np.testing.assert_array_equal(ModelInput(64, "border_crop").of(bordered), ModelInput(64, "border_crop").of(film))


def test_outside_the_lungs_is_grey_and_a_marker_there_makes_no_difference():
    film = lung_film()
    marked = edits.marked(film, edits.Marker("L", size=30), 20, 470).pixels
    one, other = (ModelInput(128, "lungs_only", lungs.lung_network()).of(each) for each in (film, marked))
    assert 0.3 < (one == MID_GREY).mean() < 0.9
    assert (one != other).mean() < 0.02


def test_markers_and_blocks_are_painted_out():
    film = edits.marked(lung_film(), edits.Marker("L", size=34), 50, 440).pixels
    film = edits.white_rectangle(film, Box(450, 150, 490, 300)).pixels
    before, after = (artefacts(Film("L", each), 1) for each in (film, painted_out(film)))
    assert before.markers
    assert before.white_rectangles
    assert not after.markers
    assert not after.white_rectangles


def test_randomised_films_repeat_by_seed_and_differ_between():
    films = np.stack([grey_film(i, 128) for i in range(6)])
    one, again, other = (randomised(films, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any((1, 2)).all()
    assert one.shape == films.shape
    assert one.dtype == np.uint8


@pytest.mark.parametrize("side", [32, 64, 128])
def test_randomising_fits_every_size(side):
    films = np.stack([grey_film(i, side) for i in range(40)])
    assert randomised(films, np.random.default_rng(0)).shape == films.shape


def test_balance_draws_targets_alike_and_groups_alike_within_them():
    target = np.array([0] * 90 + [1] * 10)
    group = np.array([0] * 80 + [1] * 10 + [2] * 9 + [3])
    data = TBDataset(np.zeros((100, 8, 8), np.uint8), target, torch.device("cpu"), groups=group)
    drawn = torch.cat([data.order(torch.Generator().manual_seed(seed), balanced=True) for seed in range(60)])
    shares = np.bincount(group[drawn.numpy()], minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, 0.25, atol=0.03)


def test_cues_are_grouped_within_labels_and_rare_ones_are_one():
    films = pd.DataFrame(
        {
            "label": ["N"] * 30 + ["T"] * 12,
            "marker": [True] * 28 + [False] * 2 + [False] * 12,
            "white_rectangle": False,
            "bordered": [False] * 30 + [True] * 12,
        }
    )
    groups = cue_groups(films)
    assert groups.value_counts().to_dict() == {"N: marker": 28, "T: border": 12, "N: rarer": 2}


def test_a_prediction_prepares_the_film_as_the_training_did(tmp_path, smoke):
    """The mitigation travels in the model file: a predictor of that model does to a film what preparation did."""
    from dataclasses import replace

    from tblib.predict.predictor import Predictor, open_predictor

    plain = open_predictor(smoke.path("model.safetensors"))
    trained = replace(plain.network, preparation=plain.preparation | {"mitigation": "border_crop"})
    film = grey_film(4, 100)
    given = trained, trained.preparation, trained.input, plain.thresholds, plain.calibration
    answer = Predictor(*given).answer(png(film), "film.png")
    np.testing.assert_array_equal(answer.seen, ModelInput(32, "border_crop").of(film))


def test_the_lung_network_travels_in_the_model_file(tmp_path, demo, monkeypatch):
    """On another machine, whose own network is another one, a model crops films as it did where it was trained."""
    from tblib.catalogue import build_catalogue, save_catalogue
    from tblib.classifiers import opened
    from tblib.classifiers.trained import load_model, save_model, train_run
    from tblib.films.database import open_database
    from tblib.model import ModelError
    from tblib.predict.predictor import open_predictor
    from tblib.prepare import prepare
    from tblib.run import Run
    from tblib.train import Training, TrainingError

    run, database = Run(tmp_path), open_database(demo)
    save_catalogue(run, build_catalogue(database))
    prepare(run, database, 32, 0, "lung_crop")
    elsewhere = lungs.network_of(lungs.train(phantoms=4, steps=2))
    for module in (lungs, opened):
        monkeypatch.setattr(module, "lung_network", lambda: elsewhere)
    train_run(run, Training(epochs=1, threads=1))
    predictor, images = open_predictor(run.path("model.safetensors")), run.images()
    for row in run.table("split.csv").head(4).itertuples():
        content = database.read(row.file)
        np.testing.assert_array_equal(predictor.answer(content, row.file).seen, images[row.image])
    trained = load_model(run.path("model.safetensors"))
    film = lung_film()
    assert (
        ModelInput(32, "lung_crop", elsewhere).of(film) != ModelInput(32, "lung_crop", trained.lungs).of(film)
    ).any()  # the other one differs

    save_model(run.path("old.safetensors"), {}, trained.preparation, trained.training)
    with pytest.raises(ModelError, match="lacks what it takes to change others in the same way"):
        load_model(run.path("old.safetensors"))
    run.path("lungs.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"missing or another one.*--from preparation"):
        train_run(run, Training(epochs=1, threads=1))


def test_each_mitigation_is_explained():
    assert all(len(text) > 20 for text in (ON_FILMS | DRAWN | IN_TRAINING).values())


@pytest.mark.parametrize("mitigation", [None, "lung_crop", "equalise", "lung_crop+smooth"])
def test_lesions_are_drawn_into_the_lungs_of_negative_training_films_alone(mitigation, tmp_path, demo):
    """The films that are scored are the same with and without it; what is drawn is a positive film of its own group."""
    from tblib.catalogue import build_catalogue, save_catalogue
    from tblib.films.database import open_database
    from tblib.prepare import load_part, prepare
    from tblib.run import open_run

    database, found = open_database(demo), {}
    for name, whole in (("without", mitigation), ("with", "+".join(filter(None, [mitigation, "lesions"])))):
        run = open_run(str(tmp_path / name))
        save_catalogue(run, build_catalogue(database))
        told = prepare(run, database, 64, 0, whole)
        found[name] = [load_part(run, part) for part in ("train", "val", "test")], np.array(run.images()), told
    (plain, images, told), (drawn, same, told_too) = found["without"], found["with"]
    np.testing.assert_array_equal(images, same)
    assert [len(part) for part in plain[1:]] == [len(part) for part in drawn[1:]]
    assert (told["mitigation"], told["mean"], told["sd"]) == (mitigation, told_too["mean"], told_too["sd"])
    negatives = int((plain[0].targets == 0).sum())
    assert told_too["drawn"]["films"] == len(drawn[0]) - len(plain[0]) == negatives
    own, added = drawn[0][torch.arange(len(plain[0]))], drawn[0][torch.arange(len(plain[0]), len(drawn[0]))]
    assert torch.equal(own[0], plain[0][torch.arange(len(plain[0]))][0])
    assert added[1].eq(1).all()
    assert set(drawn[0].groups[len(plain[0]) :].tolist()).isdisjoint(drawn[0].groups[: len(plain[0])].tolist())
    before = own[0][own[1] == 0].float()
    assert ((added[0].float() - before).abs().amax((1, 2, 3)) > 5).all()  # each of them shows something


def test_drawn_lesions_lie_in_and_beside_the_lungs_and_repeat_by_seed():
    film, network = lung_film(), lungs.lung_network()
    mask = network.masks(film[None])[0]
    drawn = [with_lesions(film, mask, np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4, 5)]
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])
    assert (drawn[0][0] != drawn[2][0]).any()
    box, changed = box_around(mask), np.zeros_like(mask)
    changed[box.widened(round(0.07 * max(box.height, box.width)))] = True
    for one, where in drawn:
        assert where.any()
        assert (one[~changed] == film[~changed]).all()
        assert np.abs(one.astype(int) - film)[where].mean() > 3 * np.abs(one.astype(int) - film)[~where].mean()
    colour = with_lesions(edits.three_channels(film), mask, np.random.default_rng(1))[0]
    np.testing.assert_array_equal(colour[..., 1], drawn[0][0])


def test_a_run_without_its_drawn_films_says_how_to_get_them_back(tmp_path, demo):
    from tblib.catalogue import build_catalogue, save_catalogue
    from tblib.films.database import open_database
    from tblib.prepare import DRAWN_FILE, PreparationError, load_part, prepare
    from tblib.run import open_run

    run, database = open_run(str(tmp_path / "run")), open_database(demo)
    save_catalogue(run, build_catalogue(database))
    prepare(run, database, 32, 0, "lesions")
    run.path(DRAWN_FILE).write_bytes(b"other")
    with pytest.raises(PreparationError, match="--from preparation"):
        load_part(run, "train")
    load_part(run, "val")
    prepare(run, database, 32, 0)  # nothing drawn is left behind
    assert not run.path(DRAWN_FILE).exists()
    load_part(run, "train")


@pytest.mark.parametrize("name", ["hull", "other_outline", "lungs_only"])
def test_what_is_masked_is_grey_and_the_rest_is_the_film(name):
    film, network = lung_film(), lungs.lung_network()
    got, whole = ModelInput(128, name, network).of(film), ModelInput(128).of(film)
    outside = got != whole
    assert 0.2 < outside.mean() < 0.9
    assert (got[outside] == MID_GREY).all()


def test_a_hull_hides_the_outline_and_another_outline_is_the_same_for_all():
    one, other = (lungs.lung_network().masks(lung_film(seed)[None])[0] for seed in (7, 8))
    assert (hull(one) >= one).all()
    assert hull(one).mean() > 1.3 * one.mean()
    shapes = []
    for mask in (one, other):
        seen, box = other_outline(mask), box_around(mask)
        assert np.abs(np.subtract(box_around(seen), box)).max() <= 1  # up to rounding
        shapes.append(resized(255 * seen[box.widened(0)].astype(np.uint8), 64) > 127)
    assert (shapes[0] == shapes[1]).mean() > 0.98
    assert (resized(255 * one[box_around(one).widened(0)].astype(np.uint8), 64) > 127).sum() != shapes[0].sum()


def test_reference_levels_are_those_of_one_phantom_whatever_the_tone():
    film, network = lung_film(), lungs.lung_network()
    dull = (60 + film * 0.4).astype(np.uint8)
    one, other = (ModelInput(128, "reference_levels").of(each) for each in (film, dull))
    assert np.abs(np.quantile(one, [0.1, 0.5, 0.9]) - np.quantile(other, [0.1, 0.5, 0.9])).max() < 8
    wanted = np.quantile(reference.reference()[0], [0.1, 0.5, 0.9])
    assert np.abs(np.quantile(one, [0.1, 0.5, 0.9]) - wanted).max() < 8
    cropped = ModelInput(128, "lung_crop+reference_levels", network).of(film)
    assert len(np.unique(cropped)) > 30


def test_the_recommended_settings_train_a_model_that_is_evaluated_and_answers(tmp_path, demo):
    """``parameters/mitigated.yml`` at the least size and width: its names are known, and its record can be read."""
    from dataclasses import fields

    from tblib.catalogue import build_catalogue, save_catalogue
    from tblib.classifiers.trained import train_run
    from tblib.evaluate import evaluate
    from tblib.films.database import open_database
    from tblib.predict.predictor import open_predictor
    from tblib.prepare import prepare
    from tblib.report.declared import NOTEBOOKS
    from tblib.report.parameters import check_parameters, read_parameters
    from tblib.run import open_run
    from tblib.train import Training

    asked = check_parameters(read_parameters(NOTEBOOKS / "parameters" / "mitigated.yml"))["training"]
    assert asked["mitigation"]
    run, database = open_run(str(tmp_path / "run")), open_database(demo)
    save_catalogue(run, build_catalogue(database))
    prepare(run, database, 32, 0, asked["mitigation"])
    known = {field.name for field in fields(Training)} & set(asked)
    small = {"epochs": 1, "width": 4}
    train_run(run, Training(**{name: asked[name] for name in known} | small), asked["chosen_by"])
    evaluate(run, 50, 0)
    answer = open_predictor(run.path("model.safetensors")).answer(png(grey_film(5, 200)), "film.png")
    assert 0 <= answer.score.probability <= 1
