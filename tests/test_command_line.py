"""The command line: which runs there are, Tab completion, typos, and what is told before the first step."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import papermill
import pytest
from conftest import grey_film, png, write_zip

from tblib import run as runs_room
from tblib.__main__ import main
from tblib.audit import external
from tblib.report import checks, completion, runs
from tblib.report.declared import NOTEBOOKS, ParameterError, allowed, by_step, schema
from tblib.report.parameters import check_parameters
from tblib.run import STEPS, Run
from tblib.system.files import ROOT, write_json

ESCAPE = "a\x1b[31m\nb"


@pytest.fixture
def reports(tmp_path, monkeypatch) -> Path:
    """A checkout of its own with an empty folder of runs."""
    for module in (runs, runs_room, completion):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "reports").mkdir()
    return tmp_path / "reports"


def made(reports: Path, name: str, finished: str, synthetic: bool = False, **changes) -> Run:
    """A complete run with nothing in it but its record and its database's name."""
    run = Run(reports / name)
    run.folder.mkdir()
    database = {"database": f"{name}.zip", "digest": "", "path": "x", "negative": "n", "positive": "p"}
    write_json(
        run.path("catalogue.json"), database | {"synthetic": synthetic, "films": {"n": 1}, "notes": [], "left_out": []}
    )
    record = {"steps": {}, "complete": True, "name": name, "database": "", "finished": finished}
    record |= {"device": "cpu", "precision": "fp32", "threads": 1}
    write_json(run.path("run.json"), record | changes)
    return run


def table(capsys) -> list[list[str]]:
    """Rows of the table that `list` has printed, their cells apart."""
    return [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()[1:]]


# --- list


def test_each_run_is_a_row_the_newest_first_and_nothing_else_is(reports, capsys):
    made(reports, "old", "2026-01-01 00:00:00 UTC", headline="AUROC 0.9:\n decisive is the marker")
    made(reports, "demo", "2026-03-01 10:20:30 UTC", synthetic=True)
    begun = {
        "steps": {},
        "complete": False,
        "headline": "of a former report",
        "parameters": {"eda": {"data": "/a/b.zip"}},
    }
    (reports / "begun").mkdir()
    write_json(reports / "begun" / "run.json", begun)
    (reports / "comparison").mkdir()
    (reports / "README.md").write_text("")
    assert main(["list"]) == 0
    assert table(capsys) == [
        ["demo", "demo.zip (SYNTHETIC)", "2026-03-01 10:20", "complete", "–"],
        ["old", "old.zip", "2026-01-01 00:00", "complete", "AUROC 0.9: decisive is the marker"],
        ["begun", "b.zip", "–", "at eda", "–"],
    ]


def test_a_run_in_the_making_says_at_which_step_it_stands(smoke, reports, capsys):
    record = smoke.facts("run.json") | {"complete": False}
    for step, told in (("prediction", "at prediction"), ("training", "at training")):
        del record["steps"][step]
        (reports / step).mkdir()
        write_json(reports / step / "run.json", record)
        main(["list"])
        row = next(row for row in table(capsys) if row[0] == step)
        assert row[3] == told
        assert row[2][:2] == "20"  # when its last step was done


@pytest.mark.parametrize("content", ["", "[]", '{"steps": ', '{"steps": {}, "complete": true}', "NaN"])
def test_a_damaged_record_is_a_row_and_stops_no_other(content, reports, capsys):
    made(reports, "whole", "2026-01-01 00:00:00 UTC")
    (reports / "torn").mkdir()
    (reports / "torn" / "run.json").write_text(content)
    assert main(["list"]) == 0
    whole, torn = table(capsys)
    assert whole[0] == "whole"
    assert torn[:4] == ["torn", "–", "–", "damaged"]
    assert "cannot be used" in torn[4]


def test_a_headline_that_is_no_text_is_damage(reports, capsys):
    made(reports, "odd", "2026-01-01 00:00:00 UTC", headline=5)
    main(["list"])
    assert "headline must be string" in capsys.readouterr().out


def test_names_move_no_cursor_and_links_are_followed_or_left(reports, capsys):
    made(reports, ESCAPE, "2026-01-01 00:00:00 UTC", headline="\x1b[2J[red]x[/red]")
    (reports / "linked").symlink_to(reports / ESCAPE)
    (reports / "dangling").symlink_to(reports / "nowhere")
    (reports / "loop").symlink_to(reports / "loop")
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["a\\x1b[31m\\nb", "linked"]
    assert out.count("\\x1b[2J[red]x[/red]") == 2


