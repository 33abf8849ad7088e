"""Models in ONNX files, and Python objects, as classifiers: what they get, what they answer, and what is refused."""

import textwrap
from pathlib import Path

import numpy as np
import pytest
from conftest import grey_film

from tblib.classifiers.opened import open_given
from tblib.classifiers.protocol import ClassifierError, channels_of, logits, probabilities
from tblib.classifiers.spec import SpecError
from tblib.films import edits

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
FILMS = [grey_film(i, 40 + i) for i in range(5)]
NAMES = [f"film {i}" for i in range(5)]
LEAST = "output: probability\nscale: 0.00392156862745098\n"
GOOD = ["n", 1, 32, 32]


def graph(nodes: list, inputs: list, outputs: list, weights: list = (), opset: int = 17):
    made = onnx.helper.make_graph(nodes, "graph", inputs, outputs, list(weights))
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", opset)])
    model.ir_version = 9
    return model


def tensor(name: str, shape: list, kind: int = 1):
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def brightness(shape: list, kind: int = 1, last: str = "Sigmoid"):
    """A model whose probability rises with the mean of its input."""
    node = onnx.helper.make_node
    axes = list(range(1, len(shape)))
    nodes = [node("Cast", ["x"], ["f"], to=1), node("ReduceMean", ["f"], ["m"], axes=axes, keepdims=0)]
    nodes += [node("Sub", ["m", "half"], ["d"]), node("Mul", ["d", "four"], ["l"])]
    nodes += [node(last, ["l"], ["p"])]
    weights = [onnx.numpy_helper.from_array(np.array([v], np.float32), n) for n, v in (("half", 0.5), ("four", 4.0))]
    return graph(nodes, [tensor("x", shape, kind)], [tensor("p", [shape[0]])], weights)


def saved(folder: Path, model, spec: str = LEAST) -> tuple[str, str]:
    path, told = folder / "model.onnx", folder / "model.yml"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    told.write_text(spec, encoding="utf-8")
    return str(path), str(told)


def expected(films: list[np.ndarray]) -> np.ndarray:
    """What `brightness` answers to films that are given in grey at their own size, nearly."""
    return 1 / (1 + np.exp(-4 * (np.array([film.mean() for film in films]) / 255 - 0.5)))


@pytest.mark.parametrize("shape", [["n", 1, 32, 32], ["n", 32, 32, 1], ["n", 32, 32], [1, 1, 32, 32], [3, 1, 32, 32]])
def test_size_layout_and_channels_come_from_the_file_and_any_batch_is_scored(shape, tmp_path):
    given = open_given(*saved(tmp_path, brightness(shape)))
    assert (given.spec.size, given.spec.channels) == ((32, 32), "grey")
    assert channels_of(given.classifier) == 1
    np.testing.assert_allclose(probabilities(given.classifier, FILMS, NAMES), expected(FILMS), atol=0.01)
    assert probabilities(given.classifier, [], []).shape == (0,)


@pytest.mark.parametrize("shape", [["n", 3, 32, 48], ["n", 32, 48, 3]])
def test_colour_is_given_where_the_model_has_three_channels(shape, tmp_path):
    given = open_given(*saved(tmp_path, brightness(shape)))
    assert (given.spec.size, given.spec.channels) == ((32, 48), "rgb")
    coloured = [edits.tinted(film, edits.TINTS["blue"]).pixels for film in FILMS]
    scores = [probabilities(given.classifier, films, NAMES) for films in (FILMS, coloured)]
    np.testing.assert_allclose(scores[0], expected(FILMS), atol=0.01)
    np.testing.assert_allclose(scores[1], expected(coloured), atol=0.01)


@pytest.mark.parametrize(("kind", "scale"), [(2, 1), (3, 0.4), (6, 1), (7, 1), (10, 1 / 255), (11, 1 / 255)])
def test_inputs_of_other_types_than_float_get_films_too(kind, scale, tmp_path):
    """Unsigned and signed bytes, whole numbers, half and double precision."""
    given = open_given(*saved(tmp_path, brightness(["n", 1, 32, 32], kind), f"output: probability\nscale: {scale}\n"))
    mean = np.array([film.mean() for film in FILMS]) * scale
    found = logits(given.classifier, FILMS, NAMES)
    assert (np.diff(found[np.argsort(mean)]) >= -1e-6).all()


