"""The spec of somebody else's model, a YAML file: what it does to a film first, and what its output means."""

import difflib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import yaml
from PIL import Image

from tblib.arrays import Pixels, TblibError
from tblib.films.edits import three_channels
from tblib.films.film import grey_of
from tblib.system.text import printable

EXAMPLE = """\
# What a model does to a film, and what its output means. Copy this into a file, change it, and leave out what the ONNX
# file itself says (size, layout, whether channels are 1 or 3). Keys marked (needed) have no default.

# --- what the model gets ---
size: [224, 224]      # rows and columns of its input in pixels; one number for a square
channels: rgb         # grey, rgb or bgr; a grey film is repeated, a coloured one becomes its luma for grey
layout: nchw          # order of the input's axes: nchw (PyTorch), nhwc (Keras, TFLite), or nhw (grey, no channel axis)
crop: none            # none; square: the film's central square; or rows and columns kept of the film after a first
                      # resize to size, after which it is resized again, as {rows: [22, 201], columns: [0, 224]}
clahe: none           # none; or what cv2.createCLAHE does to the grey film before it is resized, with its numbers:
                      # {clip_limit: 2.0, tiles: [8, 8]}
resize: bilinear      # nearest, bilinear, bicubic, lanczos or box (cv2.INTER_AREA)
antialias: true       # true: as Pillow and torchvision do; false: as cv2.resize and tf.image.resize do
scale: 0.003921568627 # (needed) input = (level × scale − mean) / sd, with levels 0 … 255; this is 1/255
mean: [0.485, 0.456, 0.406] # one number, or one per channel in the model's own order; 0 if left out
sd: [0.229, 0.224, 0.225]   # likewise; 1 if left out

# --- what it puts out ---
output: softmax       # (needed) softmax: one probability per class, together 1; logits: one number per class, before
                      # the softmax; probability: a number within 0 … 1; logit: a number whose sigmoid is a probability.
                      # Of the last two a model gives one per film, or one for each of several findings
positive_index: 1     # (needed if there are several numbers per film) which of them is tuberculosis, counted from 0; of
                      # one number 1 (the default) says that it speaks for tuberculosis, 0 that it speaks against it
# negative_index: 0   # instead of positive_index: which of them is normal; 1 less its probability counts
threshold: 0.5        # at or above which probability the model calls a film positive; 0.5 if left out
# input_name: images  # needed only if the file has several inputs
# output_name: probs  # needed only if the file has several outputs

# --- where it comes from, for the report ---
name: a model of somebody else
trained_on: not known # free text
seen: unknown         # were the films at hand among those that it was trained on: yes, no or unknown; with yes it is
                      # compared with networks that have seen the films' cues, too, else also with some that have not
"""
LEAST_SIDE, MOST_SIDE = 8, 4096  # px of an input
FILTERS = {  # resize -> Pillow's filter, and the name of OpenCV's
    "nearest": (Image.Resampling.NEAREST, "INTER_NEAREST"),
    "bilinear": (Image.Resampling.BILINEAR, "INTER_LINEAR"),
    "bicubic": (Image.Resampling.BICUBIC, "INTER_CUBIC"),
    "lanczos": (Image.Resampling.LANCZOS, "INTER_LANCZOS4"),
    "box": (Image.Resampling.BOX, "INTER_AREA"),
}
CHANNELS = ("grey", "rgb", "bgr")
LAYOUTS = ("nchw", "nhwc", "nhw")
OUTPUTS = ("probability", "logit", "softmax", "logits")
SEEN = ("yes", "no", "unknown")
NEEDED = ("output", "scale")  # keys without a sensible default


class SpecError(TblibError):
    """A spec that cannot be used."""


class Clahe(NamedTuple):
    """Contrast-limited adaptive histogram equalisation by OpenCV: its clip limit, and tiles down and across."""

    clip_limit: float
    tiles: tuple[int, int]


class Cut(NamedTuple):
    """Rows and columns that are kept of a resized film: first, and first that is not."""

    rows: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True)
class Spec:
    """A spec; `EXAMPLE` explains each key.

    Attributes:
        size: rows and columns; None where the model's file has to tell, like `channels` and `layout`.
        crop: None, ``square``, or what is kept of the resized film.
        mean, sd: one number, or one per channel.
        positive_index, negative_index: one of the two; of a single number, 1 or 0.
    """

    output: str = "probability"
    scale: float = 1.0
    size: tuple[int, int] | None = None
    channels: str | None = None
    layout: str | None = None
    crop: str | Cut | None = None
    clahe: Clahe | None = None
    resize: str = "bilinear"
    antialias: bool = True
    mean: tuple[float, ...] = (0.0,)
    sd: tuple[float, ...] = (1.0,)
    positive_index: int | None = None
    negative_index: int | None = None
    threshold: float = 0.5
    input_name: str | None = None
    output_name: str | None = None
    name: str = ""
    trained_on: str = "not reported"
    seen: str = "unknown"

    def plain(self) -> dict[str, Any]:
        """The spec as values of YAML and JSON, without keys that are not set."""
        told = {name: value for name, value in asdict(self).items() if value not in (None, "")}
        for name in ("mean", "sd", "size"):
            if name in told:
                told[name] = list(told[name])
        if self.clahe:
            told["clahe"] = {"clip_limit": self.clahe.clip_limit, "tiles": list(self.clahe.tiles)}
        if isinstance(self.crop, Cut):
            told["crop"] = {"rows": list(self.crop.rows), "columns": list(self.crop.columns)}
        return told


