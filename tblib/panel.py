"""The prediction panel: widgets around `tblib.predict.Predictor`, for a notebook cell or a page of its own.

Nothing is computed here: each control calls the predictor and shows what it says. A fault becomes a sentence in the
panel, and the panel goes on.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

import anywidget
import ipywidgets as widgets
import pandas as pd
import traitlets
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure
from PIL import Image

from tblib import RESEARCH_USE, TblibError, edits, figures
from tblib.cautions import Caution
from tblib.database import IMAGE_ENDINGS
from tblib.figures import Place
from tblib.film import FilmError, Pixels
from tblib.predict import (
    POINTS,
    Answer,
    Attribution,
    PredictionError,
    Predictor,
    describe,
    problem_row,
    read_file,
    row,
)
from tblib.what_if import LETTERS, NOTHING, WEIGHTS, Changes, working_copy

HERE = Path(__file__).parent
LIMIT = 100 * 2**20  # bytes of an uploaded file
MOST_FILES = 500  # that are open at once: of each a copy is kept, of up to 0.8 MB
PARTS = Environment(loader=PackageLoader("tblib", "."), autoescape=select_autoescape(["html.j2"], default=True))
HTML: Any = PARTS.get_template("panel.html.j2").module  # its macros
ALONE = RLock()  # held by whoever changes a panel: Jupyter may handle each widget's messages in a thread of its own

_Picture = tuple[str, str, str, str]  # address, alternative text, caption, class in the style sheet


@dataclass
class _Batch:
    """Files that were given at once.

    Attributes:
        place: which view of the zone they were given to, and how many batches it had before.
        turn: number of the message to handle next.
        early: those that came before it, by number.
        parts: what has come of the file that is coming.
    """

    place: tuple[str, int] = ("", 0)
    turn: int = 0
    early: dict[int, tuple[dict[str, Any], list[Any]]] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)


class DropZone(anywidget.AnyWidget):
    """Films are dropped on it, or chosen; it hands over each file's bytes in the order given, however large.

    Jupyter may handle messages in several threads, so that one overtakes another: each has its number. A new batch
    takes the place of the one before, even of one whose rest never comes because its view is gone.

    Attributes:
        limit: bytes of a file; larger ones are refused with a sentence before they are sent.
        status: what is said below.
    """

    _esm = HERE / "drop.js"
    limit = traitlets.Int(LIMIT).tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)

    def __init__(self, take: Callable[[str, bytes | str, bool], None]) -> None:
        """`take` gets a file's name, its bytes or why there are none, and whether it is the first of its batch."""
        super().__init__()
        self._batch, self._begun = _Batch(), dict[str, int]()  # a view's last batch, by its name
        self._take = take
        self.on_msg(self._received)

    def _received(self, _: object, message: dict[str, Any], buffers: list[Any]) -> None:
        """One part of a file, or why none comes: handled with those that waited for it, or kept until its turn."""
        with ALONE:
            view, number = place = str(message["view"]), int(message["batch"])
            if number > self._begun.get(view, -1):
                self._begun[view], self._batch = number, _Batch(place)
            batch = self._batch
            if batch.place != place:  # another took its place
                return
            batch.early[message["turn"]] = message, [bytes(buffer) for buffer in buffers]
            while batch.turn in batch.early:
                batch.turn += 1
                self._handle(batch, *batch.early.pop(batch.turn - 1))

    def _handle(self, batch: _Batch, message: dict[str, Any], buffers: list[bytes]) -> None:
        name, first = str(message["name"]), message["place"] == 0
        if message["kind"] == "part":
            batch.parts += buffers
            if message["last"]:
                content, batch.parts = b"".join(batch.parts), []
                self.status = f"Reading {name}"
                self._take(name, content, first)
            return
        batch.parts = []
        if message["kind"] == "refused":
            size = f"{message['size'] / 2**20:.0f} MB, above the limit of {LIMIT // 2**20} MB"
            self._take(name, f"{name} has {size}; shrink it, or give its path instead.", first)
        else:
            self._take(name, f"{name} cannot be read by the browser; choose a file, not a folder.", first)


class AnswerTable(anywidget.AnyWidget):
    """Answers as a table that can be sorted, from which a film is chosen, and which can be saved.

    Attributes:
        rows: dicts of the same keys; nothing is shown for fewer than two.
        chosen: place of the row whose film is shown, -1 for none.
        csv: what is saved.
    """

    _esm = HERE / "table.js"
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)
    csv = traitlets.Unicode("").tag(sync=True)


@dataclass(frozen=True)
class Case:
    """One file that was given: its answer on a working copy with what to know of it, or the problem."""

    name: str
    answer: Answer | None = None
    cautions: tuple[Caution, ...] = ()
    problem: str = ""

    def row(self) -> dict[str, object]:
        """Its line of the table."""
        if self.answer is None:
            return problem_row(self.name, self.problem)
        return row(self.name, self.answer, list(self.cautions))


