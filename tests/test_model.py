"""The CNN is what the protocol says, and its file is read only if it is one of ours."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tblib.arrays import Normalisation
from tblib.classifiers.trained import MAGIC, load_model, save_model
from tblib.model import CNN, ModelError, folded, logits_of_images

PREPARATION = {"negative": "Normal", "positive": "Tuberculosis", "size": 32, "mean": 120.0, "sd": 60.0}


@pytest.mark.parametrize("size", [32, 48, 64])
def test_one_logit_a_film_for_any_size(size):
    assert CNN(size)(torch.zeros(3, 1, size, size)).shape == (3,)


def test_films_that_are_alike_are_scored_once():
    films, counted = np.random.default_rng(0).integers(0, 256, (5, 32, 32), np.uint8), []
    cnn, order, by = folded(CNN(32, width=2)), [4, 1, 1, 0, 4, 4], Normalisation(127, 70)
    alone = np.concatenate([logits_of_images(cnn, films[[place]], by) for place in order])
    cnn.register_forward_pre_hook(lambda cnn, given: counted.append(len(given[0])))
    np.testing.assert_allclose(logits_of_images(cnn, films[order], by), alone, atol=1e-6)
    assert sum(counted) == 3
    assert len(np.unique(alone)) == 3


def test_the_network_is_the_one_of_the_protocol():
    layers = list(CNN(128).modules())
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [32, 32, 64, 64, 128, 128, 256, 256]
    assert all(c.kernel_size == (3, 3) and c.padding_mode == "zeros" for c in convolutions)
    count = {
        kind: sum(isinstance(layer, kind) for layer in layers) for kind in (nn.BatchNorm2d, nn.MaxPool2d, nn.Linear)
    }
    assert count == {nn.BatchNorm2d: 8, nn.MaxPool2d: 4, nn.Linear: 4}
    assert sum(isinstance(layer, nn.Dropout) for layer in layers) == 3


def test_a_saved_model_comes_back_with_all_that_travels_with_it(tmp_path):
    cnn = CNN(32, dropout=0.1).eval()
    save_model(tmp_path / "m.safetensors", cnn.state_dict(), PREPARATION, {"dropout": 0.1, "pos_weight": 5.0})
    back = load_model(tmp_path / "m.safetensors")
    assert back.preparation == PREPARATION
    assert (back.size, back.normalisation.mean, back.training["pos_weight"]) == (32, 120.0, 5.0)
    films = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(back.cnn(films), cnn(films))
    assert not back.cnn.training


def test_a_folded_network_says_the_same_without_normalising():
    cnn, films = CNN(32), torch.randn(4, 1, 32, 32)
    for _ in range(3):
        cnn(3 * films + 1)  # moves the running means off 0 and the variances off 1
    expected = cnn.eval()(films)
    quick = folded(cnn)
    torch.testing.assert_close(quick(films), expected, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in quick.modules())


def test_a_run_without_a_model_is_told_how_to_train_its_own(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ModelError, match=rf"python -m tblib run --name {tmp_path} --only training"):
        load_model(tmp_path / "model.safetensors")


def test_files_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(ModelError, match="There is no model file"):
        load_model(tmp_path / "none.safetensors")
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"no weights at all")
    with pytest.raises(ModelError, match="no safetensors file"):
        load_model(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="not written by tblib"):
        load_model(path)
    save_model(path, {"a": torch.zeros(1)}, PREPARATION, {"dropout": 0.1})
    with pytest.raises(ModelError, match="another network"):
        load_model(path)
    save_model(path, CNN(64).state_dict(), PREPARATION, {"dropout": 0.1})
    with pytest.raises(ModelError, match="another network"):
        load_model(path)


@pytest.mark.parametrize("place", [-9, -2_000_000])
def test_a_weight_that_has_become_another_number_is_noticed(place, tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, CNN(32).state_dict(), PREPARATION, {"dropout": 0.1})
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.safetensors is damaged: its weights are not those.*Train again"):
        load_model(path)


@pytest.mark.parametrize(("key", "value"), [
    ("size", 16_000), ("size", 16 * 10**9), ("size", 16 * 10**30),
    ("width", 10**6), ("width", 10**12), ("width", 10**30),
])  # fmt: skip
def test_a_size_that_the_weights_do_not_have_takes_no_memory(key, value, tmp_path):
    facts = [PREPARATION, {"dropout": 0.1}]
    facts[key == "width"] = facts[key == "width"] | {key: value}
    save_model(tmp_path / "m.safetensors", CNN(32).state_dict(), *facts)
    resource = pytest.importorskip("resource", reason="Windows does not tell")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match="another network"):
        load_model(tmp_path / "m.safetensors")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB; a width of 10⁶ would take 10⁹


def test_weights_of_another_type_are_another_network(tmp_path):
    weights = {name: tensor.double() for name, tensor in CNN(32).state_dict().items()}
    save_model(tmp_path / "m.safetensors", weights, PREPARATION, {"dropout": 0.1})
    with pytest.raises(ModelError, match=r"another network.*is of torch\.float64"):
        load_model(tmp_path / "m.safetensors")


def test_smaller_films_go_through_the_same_head():
    cnn = CNN(64).eval()
    assert cnn(torch.zeros(2, 1, 32, 32)).shape == cnn(torch.zeros(2, 1, 64, 64)).shape == (2,)


@pytest.mark.parametrize(("name", "number"), [
    ("head.1.weight", float("nan")),
    ("blocks.3.0.weight", float("inf")),
    ("blocks.0.1.running_var", float("inf")),  # folded in, it would leave weights of 0
    ("blocks.0.1.running_var", -1.0),  # no number once it is folded in
])  # fmt: skip
def test_weights_that_are_no_finite_numbers_are_refused(name, number, tmp_path):
    weights = CNN(32).state_dict()
    weights[name].view(-1)[0] = number
    save_model(tmp_path / "m.safetensors", weights, PREPARATION, {"dropout": 0.1})
    with pytest.raises(ModelError, match=r"m\.safetensors holds weights that are no finite numbers.*Train again"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(("key", "value"), [
    ("mean", float("nan")), ("mean", float("-inf")), ("mean", "12"), ("mean", None), ("mean", True),
    ("sd", 0), ("sd", -1.0), ("sd", float("nan")), ("sd", float("inf")),
    ("size", 0), ("size", 40), ("size", 32.0), ("size", float("nan")),
    ("negative", ""), ("positive", " "), ("positive", 1),
    ("dropout", float("nan")), ("dropout", 1), ("width", 0), ("threads", 0), ("pos_weight", float("nan")),
    ("pos_weight", 0), ("mean", 10**400), ("threads", 10**6), ("bits", 99), ("mitigation", []),
    ("chosen_by", "montgomery"), ("chosen_by", {"set": "m", "n": 1}), ("chosen_by", {"set": "m", "n": 1, "films": [1]}),
])  # fmt: skip
def test_what_no_film_can_be_judged_by_is_refused_by_its_name(key, value, tmp_path):
    facts = [PREPARATION, {"dropout": 0.1}]
    of_training = key in ("dropout", "width", "threads", "pos_weight", "chosen_by")
    facts[of_training] = facts[of_training] | {key: value}
    save_model(tmp_path / "m.safetensors", CNN(32).state_dict(), *facts)
    with pytest.raises(ModelError, match=rf"m\.safetensors cannot be used: its {key} is .*Train again"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("key", [*PREPARATION, "dropout"])
def test_a_file_that_lacks_something_says_what(key, tmp_path):
    facts = [{name: value for name, value in each.items() if name != key} for each in (PREPARATION, {"dropout": 0.1})]
    save_model(tmp_path / "m.safetensors", CNN(32).state_dict(), *facts)
    with pytest.raises(ModelError, match=f"does not tell the {key} of its"):
        load_model(tmp_path / "m.safetensors")


def test_a_class_name_that_nothing_can_show_is_refused(tmp_path):
    """Half of a sign: JSON can write it, and no terminal and no table."""
    texts = {"program": MAGIC, "preparation": json.dumps(PREPARATION | {"positive": chr(0xD800)})}
    save_file(CNN(32).state_dict(), tmp_path / "m.safetensors", texts | {"training": '{"dropout": 0.1}'})
    with pytest.raises(ModelError, match=r"its positive is .*, not the name of a class"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("training", [None, "{", "3", '{"dropout": 1e999}', "[" * 100_000])
def test_metadata_that_cannot_be_read_is_a_sentence(training, tmp_path):
    """JSON gives infinity for 1e999 without any such word in the file."""
    metadata = {"program": MAGIC, "preparation": json.dumps(PREPARATION)} | ({"training": training} if training else {})
    save_file(CNN(32).state_dict(), tmp_path / "m.safetensors", metadata)
    with pytest.raises(ModelError, match=r"does not tell of its training|its dropout is inf"):
        load_model(tmp_path / "m.safetensors")


def test_the_same_model_is_the_same_file(tmp_path):
    weights = CNN(32).state_dict()
    files = [tmp_path / f"{number}.safetensors" for number in range(6)]
    for file in files:
        save_model(file, weights, PREPARATION, {"dropout": 0.1, "threads": 1})
    assert len({file.read_bytes() for file in files}) == 1
