"""The spec of somebody else's model: what it says is done, and what makes no sense is a sentence."""

import numpy as np
import pytest
import yaml
from conftest import grey_film
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tblib.classifiers.outputs import probabilities_of
from tblib.classifiers.spec import EXAMPLE, FILTERS, KEYS, Cut, Spec, SpecError, model_input, read_spec, seen, spec_of
from tblib.films import edits

LEAST = {"output": "probability", "scale": 1}
COLOURED = edits.tinted(grey_film(1, 96), edits.TINTS["blue"]).pixels


def written(tmp_path, text: str):
    path = tmp_path / "model.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_explains_every_key_and_is_a_spec(tmp_path):
    spec = read_spec(written(tmp_path, EXAMPLE))
    assert spec.size == (224, 224)
    for key in KEYS:
        assert f"{key}: " in EXAMPLE, key
    assert set(yaml.safe_load(EXAMPLE)) <= set(KEYS)


def test_a_spec_survives_being_kept():
    spec = spec_of(yaml.safe_load(EXAMPLE) | {"crop": {"rows": [2, 9], "columns": [0, 8]}}, "it")
    assert spec_of(spec.plain(), "it") == spec
    told = spec_of(LEAST | {"clahe": {"clip_limit": 2, "tiles": [4, 8]}, "seen": True}, "it")
    assert told.seen == "yes"  # YAML reads yes as a truth value
    assert spec_of(told.plain(), "it") == told


@pytest.mark.parametrize(("content", "sentence"), [
    ("scale: 1", "does not say output: probability, logit, softmax or logits"),
    ("output: probability", "does not say scale"),
    ("output: probability\nscale: 1\nszie: 3", "key 'szie', which is unknown. Did you mean size?"),
    ("output: probability\nscale: 1\nsize: 4", "size must be a number of pixels from 8 to 4096"),
    ("output: probability\nscale: 1\nsize: 224.5", "size must be"),
    ("output: probability\nscale: 1\nsize: true", "size must be"),
    ("output: probability\nscale: 1\nsize: [1, 2, 3]", "size must be"),
    ("output: probability\nscale: one", "scale must be a number above 0"),
    ("output: probability\nscale: .nan", "scale must be a number above 0"),
    ("output: probability\nscale: 1\nsd: 0", "sd must be a number above 0"),
    ("output: probability\nscale: 1\nmean: [1, 2]", "mean must be a number, or three"),
    ("output: probability\nscale: 1\nchannels: red", "channels must be grey, rgb or bgr, not 'red'"),
    ("output: probability\nscale: 1\ncrop: centre", "crop must be none, square, or {rows"),
    ("output: probability\nscale: 1\ncrop: {rows: [9, 2], columns: [0, 8]}", "crop must be"),
    ("output: probability\nscale: 1\nclahe: 2", "clahe must be none, or {clip_limit"),
    ("output: probability\nscale: 1\nthreshold: 1.2", "threshold must be a probability"),
    ("output: probability\nscale: 1\nseen: maybe", "seen must be yes, no or unknown"),
    ("output: softmax\nscale: 1", "needs positive_index"),
    ("output: softmax\nscale: 1\npositive_index: 1\nnegative_index: 0", "not both"),
    ("output: logit\nscale: 1\nchannels: rgb\nlayout: nhw", "no axis for the channels"),
    ("output: logit\nscale: 1\nchannels: grey\nmean: [1, 2, 3]", "a grey input one channel"),
    ("output: logit\nscale: 1\nsize: 32\ncrop: {rows: [0, 40], columns: [0, 8]}", "crop reaches to row 40"),
    ("output: !!python/object/apply:os.system ['true']\nscale: 1", "has a YAML tag"),
    ("output: !mine probability\nscale: 1", "has a YAML tag"),
    ("- output", "must hold lines of the form key: value"),
    ("output: [", "cannot be read"),
    ("", "must hold lines of the form key: value"),
])  # fmt: skip
def test_a_spec_that_makes_no_sense_is_a_sentence_that_names_the_right_values(content, sentence, tmp_path):
    with pytest.raises(SpecError) as told:
        read_spec(written(tmp_path, content))
    assert sentence in str(told.value)


def test_a_spec_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(SpecError, match=r"none\.yml does not exist. An example: python -m tblib audit --example"):
        read_spec(tmp_path / "none.yml")
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot be read"):
        read_spec(tmp_path / "bytes.yml")


def test_channels_are_in_the_models_order_and_scaled_by_its_numbers():
    spec = spec_of(LEAST | {"size": 96, "channels": "rgb", "mean": [1, 2, 3], "sd": [1, 2, 4]}, "it")
    expected = (COLOURED - np.array([1, 2, 3])) / np.array([1, 2, 4])
    np.testing.assert_allclose(model_input(COLOURED, spec), expected, rtol=1e-6)
    backwards = spec_of(LEAST | {"size": 96, "channels": "bgr"}, "it")
    np.testing.assert_array_equal(model_input(COLOURED, backwards), COLOURED[..., ::-1])
    grey = spec_of(LEAST | {"size": 96, "channels": "grey"}, "it")
    assert model_input(COLOURED, grey).shape == (96, 96)
    np.testing.assert_array_equal(seen(grey_film(1, 96), spec), edits.three_channels(grey_film(1, 96)))


def test_films_are_resized_as_opencv_or_as_pillow_does_it():
    cv2 = pytest.importorskip("cv2")
    film = grey_film(3, 300)
    spec = spec_of(LEAST | {"size": [64, 80], "channels": "grey", "antialias": False}, "it")
    np.testing.assert_array_equal(seen(film, spec), cv2.resize(film, (80, 64), interpolation=cv2.INTER_LINEAR))
    smooth = seen(film, spec_of(LEAST | {"size": [64, 80], "channels": "grey"}, "it"))
    assert smooth.shape == (64, 80)
    assert (smooth != seen(film, spec)).any()


