"""Serving: the notebooks in JupyterLab, or the prediction panel alone as a page of its own."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

from tblib.parameters import NOTEBOOKS
from tblib.processes import clear_scratch, scratch
from tblib.run import Run, run_folder
from tblib.shortages import allow_open_files

MESSAGE = 110 * 2**20  # bytes: an upload of 100 MB in one message; Jupyter's own limit drops 10 MiB without a word
LARGE = {"websocket_max_message_size": MESSAGE}
CLOSED = {  # a page with films on it asks nothing of the network; Voila's template would, for its icons
    "headers": {"Content-Security-Policy": "default-src 'self' ws: wss: data: blob: 'unsafe-inline' 'unsafe-eval'"}
}
WAIT = 2  # seconds for a kernel to end, which has nothing to put in order
TAGS = ("parameters", "app")  # of the cells that the panel needs
PANEL = "06_prediction.ipynb"
NEEDED = ("model.safetensors", "metrics.json", "predictions.csv", "catalogue.json")


def lab(folder: Path, arguments: Iterable[str]) -> int:
    """Open JupyterLab on a folder of notebooks until it is stopped; `arguments` are its own."""
    return _served(
        [
            "jupyterlab",
            str(folder),
            *_with({"ServerApp.tornado_settings": json.dumps(LARGE)}, arguments),
        ]
    )


def app(name: str, arguments: Iterable[str]) -> int:
    """Serve the prediction panel of a run through Voila until it is stopped; `arguments` are Voila's own.

    Raises:
        MissingInputError: the run has no evaluated model.
    """
    run = Run(run_folder(name))
    for file in NEEDED:
        run.need(file)
    with TemporaryDirectory(dir=scratch()) as folder:
        page = Path(folder) / "Tuberculosis on one chest film.ipynb"
        nbformat.write(panel_alone(run), page)
        return _served(
            [
                "tblib.page",
                str(page),
                *_with(
                    {
                        "Voila.tornado_settings": json.dumps(LARGE | CLOSED),
                        "Voila.connection_dir_root": str(scratch()),
                        "KernelManager.shutdown_wait_time": str(WAIT),
                        "VoilaConfiguration.multi_kernel_manager_class": "tblib.page.PageKernels",
                    },
                    arguments,
                ),
            ]
        )


def panel_alone(run: Run) -> nbformat.NotebookNode:
    """The cells of the prediction notebook that are tagged ``app``, for one run."""
    notebook = nbformat.read(NOTEBOOKS / PANEL, as_version=4)
    tagged = {tag: [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])] for tag in TAGS}
    title = nbformat.v4.new_markdown_cell("# What the model of a run says of one chest film, and why")
    chosen = nbformat.v4.new_code_cell(f"run = {str(run.folder)!r}")
    notebook.cells = [title, *tagged["parameters"], chosen, *tagged["app"]]
    return notebook


def _with(options: dict[str, str], arguments: Iterable[str]) -> list[str]:
    """A person's arguments after those of our options that they do not set; Jupyter takes no option twice."""
    given = list(arguments)
    named = {argument.split("=")[0] for argument in given}
    return [*(f"--{name}={value}" for name, value in options.items() if f"--{name}" not in named), *given]


def _served(command: list[str]) -> int:
    """Run a server, a module and its arguments, in this very process: one that were started could outlive it.

    It ends by Ctrl-C or SIGTERM, and then ends its kernels.
    """
    allow_open_files()
    clear_scratch()
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    return 0
