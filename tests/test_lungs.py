"""Lung fields: estimates against masks that are known, masks that come with a database."""

import numpy as np
import pytest
import torch
from fake_cards import refuse_cards

from tblib.films.database import open_database
from tblib.films.film import resized
from tblib.phantoms import lungs
from tblib.phantoms.phantom import phantom_film
from tblib.phantoms.presets import CLASSES


def test_estimates_agree_with_the_masks_of_unseen_phantoms():
    drawn = [phantom_film(CLASSES[seed % 2], 10_000 + seed) for seed in range(12)]
    films = np.stack([film.pixels if film.pixels.ndim == 2 else film.pixels[..., 1] for film in drawn])
    values = lungs.dice(lungs.lung_network().masks(films), np.stack([film.lungs for film in drawn]))
    assert values.mean() > 0.93
    assert values.min() > 0.8


def test_estimates_agree_with_the_masks_of_montgomery(films):
    """Real films, real masks, and a network that has seen neither."""
    database = open_database(films / "montgomery.zip")
    files = list(database.labels)
    small = np.stack([resized(database.film(file).grey, 128) for file in files])
    values = lungs.dice(lungs.lung_network().masks(small), lungs.known_masks(database, files, 128))
    assert len(values) == 138
    assert values.mean() > 0.9
    assert np.quantile(values, 0.05) > 0.8


@pytest.mark.parametrize("damage", [
    lambda whole: b"",
    lambda whole: whole[: len(whole) // 2],
    lambda whole: whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
])  # fmt: skip
def test_a_damaged_network_is_trained_anew(damage, tmp_path, monkeypatch, capsys):
    trained = lungs.LungNetwork().state_dict()
    monkeypatch.setattr(lungs, "train", lambda: trained)
    monkeypatch.setattr(lungs, "ROOT", tmp_path)
    monkeypatch.setattr(lungs, "code_digest", lambda *_: "12345678")
    (tmp_path / "data").mkdir()
    lungs.lung_network.__wrapped__()
    assert capsys.readouterr().out == ""
    (path,) = (tmp_path / "data").glob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    network = lungs.lung_network.__wrapped__()
    assert "The lung network is trained anew" in capsys.readouterr().out
    assert path.read_bytes() == whole
    assert all(torch.equal(tensor, trained[name]) for name, tensor in network.state_dict().items())


def test_a_film_without_lungs_has_an_empty_mask():
    fields = lungs.lung_network().masks(np.stack([np.zeros((96, 80), np.uint8), np.full((96, 80), 255, np.uint8)]))
    assert fields.shape == (2, 96, 80)
    assert not fields.any()


def test_at_most_two_fields_are_kept():
    mask = np.zeros((64, 64), bool)
    mask[5:30, 5:25] = mask[5:40, 35:60] = mask[50:52, 3:5] = True
    kept = lungs._two_largest(mask)
    assert kept[10, 10]
    assert kept[10, 40]
    assert not kept[50, 3]


def test_the_demos_masks_are_found_by_name(demo):
    database = open_database(demo)
    files = list(database.labels)[::9]
    known = lungs.known_masks(database, files, 128)
    assert known.shape == (len(files), 128, 128)
    assert 0.1 < known.mean() < 0.5


def test_a_database_without_masks_for_all_has_none(tmp_path):
    from conftest import grey_film, png, write_zip

    entries = {f"{label}/{i}.png": png(grey_film(i)) for i, label in enumerate(("Normal", "Tuberculosis"))}
    entries["masks/0.png"] = png(np.full((64, 64), 255, np.uint8))
    database = open_database(write_zip(tmp_path / "db.zip", entries))
    assert lungs.known_masks(database, list(database.labels), 32) is None
    assert lungs.known_masks(database, ["Normal/0.png"], 32).all()


def test_dice():
    one, other = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    one[0, :2] = other[0, 1:3] = True
    assert lungs.dice(one, other).tolist() == [0.5, 1.0]


def test_training_repeats():
    first, second = (lungs.train(phantoms=4, steps=2) for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize("shape", [(64, 64), (300, 200)])
def test_fields_have_the_films_shape(shape):
    assert lungs.lung_network().masks(np.zeros((1, *shape), np.uint8)).shape == (1, *shape)


def test_training_leaves_every_card_alone(monkeypatch):
    refuse_cards(monkeypatch)
    # PyTorch's own look, before each step, at whether a card records a graph; nothing of ours.
    name = "_accelerator_graph_capture_health_check"
    if not hasattr(torch.optim.Adam, name):
        name = "_cuda_graph_capture_health_check"  # older PyTorch
    monkeypatch.setattr(torch.optim.Adam, name, lambda self: None)
    lungs.train(phantoms=2, steps=2)