def test_clahe_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    spec = spec_of(LEAST | {"size": 96, "channels": "rgb", "clahe": {"clip_limit": 3.0, "tiles": [4, 6]}}, "it")
    film = grey_film(5, 96)
    expected = cv2.createCLAHE(3.0, (6, 4)).apply(film)  # OpenCV counts tiles across, then down
    np.testing.assert_array_equal(seen(film, spec), edits.three_channels(expected))


@pytest.mark.parametrize("filter_", FILTERS)
@pytest.mark.parametrize("film", [edits.three_channels(grey_film(2, 100)), COLOURED], ids=["grey", "coloured"])
def test_grey_films_of_three_channels_are_resized_as_those_in_colour(filter_, film):
    spec = spec_of(LEAST | {"size": [40, 56], "channels": "rgb", "resize": filter_}, "it")
    np.testing.assert_array_equal(seen(film, spec), Image.fromarray(film).resize((56, 40), FILTERS[filter_][0]))


def test_a_square_is_cut_from_the_middle_and_rows_from_the_resized_film():
    film = np.zeros((40, 80), np.uint8)
    film[:, 20:60] = 200
    square = spec_of(LEAST | {"size": 40, "channels": "grey", "crop": "square"}, "it")
    assert (seen(film, square) == 200).all()
    rows = np.repeat(np.arange(64, dtype=np.uint8)[:, None], 64, axis=1)
    cut = Spec("probability", 1.0, (64, 64), "grey", crop=Cut((16, 48), (0, 64)))
    left = seen(rows, cut)
    assert left.shape == (64, 64)
    assert abs(int(left[0, 0]) - 16) <= 1
    assert abs(int(left[-1, 0]) - 47) <= 1


# --- outputs


def test_outputs_become_probabilities_of_the_positive_class():
    two = np.array([[0.9, 0.1], [0.25, 0.75]])
    of = {"output": "softmax", "scale": 1}
    np.testing.assert_allclose(probabilities_of(two, spec_of(of | {"positive_index": 1}, ""), 2), [0.1, 0.75])
    np.testing.assert_allclose(probabilities_of(two, spec_of(of | {"positive_index": 0}, ""), 2), [0.9, 0.25])
    np.testing.assert_allclose(probabilities_of(two, spec_of(of | {"negative_index": 0}, ""), 2), [0.1, 0.75])
    three = np.log(np.array([[0.5, 0.2, 0.3]]))
    logits = spec_of({"output": "logits", "scale": 1, "negative_index": 1}, "")
    np.testing.assert_allclose(probabilities_of(three, logits, 1), [0.8])
    one = spec_of({"output": "logit", "scale": 1}, "")
    np.testing.assert_allclose(probabilities_of(np.array([[0.0], [np.log(3)]]), one, 2), [0.5, 0.75])
    against = spec_of({"output": "probability", "scale": 1, "positive_index": 0}, "")
    np.testing.assert_allclose(probabilities_of(np.array([0.2]), against, 1), [0.8])
    findings = np.array([[0.9, 0.7, 0.2]])  # of several, each a probability of its own
    np.testing.assert_allclose(probabilities_of(findings, spec_of(LEAST | {"positive_index": 0}, ""), 1), [0.9])
    np.testing.assert_allclose(probabilities_of(findings, spec_of(LEAST | {"negative_index": 2}, ""), 1), [0.8])
    before = {"output": "logit", "scale": 1, "positive_index": 2}
    np.testing.assert_allclose(probabilities_of(np.array([[5, 5, np.log(3)]]), spec_of(before, ""), 1), [0.75])


def test_probabilities_near_one_are_as_exact_as_those_near_zero():
    tiny = np.array([[1.0, 1e-9]], np.float32)
    spec = spec_of({"output": "softmax", "scale": 1, "positive_index": 0}, "")
    assert 1 - probabilities_of(tiny, spec, 1)[0] == pytest.approx(1e-9, rel=1e-3)


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=6), st.integers(0, 5))
def test_positive_and_negative_index_say_the_same_of_two_sides(values, index):
    index %= len(values)
    of, row = {"output": "logits", "scale": 1}, np.array([values])
    positive = probabilities_of(row, spec_of(of | {"positive_index": index}, ""), 1)
    negative = probabilities_of(row, spec_of(of | {"negative_index": index}, ""), 1)
    np.testing.assert_allclose(positive + negative, 1)


@pytest.mark.parametrize(("output", "spec", "sentence"), [
    (np.ones((2, 2)), {"output": "softmax", "positive_index": 0}, "sum to 2, not 1"),
    (np.ones((2, 1)), {"output": "softmax", "positive_index": 0}, "several numbers per film"),
    (np.ones((2, 3)), LEAST, "has 3 numbers per film, and the spec does not say which of them is tuberculosis"),
    (np.ones((2, 1)), LEAST | {"positive_index": 2}, "positive_index must be left out, or be positive_index: 1"),
    (np.ones((2, 1)), LEAST | {"negative_index": 0}, "negative_index must be left out"),
    (np.ones((3, 1)), LEAST, "for 2 films"),
    (np.full((2, 2), 0.5), {"output": "softmax", "positive_index": 2}, "has 2 numbers per film, 0 to 1"),
])  # fmt: skip
def test_an_output_that_the_spec_does_not_describe_is_a_sentence(output, spec, sentence):
    with pytest.raises(SpecError) as told:
        probabilities_of(output, spec_of(spec | {"scale": 1}, "it"), 2)
    assert sentence in str(told.value)
