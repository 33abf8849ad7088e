"""A model in an ONNX file as a classifier. Loading one runs no code of its author: operators are onnxruntime's own."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from joblib import Parallel, delayed

from tblib.arrays import Floats, Pixels
from tblib.classifiers.outputs import probabilities_of
from tblib.classifiers.protocol import BATCH, ClassifierError
from tblib.classifiers.spec import Spec, SpecError, model_input, spec_trouble
from tblib.system.files import file_digest
from tblib.system.text import printable

GUIDE = "notebooks/MODELS.md tells how to get one from PyTorch, Keras and TFLite"
INSTALL = "pip install -e '.[onnx]'"
TYPES: dict[str, type[np.generic]] = {  # onnxruntime's names of input types -> NumPy's
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
NUMBERS = ("tensor(float)", "tensor(float16)", "tensor(double)")  # types of outputs
AXES = {"nchw": 4, "nhwc": 4, "nhw": 3}  # layout -> axes of the input, the films first
OWN = "tblib"  # producer of exported CNNs
SAME = 1e-4  # scores of a film alone and beside another may differ by so much
MEMORY = 2.5  # a loaded model takes about so many times its file


@dataclass(frozen=True)
class OnnxClassifier:
    """A model in an ONNX file (`tblib.classifiers.protocol.Classifier`). Create it with `open_onnx`.

    Attributes:
        spec: complete: what the file itself tells is filled in.
        digest: SHA-256 of the model's files.
        batch: films that it takes at once; None for any number.
        about: facts about the file for people, name -> text.
        operators: operator -> how often it is in the graph; largest first.
        of_tblib: whether the file is an exported CNN of tblib.
    """

    path: Path
    spec: Spec
    digest: str
    session: Any
    input_name: str
    output_name: str
    input_type: str
    batch: int | None
    about: dict[str, str] = field(default_factory=dict)
    operators: dict[str, int] = field(default_factory=dict)
    of_tblib: bool = False

    @property
    def name(self) -> str:
        """Name in its spec, else that of its file."""
        return self.spec.name or printable(self.path.stem)

    @property
    def channels(self) -> int:
        """1 if it sees films in grey, 3 if in colour."""
        return 1 if self.spec.channels == "grey" else 3

    def scores(self, films: Sequence[Pixels]) -> Floats:
        """Float (N,): probability of the positive class.

        Raises:
            ClassifierError: the model fails in onnxruntime.
            SpecError: its output is not what the spec says.
        """
        size, parts = self.batch or BATCH, [np.empty(0)]
        for start in range(0, len(films), size):
            parts.append(self._scores(films[start : start + size]))
        return np.concatenate(parts)

    def _scores(self, films: Sequence[Pixels]) -> Floats:
        inputs = Parallel(n_jobs=-1, prefer="threads")(delayed(model_input)(film, self.spec) for film in films)
        return probabilities_of(self._run(self._laid_out(np.stack(inputs)))[: len(films)], self.spec, len(films))

    def _laid_out(self, films: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Films (N, rows, columns) or (N, rows, columns, 3) in the layout and type of the model's input."""
        if self.batch and len(films) < self.batch:
            films = np.concatenate([films, np.repeat(films[-1:], self.batch - len(films), axis=0)])
        if self.spec.layout == "nchw":
            films = films[:, None] if films.ndim == 3 else films.transpose(0, 3, 1, 2)
        elif self.spec.layout == "nhwc" and films.ndim == 3:
            films = films[..., None]
        wanted: Any = TYPES[self.input_type]
        if np.issubdtype(wanted, np.integer):
            limits = np.iinfo(wanted)
            return films.round().clip(limits.min, limits.max).astype(wanted)
        return np.ascontiguousarray(films, dtype=wanted)

    def _run(self, films: npt.NDArray[Any]) -> npt.NDArray[Any]:
        try:
            return np.asarray(self.session.run([self.output_name], {self.input_name: films})[0])
        except Exception as error:  # onnxruntime has an exception for each of its status codes, and no common base
            raise ClassifierError(_not_run(self.path, films.shape, error)) from error


def _not_run(path: Path, shape: tuple[int, ...], error: Exception) -> str:
    told = " ".join(str(error).split())
    if any(word in told for word in ("bad_alloc", "allocate", "Allocat", "out of memory")):
        return (
            f"The model {path} needs more memory than there is for {shape[0]} films. Free some, or export it with a "
            "batch of 1."
        )
    return f"The model {path} fails on an input of shape {shape}: {told[:400]}. Does its spec describe the input?"


