"""The committed notebooks keep the rules of the house."""

import ast
import json
import re

import nbformat
import pytest

from tblib.run import ROOT, STEPS
from tblib.train import recipe
from tblib.workflow import schema

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_is_one_notebook_a_step():
    assert [path.name for path in NOTEBOOKS] == [step.notebook for step in STEPS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_prose_and_calls_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert re.match(r"# \d · ", notebook.cells[0].source)
    assert "leaves behind" in notebook.cells[-1].source + notebook.cells[-2].source
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        assert cell.outputs == []
        assert cell.execution_count is None
        assert len(cell.source.splitlines()) <= 18
        assert not any(
            isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Lambda) for n in ast.walk(ast.parse(cell.source))
        )
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    for line in tagged[0].source.splitlines():
        assert re.fullmatch(r"\w+: (int|float|str|bool) = \S.*  # \S.*", line), line


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_figure_is_preceded_by_prose(path):
    cells = nbformat.read(path, as_version=4).cells
    sections = "".join(
        "p" if cell.cell_type == "markdown" else "f" if "figures.show(" in cell.source else "c" for cell in cells
    )
    assert "ff" not in sections.replace("c", "")


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_defaults_have_their_declared_types(step):
    declared = schema(step)
    assert declared["run"][:2] == (str, "demo")
    for name, (kind, default, comment) in declared.items():
        assert type(default) is kind, name
        assert comment, name


def test_the_full_studys_defaults_are_those_of_the_protocol():
    training = {name: default for name, (_, default, _) in schema(STEPS[2]).items()}
    names = ("epochs", "lr", "batch_size", "dropout", "outside")
    chosen = recipe(training["recipe"], **{name: training[name] for name in names})
    assert [getattr(chosen, name) for name in names] == [20, 0.0003, 32, 0.3, "edge"]
    assert schema(STEPS[1])["size"][1] == 128


def test_no_machine_is_named_in_a_notebook():
    for path in NOTEBOOKS:
        metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
        assert set(metadata) == {"kernelspec", "language_info"}