class PredictionPanel(widgets.VBox):
    """The panel. Make it with `prediction_panel`."""

    def __init__(self, predictor: Predictor, samples: dict[str, bytes], synthetic: bool, point: str) -> None:
        self.predictor, self.synthetic = predictor, synthetic
        self.cases: list[Case] = []
        self.attribution: Attribution | None = None  # of the case that is shown
        self.drop = DropZone(self._uploaded)
        self.samples = [self._sample(name, content) for name, content in samples.items()]
        self.path = widgets.Text(
            description="Path",
            placeholder="a file or folder on this machine",
            style={"description_width": "auto"},
            layout=widgets.Layout(flex="1 1 14rem", max_width="26rem"),
        )
        self.opener = widgets.Button(
            description="Open", tooltip="Open the file or folder at this path", layout=widgets.Layout(width="auto")
        )
        self.point = widgets.Dropdown(
            options=[(POINTS[name], name) for name in predictor.thresholds],
            value=point,
            description="Verdict at",
            style={"description_width": "auto"},
        )
        self.told, self.answer, self.outcome = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.table = AnswerTable()
        self.controls, self._undoing = _controls(), False
        self._undo()
        self.reset = widgets.Button(description="Undo all changes")
        self.what_if = _what_if_box([*self.controls.values(), self.reset], self.outcome)
        super().__init__(self._rows())
        self.add_class("tblib-panel")
        self._wire()
        if samples:
            self._show_sample(*next(iter(samples.items())))

    def _rows(self) -> list[widgets.Widget]:
        wrapped = widgets.Layout(flex_flow="row wrap", overflow="visible")
        return [
            widgets.HTML(HTML.style() + HTML.notice(RESEARCH_USE, self.synthetic)),
            self.drop,
            widgets.HBox(self.samples, layout=wrapped),
            widgets.HBox([self.path, self.opener, self.point], layout=wrapped),
            self.told,
            self.table,
            self.answer,
            self.what_if,
        ]

    def _wire(self) -> None:
        self.opener.on_click(lambda _: self._guarded(self._open_path))
        self.path.on_msg(self._on_message_of_path)
        self.point.observe(lambda _: self._guarded(self._judge_again), "value")
        self.table.observe(lambda _: self._guarded(self._show), "chosen")
        self.reset.on_click(lambda _: self._guarded(self._undo))
        for control in self.controls.values():
            control.observe(self._on_change, "value")
        given = [self.drop, self.path, self.opener, self.point, self.table, self.reset]
        for widget in [*given, *self.samples, *self.controls.values()]:
            widget.comm.on_msg(partial(_in_turn, widget._handle_msg))  # with the value that a message brings

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget, and for pages without a kernel the answer that it shows as a picture."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        with ALONE:
            case = self.case
            if case is None or case.answer is None:
                return data, metadata
            picture, alt = figures.picture(self._still(case.name, case.answer), self.synthetic)
        data = data | {"image/png": base64.b64encode(picture).decode()}
        return data, metadata | {"image/png": {"alt": alt}}

    def _still(self, name: str, answer: Answer) -> Figure:
        found = self.attribution.found if self.attribution else None
        place, sentence = _place(answer, self.predictor), describe(answer, self.predictor)
        return figures.answer_figure(name, answer.film.pixels, answer.seen, found, place, sentence)

    # --- files come in ---------------------------------------------------------------------------

    def _sample(self, name: str, content: bytes) -> widgets.Button:
        button = widgets.Button(description=name, tooltip=f"Show {name}", layout=widgets.Layout(width="auto"))
        button.on_click(lambda _: self._guarded(partial(self._show_sample, name, content)))
        return button

    def _show_sample(self, name: str, content: bytes) -> None:
        self._list([self._case(name, content)])

    def _uploaded(self, name: str, content: bytes | str, first: bool) -> None:
        self._guarded(lambda: self._add(name, content, first))

    def _add(self, name: str, content: bytes | str, first: bool) -> None:
        if not first and len(self.cases) >= MOST_FILES:
            content = f"{name} was not read: {_too_many(len(self.cases) + 1)}"
        case = Case(name, problem=content) if isinstance(content, str) else self._case(name, content)
        self.drop.status = f"{name} was {'read' if case.answer else 'not read'}."
        self._list([case] if first else [*self.cases, case], keep=not first)

    def _on_message_of_path(self, _: object, message: dict[str, Any], __: object) -> None:
        if message.get("event") == "submit":  # the Enter key
            self._guarded(self._open_path)

    def _open_path(self) -> None:
        if not self.path.value.strip():
            raise PredictionError("Give the path of a picture file, or of a folder with some.")
        path = Path(self.path.value.strip()).expanduser()
        cases = []
        for file in _pictures(path) if path.is_dir() else [path]:
            self.drop.status = f"Reading {file.name}"
            cases.append(self._case(file.name, file))
        self.drop.status = ""
        self._list(cases)

    def _case(self, name: str, given: bytes | Path) -> Case:
        try:
            content = read_file(given) if isinstance(given, Path) else given
            answer = self.predictor.answer(content, name, self.point.value)
        except FilmError as error:
            return Case(name, problem=str(error))
        small = replace(answer, film=working_copy(answer.film))  # a full-size film takes up to 200 MB
        return Case(name, small, tuple(self.predictor.cautions(small)))

    # --- what is shown ---------------------------------------------------------------------------

    def _list(self, cases: list[Case], keep: bool = False) -> None:
        """Take these files in place of the last ones; show the first that has an answer, or `keep` what is shown."""
        self.cases = cases
        with self.table.hold_sync():
            self.table.rows = [case.row() for case in cases]
            self.table.csv = pd.DataFrame(self.table.rows).to_csv(index=False)
        if not (keep and self.case and self.case.answer):
            self.table.chosen = -1
            self.table.chosen = next((place for place, case in enumerate(cases) if case.answer), 0)

    @property
    def case(self) -> Case | None:
        """The one that is shown."""
        return self.cases[self.table.chosen] if 0 <= self.table.chosen < len(self.cases) else None

    def _show(self) -> None:
        case = self.case
        self.told.value = HTML.tell(case.problem if case else "")
        self.answer.value = self.outcome.value = ""
        self.what_if.layout.display = "flex" if case and case.answer else "none"
        if case and case.answer:
            self.attribution, among_others = None, self._among_others(case.answer)
            self._draw_answer(among_others)
            self._draw_outcome()
            self.attribution = self.predictor.attribution(case.answer)
            self._draw_answer(among_others)

    def _judge_again(self) -> None:
        """Another operating point: new verdicts from the same scores."""
        point = self.point.value
        judged = [
            replace(case, answer=self.predictor.at(case.answer, point)) if case.answer else case for case in self.cases
        ]
        self._list(judged, keep=True)
        if self.case and self.case.answer:
            self._draw_answer(self._among_others(self.case.answer))
            self._draw_outcome()

    def _among_others(self, answer: Answer) -> _Picture:
        """The figure of a score among the run's test films."""
        drawn, alt = figures.picture(figures.place_figure(_place(answer, self.predictor)), self.synthetic)
        return _png(drawn), alt, "the score among the run's test films", "wide"

    def _draw_answer(self, among_others: _Picture) -> None:
        case = self.case
        assert case is not None
        assert case.answer is not None
        answer, attribution = case.answer, self.attribution
        pictures = [
            (_address(answer.film.pixels), "the film as given", f"as given ({answer.film.mode})", ""),
            (_address(answer.seen), "the same, small and grey", f"as the model sees it, {len(answer.seen)} px", ""),
        ]
        if attribution and attribution.found is not None:
            moving = figures.overlay(answer.seen, attribution.found)
            pictures.append((_address(moving), "the film under a map of what moves the score", "what moves it", ""))
        self.answer.value = HTML.answer(
            case.name,
            answer,
            self.predictor.trained.preparation["positive"],
            POINTS[self.point.value],
            [*pictures, among_others],
            figures.place_sentence(_place(answer, self.predictor)),
            case.cautions,
            attribution.sentence if attribution else "Looking for what moves the score …",
        )

    # --- what if ---------------------------------------------------------------------------------

    @property
    def changes(self) -> Changes:
        """As the controls stand."""
        return Changes(**{name: control.value for name, control in self.controls.items()})

    def _on_change(self, _: object) -> None:
        with ALONE:
            if not self._undoing:
                self._guarded(self._draw_outcome)

    def _undo(self) -> None:
        self._undoing = True
        for name, control in self.controls.items():
            control.value = getattr(NOTHING, name)
        self._undoing = False
        self._draw_outcome()

    def _draw_outcome(self) -> None:
        case = self.case
        if case is None or case.answer is None:
            return
        film, changes = case.answer.film, self.changes
        _enable(self.controls, changes, has_colour=film.pixels.ndim == 3)
        result = self.predictor.what_if(film, changes)
        self.outcome.value = HTML.what_if(
            result,
            [
                self.predictor.verdict(score, self.point.value)
                for score in (result.as_is, result.edited, result.placebo)
            ],
            [
                (_address(result.films.edited), "the film with the changes", "with the changes", ""),
                (_address(result.films.placebo), "the film with their placebo", "with their placebo", ""),
            ],
            _place(case.answer, self.predictor),
            changes != NOTHING,
        )

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do what a person asked for; whatever goes wrong becomes a sentence, and the panel goes on."""
        with ALONE:
            self.told.value = HTML.tell(self.case.problem if self.case else "")  # no longer what went wrong before
            try:
                action()
            except TblibError as error:
                self.drop.status, self.told.value = "", HTML.tell(str(error))
            except Exception as error:  # a fault of ours: say so here, as the widgets would only log it
                self.drop.status = ""
                self.told.value = HTML.tell(
                    f"This failed inside tblib ({type(error).__name__}: {error}). Please report it."
                )


def prediction_panel(
    predictor: Predictor, samples: dict[str, bytes], synthetic: bool = False, point: str = "0.5"
) -> PredictionPanel:
    """Widgets to give films to a predictor, see what it says of them, and change them to see what it then says.

    Args:
        predictor: gives the answers.
        samples: name shown on a button -> bytes of the picture file; the first one is shown at once.
        synthetic: the samples were drawn by a computer, and the panel says so.
        point: operating point to begin with, a key of the predictor's thresholds.

    Raises:
        PredictionError: there is no such operating point.
    """
    predictor.threshold(point)
    with ALONE:  # another panel of this kernel may be at work
        return PredictionPanel(predictor, samples, synthetic, point)


def _in_turn(handle: Callable[[dict[str, Any]], None], message: dict[str, Any]) -> None:
    """Handle what the page says once no other thread is at work on a panel."""
    with ALONE:
        handle(message)


def _place(answer: Answer, predictor: Predictor) -> Place:
    background = predictor.background
    return Place(answer.score.logit, answer.threshold, background.logits if background else {})


def _pictures(folder: Path) -> list[Path]:
    """The picture files in a folder, by name."""
    try:
        files = sorted(file for file in folder.iterdir() if file.name.lower().endswith(IMAGE_ENDINGS))
    except OSError as error:
        raise PredictionError(f"The folder {folder} cannot be read ({error.strerror}).") from error
    if not files:
        raise PredictionError(f"There is no picture file in {folder}.")
    if len(files) > MOST_FILES:
        raise PredictionError(f"{folder} was not read: {_too_many(len(files))}")
    return files


def _too_many(files: int) -> str:
    return f"{files:,} films are more than the {MOST_FILES} that this panel holds; python -m tblib predict takes any."


def _address(pixels: Pixels) -> str:
    """A film as the address of a picture, for pages that ask nothing of the network."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _png(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _controls() -> dict[str, widgets.Widget]:
    """A control for each field of `Changes`, by its name."""
    slider = partial(widgets.FloatSlider, min=0.0, max=1.0, step=0.02, readout_format=".2f")
    tints, weights = {"none": "", **{name: name for name in edits.TINTS}}, list(WEIGHTS)
    letters = {"none": "", **{letter: letter for letter in LETTERS}}
    return {
        "tint": widgets.Dropdown(options=tints, description="Tint"),
        "tint_strength": slider(description="Tint strength"),
        "weights": widgets.Dropdown(options=weights, description="Grey from"),
        "equalise": slider(description="Equalise"),
        "marker": widgets.Dropdown(options=letters, description="Marker"),
        "marker_style": widgets.Dropdown(options=list(edits.MARKER_STYLES), description="Marker style"),
        "marker_size": widgets.IntSlider(min=12, max=120, description="Marker size"),
        "marker_across": slider(description="Marker across"),
        "marker_down": slider(description="Marker down"),
        "rectangle": slider(max=0.6, description="White rectangle"),
        "border": slider(max=0.16, step=0.01, description="Film border"),
        "crop": slider(max=0.2, step=0.01, description="Crop the edges"),
        "lungs_only": widgets.Checkbox(description="Lungs only", indent=False),
    }


def _enable(controls: dict[str, widgets.Widget], changes: Changes, has_colour: bool) -> None:
    """Only controls that would do something can be moved."""
    controls["tint_strength"].disabled = not changes.tint
    controls["weights"].disabled = not (changes.tint or has_colour)
    for name in ("marker_style", "marker_size", "marker_across", "marker_down"):
        controls[name].disabled = not changes.marker


def _what_if_box(controls: list[widgets.Widget], outcome: widgets.HTML) -> widgets.VBox:
    title = widgets.HTML("<h3>What if</h3>")
    left, right = widgets.VBox(controls), widgets.VBox([outcome])
    left.add_class("tblib-controls")
    right.add_class("tblib-outcome")
    both = widgets.HBox([left, right], layout=widgets.Layout(flex_flow="row wrap", overflow="visible"))
    return widgets.VBox([title, both], layout=widgets.Layout(display="none", overflow="visible"))
