"""The sanity gate: maps are shown where they depend on the weights, and not where they do not."""

import numpy as np
import torch
from conftest import grey_film
from fake_cards import refuse_cards

from tblib import arrays
from tblib.audit import fits, saliency
from tblib.classifiers.trained import TrainedModel
from tblib.model import CNN, folded

N, SIDE = 80, 32
FIELDS = np.zeros((N, SIDE, SIDE), bool)
FIELDS[:, 4:14, 4:14] = True


def model() -> tuple[TrainedModel, np.ndarray, np.ndarray]:
    """A network that looks at a square inside the field, its films and targets."""
    films, target = np.stack([grey_film(i, SIDE) // 2 for i in range(N)]), np.arange(N) % 2
    films[target == 1, 6:12, 6:12] = 230
    how = fits.training_of({"epochs": 8, "width": 8, "low_resolution_share": 0.0, "precision": "fp32"})
    ((cnn, by),) = fits.trained([fits.Wanted(films, target, None, how, "cpu")])
    return TrainedModel(cnn, {"size": SIDE, "mean": by.mean, "sd": by.sd}, {"width": 8}), films, target


def test_a_trained_network_passes_and_its_maps_lie_where_the_cue_is():
    trained, films, target = model()
    gate = saliency.gate(trained, films[:12], 0)
    assert gate["open"]
    assert gate["correlation"] < gate["limit"]
    maps = saliency.maps(trained.cnn, films[:24], trained.normalisation, 0)
    np.testing.assert_allclose(maps.sum((1, 2)), 1)
    told = saliency.by_class(saliency.inside(maps, FIELDS[:24]), target[:24], 200, 0)
    assert told["1"]["low"] > 1.5  # the field has a tenth of the film, and more of the map


def test_maps_that_do_not_hang_on_the_weights_are_not_shown(monkeypatch):
    """A network that gives the same map whatever it has learned: here, one compared with itself."""
    trained, films, _ = model()
    monkeypatch.setattr(saliency, "folded", lambda cnn: trained.cnn)
    gate = saliency.gate(trained, films[:8], 0)
    assert gate["correlation"] > 0.95
    assert not gate["open"]


def test_an_even_map_is_at_chance():
    even = np.full((3, SIDE, SIDE), 1 / SIDE**2)
    np.testing.assert_allclose(saliency.inside(even, FIELDS[:3]), 1)
    assert len(saliency.inside(even, np.zeros((3, SIDE, SIDE), bool))) == 0


def test_maps_repeat_and_leave_the_network_alone():
    torch.manual_seed(0)
    cnn, by = folded(CNN(SIDE, 0.0, 4)), arrays.Normalisation(100, 50)
    films = np.stack([grey_film(i, SIDE) for i in range(3)])
    before = {name: tensor.clone() for name, tensor in cnn.state_dict().items()}
    one, other = (saliency.maps(cnn, films, by, 5) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert all(torch.equal(before[name], tensor) for name, tensor in cnn.state_dict().items())


def test_maps_and_gate_leave_every_card_alone(monkeypatch):
    refuse_cards(monkeypatch)
    trained = TrainedModel(folded(CNN(SIDE, 0.0, 4)), {"size": SIDE, "mean": 100, "sd": 50}, {"width": 4})
    assert saliency.gate(trained, np.stack([grey_film(i, SIDE) for i in range(2)]), 0)["films"] == 2


def test_flat_maps_of_a_dead_network_are_not_shown():
    trained, films, _ = model()
    dead = TrainedModel(folded(CNN(SIDE, width=8)), trained.preparation, trained.training)
    for weights in dead.cnn.parameters():
        weights.data.zero_()
    gate = saliency.gate(dead, films[:4], 0)
    assert not gate["open"]
    assert gate["correlation"] == 1