def test_a_file_says_of_itself_what_people_want_to_know(tmp_path):
    given = open_given(*saved(tmp_path, brightness(["n", 1, 32, 32]), LEAST + "name: mine\ntrained_on: x\nseen: no\n"))
    assert given.name == "mine"
    assert given.about["parameters"] == "2"
    assert given.operators == {"Cast": 1, "Mul": 1, "ReduceMean": 1, "Sigmoid": 1, "Sub": 1}
    facts = given.facts()
    assert (facts["seen"], facts["threshold"], facts["channels"]) == ("no", 0.5, 1)
    assert len(facts["digest"]) == 64


def reshaped_to_one():
    """A model that says any number of films, and takes one."""
    node, one = onnx.helper.make_node, onnx.numpy_helper.from_array(np.array([1, 1024], np.int64), "one")
    nodes = [node("Reshape", ["x", "one"], ["r"]), node("ReduceMean", ["r"], ["p"], axes=[1], keepdims=0)]
    return graph(nodes, [tensor("x", GOOD)], [tensor("p", ["n"])], [one])


def of_each_other():
    """A model that compares each film with the brightest of all that it gets at once."""
    node = onnx.helper.make_node
    nodes = [node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=0), node("ReduceMax", ["x"], ["t"], keepdims=0)]
    nodes += [node("Sub", ["m", "t"], ["d"]), node("Sigmoid", ["d"], ["p"])]
    return graph(nodes, [tensor("x", GOOD)], [tensor("p", ["n"])])


@pytest.mark.parametrize("model", [reshaped_to_one, of_each_other])
def test_a_model_that_cannot_take_several_films_gets_one_at_a_time(model, tmp_path):
    given = open_given(*saved(tmp_path, model()))
    alone = [probabilities(given.classifier, [film], [name])[0] for film, name in zip(FILMS, NAMES, strict=True)]
    assert len(set(alone)) == len(FILMS)
    np.testing.assert_array_equal(probabilities(given.classifier, FILMS, NAMES), alone)
    assert given.about["films at once"] == "1"


