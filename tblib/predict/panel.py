"""Prediction panel: widgets around `tblib.predict.predictor.Predictor`, for a notebook cell or a separate page.

Each control only calls the predictor and shows the result. Errors are shown as a sentence, and the panel stays usable.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure
from PIL import Image

from tblib.arrays import Pixels, TblibError
from tblib.classifiers.protocol import channels_of
from tblib.films.archive import IMAGE_ENDINGS
from tblib.films.film import FilmError
from tblib.predict import place
from tblib.predict.place import Place
from tblib.predict.predictor import (
    Answer,
    Attribution,
    PredictionError,
    Predictor,
    describe,
    problem_row,
    read_file,
    row,
)
from tblib.predict.warnings import FilmWarning
from tblib.predict.what_if import NOTHING, Changes, working_copy
from tblib.predict.widgets import ALONE, AnswerTable, DropZone, controls_of_changes, enable, in_turn, what_if_box
from tblib.show import plots
from tblib.show.text import point_text
from tblib.system.text import RESEARCH_USE

MOST_FILES = 500  # open at once: a copy of up to 0.8 MB is kept of each
PARTS = Environment(loader=PackageLoader("tblib.predict", "."), autoescape=select_autoescape(["html.j2"], default=True))
HTML: Any = PARTS.get_template("panel.html.j2").module  # Jinja macros
_Picture = tuple[str, str, str, str]  # address, alt text, caption, CSS class


@dataclass(frozen=True)
class Case:
    """One input file: its answer on a working copy with warnings, or the problem."""

    name: str
    answer: Answer | None = None
    warnings: tuple[FilmWarning, ...] = ()
    problem: str = ""

    def row(self) -> dict[str, object]:
        """Its row of the table."""
        if self.answer is None:
            return problem_row(self.name, self.problem)
        return row(self.name, self.answer, list(self.warnings))


class PredictionPanel(widgets.VBox):
    """The panel. Create it with `prediction_panel`."""

    def __init__(self, predictor: Predictor, samples: dict[str, bytes], synthetic: bool, point: str | None) -> None:
        self.predictor, self.synthetic = predictor, synthetic
        self.cases: list[Case] = []
        self.attribution: Attribution | None = None  # of the case shown
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
            options=[(point_text(name), name) for name in predictor.thresholds],
            value=point or predictor.own_point,
            description="Verdict at",
            style={"description_width": "auto"},
        )
        self.told, self.answer, self.outcome = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.table = AnswerTable()
        self.controls, self._undoing = controls_of_changes(), False
        self._undo()
        self.reset = widgets.Button(description="Undo all changes")
        self.what_if = what_if_box([*self.controls.values(), self.reset], self.outcome)
        super().__init__(self._rows())
        self.add_class("tblib-panel")
        self._wire()
        if samples:
            self._show_sample(*next(iter(samples.items())))

    def _rows(self) -> list[widgets.Widget]:
        wrapped = widgets.Layout(flex_flow="row wrap", overflow="visible")
        return [
            widgets.HTML(HTML.style() + HTML.notice(RESEARCH_USE, self.synthetic)),
            *(self.drop, widgets.HBox(self.samples, layout=wrapped)),
            widgets.HBox([self.path, self.opener, self.point], layout=wrapped),
            *(self.told, self.table, self.answer, self.what_if),
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
            widget.comm.on_msg(partial(in_turn, widget._handle_msg))  # also locks the value set by a message

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget, and the answer shown as a picture for pages without a kernel."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        with ALONE:
            case = self.case
            if case is None or case.answer is None:
                return data, metadata
            picture, alt = plots.picture(self._still(case.name, case.answer), self.synthetic)
        data = data | {"image/png": base64.b64encode(picture).decode()}
        return data, metadata | {"image/png": {"alt": alt}}

    def _still(self, name: str, answer: Answer) -> Figure:
        found = self.attribution.found if self.attribution else None
        at, sentence = _place(answer, self.predictor), describe(answer, self.predictor)
        return place.answer_figure(name, answer.film.pixels, answer.seen, found, at, sentence)

    # --- input files -----------------------------------------------------------------------------

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
        return Case(name, small, tuple(self.predictor.warnings(small)))

    # --- display ---------------------------------------------------------------------------------

    def _list(self, cases: list[Case], keep: bool = False) -> None:
        """Replace the current files; show the first with an answer, or `keep` the one shown."""
        self.cases = cases
        with self.table.hold_sync():
            self.table.rows = [case.row() for case in cases]
            self.table.csv = pd.DataFrame(self.table.rows).to_csv(index=False)
        if not (keep and self.case and self.case.answer):
            self.table.chosen = -1
            self.table.chosen = next((place for place, case in enumerate(cases) if case.answer), 0)

    @property
    def case(self) -> Case | None:
        """The case shown."""
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
        """Show new verdicts from the same scores at another operating point."""
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
        drawn, alt = plots.picture(place.place_figure(_place(answer, self.predictor)), self.synthetic)
        source = f"data:image/png;base64,{base64.b64encode(drawn).decode()}"
        return source, alt, "the score among the run's test films", "wide"

    def _draw_answer(self, among_others: _Picture) -> None:
        case = self.case
        assert case is not None
        assert case.answer is not None
        answer, attribution = case.answer, self.attribution
        pictures = [
            (_address(answer.film.pixels), "the film as given", f"as given ({answer.film.mode})", ""),
            (_address(answer.seen), "the same, small", f"as the model sees it, {len(answer.seen)} px", ""),
        ]
        if attribution and attribution.found is not None:
            moving = plots.overlay(answer.seen, attribution.found)
            pictures.append((_address(moving), "the film under a map of what moves the score", "what moves it", ""))
        self.answer.value = HTML.answer(
            case.name,
            answer,
            self.predictor.preparation["positive"],
            point_text(self.point.value),
            [*pictures, among_others],
            place.place_sentence(_place(answer, self.predictor)),
            case.warnings,
            attribution.sentence if attribution else "Looking for what moves the score …",
        )

    # --- what if ---------------------------------------------------------------------------------

    @property
    def changes(self) -> Changes:
        """The current settings of the controls."""
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
        enable(self.controls, changes, has_colour=film.pixels.ndim == 3, to_grey=channels_of(self.predictor.model) == 1)
        result = self.predictor.what_if(film, changes)
        scores = result.as_is, result.edited, result.placebo
        self.outcome.value = HTML.what_if(
            result,
            [self.predictor.verdict(score, self.point.value) for score in scores],
            [
                (_address(result.films.edited), "the film with the changes", "with the changes", ""),
                (_address(result.films.placebo), "the film with their placebo", "with their placebo", ""),
            ],
            _place(case.answer, self.predictor),
            changes != NOTHING,
        )

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run a user's action; errors are shown as a sentence, and the panel stays usable."""
        with ALONE:
            self.told.value = HTML.tell(self.case.problem if self.case else "")  # clears an earlier error message
            try:
                action()
            except TblibError as error:
                self.drop.status, self.told.value = "", HTML.tell(str(error))
            except Exception as error:  # a bug in tblib: show it here, as ipywidgets would only log it
                self.drop.status = ""
                self.told.value = HTML.tell(
                    f"This failed inside tblib ({type(error).__name__}: {error}). Please report it."
                )


def prediction_panel(
    predictor: Predictor, samples: dict[str, bytes], synthetic: bool = False, point: str | None = None
) -> PredictionPanel:
    """Create widgets to predict films, and to change them and see how the prediction changes.

    Args:
        samples: label of a button -> bytes of the picture file; the first one is shown at once.
        synthetic: whether the samples are synthetic, which the panel then states.
        point: initial operating point, a key of the predictor's thresholds; by default the model's own.

    Raises:
        PredictionError: there is no such operating point.
    """
    predictor.threshold(point or predictor.own_point)
    with ALONE:  # another panel of this kernel may be busy
        return PredictionPanel(predictor, samples, synthetic, point)


def _place(answer: Answer, predictor: Predictor) -> Place:
    background = predictor.background
    return Place(answer.score.logit, answer.threshold, background.logits if background else {})


def _pictures(folder: Path) -> list[Path]:
    """Picture files in a folder, sorted by name."""
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
    """A film as a data URL, for pages without network access."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
