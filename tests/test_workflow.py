"""The workflow: checked parameters, skipped and resumed steps, complete runs kept, one run at a time."""

import json
import shutil

import pytest
from conftest import SMOKE, grey_film, png, write_zip
from filelock import FileLock

from tblib import workflow
from tblib.__main__ import main
from tblib.run import ROOT, STEPS, Run, RunError
from tblib.workflow import (
    ParameterError,
    StepError,
    check_parameters,
    convert,
    modules_used,
    read_parameters,
    run_study,
)


@pytest.fixture
def run(smoke, tmp_path) -> Run:
    """A copy of the whole smoke run, to be changed."""
    shutil.copytree(smoke.folder, tmp_path / "smoke")
    copy, record = Run(tmp_path / "smoke"), smoke.facts("run.json")
    for step in STEPS:  # the copy's own record, so that only what a test changes is changed
        done = record["steps"][step.name]
        done["parameters"]["run"] = str(copy.folder)
        done["fingerprint"] = workflow.fingerprint(copy, step, done["parameters"])
    copy.path("run.json").write_text(json.dumps(record))
    return copy


@pytest.fixture
def executed(monkeypatch) -> list[str]:
    """Names of the steps that would be executed; none is."""
    steps: list[str] = []
    monkeypatch.setattr(workflow, "execute", lambda run, step, settings: steps.append(step.name))
    return steps


def again(run: Run, demo, **changes):
    options = {key: changes.pop(key) for key in ("first", "only", "overwrite") if key in changes}
    return run_study(str(run.folder), str(demo), read_parameters(SMOKE) | changes, **options)


# --- parameters


@pytest.mark.parametrize(("value", "kind", "expected"), [
    ("20", int, 20), (20, int, 20), ("0.0003", float, 0.0003), ("1e-3", float, 0.001), (3, float, 3.0),
    ("true", bool, True), (False, bool, False), ("auto", str, "auto"), ("0.5", str, "0.5"),
])  # fmt: skip
def test_values_are_read_as_their_declared_type(value, kind, expected):
    found = convert("x", value, kind)
    assert found == expected
    assert type(found) is kind


@pytest.mark.parametrize(("value", "kind", "wanted"), [
    ("2.5", int, "a whole number"), (True, int, "a whole number"), ("ten", int, "a whole number"),
    (None, int, "a whole number"), ([], int, "a whole number"),
    ("nan", float, "a number"), ("inf", float, "a number"), (True, float, "a number"), ([1], float, "a number"),
    (1, str, "text"), ("yes", bool, "true or false"), (1, bool, "true or false"),
])  # fmt: skip
def test_values_of_another_type_are_named(value, kind, wanted):
    with pytest.raises(ParameterError, match=f"Parameter epochs must be {wanted}"):
        convert("epochs", value, kind)


def test_yamls_text_for_1e_3_is_read_as_the_number_it_means(tmp_path):
    (tmp_path / "p.yml").write_text("lr: 1e-3\nepochs: 5\n")
    checked = check_parameters(read_parameters(tmp_path / "p.yml"))
    assert checked["training"]["lr"] == 0.001
    assert checked["training"]["epochs"] == 5


def test_each_step_gets_its_own_parameters_and_defaults():
    checked = check_parameters({"seed": "7", "epochs": "3"})
    assert [checked[name]["seed"] for name in ("eda", "preparation", "training")] == [7, 7, 7]
    assert checked["training"]["epochs"] == 3
    assert "epochs" not in checked["preparation"]
    assert checked["preparation"]["size"] == 128


@pytest.mark.parametrize(
    ("name", "hint"), [("epoch", "Did you mean epochs?"), ("zzz", "The parameters are: .*batch_size")]
)
def test_unknown_parameters_name_the_right_ones(name, hint):
    with pytest.raises(ParameterError, match=hint):
        check_parameters({name: 1})
    with pytest.raises(ParameterError, match="no parameter 'run'"):
        check_parameters({"run": "x"})


