"""Servers: the notebooks in JupyterLab, or the prediction panel as a separate page."""

import json
import os
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat

from tblib.report.declared import NOTEBOOKS, schema
from tblib.report.notebook import ON_A_PAGE, begin
from tblib.run import GIVEN, MODEL, STEPS, Run, run_folder
from tblib.system.processes import clear_scratch, scratch
from tblib.system.shortages import allow_open_files

MESSAGE = 110 * 2**20  # bytes, for an upload of 100 MB in one message; by default Jupyter silently drops above 10 MiB
LARGE = {"websocket_max_message_size": MESSAGE}
CLOSED = {  # a page with films needs no network access; Voila's template would load icons
    "headers": {"Content-Security-Policy": "default-src 'self' ws: wss: data: blob: 'unsafe-inline' 'unsafe-eval'"}
}
WAIT = 2  # seconds for a kernel to exit; it has nothing to clean up
REFILL = (
    3  # seconds after a page has opened until the kernel for the next one is started, which that page would wait for
)
TAGS = ("parameters", "app")  # cells that the panel needs
PANEL = "06_prediction.ipynb"
NEEDED = ("metrics.json", "predictions.csv", "catalogue.json")  # besides the model


def lab(folder: Path, arguments: Iterable[str]) -> int:
    """Serve a folder of notebooks in JupyterLab until stopped; `arguments` are passed on to it."""
    return _served(["jupyterlab", str(folder), *_with({"ServerApp.tornado_settings": json.dumps(LARGE)}, arguments)])


def app(name: str, arguments: Iterable[str]) -> int:
    """Serve the prediction panel of a run with Voila until stopped; `arguments` are passed on to it.

    Raises:
        MissingInputError: the run has no evaluated model.
    """
    run = Run(run_folder(name))
    for file in (GIVEN if run.path(GIVEN).is_file() else MODEL, *NEEDED):
        run.need(file)
    with TemporaryDirectory(dir=scratch()) as folder:
        page = Path(folder) / "Tuberculosis on one chest film.ipynb"
        nbformat.write(panel_alone(run), page)
        options = {
            "Voila.tornado_settings": json.dumps(LARGE | CLOSED),
            "Voila.connection_dir_root": str(scratch()),
            "KernelManager.shutdown_wait_time": str(WAIT),
            "VoilaConfiguration.multi_kernel_manager_class": "tblib.report.voila.PageKernels",
            "KernelRestarter.restart_limit": "0",  # a new kernel would know nothing of its page
            "preheat_kernel": "True",  # one kernel waits for the next page, with its first film answered
            "VoilaKernelManager.fill_delay": str(REFILL),
        }
        os.environ[ON_A_PAGE] = "1"  # for its kernels
        try:
            return _served(["tblib.report.voila", str(page), *_with(options, arguments)])
        finally:
            del os.environ[ON_A_PAGE]


def panel_alone(run: Run) -> nbformat.NotebookNode:
    """The cells of the prediction notebook tagged ``app``, for one run with its parameters."""
    notebook = nbformat.read(NOTEBOOKS / PANEL, as_version=4)
    tagged = {tag: [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])] for tag in TAGS}
    title = nbformat.v4.new_markdown_cell("# What the model of a run says of one chest film, and why")
    settings = {name: default for name, (_, default, _) in schema(STEPS[-1]).items()} | {"run": str(run.folder)}
    begin(STEPS[-1].name, settings)  # here, as what it needs takes a second to import
    chosen = nbformat.v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in settings.items()))
    notebook.cells = [title, *tagged["parameters"], chosen, *tagged["app"]]
    return notebook


def _with(options: dict[str, str], arguments: Iterable[str]) -> list[str]:
    """Those of our options that a user's arguments do not set, then these; Jupyter accepts no option twice."""
    given = list(arguments)
    named = {argument.split("=")[0] for argument in given}
    return [*(f"--{name}={value}" for name, value in options.items() if f"--{name}" not in named), *given]


def _served(command: list[str]) -> int:
    """Run a server, a module and its arguments, in this process, as a subprocess could outlive it.

    Ctrl-C or SIGTERM stops it together with its kernels.
    """
    allow_open_files()
    clear_scratch()
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    return 0
