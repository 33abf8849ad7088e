"""The committed notebooks keep the rules of the house."""

import ast
import json
import re

import nbformat
import pytest
from conftest import done_with
from filelock import FileLock

from tblib.report.declared import ParameterError, schema
from tblib.report.notebook import BY_WORKFLOW, begin
from tblib.report.parameters import check_parameters, kept_parameters, read_parameters
from tblib.run import STEPS, MissingInputError, Run, StepError
from tblib.system.files import ROOT, write_json

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
        assert len(cell.source.splitlines()) <= 18 or "parameters" in cell.metadata.get("tags", [])
        assert not any(
            isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Lambda) for n in ast.walk(ast.parse(cell.source))
        )
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    for line in tagged[0].source.removeprefix("from typing import Optional\n\n").splitlines():
        assert re.fullmatch(r"\w+: ((int|float|str|bool) = \S.*|Optional\[(int|float|str)\] = None)  # \S.*", line), (
            line
        )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_figure_is_preceded_by_prose(path):
    cells = nbformat.read(path, as_version=4).cells
    sections = "".join(
        "p" if cell.cell_type == "markdown" else "f" if "show(study" in cell.source else "c" for cell in cells
    )
    assert "ff" not in sections.replace("c", "")


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_defaults_have_their_declared_types(step):
    declared = schema(step)
    assert declared["run"][:2] == ((str, False), "scratch" if step.writes else "demo")  # the last one writes nothing
    for name, (kind, default, comment) in declared.items():
        assert default is None if kind.optional else type(default) is kind.type, name
        assert comment, name


def test_the_full_studys_defaults_are_those_of_the_protocol():
    training = check_parameters(read_parameters(ROOT / "notebooks" / "parameters" / "kaggle.yml"))["training"]
    names = ("epochs", "lr", "batch_size", "dropout", "padding", "schedule")
    assert [training[name] for name in names] == [20, 0.0003, 32, 0.3, "edge", "plateau"]
    assert schema(STEPS[1])["size"][1] == 128


def test_no_machine_is_named_in_a_notebook():
    for path in NOTEBOOKS:
        metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
        assert set(metadata) == {"kernelspec", "language_info"}


# --- opened by hand


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """``reports/`` in a checkout of its own, whose notebooks nobody but a person has started."""
    (tmp_path / "reports").mkdir()
    monkeypatch.setattr("tblib.run.ROOT", tmp_path)
    monkeypatch.delenv(BY_WORKFLOW, raising=False)
    return tmp_path / "reports"


def cell(step: int, **changes) -> dict:
    """The names that a notebook's parameters cell leaves behind."""
    return {name: default for name, (_, default, _) in schema(STEPS[step]).items()} | changes


def complete(folder, complete: bool = True, **parameters) -> Run:
    """A run that the workflow made with these parameters of its training."""
    run = Run(folder)
    run.folder.mkdir()
    asked = check_parameters(parameters)
    steps = {name: done_with(settings) for name, settings in asked.items()}
    made = dict.fromkeys(("name", "database", "finished", "device", "precision"), "") | {"threads": 2}
    write_json(run.path("run.json"), made | {"steps": steps, "parameters": asked, "complete": complete})
    for file in STEPS[2].reads:
        run.path(file).write_text("")
    return run


def test_a_notebook_opened_by_hand_works_on_a_scratch_run(reports):
    run = begin("eda", names := cell(0))
    assert run.folder == reports / "scratch"
    assert names == cell(0)
    assert kept_parameters(run)["eda"]["demo_films"] == 720


def test_a_complete_run_is_not_replaced_by_hand(reports):
    demo = complete(reports / "demo")
    before = demo.path("run.json").read_bytes()
    with pytest.raises(StepError, match=r"The run demo is complete.*catalogue\.csv.*--name demo --from eda"):
        begin("eda", cell(0, run="demo"))
    assert demo.path("run.json").read_bytes() == before


def test_where_a_run_is_named_its_own_parameters_hold_for_what_was_left_alone(reports, capsys):
    complete(reports / "mine", complete=False, epochs=5, batch_size=16, seed=4)
    names = cell(2, run="mine", batch_size=64)
    begin("training", names)
    assert (names["epochs"], names["seed"], names["batch_size"]) == (5, 4, 64)
    told = capsys.readouterr().out
    assert "epochs = 5, as in the run mine" in told
    assert "batch_size" not in told


def test_what_is_done_by_hand_is_recorded_so_that_commands_go_on_with_it(reports):
    run = complete(reports / "mine", complete=False, epochs=5)
    begin("training", cell(2, run="mine", lr=0.01))
    record = run.facts("run.json")
    assert "training" not in record["steps"]
    assert "preparation" in record["steps"]
    assert kept_parameters(run)["training"]["lr"] == 0.01
    assert kept_parameters(run)["training"]["epochs"] == 5


def test_a_run_that_is_being_worked_on_is_left_alone(reports):
    run = complete(reports / "mine", complete=False)
    with FileLock(run.path(".lock")), pytest.raises(StepError, match="Another process is working on the run"):
        begin("training", cell(2, run="mine"))


def test_a_run_that_lacks_what_is_read_is_told_before_anything_is_made(reports):
    with pytest.raises(MissingInputError, match="--only eda"):
        begin("preparation", cell(1, run="typo"))
    assert not (reports / "typo").exists()


@pytest.mark.parametrize(("value", "sentence"), [("many", "epochs must be a whole number"), (2.5, "whole number")])
def test_papermills_parameters_are_checked_by_the_notebook(reports, value, sentence):
    complete(reports / "mine", complete=False)
    with pytest.raises(ParameterError, match=sentence):
        begin("training", cell(2, run="mine", epochs=value))


def test_under_the_workflow_parameters_are_taken_as_they_are(reports, monkeypatch):
    run = complete(reports / "mine", epochs=5)
    before = run.path("run.json").read_bytes()
    monkeypatch.setenv(BY_WORKFLOW, str(run.folder))
    names = cell(2, run="mine")
    assert begin("training", names) == run
    assert names == cell(2, run="mine")
    assert run.path("run.json").read_bytes() == before