@pytest.mark.parametrize("text", ["- a\n- b", "a: [1, 2]", "a: {b: c}", "a: 'open"])
def test_files_that_are_no_parameters_are_refused(tmp_path, text):
    (tmp_path / "p.yml").write_text(text)
    with pytest.raises(ParameterError, match=r"p\.yml"):
        read_parameters(tmp_path / "p.yml")
    with pytest.raises(ParameterError, match="cannot be read"):
        read_parameters(tmp_path / "none.yml")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks" / "parameters").glob("*.yml")), ids=lambda path: path.stem)
def test_the_committed_parameter_files_are_right(path):
    check_parameters(read_parameters(path))


# --- steps


def test_an_unchanged_run_is_skipped_and_says_so(run, demo, executed, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.folder.glob("*.csv")}
    assert again(run, demo) == run.path("report.html")
    assert executed == []
    assert capsys.readouterr().out.count("unchanged, skipped") == len(STEPS)
    assert {path: path.stat().st_mtime_ns for path in run.folder.glob("*.csv")} == before


def test_a_complete_run_is_kept_unless_asked(run, demo, executed):
    with pytest.raises(StepError, match=r"complete.*training.*epochs 2 → 3.*--overwrite"):
        again(run, demo, epochs=3)
    assert executed == []
    again(run, demo, epochs=3, overwrite=True)
    assert executed[0] == "training"


def test_a_step_is_done_again_when_its_files_or_its_inputs_changed(run, demo, executed):
    run.path("split.csv").write_text(run.path("split.csv").read_text() + "\n")
    with pytest.raises(StepError, match="its code, its inputs or its files have changed"):
        again(run, demo)
    again(run, demo, overwrite=True)
    assert executed == ["preparation", "training", "evaluation", "shortcuts", "prediction"]  # all that read it


def test_a_missing_file_is_made_again(run, demo, executed):
    run.path("metrics.json").unlink()
    with pytest.raises(StepError, match=r"without writing metrics\.json"):
        again(run, demo, overwrite=True)
    assert executed == ["evaluation"]


def test_from_and_only_run_what_was_asked_changed_or_not(run, demo, executed):
    again(run, demo, first="evaluation")
    assert executed == ["evaluation", "shortcuts", "prediction"]
    executed.clear()
    again(run, demo, only="shortcuts")
    assert executed == ["shortcuts"]


def test_only_with_other_inputs_leaves_the_report_for_later(run, demo, monkeypatch, capsys):
    def retrain(run, step, settings):
        run.path("model.safetensors").write_text("another model")

    monkeypatch.setattr(workflow, "execute", retrain)
    run.path("report.html").unlink()
    assert again(run, demo, only="training") is None
    assert "evaluation: out of date" in capsys.readouterr().out
    assert not run.path("report.html").exists()


def test_a_step_whose_forerunners_are_not_done_is_refused(tmp_path, demo, executed):
    with pytest.raises(StepError, match=r"Step eda comes before.*--from eda"):
        run_study(str(tmp_path / "new"), str(demo), {}, only="training")
    with pytest.raises(StepError, match="no step 'train'; the steps are: eda, preparation"):
        run_study(str(tmp_path / "new"), str(demo), {}, only="train")
    assert executed == []


def test_after_a_failure_the_message_shows_the_cell_and_the_same_command_goes_on(tmp_path, capsys):
    """One film too few for a split; the database is then mended."""
    films = {f"Normal/n{i}.png": png(grey_film(i)) for i in range(12)}
    films |= {f"Tuberculosis/t{i}.png": png(grey_film(40 + i)) for i in range(9)}
    data = write_zip(tmp_path / "db.zip", films)
    command = ["run", "--data", str(data), "--name", str(tmp_path / "few"), "--params", str(SMOKE)]
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "Step preparation stopped in this cell of 02_preparation.ipynb" in told
    assert "    preparation = prepare(study, database, size, seed, remedy)" in told
    assert "PreparationError: Class Tuberculosis has 9 usable films" in told
    run = Run(tmp_path / "few")
    assert run.path("notebooks/02_preparation.failed.ipynb").is_file()
    assert not run.path("notebooks/02_preparation.ipynb").exists()
    assert not run.path("split.csv").exists()
    assert list(run.facts("run.json")["steps"]) == ["eda"]
    assert not list(run.folder.glob(".*part"))

    assert main(command) == 1
    assert "eda: unchanged, skipped" in capsys.readouterr().out


