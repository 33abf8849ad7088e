"""The page on other people's models: its lines do what they say, where the packages for it are installed."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import grey_film

from tblib.classifiers.opened import open_given
from tblib.classifiers.protocol import probabilities
from tblib.report.parameters import NOTEBOOKS

PAGE = (NOTEBOOKS / "MODELS.md").read_text(encoding="utf-8")
FILMS, NAMES = [grey_film(i, 80) for i in range(3)], ["a", "b", "c"]


def lines(section: str) -> str:
    """The Python lines of a section."""
    part = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", part, re.DOTALL)[1]


def run(code: str, folder, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def answers(folder, spec: str) -> np.ndarray:
    (folder / "model.yml").write_text(spec, encoding="utf-8")
    given = open_given(str(folder / "model.onnx"), str(folder / "model.yml"))
    found = probabilities(given.classifier, FILMS, NAMES)
    np.testing.assert_allclose(found[:1], probabilities(given.classifier, FILMS[:1], NAMES[:1]), atol=1e-5)
    return found


@pytest.mark.skipif(not find_spec("onnxscript") or not find_spec("onnxruntime"), reason="pip install -e '.[onnx]'")
def test_a_network_of_pytorch_becomes_a_classifier(tmp_path):
    run(lines("From PyTorch"), tmp_path)
    spec = "layout: nchw\noutput: logits\npositive_index: 1\nscale: 0.00392157\nmean: 0.5\nsd: 0.2\n"
    assert answers(tmp_path, spec).shape == (3,)


@pytest.mark.skipif(not find_spec("keras") or not find_spec("onnxruntime"), reason="Keras is not installed")
def test_a_network_of_keras_becomes_a_classifier(tmp_path):
    backend = "tensorflow" if find_spec("tensorflow") else "torch"
    run(lines("From Keras"), tmp_path, KERAS_BACKEND=backend)
    assert answers(tmp_path, "layout: nhwc\noutput: probability\nscale: 0.00392157\n").shape == (3,)


@pytest.mark.skipif(not find_spec("tensorflow") or not find_spec("tf2onnx"), reason="tf2onnx is not installed")
def test_a_tflite_file_becomes_a_classifier(tmp_path):
    made = (
        "import tensorflow as tf\n"
        "layers = [tf.keras.layers.Input((32, 32, 3)), tf.keras.layers.GlobalAveragePooling2D(),"
        " tf.keras.layers.Dense(2, 'softmax')]\n"
        "lite = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Sequential(layers)).convert()\n"
        "open('model.tflite', 'wb').write(lite)\n"
    )
    run(made, tmp_path)
    command = re.search(r"\$ python (-m tf2onnx.*)\n", PAGE)[1].split()
    subprocess.run([sys.executable, *command], cwd=tmp_path, check=True, capture_output=True)
    spec = "layout: nhwc\nsize: 32\noutput: softmax\npositive_index: 1\nscale: 0.00392157\n"
    assert answers(tmp_path, spec).shape == (3,)


def test_the_object_of_the_page_is_a_classifier(tmp_path, monkeypatch):
    (tmp_path / "of_the_page.py").write_text(lines("A Python object"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = probabilities(open_given("of_the_page:classifier", None).classifier, FILMS, NAMES)
    np.testing.assert_allclose(found, [film.mean() / 255 for film in FILMS])
