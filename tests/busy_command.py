"""A command whose one notebook never ends: its kernel and two workers hold the interpreter's lock. Run by tests.

Arguments: a folder, and ``workflow`` or ``hand``: who started the kernel.
"""

import sys
from pathlib import Path

import nbformat
import papermill

from tblib.__main__ import main
from tblib.report import kernel, pipeline
from tblib.run import Run, Step

ENDLESS = "range(10**15)"
BUSY = f"""
from joblib import Parallel, delayed
from tblib.system.processes import workers
going = Parallel(n_jobs=2, return_as="generator", **workers())(delayed(sum)({ENDLESS}) for _ in range(2))
open(folder + "/busy", "w").close()
sum({ENDLESS})
"""
BEGIN = {
    "workflow": 'from tblib.report.notebook import begin; begin("eda", globals())',
    "hand": "from tblib.system.processes import end_kernel_with_server; end_kernel_with_server()",
}


def endless(run: Run, *_: object) -> None:
    """In place of the study's steps: one of a single notebook."""
    kernel.execute(run, Step("eda", "endless.ipynb", (), ()), {"run": str(run.folder), "folder": str(run.folder)})


if __name__ == "__main__":
    folder, start = Path(sys.argv[1]), sys.argv[2]
    declared = nbformat.v4.new_code_cell("run = folder = ''", metadata={"tags": ["parameters"]})
    cells = [declared, *(nbformat.v4.new_code_cell(source) for source in (BEGIN[start], BUSY))]
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=python), folder / "endless.ipynb")
    if start == "hand":
        papermill.execute_notebook(str(folder / "endless.ipynb"), None, {"folder": str(folder)}, progress_bar=False)
    kernel.NOTEBOOKS, pipeline._run_steps = folder, endless
    sys.exit(main(["run", "--data", str(folder / "films.zip"), "--name", str(folder)]))