def test_a_folder_that_may_not_be_read_is_a_row(reports, monkeypatch, capsys):
    made(reports, "mine", "2026-01-01 00:00:00 UTC")
    (reports / "theirs").mkdir()
    listdir = os.listdir

    def refusing(path):
        if Path(path).name == "theirs":
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refusing)
    assert main(["list"]) == 0
    rows = table(capsys)
    assert [row[0] for row in rows] == ["mine", "theirs"]
    assert "Permission denied" in rows[1][-1]


def test_without_a_run_a_sentence_says_how_to_make_one(reports, capsys):
    assert main(["list"]) == 0
    assert "Make one first: python -m tblib run" in capsys.readouterr().out
    reports.rmdir()
    assert main(["list"]) == 0


# --- open


@pytest.fixture
def browser(monkeypatch) -> list[str]:
    """Addresses that a browser was asked to show."""
    shown: list[str] = []
    monkeypatch.setattr(runs.webbrowser, "open", lambda address: bool(shown.append(address)) or True)
    return shown


def test_open_shows_the_newest_complete_run_or_the_named_one(reports, browser, capsys):
    for name, year in (("old", 2024), ("new one", 2026), ("mid", 2025)):
        made(reports, name, f"{year}-01-01 00:00:00 UTC").path("report.html").write_text("")
    (reports / "begun").mkdir()
    write_json(reports / "begun" / "run.json", {"steps": {}, "complete": False})
    assert main(["open"]) == 0
    assert main(["open", "--name", "old"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(reports / run / "report.html") for run in ("new one", "old")]
    assert browser[0].endswith("/new%20one/report.html")


def test_open_says_what_is_lacking(reports, browser, capsys):
    assert main(["open"]) == 1
    assert "There is no complete run" in capsys.readouterr().err
    made(reports, "bare", "2026-01-01 00:00:00 UTC")
    assert main(["open"]) == 1
    assert "bare has no report.html yet. Build it: python -m tblib run --name" in capsys.readouterr().err
    assert main(["open", "--name", "bear"]) == 1
    assert "There is no run 'bear'. Did you mean bare? The runs are: bare." in capsys.readouterr().err
    made(reports, ESCAPE, "2026-01-01 00:00:00 UTC")
    assert main(["open", "--name", ESCAPE]) == 1
    assert "\x1b" not in capsys.readouterr().err
    assert main(["open", "--name", ""]) == 1
    assert "A run cannot be called ''" in capsys.readouterr().err
    assert browser == []


def test_without_a_browser_the_path_is_told_all_the_same(reports, monkeypatch, capsys):
    path = made(reports, "one", "2026-01-01 00:00:00 UTC").path("report.html")
    path.write_text("")
    monkeypatch.setattr(runs.webbrowser, "open", lambda address: False)
    assert main(["open"]) == 1
    told = capsys.readouterr()
    assert told.out.strip() == str(path)
    assert "No web browser could be started" in told.err


# --- a run's model


def test_predict_takes_the_model_of_the_newest_complete_run_and_says_which(smoke, reports, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(png(grey_film(1)))
    assert main(["predict", str(tmp_path / "a.png")]) == 1
    assert "There is no complete run" in capsys.readouterr().err
    shutil.copytree(smoke.folder, reports / "mine")
    for options in ([], ["--name", "mine"]):
        assert main(["predict", *options, str(tmp_path / "a.png")]) == 0
        told = capsys.readouterr()
        assert re.search(r"The model: the CNN trained on .*SYNTHETIC.*; run .*mine, 20.* UTC; .*model\.safe", told.err)
        assert "a.png" in told.out
    assert main(["predict", "--spec", "x.yml", str(tmp_path / "a.png")]) == 1
    assert "--spec belongs to a model file" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["app"], ["export"], ["predict", "--name", "demo", "a.png"], ["compare", "demo"]])
def test_a_run_that_is_not_there_is_told_with_those_that_are(command, reports, capsys):
    assert main(command) == 1
    assert "There is no run 'demo', and no other one yet" in capsys.readouterr().err
    made(reports, "real", "2026-01-01 00:00:00 UTC")
    assert main(command) == 1
    assert "There is no run 'demo'. The runs are: real." in capsys.readouterr().err


# --- params


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_notebooks_declare_what_papermill_reads_in_them(step):
    found = papermill.inspect_notebook(str(NOTEBOOKS / step.notebook))
    own = schema(step)
    assert list(own) == list(found)
    for name, (kind, default, meaning) in own.items():
        declared = kind.type.__name__
        assert found[name]["inferred_type_name"] == (f"Optional[{declared}]" if kind.optional else declared)
        assert found[name]["default"] in (repr(default), str(default), f'"{default}"')
        assert found[name]["help"] == meaning


