"""The model of a run: tblib's CNN that it trained, or a model given to it, which ``model.json`` tells of."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tblib.arrays import Pixels
from tblib.classifiers.imported import imported, is_python_path
from tblib.classifiers.onnx_file import GUIDE, OnnxClassifier, open_onnx
from tblib.classifiers.protocol import Classifier, ClassifierError, channels_of
from tblib.classifiers.spec import Spec, SpecError, read_spec, seen, spec_of
from tblib.classifiers.trained import TrainedModel, load_model
from tblib.films.database import data_path
from tblib.mitigation import FindsLungs, ModelInput
from tblib.model import AGAIN, ModelError
from tblib.phantoms.lungs import lung_network
from tblib.run import GIVEN, MODEL, Run
from tblib.system.files import write_json
from tblib.system.text import printable

ONNX, PYTHON, TBLIB = "ONNX file", "Python object", "CNN of tblib"
TELLING = ("name", "threshold", "trained_on", "seen")  # keys of a spec that mean something for any model
WEIGHTS = {
    ".h5": "Keras",
    ".keras": "Keras",
    ".pt": "PyTorch",
    ".pth": "PyTorch",
    ".tflite": "TFLite",
    ".pkl": "a pickle",
}


@dataclass(frozen=True)
class Given:
    """A model given to a run.

    Attributes:
        kind: `ONNX`, `PYTHON` or `TBLIB`.
        model: absolute path, or package.module:object.
        spec: of an ONNX file complete; of others only what `TELLING` names.
        folder: where modules are looked for, for a Python object.
    """

    classifier: Classifier
    kind: str
    model: str
    spec: Spec
    folder: str = ""

    @property
    def name(self) -> str:
        """What the model is called in the report."""
        return printable(self.spec.name or self.classifier.name)

    @property
    def about(self) -> dict[str, str]:
        """Facts about the model for people, name -> text."""
        if isinstance(self.classifier, OnnxClassifier):
            return self.classifier.about
        parameters = {}
        if isinstance(self.classifier, TrainedModel):
            parameters["parameters"] = f"{sum(each.numel() for each in self.classifier.cnn.parameters()):,}"
        where = printable(Path(self.model).name) if self.kind == TBLIB else self.model
        return {self.kind: where, "digest": printable(str(self.classifier.digest))} | parameters

    @property
    def operators(self) -> dict[str, int]:
        """Operator -> how often it occurs; empty for models that are no graph."""
        return self.classifier.operators if isinstance(self.classifier, OnnxClassifier) else {}

    def seen(self, film: Pixels) -> Pixels:
        """What the model gets of a film uint8 (H, W) or (H, W, 3): the film itself if the model prepares it."""
        return seen_by(self.classifier, film)

    def facts(self) -> dict[str, Any]:
        """Content of ``model.json``."""
        return {
            "name": self.name,
            "kind": self.kind,
            "model": self.model,
            "folder": self.folder,
            "digest": str(self.classifier.digest),
            "channels": channels_of(self.classifier),
            "threshold": self.spec.threshold,
            "trained_on": self.spec.trained_on,
            "seen": self.spec.seen,
            "spec": self.spec.plain(),
            "about": self.about,
            "operators": self.operators,
        }


def seen_by(classifier: Classifier, film: Pixels) -> Pixels:
    """What a classifier gets of a film uint8 (H, W) or (H, W, 3), as far as it is known: else the film itself."""
    if isinstance(classifier, OnnxClassifier):
        return seen(film, classifier.spec)
    return classifier.input.of(film) if isinstance(classifier, TrainedModel) else film


def open_given(model: str, spec: str | None) -> Given:
    """Open a model of somebody else: an ONNX file with its spec, package.module:object, or a model file of tblib.

    Raises:
        ClassifierError: it cannot be used.
        SpecError: the spec is missing, unusable or contradicts the model.
        ModelError: a model file of tblib cannot be used.
    """
    if is_python_path(model):
        folder = Path.cwd()
        return Given(imported(model, folder), PYTHON, model, _telling(spec, model), str(folder))
    path = data_path(model)
    if path.suffix == ".safetensors":
        return Given(load_model(path), TBLIB, str(path), _telling(spec, model))
    if path.suffix.lower() in WEIGHTS and path.exists():
        raise ClassifierError(f"{path} is of {WEIGHTS[path.suffix.lower()]}; an audit takes ONNX files. {GUIDE}.")
    if not spec:
        raise SpecError(
            f"The model {path} needs a spec, which says what it does to a film and what its output means (--spec, or "
            "the parameter spec). An example to start from: python -m tblib audit --example"
        )
    found = open_onnx(path, read_spec(data_path(spec)))
    return Given(found, ONNX, str(path), found.spec)


def _telling(file: str | None, model: str) -> Spec:
    """What a spec tells of a model that prepares its films by itself; raises SpecError if it tells more."""
    spec = read_spec(data_path(file), needed=()) if file else Spec()
    default = Spec().plain()
    idle = [key for key, value in spec.plain().items() if key not in TELLING and value != default.get(key)]
    if idle:
        raise SpecError(
            f"The model {model} prepares its films by itself, so that {', '.join(idle)} in its spec would change "
            f"nothing; leave that out. What counts: {', '.join(TELLING)}."
        )
    return spec


def give_model(run: Run, model: str, spec: str | None) -> Given:
    """Open a model and write ``model.json``, by which later steps find it; a CNN that the run trained is taken away.

    Raises:
        ClassifierError: it cannot be used, or sees colour, and the films were prepared in grey.
        SpecError: the spec says that the model was not trained on these films, and it was; or see `open_given`.
        ModelError: see `open_given`.
    """
    preparation = run.facts("preparation.json")
    given = _known_films(open_given(model, spec), preparation["database"])
    how = f"prepare the films again with {run.command('--from', 'preparation')} -p"
    refuse_prepared(given, preparation.get("channels", 1), preparation.get("mitigation"), how)
    write_json(run.path(GIVEN), given.facts())
    for file in (MODEL, "history.csv", "training.json"):
        run.path(file).unlink(missing_ok=True)
    return given


def _known_films(given: Given, database: str) -> Given:
    """The model, with `seen` as its file tells: a CNN of tblib keeps the digest of the database that it was trained on.

    Raises:
        SpecError: the spec says otherwise.
    """
    if not isinstance(given.classifier, TrainedModel) or given.classifier.preparation.get("database") != database:
        return given
    if given.spec.seen == "no":
        raise SpecError(f"The spec says seen: no, and {given.model} was trained on this database. Say seen: yes.")
    return replace(given, spec=replace(given.spec, seen="yes"))


def refuse_prepared(given: Given, channels: int, mitigation: str | None, how: str) -> None:
    """Raise `ClassifierError` if films are prepared in grey for a model that sees colour, or with a mitigation; `how`
    begins the advice."""
    if mitigation:
        raise ClassifierError(
            f"{given.name} gets films as they are, and the mitigation {mitigation} would change those of its reference "
            f"networks; {how} mitigation none."
        )
    if channels == 1 and channels_of(given.classifier) == 3:
        raise ClassifierError(
            f"{given.name} sees colour, and its reference networks would see films in grey; {how} channels 3."
        )


def open_model(run: Run) -> Classifier:
    """The model that a run is about, ready to score films.

    Raises:
        MissingInputError: the run has no model yet.
        ModelError: the CNN of the run cannot be used, was trained on another preparation, or lacks its training
            parameters.
        ClassifierError: the given model has changed since, or cannot be used any more.
    """
    if not run.path(GIVEN).is_file():
        return _trained_here(run)
    facts = run.facts(GIVEN)
    found = _reopened(facts)
    if found.digest != facts["digest"]:
        raise ClassifierError(
            f"The model {facts['model']} has changed since this run was made with it. Put the former one back, or make "
            f"the run anew with this one: {run.command('--from', 'training')}"
        )
    return found


def _trained_here(run: Run) -> TrainedModel:
    """The CNN that a run trained on its own preparation."""
    trained, preparation = load_model(run.need(MODEL)), run.facts("preparation.json")
    lacking = [name for name in ("threads", "pos_weight") if name not in trained.training]
    if lacking:
        raise ModelError(f"The model in {run.folder} does not tell the {lacking[0]} of its training. {AGAIN}")
    if trained.preparation != preparation:
        raise ModelError(
            f"The model in {run.folder} was trained on another preparation (input {trained.size} px; the run's images "
            f"have {preparation['size']} px). Train again: {run.command('--from', 'training')}"
        )
    torch.set_num_threads(trained.training["threads"])  # the last bits of sums depend on it
    return trained


def _reopened(facts: dict[str, Any]) -> Classifier:
    if facts["kind"] == PYTHON:
        return imported(facts["model"], Path(facts["folder"]))
    if facts["kind"] == TBLIB:
        return load_model(Path(facts["model"]))
    return open_onnx(Path(facts["model"]), spec_of(facts["spec"], "The spec in model.json"))


def lungs_of(given: ModelInput) -> FindsLungs:
    """What finds the lungs on films: the network of this input, or this machine's."""
    return given.lungs or lung_network()


def input_of(run: Run, model: Classifier) -> ModelInput:
    """How small networks see films: as the run prepared them, which is how a CNN trained on them does."""
    if isinstance(model, TrainedModel) and not run.path(GIVEN).is_file():
        return model.input
    preparation = run.facts("preparation.json")
    return ModelInput(preparation["size"], channels=preparation.get("channels", 1))