def test_one_of_several_findings_can_be_the_one_that_counts(tmp_path):
    node, model = onnx.helper.make_node, brightness(GOOD)
    del model.graph.output[:]
    model.graph.node.append(node("Neg", ["l"], ["n"]))
    model.graph.node.append(node("Sigmoid", ["n"], ["q"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "axis"))
    model.graph.node.extend([node("Unsqueeze", [name, "axis"], [f"{name}1"]) for name in "pq"])
    model.graph.node.append(node("Concat", ["q1", "p1", "q1"], ["all"], axis=1))
    model.graph.output.append(tensor("all", ["n", 3]))
    given = open_given(*saved(tmp_path, model, LEAST + "positive_index: 1\n"))
    np.testing.assert_allclose(probabilities(given.classifier, FILMS, NAMES), expected(FILMS), atol=0.01)
    with pytest.raises(SpecError, match="has 3 numbers per film, and the spec does not say which"):
        open_given(*saved(tmp_path, model))


# --- what is refused


def two_inputs():
    node = onnx.helper.make_node
    nodes = [node("Add", ["x", "y"], ["s"]), node("ReduceMean", ["s"], ["p"], axes=[1, 2, 3], keepdims=0)]
    return graph(nodes, [tensor("x", ["n", 1, 32, 32]), tensor("y", ["n", 1, 32, 32])], [tensor("p", ["n"])])


def two_outputs():
    node = onnx.helper.make_node
    nodes = [node("ReduceMean", ["x"], [name], axes=[1, 2, 3], keepdims=0) for name in ("p", "q")]
    return graph(nodes, [tensor("x", ["n", 1, 32, 32])], [tensor("p", ["n"]), tensor("q", ["n"])])


def labelled(kind: int):
    """A model whose output is no floating-point number: bytes of a quantised one, or names of classes."""
    model = brightness(GOOD, last="Identity")
    model.graph.node.append(onnx.helper.make_node("Cast", ["p"], ["label"], to=kind))
    del model.graph.output[:]
    model.graph.output.append(tensor("label", ["n"], kind))
    return model


def own_operator():
    node = onnx.helper.make_node("Mine", ["x"], ["p"], domain="com.example")
    model = graph([node], [tensor("x", ["n", 1, 32, 32])], [tensor("p", ["n"])])
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    return model


def future_opset():
    return graph(
        [onnx.helper.make_node("Identity", ["x"], ["p"])], [tensor("x", ["n"])], [tensor("p", ["n"])], opset=999
    )


TROUBLE = [
    (lambda: b"no model", LEAST, "is no ONNX file, or"),
    (lambda: b"", LEAST, "is no ONNX file, or an empty one"),
    (lambda: brightness(GOOD).SerializeToString()[:120], LEAST, "is no ONNX file, or"),
    (two_inputs, LEAST, "has several inputs: x, y. Name one in its spec: input_name: x"),
    (two_inputs, LEAST + "input_name: x", "needs other inputs besides x (y)"),
    (two_outputs, LEAST, "has several outputs: p, q. Name one in its spec: output_name: p"),
    (two_outputs, LEAST + "output_name: r", "has no output 'r'; it has p, q"),
    (own_operator, LEAST, "cannot load the model"),
    (future_opset, LEAST, "cannot load the model"),
    (lambda: brightness(GOOD), LEAST + "size: 64", "says size 64 × 64, and the input of"),
    (lambda: brightness(GOOD), LEAST + "channels: rgb", "from which the layout cannot be told"),
    (lambda: brightness(GOOD), LEAST + "layout: nhw", "says layout nhw, and the input of"),
    (lambda: brightness(["n", 3, 32, 32]), LEAST + "channels: grey", "from which the layout cannot be told"),
    (lambda: brightness(["n", "c", "h", "w"]), LEAST + "layout: nchw", "say its channels, grey, rgb or bgr"),
    (lambda: brightness(["n", 1, "h", "w"]), LEAST, "say the size that it was trained with"),
    (lambda: brightness(["n", "c", "h", "w"]), LEAST, "say layout: nchw or nhwc"),
    (lambda: brightness(GOOD, kind=9), LEAST, "is of tensor(bool); films can be given as"),
    (lambda: labelled(2), LEAST, "is of tensor(uint8); scores are tensor(float)"),
    (lambda: labelled(8), LEAST, "is of tensor(string); scores are tensor(float)"),
    (lambda: brightness(GOOD), "output: softmax\npositive_index: 1\nscale: 1\n", "several numbers per film. Correct"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "spec", "sentence"), TROUBLE)
def test_a_file_that_cannot_be_audited_is_a_sentence(model, spec, sentence, tmp_path):
    with pytest.raises((ClassifierError, SpecError)) as told:
        open_given(*saved(tmp_path, model(), spec))
    assert sentence in str(told.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.yml"]


def test_the_named_one_of_several_outputs_is_taken(tmp_path):
    given = open_given(*saved(tmp_path, two_outputs(), LEAST + "output_name: q"))
    found = probabilities(given.classifier, FILMS, NAMES)
    np.testing.assert_allclose(found, [film.mean() / 255 for film in FILMS], atol=0.01)


def test_weights_in_other_files_are_wanted_and_only_beside_the_model(tmp_path):
    model = brightness(GOOD)
    onnx.external_data_helper.convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    path = tmp_path / "model.onnx"
    onnx.save_model(model, str(path))
    spec = tmp_path / "model.yml"
    spec.write_text(LEAST, encoding="utf-8")
    given = open_given(str(path), str(spec))
    np.testing.assert_allclose(probabilities(given.classifier, FILMS, NAMES), expected(FILMS), atol=0.01)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ClassifierError, match=r"keeps weights in weights\.bin; put that beside it"):
        open_given(str(path), str(spec))
    for elsewhere in ("../weights.bin", "/etc/passwd"):
        read = onnx.load(str(path), load_external_data=False)
        for one in read.graph.initializer:
            for entry in one.external_data:
                if entry.key == "location":
                    entry.value = elsewhere
        path.write_bytes(read.SerializeToString())
        with pytest.raises(ClassifierError, match="outside its own folder, and that is refused"):
            open_given(str(path), str(spec))


def test_a_model_larger_than_the_memory_is_not_loaded(tmp_path, monkeypatch):
    model, spec = saved(tmp_path, brightness(GOOD))
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 100})())
    with pytest.raises(ClassifierError, match="takes more memory than there is"):
        open_given(model, spec)


def test_memory_that_runs_out_while_scoring_is_a_sentence(tmp_path):
    given = open_given(*saved(tmp_path, brightness(GOOD)))

    class Full:
        def run(self, *_):
            raise RuntimeError("Failed to allocate memory for requested buffer of size 9999")

    object.__setattr__(given.classifier, "session", Full())
    with pytest.raises(ClassifierError, match="needs more memory than there is for 5 films"):
        probabilities(given.classifier, FILMS, NAMES)


