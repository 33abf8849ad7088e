"""The workflow: checked parameters, skipped and resumed steps, complete runs kept, one run at a time."""

import json
import re
import shlex
import shutil
import zipfile
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import psutil
import pytest
from conftest import SMOKE, grey_film, png, write_zip
from filelock import FileLock

from tblib import run as runs
from tblib.__main__ import main
from tblib.classifiers.trained import train_run
from tblib.report import kernel, pipeline, stale
from tblib.report.chapters import ReportError
from tblib.report.parameters import kept_parameters, read_parameters
from tblib.report.pipeline import run_study
from tblib.run import STEPS, MissingInputError, Run, RunError, StepError
from tblib.system import code
from tblib.system.code import versions
from tblib.system.files import ROOT, file_digest, write_json
from tblib.system.processes import scratch
from tblib.train import Training


@pytest.fixture
def run(smoke, tmp_path) -> Run:
    """A copy of the whole smoke run, to be changed."""
    shutil.copytree(smoke.folder, tmp_path / "smoke")
    copy, record = Run(tmp_path / "smoke"), smoke.facts("run.json")
    for step in STEPS:  # the copy's own record, so that only what a test changes is changed
        done = record["steps"][step.name]
        done["parameters"]["run"] = record["parameters"][step.name]["run"] = str(copy.folder)
        done["fingerprint"] = stale.fingerprint(copy, step, done["parameters"])
    write_json(copy.path("run.json"), record)
    return copy


@pytest.fixture
def executed(monkeypatch) -> list[str]:
    """Names of the steps that would be executed; none is."""
    steps: list[str] = []
    monkeypatch.setattr(kernel, "execute", lambda run, step, settings, **_: steps.append(step.name))
    return steps


def again(run: Run, demo, **changes):
    options = {key: changes.pop(key) for key in ("first", "only", "overwrite") if key in changes}
    return run_study(str(run.folder), str(demo), read_parameters(SMOKE) | changes, **options)


# --- steps


def test_an_unchanged_run_is_skipped_and_says_so(run, demo, executed, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.folder.glob("*.csv")}
    assert again(run, demo) == run.path("report.html")
    assert executed == []
    assert capsys.readouterr().out.count("unchanged, skipped") == len(STEPS)
    assert {path: path.stat().st_mtime_ns for path in run.folder.glob("*.csv")} == before


def test_a_complete_run_is_kept_unless_asked(run, demo, executed):
    with pytest.raises(StepError, match=r"complete.*training: epochs 2 → 3.*--overwrite"):
        again(run, demo, epochs=3)
    assert executed == []
    again(run, demo, epochs=3, overwrite=True)
    assert executed[0] == "training"