def test_steps_are_those_of_the_study_in_its_order():
    assert list(by_step()) == [step.name for step in STEPS]


def test_params_explains_all_or_those_asked_for(capsys):
    assert main(["params"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = [line.split()[0] for line in lines[1:] if line]
    for step in STEPS:
        assert step.name in named
        assert {*schema(step)} - {"run", "data"} <= {*named}
    assert main(["params", "lr", "evaluation"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:] if line] == [
        "training", "lr", "evaluation", "replicates", "mistakes_shown", "seed",
    ]  # fmt: skip
    assert re.search(r"lr +a number +0\.001 +1e-09 … 10 +Adam's learning rate", out)
    assert main(["params", "traning"]) == 1
    assert "Did you mean training?" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "text"), [
    ("schedule", "plateau, cosine"), ("epochs", "1 … 100,000"), ("spec", ""),
    ("budget", "smoke, quick, standard, full"),
])  # fmt: skip
def test_what_may_be_given_is_told(name, text):
    assert allowed(name) == text


# --- completion and speed


def offered(line: str, tmp_path: Path) -> tuple[set[str], set[str]]:
    """What a shell is offered at the end of a line, and the modules imported for it."""
    environment = os.environ | {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "offered"),
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
    }  # fmt: skip
    command = [sys.executable, "-X", "importtime", "-m", "tblib"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    words = (tmp_path / "offered").read_text().split("\n")
    return {word.strip() for word in words}, {line.split("|")[-1].strip() for line in done.stderr.splitlines()}


@pytest.mark.parametrize(("line", "wanted"), [
    ("tblib ru", {"run"}), ("tblib run --fr", {"--from"}), ("tblib run --only tr", {"training"}),
    ("tblib run -p epo", {"epochs"}), ("tblib run -p lr 1 -p schedule ", {"plateau", "cosine"}),
    ("tblib run -p budget s", {"smoke", "standard"}), ("tblib params pat", {"patience"}),
])  # fmt: skip
def test_the_tab_key_offers_what_may_follow(line, wanted, tmp_path):
    found, modules = offered(line, tmp_path)
    assert found == wanted
    assert "argparse" in modules
    assert "torch" not in modules
    assert "budget" in line or "pandas" not in modules


def test_the_tab_key_offers_the_runs_that_a_line_can_hold(reports):
    for name in ("one", "my run", ESCAPE):
        made(reports, name, "2026-01-01 00:00:00 UTC")
    (reports / "comparison").mkdir()
    assert completion.run_names() == ["my run", "one"]


HEAVY = ("torch", "papermill", "nbformat", "nbconvert")


@pytest.mark.parametrize("arguments", [
    ["list"], ["params"], ["run", "--from", "trainin"], ["run", "--params", "nowhere.yml"],
    *(["run", "-p", *pair.split()] for pair in
      ("recipe fastest", "lr -1", "lr -1e-3", "epochs abc", "mitigation equalize", "budget quik")),
])  # fmt: skip
def test_what_is_answered_at_once_imports_nothing_that_takes_seconds(arguments):
    code = f"import sys; from tblib.__main__ import main; main({arguments}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stderr.splitlines()[-1].split()) & {*HEAVY}


IDLE = ("matplotlib", "seaborn", "rich", "scipy.sparse.csgraph", "skimage.morphology", "tblib.phantoms.demo")


def test_a_prediction_imports_nothing_that_it_does_not_use(smoke, tmp_path):
    (tmp_path / "film.png").write_bytes(png(smoke.images()[0]))
    arguments = ["predict", "--model", str(smoke.path("model.safetensors")), str(tmp_path / "film.png")]
    code = f"import sys; from tblib.__main__ import main; main({arguments}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "film.png" in done.stdout
    assert not set(done.stderr.splitlines()[-1].split()) & {*IDLE}


# --- typos


@pytest.mark.parametrize(("arguments", "hint"), [
    (["rnu"], "There is no command 'rnu'. Did you mean run?"),
    (["zzz"], "They are: run, audit, params, list"),
    (["run", "--nmae", "x"], "There is no option --nmae. Did you mean --name?"),
    (["run", "--nmae=x"], "Did you mean --name?"),
    (["run", "-params", "x.yml"], "Did you mean --params?"),
    (["predict", "--modle", "x"], "Did you mean --model?"),
    (["app", "--nmae", "x"], "Did you mean --name?"),
    (["run", "-p", "lr", "--overwrite"], "expected 2 arguments"),
    (["run", "extra"], "unrecognized arguments: extra"),
])  # fmt: skip
def test_a_mistyped_word_is_told_with_the_one_that_was_meant(arguments, hint, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("command", [
    "run", "audit", "params", "list", "open", "card", "compare", "predict", "export", "lab", "app",
])  # fmt: skip
def test_each_command_explains_itself(command, capsys):
    for option in ("-h", "--help", "--hel"):
        with pytest.raises(SystemExit, match="0"):
            main([command, option])
        assert f"usage: python -m tblib {command}" in capsys.readouterr().out


def test_what_is_for_voila_is_passed_on_and_short_forms_are_taken(reports, monkeypatch):
    made(reports, "one", "2026-01-01 00:00:00 UTC")
    asked = []
    monkeypatch.setattr("tblib.report.serve.app", lambda name, arguments: asked.append((name, arguments)) or 0)
    assert main(["app", "--nam", "one", "--port=1", "--no-browser", "--theme=dark"]) == 0
    assert asked == [("one", ["--port=1", "--no-browser", "--theme=dark"])]


@pytest.mark.parametrize(("pair", "sentence"), [
    (["lr", "-1"], "lr must be between 1e-09 and 10, not -1.0"),
    (["lr", "-1e-3"], "lr must be between 1e-09 and 10, not -0.001"),
    (["lr", "-inf"], "lr must be a number, not '-inf'"),
    (["mitigation", "smooth+equalize"], "no mitigation 'equalize'; give none, or some of"),
    (["mitigation", "equalize"], "Did you mean equalise?"),
    (["budget", "quik"], "no budget 'quik'; give smoke, quick, standard, full. Did you mean quick?"),
    (["schedule", "cosin"], "Did you mean cosine?"),
    (["bach_size", "8"], "Did you mean batch_size?"),
])  # fmt: skip
def test_a_wrong_value_is_told_for_a_run_and_an_audit(pair, sentence, tmp_path, capsys):
    for command in (["run"], ["audit", "nowhere.onnx"]):
        assert main([*command, "--name", str(tmp_path / "new"), "-p", *pair]) == 1
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


# --- what two parameters, or a parameter and a database, tell beforehand


def database(path: Path, negative: int, positive: int) -> Path:
    films = {f"Normal/{number}.png": b"" for number in range(negative)}
    return write_zip(path, films | {f"Tuberculosis/{number}.png": b"" for number in range(positive)})


@pytest.mark.parametrize(("option", "sentence"), [
    (lambda folder: ["external", str(folder / "few.zip")], "12 negative and 9 positive films; each class needs 10"),
    (lambda folder: ["external", str(folder / "own.zip")], "is the one that the run trains on"),
    (lambda folder: ["scheduler", "tcp://127.0.0.1:1"], "No Dask scheduler answers at tcp://127.0.0.1:1"),
])  # fmt: skip
def test_what_the_audit_would_refuse_is_told_before_the_first_step(option, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tblib.audit.jobs.WAIT", 1)
    own = database(tmp_path / "own.zip", 12, 12)
    database(tmp_path / "few.zip", 12, 9)
    command = ["run", "--name", str(tmp_path / "new"), "--data", str(own), "-p", *option(tmp_path)]
    assert main(command) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert external.LEAST == 10


def test_a_threshold_that_a_model_does_not_have_is_told_before_the_first_step(monkeypatch):
    parameters = check_parameters({"model": "theirs.onnx", "spec": "theirs.yml", "operating_point": "0.5"})
    given = type("Given", (), {"spec": type("Spec", (), {"threshold": 0.3})})
    monkeypatch.setattr("tblib.classifiers.opened.open_given", lambda model, spec: given)
    monkeypatch.setattr("tblib.classifiers.opened.refuse_prepared", lambda *_: None)
    with pytest.raises(ParameterError, match=r"own threshold is 0\.3 by its spec\. Give -p operating_point none"):
        checks.refuse_early(parameters, set(), "demo")
    given.spec.threshold = 0.5
    checks.refuse_early(parameters, set(), "demo")


def test_the_record_may_hold_a_headline(reports):
    run = made(reports, "one", "2026-01-01 00:00:00 UTC", headline="AUROC 0.9")
    assert json.loads(run.path("run.json").read_text())["headline"] == run.facts("run.json")["headline"]
