"""The layout that the package's docstring and the README promise."""

import re
import subprocess
import sys

import tblib
from tblib.run import ROOT
from tblib.workflow import _imported

MODULES = {path.stem for path in (ROOT / "tblib").glob("*.py")} - {"__init__", "__main__"}


def test_a_module_imports_only_from_rooms_before_it():
    rooms = re.findall(r"\w+", tblib.__doc__.split("::")[1].split("A module imports")[0])
    assert set(rooms) == MODULES
    for name in rooms:
        used = _imported((ROOT / "tblib" / f"{name}.py").read_text(encoding="utf-8"))
        later = {other for other in used if rooms.index(other) >= rooms.index(name)}
        assert not later, f"{name} imports {later}"


def test_the_exploratory_notebook_and_the_report_need_no_torch():
    used = "catalogue, evidence, exhibits, figures, findings, probes, report, run, survey"
    code = f"import sys; from tblib import {used}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_readme_maps_every_module_and_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in MODULES | {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}:
        assert re.search(rf"\b{name}\b", readme), name


def test_nothing_but_the_readmes_is_tracked_in_data_and_reports():
    tracked = subprocess.run(
        ["git", "ls-files", "data", "reports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert set(tracked.stdout.split()) <= {"data/README.md", "reports/README.md"}
