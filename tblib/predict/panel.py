"""Prediction panel: widgets around `tblib.predict.predictor.Predictor`, for a notebook cell or a separate page.

Each control only calls the predictor and shows the result. Errors are shown as a sentence, and the panel stays usable.
"""

import base64
import io
import os
from collections.abc import Callable
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
from tblib.predict import cases, place
from tblib.predict.answers import Answer, Score, Track, compared, percents, texts
from tblib.predict.cases import Case, fault, open_case, pictures_in, too_many
from tblib.predict.files import read_file
from tblib.predict.place import Place
from tblib.predict.predictor import Attribution, PredictionError, Predictor, describe, probability_of
from tblib.predict.what_if import NOTHING, Changes
from tblib.predict.widgets import (
    ALONE,
    AnswerTable,
    Connection,
    DropZone,
    controls_of_changes,
    enable,
    in_turn,
    summary,
    what_if_box,
)
from tblib.show import plots
from tblib.show.text import capital
from tblib.system.text import RESEARCH_USE, as_cell

ON_A_PAGE = "VOILA_BASE_URL"  # environment variable that Voila sets: its pages are never without a kernel
PARTS = Environment(loader=PackageLoader("tblib.predict", "."), autoescape=select_autoescape(["html.j2"], default=True))
PARTS.globals["percents"] = percents
HTML: Any = PARTS.get_template("panel.html.j2").module  # Jinja macros