@pytest.mark.parametrize(("last", "sentence"), [
    ("Identity", r"gives film \d the score -?[0-9.]+, and a probability lies between 0 and 1"),
    ("Log", r"gives film \d the score (nan|-inf|inf|-?[0-9.]+), and a probability"),
])  # fmt: skip
def test_scores_that_are_no_probabilities_are_a_sentence(last, sentence, tmp_path):
    given = open_given(*saved(tmp_path, brightness(GOOD, last=last)))
    with pytest.raises(ClassifierError, match=sentence):
        probabilities(given.classifier, [np.zeros((32, 32), np.uint8), *FILMS], ["film 9", *NAMES])


@pytest.mark.parametrize(("name", "sentence"), [
    ("nowhere.onnx", "does not exist. Give an ONNX file, or package.module:object"),
    (".", "is a folder"),
    ("weights.h5", "is of Keras; an audit takes ONNX files"),
    ("model.onnx", "needs a spec"),
])  # fmt: skip
def test_what_is_no_model_is_a_sentence(name, sentence, tmp_path):
    for file in ("weights.h5", "model.onnx"):
        (tmp_path / file).write_bytes(b"x")
    spec = tmp_path / "model.yml"
    spec.write_text(LEAST, encoding="utf-8")
    with pytest.raises((ClassifierError, SpecError)) as told:
        open_given(str(tmp_path / name), None if name == "model.onnx" else str(spec))
    assert sentence in str(told.value)


# --- Python objects


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module with a classifier into a folder of its own, which is the working one."""

    def write(body: str, name: str) -> str:
        text = (
            f"import numpy as np\n\n\nclass Mine:\n    name, digest = 'mine', '1'\n\n{textwrap.indent(body, '    ')}\n"
        )
        (tmp_path / f"{name}.py").write_text(text + "\n\nmine = Mine()\nbare = object()\n", encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        return f"{name}:mine"

    return write


def test_an_object_with_the_protocol_is_a_classifier(module, tmp_path):
    path = module("def scores(self, films):\n    return np.array([f.mean() / 255 for f in films])", "good_one")
    given = open_given(path, None)
    assert (given.kind, given.name, given.folder) == ("Python object", "mine", str(tmp_path))
    np.testing.assert_allclose(probabilities(given.classifier, FILMS, NAMES), [film.mean() / 255 for film in FILMS])
    spec = tmp_path / "told.yml"
    spec.write_text("name: theirs\nthreshold: 0.3\nseen: yes\n", encoding="utf-8")
    told = open_given(path, str(spec))
    assert (told.name, told.spec.threshold, told.spec.seen) == ("theirs", 0.3, "yes")
    spec.write_text("name: theirs\nsize: 64\n", encoding="utf-8")
    with pytest.raises(SpecError, match="prepares its films by itself, so that size in its spec would change nothing"):
        open_given(path, str(spec))


@pytest.mark.parametrize(("body", "sentence"), [
    ("def scores(self, films):\n    return np.zeros(3)", r"returned an array of shape \(3,\) for 5 films"),
    ("def scores(self, films):\n    return [2.0] * len(films)", "gives film 0 the score 2"),
    ("def scores(self, films):\n    return [float('nan')] * len(films)", "gives film 0 the score nan"),
    ("def scores(self, films):\n    return 'high'", "returned what is no array of numbers"),
    ("def scores(self, films):\n    if any(len(f) == 43 for f in films):\n        raise KeyError('no')\n"
     "    return [0.5] * len(films)", r"fails on film 3 \(43 × 43 pixels\): KeyError: 'no'"),
    ("def scores(self, films):\n    if len(films) > 1:\n        raise KeyError('no')\n    return [0.5]",
     "fails on 5 films at once, and on none alone"),
])  # fmt: skip
def test_an_object_that_misbehaves_is_a_sentence_that_names_the_film(body, sentence, module):
    given = open_given(module(body, f"bad_{abs(hash(body))}"), None)
    with pytest.raises(ClassifierError, match=sentence):
        probabilities(given.classifier, FILMS, NAMES)


@pytest.mark.parametrize(("path", "sentence"), [
    ("no_such_module_here:mine", "cannot be imported (ModuleNotFoundError"),
    ("faulty_one:mine", "cannot be imported (ZeroDivisionError"),
    ("another_one:missing", "cannot be imported (AttributeError"),
    ("another_one:Mine", "is a class; name an object made from it"),
    ("another_one:bare", "has no scores. A classifier has a name, a digest"),
])  # fmt: skip
def test_a_python_path_that_leads_to_no_classifier_is_a_sentence(path, sentence, module, tmp_path):
    module("def scores(self, films):\n    return []", "another_one")
    (tmp_path / "faulty_one.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(ClassifierError) as told:
        open_given(path, None)
    assert sentence in str(told.value)