def open_onnx(path: Path, spec: Spec) -> OnnxClassifier:
    """Open a model with its spec.

    Raises:
        ClassifierError: a package is missing; or the file is no ONNX, damaged, incomplete, too large for the memory, or
            uses what onnxruntime lacks.
        SpecError: the spec contradicts the file, or lacks what the file does not say either.
    """
    graph, files = _read(path)
    session = _session(path)
    given = _one(session.get_inputs(), spec.input_name, "input", path)
    output = _one(session.get_outputs(), spec.output_name, "output", path)
    if len(session.get_inputs()) > 1:
        others = ", ".join(one.name for one in session.get_inputs() if one.name != given.name)
        raise ClassifierError(
            f"The model {path} needs other inputs besides {given.name} ({others}), and an audit has films alone. "
            "Export it with the others as constants."
        )
    if given.type not in TYPES:
        raise ClassifierError(f"The input of {path} is of {given.type}; films can be given as {', '.join(TYPES)}.")
    if output.type not in NUMBERS:
        raise ClassifierError(
            f"The output {printable(output.name)} of {path} is of {output.type}; scores are {', '.join(NUMBERS)}. "
            "Export the model with such outputs (tf2onnx: --dequantize; skl2onnx: zipmap False), or name another one: "
            "output_name."
        )
    whole, batch = _completed(spec, given.shape, path)
    digests = [file_digest(file) for file in files]
    digest, about = ",".join(digests), _about(graph, path, files, session, given, output) | {"SHA-256": digests[0]}
    operators = _counted([node.op_type for node in graph.graph.node])
    found = OnnxClassifier(path, whole, digest, session, given.name, output.name, given.type, batch, about, operators)
    batch = _at_once(found)
    about |= {"films at once": "any number" if batch is None else str(batch)}
    return replace(found, batch=batch, about=about, of_tblib=graph.producer_name == OWN)


def _at_once(model: OnnxClassifier) -> int | None:
    """How many films the model takes at once; raises SpecError or ClassifierError if it does not answer as it should.

    Some files say any number, and then fail on two films or let them change each other's scores: those get one at a
    time.
    """
    films = [np.full((8, 8), level, np.uint8) for level in (0, 255)]
    if model.batch:
        model.scores(films[:1])
        return model.batch
    alone = np.concatenate([model.scores([film]) for film in films])
    try:
        together = model.scores(films)
    except (ClassifierError, SpecError):
        return 1
    return None if np.allclose(alone, together, rtol=0, atol=SAME, equal_nan=True) else 1


def _read(path: Path) -> tuple[Any, list[Path]]:
    """The graph of an ONNX file without its weights, and the files that the model consists of."""
    if path.is_dir() or not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ClassifierError(f"The model {path} {what}. Give an ONNX file, or package.module:object.")
    try:
        import onnx
    except ImportError as error:
        raise ClassifierError(f"Models in ONNX files need another package ({error}): {INSTALL}") from error
    try:
        graph = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises errors of its own kinds
        raise ClassifierError(f"{path} is no ONNX file, or a truncated one; {GUIDE}.") from error
    if not graph.graph.node:
        raise ClassifierError(f"{path} is no ONNX file, or an empty one: it holds no operators; {GUIDE}.")
    files = [path, *_external(graph, path)]
    size, free = sum(file.stat().st_size for file in files), psutil.virtual_memory().available
    if MEMORY * size > free:
        raise ClassifierError(
            f"The model {path} has {size / 2**20:,.0f} MB and takes more memory than there is ({free / 2**20:,.0f} MB "
            "free). Free some, or use another machine."
        )
    return graph, files


def _external(graph: Any, path: Path) -> list[Path]:
    """Files beside an ONNX file that hold weights of it; raises ClassifierError if they are missing or elsewhere."""
    from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

    names = {ExternalDataInfo(tensor).location for tensor in _get_all_tensors(graph) if uses_external_data(tensor)}
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise ClassifierError(
                f"The model {path} wants weights from {printable(name)}, outside its own folder, and that is refused. "
                "Export it anew with its weights beside it."
            )
    files = sorted(path.parent / name for name in names)
    missing = [printable(file.name) for file in files if not file.is_file()]
    if missing:
        raise ClassifierError(f"The model {path} keeps weights in {', '.join(missing)}; put that beside it.")
    return files