class PredictionPanel(widgets.VBox):
    """The panel. Create it with `prediction_panel`."""

    def __init__(self, predictor: Predictor, samples: dict[str, bytes], synthetic: bool, point: str | None) -> None:
        self.predictor, self.synthetic = predictor, synthetic
        self.cases: list[Case] = []
        self._example = False  # the only case is a sample that nobody has asked for
        self._cleared: list[Case] = []  # what can be brought back
        self._problems: list[str] = []  # of the latest batch
        self._waiting = False  # the first film of the latest batch is still to come
        self.attribution: Attribution | None = None  # of the case shown
        self.drop, self.connection = DropZone(self._uploaded), Connection(self._show_rest)
        self.samples = [self._sample(name, content) for name, content in samples.items()]
        self.path = widgets.Text(
            description="Path",
            placeholder="a file or folder on this machine",
            style={"description_width": "auto"},
            layout=widgets.Layout(flex="1 1 14rem", max_width="26rem"),
        )
        self.opener = _button("Open", "Open the file or folder at this path")
        self.clear = _button("Clear the list", "Take all films off the list; they can be brought back")
        self.point = widgets.Dropdown(
            options=[(capital(predictor.point_name(name)), name) for name in predictor.thresholds],
            value=point or predictor.own_point,
            description="Verdict at",
            style={"description_width": "auto"},
        )
        self.told, self.answer, self.pictures, self.outcome, self.source = (widgets.HTML() for _ in range(5))
        self.table = AnswerTable()
        self.controls, self._undoing = controls_of_changes(), False
        self.reset = _button("Undo all changes", "Set all controls of What if back")
        self.what_if = what_if_box([*self.controls.values(), self.reset], self.outcome)
        super().__init__(self._rows())
        self.add_class("tblib-panel")
        self._wire()
        self._list([])
        if samples:
            self._add(self._case(*next(iter(samples.items()))), True)
            self._example = True

    def _rows(self) -> list[widgets.Widget]:
        wrapped = widgets.Layout(flex_flow="row wrap", overflow="visible")
        return [
            widgets.VBox([widgets.HTML(HTML.style() + HTML.notice(RESEARCH_USE, self.synthetic)), self.connection]),
            *(self.drop, widgets.HBox(self.samples, layout=wrapped)),
            widgets.HBox([self.path, self.opener, self.clear], layout=wrapped),
            *(self.point, self.source, self.told, self.table, self.answer, self.pictures, self.what_if),
        ]

    def _wire(self) -> None:
        self.opener.on_click(lambda _: self._guarded(self._open_path))
        self.path.on_msg(self._on_message_of_path)
        self.clear.on_click(lambda _: self._guarded(self._clear))
        self.point.observe(lambda _: self._guarded(self._judge_again), "value")
        self.table.observe(lambda _: self._guarded(self._show), "chosen")
        self.reset.on_click(lambda _: self._guarded(self._undo))
        for control in self.controls.values():
            control.observe(self._on_change, "value")
        given = [self.drop, self.connection, self.path, self.opener, self.clear, self.point, self.table, self.reset]
        for widget in [*given, *self.samples, *self.controls.values()]:
            widget.comm.on_msg(partial(in_turn, widget._handle_msg))  # also locks the value set by a message

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The live widget, and the answer shown as a picture for pages without a kernel."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        with ALONE:
            case = self.case
            if case is None or case.answer is None or ON_A_PAGE in os.environ:
                return data, metadata
            self._show_rest(self.connection.shown)
            picture, alt = plots.picture(self._still(case.name, case.answer), self.synthetic)
        data = data | {"image/png": base64.b64encode(picture).decode()}
        return data, metadata | {"image/png": {"alt": alt}}

    def _still(self, name: str, answer: Answer) -> Figure:
        found = self.attribution.found if self.attribution else None
        at = None if answer.unlike else self._place(answer.score)
        return place.answer_figure(name, answer.film.pixels, answer.seen, found, at, describe(answer, self.predictor))

    # --- input files -----------------------------------------------------------------------------

    def _sample(self, name: str, content: bytes) -> widgets.Button:
        button = _button(name, f"Show {name}")
        button.on_click(lambda _: self._guarded(partial(self._show_sample, name, content)))
        return button

    def _show_sample(self, name: str, content: bytes) -> None:
        """Show a sample film; it is added to the list once."""
        listed = next((at for at, case in enumerate(self.cases) if case.name == name and case.answer), None)
        if listed is None:
            self._add(self._case(name, content), True)
        else:
            self._example = False
            self._choose(listed)

    def _uploaded(self, name: str, content: bytes | str, first: bool) -> bool:
        case = self._case(name, content)
        self._guarded(lambda: self._add(case, first))
        return case.answer is not None

    def _add(self, case: Case, first: bool) -> None:
        """Add a file to the list, and show it if it is the first of its batch that has an answer."""
        if first:
            self._problems, self._waiting = [], True
        alone = self._example or not self.cases
        self._list([case] if self._example else [*self.cases, case])
        self._example, self._cleared = False, []
        self._name_clear()
        self._problems += [case.problem] if case.problem else []
        if alone or (case.answer and self._waiting):
            self._choose(len(self.cases) - 1)
        self._waiting = self._waiting and case.answer is None
        if self._problems:
            self.told.value = HTML.problems(self._problems)

    def _on_message_of_path(self, _: object, message: dict[str, Any], __: object) -> None:
        if message.get("event") == "submit":  # the Enter key
            self._guarded(self._open_path)

    def _open_path(self) -> None:
        if not self.path.value.strip():
            raise PredictionError("Give the path of a picture file, or of a folder with some.")
        path = Path(self.path.value.strip()).expanduser()
        files = pictures_in(path, len(self.cases)) if path.is_dir() else [path]
        if not path.is_dir():
            read_file(path)  # a mistyped path is no film of the list
        read = 0
        for at, file in enumerate(files):
            self.drop.status = f"Reading {file.name}, {at + 1} of {len(files)}"
            case = self._case(file.name, file)
            self._add(case, at == 0)
            read += case.answer is not None
        self.drop.status = summary(read, len(files) - read)

    def _case(self, name: str, given: bytes | str | Path) -> Case:
        if len(self.cases) >= cases.MOST_FILES:
            given = f"{name} was not read: {too_many(len(self.cases) + 1)}"
        return open_case(self.predictor, name, given, self.point.value)

    def _clear(self) -> None:
        """Empty the list, or bring back what was on it."""
        self._cleared, back = self.cases, self._cleared
        self._example = self._waiting = False
        self._list([case.at(self.predictor, self.point.value) for case in back])
        self._name_clear()
        self._choose(next((at for at, case in enumerate(back) if case.answer), len(back) - 1))

    def _name_clear(self) -> None:
        count = len(self._cleared)
        back = f"Bring back {count} film{'s' if count > 1 else ''}"
        self.clear.description = back if count and not self.cases else "Clear the list"
        self.clear.disabled = not (count or self.cases)

    # --- display ---------------------------------------------------------------------------------

    def _list(self, listed: list[Case]) -> None:
        """Replace the list of files."""
        self.cases = listed
        rows = [case.row() for case in listed]
        with self.table.hold_sync():
            self.table.rows, self.table.texts = rows, [texts(cells) for cells in rows]
            self.table.csv = pd.DataFrame(rows).map(as_cell).to_csv(index=False)

    def _choose(self, at: int) -> None:
        """Show a case of the list, even if it was the one shown."""
        self.table.chosen = -1
        self.table.chosen = at
        if at < 0:
            self._show()

    @property
    def case(self) -> Case | None:
        """The case shown."""
        return self.cases[self.table.chosen] if 0 <= self.table.chosen < len(self.cases) else None

    def _show(self) -> None:
        """Show the chosen case; what takes long follows once a page shows it."""
        case, changed = self.case, self.changes != NOTHING
        self.told.value = HTML.tell(case.problem if case else "")
        self.answer.value = self.pictures.value = self.outcome.value = ""
        self.attribution = None
        self.what_if.layout.display = "flex" if case and case.answer else "none"
        self._set_back()
        if case and case.answer:
            self._draw_answer()
            self._draw_pictures()
            self._draw_outcome(set_back=changed)
            self.connection.shown += 1
        else:
            self._draw_source()

    def _show_rest(self, shown: int) -> None:
        """What moves the score, if answer number `shown` is still the one shown."""
        with ALONE:
            case = self.case
            if shown == self.connection.shown and case and case.answer and self.attribution is None:
                self._guarded(partial(self._attribute, case.answer), keep=True)

    def _attribute(self, answer: Answer) -> None:
        self.attribution = self.predictor.attribution(answer)
        self._draw_pictures()

    def _judge_again(self) -> None:
        """Show new verdicts from the same scores at another operating point."""
        self._list([case.at(self.predictor, self.point.value) for case in self.cases])
        if self.case and self.case.answer:
            self._draw_answer()
            self._draw_pictures()
            self._draw_outcome()
        else:
            self._draw_source()

    def _place(self, score: Score) -> Place:
        label = f"{self.predictor.probability_name} of {self.predictor.preparation['positive']}"
        return Place(score.logit, self.predictor.threshold(self.point.value).logit, self.predictor.others, label)

    def _draw_source(self) -> None:
        """Which run and model answer, at which operating point, and when."""
        case, threshold = self.case, self.predictor.threshold(self.point.value)
        source = case.source if case else self.predictor.source(self.point.value)._replace(date="")
        self.source.value = HTML.source(source, percents(threshold.probability))

    def _draw_answer(self) -> None:
        case = self.case
        assert case is not None
        assert case.answer is not None
        answer = case.answer
        self._draw_source()
        self.answer.value = HTML.answer(
            case.name,
            answer,
            probability_of(answer, self.predictor),
            compared(answer.score.probability, answer.threshold),
            place.place_sentence(self._place(answer.score)),
            self.predictor.threshold(self.point.value).raw,
            case.warnings,
        )

    def _draw_pictures(self) -> None:
        assert self.case is not None
        assert self.case.answer is not None
        answer, attribution = self.case.answer, self.attribution
        pictures = [
            (_address(answer.film.pixels), "the film as given", f"as given ({answer.film.mode})", ""),
            (_address(answer.seen), "the same, small", f"as the model sees it, {len(answer.seen)} px", ""),
        ]
        if attribution and attribution.found is not None:
            moving = plots.overlay(answer.seen, attribution.found)
            pictures.append((_address(moving), "the film under a map of what moves the score", "what moves it", ""))
        if not answer.unlike:
            drawn, alt = plots.picture(place.place_figure(self._place(answer.score)), self.synthetic)
            source = f"data:image/png;base64,{base64.b64encode(drawn).decode()}"
            pictures.append((source, alt, "its probability among the run's test films", "wide"))
        self.pictures.value = HTML.pictures(
            pictures, attribution.sentence if attribution else "Looking for what moves the score …"
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
        self._set_back()
        self._draw_outcome()

    def _set_back(self) -> None:
        """Set all controls to no change."""
        self._undoing = True
        for name, control in self.controls.items():
            control.value = getattr(NOTHING, name)
        self._undoing = False

    def _draw_outcome(self, set_back: bool = False) -> None:
        """Draw what the changes do; `set_back`, say that the controls were set for another film."""
        case = self.case
        if case is None or case.answer is None:
            return
        film, changes = case.answer.film, self.changes
        enable(self.controls, changes, has_colour=film.pixels.ndim == 3, to_grey=channels_of(self.predictor.model) == 1)
        result = self.predictor.what_if(film, changes)
        threshold = case.answer.threshold
        tracks = [
            Track(kind, label, score, compared(score.probability, threshold).probability, verdict)
            for kind, label, score in (
                ("as-is", "as it is", result.as_is),
                ("edited", "changed", result.edited),
                ("placebo", "placebo", result.placebo),
            )
            for verdict in ["" if case.answer.unlike else self.predictor.verdict(score, self.point.value)]
        ]
        self.outcome.value = HTML.what_if(
            tracks,
            [
                (_address(result.films.edited), "the film with the changes", "with the changes", ""),
                (_address(result.films.placebo), "the film with their placebo", "with their placebo", ""),
            ],
            self._place(result.as_is),
            self.predictor.preparation["positive"],
            {"changed": changes != NOTHING, "set_back": set_back, "unlike": case.answer.unlike},
        )

    def _guarded(self, action: Callable[[], None], keep: bool = False) -> None:
        """Run a user's action; errors are shown as a sentence, and the panel stays usable.

        An earlier message is cleared unless `keep`.
        """
        with ALONE:
            if not keep:
                self.told.value = HTML.tell(self.case.problem if self.case else "")
            try:
                action()
            except TblibError as error:
                self.drop.status, self.told.value = "", HTML.tell(str(error))
            except Exception as error:  # a bug in tblib: show it here, as ipywidgets would only log it
                self.drop.status = ""
                self.told.value = HTML.tell(fault(error))


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


def _button(description: str, tooltip: str) -> widgets.Button:
    return widgets.Button(description=description, tooltip=tooltip, layout=widgets.Layout(width="auto"))


def _address(pixels: Pixels) -> str:
    """A film as a data URL, for pages without network access."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
