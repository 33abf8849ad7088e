"""Widgets of the panel: drop zone, table of answers, and what-if controls."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets

from tblib.films import edits
from tblib.predict.what_if import LETTERS, WEIGHTS, Changes

HERE = Path(__file__).parent
LIMIT = 100 * 2**20  # maximum bytes of an uploaded file
KEPT = 8  # batches of a view that may be incomplete at the same time
ALONE = RLock()  # held while a panel is changed: Jupyter may handle each widget's messages in a separate thread


@dataclass
class _Batch:
    """Files given at once.

    Attributes:
        turn: number of the next message to handle.
        early: messages that arrived before their turn, by number.
        parts: parts received so far of the current file.
        read, not_read: how many of its files were, so far.
    """

    turn: int = 0
    early: dict[int, tuple[dict[str, Any], list[Any]]] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    read: int = 0
    not_read: int = 0


class DropZone(anywidget.AnyWidget):
    """Zone for dropping or choosing films; it passes on the bytes of each file, of any size, in the order given.

    Jupyter may handle messages in several threads and out of order, so each has a number. Batches of several views,
    such as two tabs of a browser, are received side by side. One that never completes, because its view is gone, is
    forgotten once its view has begun `KEPT` more.

    Attributes:
        limit: maximum bytes of a file; larger ones are refused with a sentence before they are sent.
        status: text shown below.
    """

    _esm = HERE / "drop.js"
    limit = traitlets.Int(LIMIT).tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)

    def __init__(self, take: Callable[[str, bytes | str, bool], bool]) -> None:
        """`take` gets a file's name, its bytes or why there are none, and whether it is the first of its batch.

        It tells whether the file was read.
        """
        super().__init__()
        self._batches, self._newest = dict[tuple[str, int], _Batch](), dict[str, int]()
        self._take = take
        self.on_msg(self._received)

    def _received(self, _: object, message: dict[str, Any], buffers: list[Any]) -> None:
        """Handle a part of a file, or why there is none, and later ones that waited; or keep it until its turn."""
        with ALONE:
            view, number = place = str(message["view"]), int(message["batch"])
            newest = self._newest[view] = max(number, self._newest.get(view, 0))
            if number <= newest - KEPT:
                return
            for old in [one for one in self._batches if one[0] == view and one[1] <= newest - KEPT]:
                del self._batches[old]
            batch = self._batches.setdefault(place, _Batch())
            batch.early[message["turn"]] = message, [bytes(buffer) for buffer in buffers]
            while batch.turn in batch.early:
                batch.turn += 1
                if self._handle(batch, *batch.early.pop(batch.turn - 1)):
                    del self._batches[place]

    def _handle(self, batch: _Batch, message: dict[str, Any], buffers: list[bytes]) -> bool:
        """Handle one message; whether it ends its batch."""
        name, place, kind = str(message["name"]), int(message["place"]), message["kind"]
        content: bytes | str
        if kind == "part":
            batch.parts += buffers
            if not message["last"]:
                return False
            self.status = f"Reading {name}, {place + 1} of {message['count']}"
            content = b"".join(batch.parts)
        elif kind == "refused":
            size = f"{message['size'] / 2**20:.0f} MB, above the limit of {LIMIT // 2**20} MB"
            content = f"{name} has {size}; shrink it, or give its path instead."
        else:
            content = f"{name} cannot be read by the browser; choose a file, not a folder."
        batch.parts = []
        read = self._take(name, content, place == 0)
        batch.read, batch.not_read = batch.read + read, batch.not_read + (not read)
        ends = place + 1 == int(message["count"])
        if ends:
            self.status = summary(batch.read, batch.not_read)
        return ends


def summary(read: int, not_read: int) -> str:
    """How many files of a batch were read, and where to find out which were not."""
    return f"{read} read, {not_read} not" + (": the table says which, and why." if not_read else ".")


class AnswerTable(anywidget.AnyWidget):
    """Sortable table of answers, from which a film can be chosen and which can be saved; and a step back or forward.

    Attributes:
        rows: dicts with the same keys, by which the table is sorted; a single one with an answer is not shown.
        texts: the columns to show of each row, as text.
        chosen: index of the row whose film is shown, -1 for none.
        csv: content of the saved file.
    """

    _esm = HERE / "table.js"
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    texts = traitlets.List(traitlets.Dict()).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)
    csv = traitlets.Unicode("").tag(sync=True)


class Connection(anywidget.AnyWidget):
    """Says while the kernel computes, and that it is gone; asks for what may come after an answer once that is shown.

    Attributes:
        shown: number of the answer shown, 0 before the first.
    """

    _esm = HERE / "connection.js"
    shown = traitlets.Int(0).tag(sync=True)

    def __init__(self, wanted: Callable[[int], None]) -> None:
        """`wanted` gets the number of an answer that a page shows and wants the rest of."""
        super().__init__()
        self.on_msg(lambda _, message, __: wanted(int(message["shown"])))


def controls_of_changes() -> dict[str, widgets.Widget]:
    """A control for each field of `Changes`, by name."""
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


def enable(controls: dict[str, widgets.Widget], changes: Changes, has_colour: bool, to_grey: bool) -> None:
    """Enable only the controls that have an effect: `to_grey`, the model sees films in grey."""
    controls["tint_strength"].disabled = not changes.tint
    controls["weights"].disabled = not (to_grey and (changes.tint or has_colour))
    for name in ("marker_style", "marker_size", "marker_across", "marker_down"):
        controls[name].disabled = not changes.marker


def what_if_box(controls: list[widgets.Widget], outcome: widgets.HTML) -> widgets.VBox:
    """The controls beside their outcome."""
    title = widgets.HTML("<h3>What if</h3>")
    left, right = widgets.VBox(controls), widgets.VBox([outcome])
    left.add_class("tblib-controls")
    right.add_class("tblib-outcome")
    both = widgets.HBox([left, right], layout=widgets.Layout(flex_flow="row wrap", overflow="visible"))
    return widgets.VBox([title, both], layout=widgets.Layout(display="none", overflow="visible"))


def in_turn(handle: Callable[[dict[str, Any]], None], message: dict[str, Any]) -> None:
    """Handle a message of the page once no other thread is changing a panel."""
    with ALONE:
        handle(message)