def test_a_step_is_done_again_when_its_files_or_its_inputs_changed(run, demo, executed):
    run.path("split.csv").write_text(run.path("split.csv").read_text() + "\n")
    with pytest.raises(StepError, match=r"split\.csv is not as step preparation left it.*--only preparation"):
        again(run, demo)
    again(run, demo, overwrite=True)
    assert executed == ["preparation", "training", "evaluation", "shortcuts", "prediction"]  # all that read it


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text[: len(text) // 2], lambda text: "[]"])
def test_a_step_whose_executed_notebook_is_damaged_is_done_again(damage, run, demo, executed):
    path = run.path("notebooks/04_evaluation.ipynb")
    whole = path.read_text(encoding="utf-8")
    path.write_text(damage(whole), encoding="utf-8")
    with pytest.raises(StepError, match=r"04_evaluation\.ipynb is not as step evaluation left it.*--only evaluation"):
        again(run, demo)
    with pytest.raises(ReportError, match=r"04_evaluation\.ipynb is missing or damaged"):  # no stub mends it
        again(run, demo, only="evaluation")
    assert executed == ["evaluation"]


def test_an_executed_notebook_that_was_saved_anew_costs_no_step(run, demo, executed, capsys):
    path = run.path("notebooks/03_training.ipynb")
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    again(run, demo)
    assert executed == []
    assert "03_training.ipynb was changed after step training was run" in capsys.readouterr().out


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
    def retrain(run, step, settings, **_):
        run.path("model.safetensors").write_text("another model")

    monkeypatch.setattr(kernel, "execute", retrain)
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
    assert "    preparation = prepare(study, database, size, seed, mitigation, channels)" in told
    assert "PreparationError: Class Tuberculosis has 9 usable films" in told
    run = Run(tmp_path / "few")
    assert run.path("notebooks/02_preparation.failed.ipynb").is_file()
    assert not run.path("notebooks/02_preparation.ipynb").exists()
    assert not run.path("split.csv").exists()
    assert list(run.facts("run.json")["steps"]) == ["eda"]
    assert not list(run.folder.glob(".*part"))
    folders = {path: int(path.name.split("-")[1]) for path in scratch().parent.glob("tblib-*-*")}
    assert [path for path, process in folders.items() if not psutil.pid_exists(process)] == []  # kernels clear theirs

    assert main(command) == 1
    assert "eda: unchanged, skipped" in capsys.readouterr().out


def test_a_notebook_without_its_inputs_says_which_step_to_run(tmp_path):
    for step in STEPS[1:3]:
        with pytest.raises(StepError, match=rf"MissingInputError: {step.reads[0]}|MissingInputError: .*--only"):
            kernel.execute(runs.open_run(str(tmp_path / "empty")), step, {"run": str(tmp_path / "empty")})


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
    (["-p", "mitigation", "prayer"], "no mitigation 'prayer'; give none, or some of paint_out"),
    (["-p", "budget", "huge"], "no budget 'huge'; give smoke, quick, standard, full"),
    (["-p", "external", "nowhere.zip"], "The external database nowhere.zip cannot be used. There is no database at"),
])  # fmt: skip
def test_wrong_command_lines_end_with_a_sentence_and_leave_nothing(arguments, sentence, tmp_path, capsys):
    assert main(["run", "--name", str(tmp_path / "new"), *arguments]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_figure_in_another_colour_is_shown_anew_and_nothing_else_is_done(run, demo, tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "tblib", tmp_path / "code" / "tblib")
    path = tmp_path / "code" / "tblib" / "show" / "evaluation.py"
    source = path.read_text(encoding="utf-8")
    assert 'cmap="Greys"' in source
    path.write_text(source.replace('cmap="Greys"', 'cmap="Greens"'), encoding="utf-8")
    monkeypatch.setattr(code, "ROOT", path.parents[2])
    [cache.cache_clear() for cache in (code._module, code._named, code._text)]
    before = {file: file_digest(run.path(file)) for step in STEPS for file in step.writes}
    capsys.readouterr()
    assert again(run, demo) is not None
    [cache.cache_clear() for cache in (code._module, code._named, code._text)]
    told = capsys.readouterr().out
    assert "evaluation: its numbers are unchanged, its figures or words are shown anew" in told
    assert told.count("unchanged, skipped") == len(STEPS) - 1
    assert {file: file_digest(run.path(file)) for file in before} == before
    assert run.facts("run.json")["complete"]


def test_a_training_whose_page_alone_is_made_anew_is_not_done_again(run, monkeypatch):
    monkeypatch.setattr("tblib.classifiers.trained.fit", lambda *given: pytest.fail("it was trained again"))
    history = run.table("history.csv")
    named = {field.name for field in fields(Training)}
    given = {name: value for name, value in kept_parameters(run)["training"].items() if name in named}
    training = Training(**given | {"threads": run.facts("training.json")["threads"]})
    assert train_run(replace(run, shown_anew=True), training).equals(history)


# --- a run's own parameters


def contents(run: Run) -> dict[str, bytes]:
    """Every file of a run but its lock and kernels' leftovers."""
    return {path.name: path.read_bytes() for path in run.folder.glob("*.*") if path.name != ".lock"}


def command(text: str) -> list[str]:
    """The arguments of a command that a message recommends."""
    line = re.search(r"python -m tblib (run .*?)(?:\n|$|\))", text).group(1)
    return shlex.split(line)


def test_the_parameters_are_recorded_before_the_first_step(tmp_path, demo, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(kernel, "execute", stop)
    with pytest.raises(KeyboardInterrupt):
        run_study(str(tmp_path / "new"), str(demo), read_parameters(SMOKE) | {"epochs": 4, "seed": 9})
    kept = kept_parameters(Run(tmp_path / "new"))
    assert kept["training"]["epochs"] == 4
    assert kept["eda"]["data"] == str(demo)
    assert kept["shortcuts"]["seed"] == 9


def test_commands_without_a_database_go_on_with_the_run_as_it_was_made(run, demo, executed, capsys):
    """The demo's own parameters are others: 900 films, 128 px, eight epochs."""
    then = run.facts("run.json")["steps"]
    assert main(["run", "--name", str(run.folder)]) == 0
    assert executed == []
    assert main(["run", "--name", str(run.folder), "--from", "evaluation"]) == 0
    assert main(["run", "--name", str(run.folder), "--only", "training"]) == 0
    assert executed == ["evaluation", "shortcuts", "prediction", "training"]
    assert "other than in the run" not in capsys.readouterr().out
    now = run.facts("run.json")["steps"]
    assert {step: done["parameters"] for step, done in now.items()} == {
        step: done["parameters"] for step, done in then.items()
    }


def test_what_is_asked_otherwise_is_told_and_a_complete_run_kept(run, executed, capsys):
    before = contents(run)
    arguments = ["run", "--name", str(run.folder), "--only", "shortcuts", "-p", "replicates", "60"]
    assert main(arguments) == 1
    told = capsys.readouterr()
    assert "other than in the run so far: shortcuts: replicates 50 → 60" in told.out
    assert "is complete, and step shortcuts would now be another one (shortcuts: replicates 50 → 60)" in told.err
    assert "--overwrite" in told.err
    assert executed == []
    assert contents(run) == before

    assert main([*arguments, "--overwrite"]) == 0
    assert executed == ["shortcuts"]
    kept = kept_parameters(run)
    assert kept["shortcuts"]["replicates"] == 60
    assert kept["evaluation"]["replicates"] == 50  # of steps that were not asked for nothing changes
    assert kept["shortcuts"]["budget"] == "smoke"


def test_a_parameter_that_would_change_nothing_is_refused(run, executed, capsys):
    assert main(["run", "--name", str(run.folder), "--only", "shortcuts", "-p", "epochs", "9"]) == 1
    assert "epochs belongs to training, which --from or --only leaves out" in capsys.readouterr().err
    assert executed == []


def test_each_command_that_a_message_recommends_works_on_that_run(run, demo, executed, tmp_path, capsys):
    """The run lies in a folder of its own, with a space in its name: "--name smoke" would be another run."""
    spaced = Run(run.folder.rename(tmp_path / "my run"))
    record = spaced.facts("run.json")
    for step in STEPS:
        done = record["steps"][step.name]
        done["parameters"]["run"] = record["parameters"][step.name]["run"] = str(spaced.folder)
        done["fingerprint"] = stale.fingerprint(spaced, step, done["parameters"])
    write_json(spaced.path("run.json"), record)
    spaced.path("split.csv").rename(tmp_path / "split.csv")
    with pytest.raises(MissingInputError) as missing:
        spaced.need("split.csv")
    arguments = command(str(missing.value))
    assert arguments == ["run", "--name", str(spaced.folder), "--only", "preparation"]

    (tmp_path / "split.csv").rename(spaced.path("split.csv"))
    assert main(arguments) == 0
    assert executed == ["preparation"]
    spaced.path("catalogue.csv").write_text("changed")
    assert main(["run", "--name", str(spaced.folder), "--only", "training"]) == 1
    assert command(capsys.readouterr().err) == ["run", "--name", str(spaced.folder), "--from", "eda"]


# --- what makes a step stale


def test_a_run_of_which_nothing_is_done_again_keeps_its_record(run, demo, executed, monkeypatch):
    """Today's commit and packages are not those that it was made with."""
    before = run.path("run.json").read_bytes()
    monkeypatch.setattr(pipeline, "_git_commit", lambda: "another commit")
    monkeypatch.setattr(pipeline, "_versions", lambda: {"torch": "0.1"})
    again(run, demo)
    assert run.path("run.json").read_bytes() == before
    assert "another commit" not in run.path("report.html").read_text(encoding="utf-8")


def test_each_step_is_recorded_with_what_it_was_made_with(run, demo, executed, monkeypatch):
    monkeypatch.setattr(pipeline, "_git_commit", lambda: "another commit")
    again(run, demo, only="shortcuts")
    steps = run.facts("run.json")["steps"]
    assert steps["shortcuts"]["git_commit"] == "another commit"
    assert steps["training"]["git_commit"] != "another commit"
    assert steps["training"]["versions"]["torch"]
    page = run.path("report.html").read_text(encoding="utf-8")
    assert "another commit (shortcuts)" in page


@pytest.mark.parametrize("package", ["torch", "numpy", "scikit-learn", "pillow"])
def test_another_version_of_a_package_makes_steps_stale_and_is_named(run, demo, executed, monkeypatch, package):
    others = versions() | {package: "0.1"}
    for module in ("system.code", "report.pipeline"):
        monkeypatch.setattr(f"tblib.{module}.versions", lambda: others)
    with pytest.raises(StepError, match=rf"complete.*{package} \S+ → 0\.1"):
        again(run, demo)
    assert executed == []


def stamps(run: Run, **changes) -> dict[str, str]:
    done = run.facts("run.json")["steps"]
    return {step.name: stale.fingerprint(run, step, done[step.name]["parameters"] | changes) for step in STEPS}


def test_lung_masks_that_are_replaced_in_place_are_noticed(run, demo, tmp_path):
    copied = tmp_path / "films.zip"
    with zipfile.ZipFile(demo) as archive:
        films = {name: archive.read(name) for name in archive.namelist()}
    write_zip(copied, films)
    write_json(run.path("catalogue.json"), run.facts("catalogue.json") | {"path": str(copied)})
    record = json.loads(run.path("run.json").read_text(encoding="utf-8"))
    record["steps"]["eda"]["files"]["catalogue.json"] = file_digest(run.path("catalogue.json"))
    write_json(run.path("run.json"), record)
    done = record["steps"]
    steps = {step.name: step for step in STEPS}

    def both() -> list[str]:
        settings = [done["eda"]["parameters"] | {"data": str(copied)}, done["shortcuts"]["parameters"]]
        return [stale.fingerprint(run, steps[n], s) for n, s in zip(("eda", "shortcuts"), settings, strict=True)]

    before = both()
    assert both() == before
    mask = next(name for name in films if "lungs/" in name)
    write_zip(copied, films | {mask: png(np.zeros((64, 64), np.uint8))})
    assert all(now != then for now, then in zip(both(), before, strict=True))


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_external_films_that_are_replaced_in_place_are_noticed(run, tmp_path, kind):
    films = {f"{label}/{i}.png": png(grey_film(i)) for label in ("normal", "tb") for i in range(2)}
    path = write_zip(tmp_path / "other.zip", films)
    if kind == "folder":
        path = tmp_path / "other"
        zipfile.ZipFile(tmp_path / "other.zip").extractall(path)
    before = stamps(run, external=str(path))
    assert stamps(run, external=str(path)) == before
    if kind == "zip":
        write_zip(path, films | {"tb/1.png": png(grey_film(7))})
    else:
        (path / "tb" / "1.png").write_bytes(png(grey_film(7)))
    after = stamps(run, external=str(path))
    assert [step for step in after if after[step] != before[step]] == ["shortcuts"]


# --- the whole


def test_the_smoke_run_holds_together(smoke):
    """The notebooks' own numbers, on smoke parameters."""
    record, metrics, shortcuts = (smoke.facts(f"{name}.json") for name in ("run", "metrics", "shortcuts"))
    catalogue, split, predictions = (smoke.table(f"{name}.csv") for name in ("catalogue", "split", "predictions"))
    assert record["complete"]
    assert list(record["steps"]) == [step.name for step in STEPS]
    assert record["database"] == smoke.facts("catalogue.json")["digest"]
    assert catalogue["label"].value_counts().to_dict() == {"Normal": 48, "Tuberculosis": 24}
    assert len(split) == 72
    assert not split.drop_duplicates(["duplicate_group", "part"])["duplicate_group"].duplicated().any()
    assert (split["duplicate_group"].value_counts() > 1).sum() == 3  # the demo's near-duplicates
    assert set(predictions["part"]) == {"val", "test"}
    assert metrics["n"] == (predictions["part"] == "test").sum()
    assert shortcuts["baselines"]["rule: one channel or tinted"]["all"]["specificity"]["value"] == 1
    assert shortcuts["baselines"]["file facts"]["all"]["auroc"]["value"] > 0.9
    assert len(smoke.table("history.csv")) == 2


def test_the_same_seed_and_threads_give_the_same_numbers(smoke, renamed):
    """Another run of the same films: their names alone differ."""
    assert renamed.path("metrics.json").read_bytes() == smoke.path("metrics.json").read_bytes()
    one, other = (run.facts("shortcuts.json") for run in (renamed, smoke))
    assert (one.pop("truth"), len(other.pop("truth")) > 5) == ([], True)  # films of unknown origin have no known truth
    assert one == other
    np.testing.assert_array_equal(np.load(renamed.path("images.npy")), np.load(smoke.path("images.npy")))
    for file in ("catalogue.csv", "split.csv", "predictions.csv"):
        one, other = (run.table(file) for run in (renamed, smoke))
        one = one[one["problem"] == ""].reset_index(drop=True) if "problem" in one else one
        pd.testing.assert_frame_equal(one.drop(columns="file"), other.drop(columns="file"), check_dtype=False)


def test_plain_papermill_runs_a_notebook_on_a_run_that_is_not_complete(run):
    import papermill

    source = str(ROOT / "notebooks" / "02_preparation.ipynb")
    settings = {"run": str(run.folder), "size": 48}
    before = contents(run)
    with pytest.raises(papermill.PapermillExecutionError, match="is complete, and this notebook would replace"):
        papermill.execute_notebook(source, str(run.path("out.ipynb")), settings, progress_bar=False)
    run.path("out.ipynb").unlink()
    assert contents(run) == before

    write_json(run.path("run.json"), run.facts("run.json") | {"complete": False})
    papermill.execute_notebook(source, str(run.path("out.ipynb")), settings, progress_bar=False)
    assert run.facts("preparation.json")["size"] == 48
    record = run.facts("run.json")
    assert "preparation" not in record["steps"]  # its files are no longer those that the workflow left
    assert record["parameters"]["preparation"]["size"] == 48