def _session(path: Path) -> Any:
    """The model in onnxruntime, on a card if that has one."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ClassifierError(f"Models in ONNX files need another package ({error}): {INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised, too
    there = onnxruntime.get_available_providers()
    wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in there]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:  # as in `OnnxClassifier._run`
        told = " ".join(str(error).split())
        raise ClassifierError(
            f"onnxruntime {onnxruntime.__version__} cannot load the model {path}: {told[:400]}. If an operator or "
            "opset is unknown to it, export the model with an older opset (17), or install a newer onnxruntime; "
            "models with operators of their own cannot be run."
        ) from error


def _one(there: list[Any], wanted: str | None, what: str, path: Path) -> Any:
    """The input or output that the spec names, or the only one."""
    names = [one.name for one in there]
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted is None:
        raise SpecError(
            f"The model {path} has several {what}s: {', '.join(map(printable, names))}. Name one in its spec: "
            f"{what}_name: {printable(names[0])}"
        )
    if wanted not in names:
        raise SpecError(f"The model {path} has no {what} {wanted!r}; it has {', '.join(map(printable, names))}.")
    return there[names.index(wanted)]


def _completed(spec: Spec, shape: list[Any], path: Path) -> tuple[Spec, int | None]:
    """The spec with what the input's shape tells, and the number of films in a batch; None for any.

    Raises:
        SpecError: they contradict each other, or neither tells something needed.
    """
    sides = [side if isinstance(side, int) and side > 0 else None for side in shape]
    told = " × ".join("any" if side is None else str(side) for side in sides)
    layout = spec.layout or _layout(sides, spec.channels)
    if layout is None:
        raise SpecError(
            f"The input of {path} is {told}, from which the layout cannot be told; say layout: nchw or nhwc."
        )
    if AXES[layout] != len(sides):
        raise SpecError(f"The spec says layout {layout}, and the input of {path} has {len(sides)} axes: {told}.")
    axis = layout.find("c")
    depth = 1 if axis < 0 else sides[axis]
    channels = spec.channels or {1: "grey", 3: "rgb"}.get(depth or 0)
    if channels is None:
        raise SpecError(f"The input of {path} is {told}: say its channels, grey, rgb or bgr.")
    if depth is not None and depth != (1 if channels == "grey" else 3):
        raise SpecError(f"The spec says channels {channels} (layout {layout}), and the input of {path} is {told}.")
    rows, columns = sides[layout.index("h")], sides[layout.index("w")]
    size = spec.size or ((rows, columns) if rows and columns else None)
    if size is None:
        raise SpecError(f"The input of {path} is {told}: say the size that it was trained with.")
    if (rows or size[0], columns or size[1]) != size:
        raise SpecError(f"The spec says size {size[0]} × {size[1]}, and the input of {path} is {told}.")
    whole = replace(spec, layout=layout, channels=channels, size=size)
    if trouble := spec_trouble(whole):
        raise SpecError(f"The spec of {path}: {trouble}")
    return whole, sides[0]


def _layout(sides: list[int | None], channels: str | None) -> str | None:
    if len(sides) == 3:
        return "nhw"
    if len(sides) != 4:
        return None
    depths = {None: (1, 3), "grey": (1,), "rgb": (3,), "bgr": (3,)}[channels]
    fitting = [layout for layout, axis in (("nchw", 1), ("nhwc", 3)) if sides[axis] in depths]
    return fitting[0] if len(fitting) == 1 else None


def _about(graph: Any, path: Path, files: list[Path], session: Any, given: Any, output: Any) -> dict[str, str]:
    """Facts about the file, for people."""
    opset = ", ".join(f"{one.domain or 'ai.onnx'} {one.version}" for one in graph.opset_import)
    weights = sum(int(np.prod(list(one.dims))) for one in graph.graph.initializer)
    maker = " ".join([graph.producer_name, graph.producer_version]).strip()
    return {
        "file": printable(path.name) + (f" and {len(files) - 1} with weights" if len(files) > 1 else ""),
        "size of the file": f"{sum(file.stat().st_size for file in files) / 2**20:,.1f} MB",
        "format": f"ONNX, opset {opset}" + (f", made by {printable(maker)}" if maker else ""),
        "parameters": f"{weights:,}",
        "operators": f"{len(graph.graph.node):,}",
        "input": f"{printable(given.name)}, {given.type}, {given.shape}",
        "output": f"{printable(output.name)}, {output.type}, {output.shape}",
        "computed by": f"{', '.join(session.get_providers())}",
    }


def _counted(names: list[str]) -> dict[str, int]:
    counts = {name: names.count(name) for name in set(names)}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