def test_a_notebook_without_its_inputs_says_which_step_to_run(tmp_path):
    for step in STEPS[1:3]:
        with pytest.raises(StepError, match=rf"MissingInputError: {step.reads[0]}|MissingInputError: .*--only"):
            workflow.execute(workflow.open_run(str(tmp_path / "empty")), step, {"run": str(tmp_path / "empty")})


def test_one_process_a_run(run, demo):
    with FileLock(run.path(".lock")), pytest.raises(StepError, match="Another process"):
        again(run, demo)


def test_an_unwritable_folder_is_a_sentence(tmp_path, demo):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written to"):
        run_study(str(tmp_path / "file" / "run"), str(demo), {})


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--data", "nowhere.zip"], "There is no database at"),
    (["--params", "nowhere.yml"], "nowhere.yml cannot be read"),
    (["-p", "epochs", "many"], "must be a whole number"),
    (["-p", "remedy", "prayer"], "no remedy 'prayer'; give none, or some of paint_out"),
    (["-p", "budget", "huge"], "no budget 'huge'; give smoke, quick, standard, full"),
    (["-p", "external", "nowhere.zip"], "The external database nowhere.zip cannot be used. There is no database at"),
])  # fmt: skip
def test_wrong_command_lines_end_with_a_sentence_and_leave_nothing(arguments, sentence, tmp_path, capsys):
    assert main(["run", "--name", str(tmp_path / "new"), *arguments]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_fingerprint_hangs_on_the_modules_a_notebook_uses():
    used = modules_used("from tblib.prepare import prepare")
    assert {"prepare", "catalogue", "film", "run", "__init__"} <= used
    assert not {"train", "report", "workflow"} & used
    assert {"figures", "findings", "survey"} <= modules_used("from tblib import figures, findings")


# --- the whole


def test_the_smoke_run_holds_together(smoke):
    """The notebooks' own numbers, on smoke parameters."""
    record, metrics, shortcuts = (smoke.facts(f"{name}.json") for name in ("run", "metrics", "shortcuts"))
    catalogue, split, predictions = (smoke.table(f"{name}.csv") for name in ("catalogue", "split", "predictions"))
    assert record["complete"]
    assert list(record["steps"]) == [step.name for step in STEPS]
    assert record["database"] == smoke.facts("catalogue.json")["digest"]
    assert catalogue["label"].value_counts().to_dict() == {"Normal": 60, "Tuberculosis": 12}
    assert len(split) == 72
    assert not split.drop_duplicates(["twin_group", "part"])["twin_group"].duplicated().any()
    assert (split["twin_group"].value_counts() > 1).sum() == 3  # the demo's twins
    assert set(predictions["part"]) == {"val", "test"}
    assert metrics["n"] == (predictions["part"] == "test").sum()
    assert shortcuts["probes"]["rule: one channel or tinted"]["all"]["specificity"]["value"] == 1
    assert shortcuts["probes"]["file facts"]["all"]["auroc"]["value"] > 0.9
    assert len(smoke.table("history.csv")) == 2


def test_the_same_seed_and_threads_give_the_same_bytes(smoke, demo, tmp_path):
    settings = read_parameters(SMOKE)
    run_study(str(tmp_path / "second"), str(demo), settings)
    for file in ("catalogue.csv", "split.csv", "predictions.csv", "metrics.json", "shortcuts.json"):
        assert (tmp_path / "second" / file).read_bytes() == smoke.path(file).read_bytes(), file


def test_plain_papermill_runs_a_notebook_on_a_run(run):
    import papermill

    source = str(ROOT / "notebooks" / "03_training.ipynb")
    settings = {"run": str(run.folder), "epochs": 1, "batch_size": 16}
    papermill.execute_notebook(source, str(run.path("out.ipynb")), settings, progress_bar=False)
    assert len(run.table("history.csv")) == 1