def read_spec(path: Path, needed: tuple[str, ...] = NEEDED) -> Spec:
    """Read a spec, in which the keys `needed` must stand.

    Raises:
        SpecError: the file cannot be read, is no mapping, or has unknown keys or unusable values.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.constructor.ConstructorError as error:
        raise SpecError(
            f"The spec {path} has a YAML tag, which could make a program of it ({error.problem}). Write plain values."
        ) from error
    except FileNotFoundError as error:
        raise SpecError(f"The spec {path} does not exist. An example: python -m tblib audit --example") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise SpecError(
            f"The spec {path} cannot be read ({' '.join(str(error).split())}). An example: python -m tblib audit "
            "--example"
        ) from error
    if not isinstance(content, dict):
        raise SpecError(
            f"The spec {path} must hold lines of the form key: value. An example: python -m tblib audit --example"
        )
    return spec_of({str(key): value for key, value in content.items()}, f"The spec {path}", needed)


def spec_of(content: dict[str, Any], what: str, needed: tuple[str, ...] = NEEDED) -> Spec:
    """A spec from the values of its keys; `what` begins messages.

    Raises:
        SpecError: a key is unknown, missing or has an unusable value, or two contradict each other.
    """
    for key in content:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise SpecError(
                f"{what} has a key {printable(key)!r}, which is unknown.{hint} The keys: {', '.join(KEYS)}."
            )
    values = {}
    for key, value in content.items():
        wanted, read = KEYS[key]
        try:
            values[key] = read(value)
        except (TypeError, ValueError, KeyError, OverflowError):
            raise SpecError(f"{what}: {key} must be {wanted}, not {value!r}.") from None
    for key in needed:
        if key not in values:
            raise SpecError(f"{what} does not say {key}: {KEYS[key][0]}. An example: python -m tblib audit --example")
    spec = Spec(**values)
    if trouble := spec_trouble(spec):
        raise SpecError(f"{what}: {trouble}")
    return spec


def spec_trouble(spec: Spec) -> str:
    """What does not fit together, as the end of a sentence; empty if all does."""
    if spec.positive_index is not None and spec.negative_index is not None:
        return "give positive_index or negative_index, not both."
    of_classes = spec.output in ("softmax", "logits")
    if of_classes and spec.positive_index is None and spec.negative_index is None:
        return (
            f"output {spec.output} needs positive_index, the class of tuberculosis, or negative_index, that of normal."
        )
    if spec.layout == "nhw" and spec.channels not in (None, "grey"):
        return f"layout nhw has no axis for the channels of {spec.channels}."
    for key in ("mean", "sd"):
        if spec.channels == "grey" and len(getattr(spec, key)) > 1:
            return f"{key} has {len(getattr(spec, key))} numbers, and a grey input one channel."
    if isinstance(spec.crop, Cut) and spec.size:
        ends = spec.crop.rows[1], spec.crop.columns[1]
        if ends[0] > spec.size[0] or ends[1] > spec.size[1]:
            return f"crop reaches to row {ends[0]} and column {ends[1]} of an input of {spec.size[0]} × {spec.size[1]}."
    return ""


# --- keys -----------------------------------------------------------------------------------------


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    number = float(value)  # also YAML's text 1e-3
    if not np.isfinite(number):
        raise ValueError
    return number


def _whole(value: Any, least: int = 0, most: int = 2**31) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError
    return value


def _size(value: Any) -> tuple[int, int]:
    rows, columns = value if isinstance(value, list) else (value, value)
    return _whole(rows, LEAST_SIDE, MOST_SIDE), _whole(columns, LEAST_SIDE, MOST_SIDE)


def _numbers(value: Any) -> tuple[float, ...]:
    numbers = tuple(map(_number, value if isinstance(value, list) else [value]))
    if len(numbers) not in (1, 3):
        raise ValueError
    return numbers


def _sds(value: Any) -> tuple[float, ...]:
    numbers = _numbers(value)
    if min(numbers) <= 0:
        raise ValueError
    return numbers


def _positive(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError
    return number


def _share(value: Any) -> float:
    number = _number(value)
    if not 0 < number < 1:
        raise ValueError
    return number


def _span(value: Any) -> tuple[int, int]:
    first, end = value
    if not _whole(first) < _whole(end):
        raise ValueError
    return first, end


def _crop(value: Any) -> str | Cut | None:
    if value in (None, "none"):
        return None
    if value == "square":
        return "square"
    if set(value) != {"rows", "columns"}:
        raise ValueError
    return Cut(_span(value["rows"]), _span(value["columns"]))


def _clahe(value: Any) -> Clahe | None:
    if value in (None, "none"):
        return None
    if set(value) != {"clip_limit", "tiles"}:
        raise ValueError
    down, across = value["tiles"]
    return Clahe(_positive(value["clip_limit"]), (_whole(down, 1, 256), _whole(across, 1, 256)))


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 2_000:
        raise ValueError
    return printable(value.strip())


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        """The word; YAML reads yes and no as truth values."""
        word = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        if not isinstance(word, str) or word not in allowed:
            raise ValueError
        return word

    return read


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


_SIDES = f"from {LEAST_SIDE} to {MOST_SIDE}"
KEYS: dict[str, tuple[str, Callable[[Any], Any]]] = {  # key -> what it must be, and how it is read
    "size": (f"a number of pixels {_SIDES}, or two: [rows, columns]", _size),
    "channels": (_either(CHANNELS), _one_of(*CHANNELS)),
    "layout": (_either(LAYOUTS), _one_of(*LAYOUTS)),
    "crop": ("none, square, or {rows: [first, end], columns: [first, end]}", _crop),
    "clahe": ("none, or {clip_limit: 2.0, tiles: [8, 8]}", _clahe),
    "resize": (_either(tuple(FILTERS)), _one_of(*FILTERS)),
    "antialias": ("true or false", _truth),
    "scale": ("a number above 0, by which levels 0 … 255 are multiplied, such as 1 or 0.00392157 (1/255)", _positive),
    "mean": ("a number, or three: one per channel", _numbers),
    "sd": ("a number above 0, or three: one per channel", _sds),
    "output": (_either(OUTPUTS), _one_of(*OUTPUTS)),
    "positive_index": ("a whole number, counted from 0", _whole),
    "negative_index": ("a whole number, counted from 0", _whole),
    "threshold": ("a probability between 0 and 1", _share),
    "input_name": ("the name of an input of the file", _text),
    "output_name": ("the name of an output of the file", _text),
    "name": ("text", _text),
    "trained_on": ("text", _text),
    "seen": (_either(SEEN), _one_of(*SEEN)),
}


# --- what the model sees of a film ------------------------------------------------------------------


def model_input(film: Pixels, spec: Spec) -> npt.NDArray[np.float32]:
    """Float32 (rows, columns), or (rows, columns, 3): a film uint8 (H, W) or (H, W, 3) as the model gets it.

    `spec` has a size and channels. Channels are in the model's own order.
    """
    pixels = seen(film, spec)
    ordered = pixels[..., ::-1] if spec.channels == "bgr" else pixels
    of_level = ((np.arange(256)[:, None] * spec.scale - np.array(spec.mean)) / np.array(spec.sd)).astype(np.float32)
    if of_level.shape[1] == 1:
        return of_level[:, 0][ordered]
    return np.stack([of_level[:, place][ordered[..., place]] for place in range(of_level.shape[1])], axis=-1)


def seen(film: Pixels, spec: Spec) -> Pixels:
    """Uint8 (rows, columns), or (rows, columns, 3) red-green-blue: a film before its levels are scaled."""
    assert spec.size is not None
    colours = spec.channels != "grey"
    picture = film if colours and not spec.clahe else grey_of(film)
    if spec.crop == "square":
        picture = _central_square(picture)
    if spec.clahe:
        cv2 = _cv2("clahe")
        down, across = spec.clahe.tiles
        picture = cv2.createCLAHE(spec.clahe.clip_limit, (across, down)).apply(np.ascontiguousarray(picture))
    picture = _resized(picture, spec)
    if isinstance(spec.crop, Cut):
        picture = _resized(picture[slice(*spec.crop.rows), slice(*spec.crop.columns)], spec)
    return three_channels(picture) if colours else picture


def _central_square(picture: Pixels) -> Pixels:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


def _resized(picture: Pixels, spec: Spec) -> Pixels:
    assert spec.size is not None
    rows, columns = spec.size
    if picture.shape[:2] == (rows, columns):
        return picture
    smooth, sharp = FILTERS[spec.resize]
    if spec.antialias and picture.ndim == 3 and _is_grey(picture):  # one channel instead of three equal ones
        return three_channels(_resized(picture[..., 0], spec))
    if spec.antialias:
        return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((columns, rows), smooth))
    cv2 = _cv2("antialias: false")
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), (columns, rows), interpolation=getattr(cv2, sharp)))


def _is_grey(picture: Pixels) -> bool:
    return bool((picture[..., :1] == picture[..., 1:]).all())


def _cv2(wanted: str) -> Any:
    """OpenCV, whose resizing and equalisation other people's models were trained with."""
    try:
        import cv2
    except ImportError as error:
        raise SpecError(
            f"The spec asks for {wanted}, which is computed by OpenCV, and that cannot be imported ({error}): "
            "pip install -e '.[onnx]'"
        ) from error
    return cv2
