"""Parameters: checked, converted, and kept by a run."""

import json

import pytest
from conftest import done_with, write_zip

from tblib.__main__ import main
from tblib.report.declared import RANGES, Kind, ParameterError, schema
from tblib.report.parameters import (
    PATHS,
    asked_parameters,
    check_parameters,
    convert,
    differences,
    kept_parameters,
    read_parameters,
    refuse_idle,
    with_whole_paths,
)
from tblib.run import STEPS, Run
from tblib.system.files import ROOT


@pytest.mark.parametrize(("value", "kind", "expected"), [
    ("20", int, 20), (20, int, 20), ("0.0003", float, 0.0003), ("1e-3", float, 0.001), (3, float, 3.0),
    ("true", bool, True), (False, bool, False), ("auto", str, "auto"), ("0.5", str, "0.5"),
])  # fmt: skip
def test_values_are_read_as_their_declared_type(value, kind, expected):
    found = convert("x", value, Kind(kind))
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
        convert("epochs", value, Kind(kind))


@pytest.mark.parametrize("text", [None, "", "none", "None", "null"])
@pytest.mark.parametrize("kind", [int, float, str])
def test_an_optional_parameter_may_be_none_however_it_is_written(text, kind):
    assert convert("x", text, Kind(kind, optional=True)) is None


def test_what_is_given_to_an_optional_parameter_is_of_its_type():
    assert convert("threads", "4", Kind(int, optional=True)) == 4
    with pytest.raises(ParameterError, match="Parameter threads must be a whole number or none, not 'many'"):
        convert("threads", "many", Kind(int, optional=True))


@pytest.mark.parametrize("name", ["demo", "kaggle", "fast", "mitigated", "smoke"])
def test_the_parameter_files_hold_known_parameters_of_their_types(name):
    given = read_parameters(ROOT / "notebooks" / "parameters" / f"{name}.yml")
    assert check_parameters(given)["training"]["epochs"] in (2, 7, 12, 20)


def test_yaml_and_command_line_say_none_alike(tmp_path):
    (tmp_path / "p.yml").write_text("external: null\nthreads: none\nmitigation:\n")
    for given in (read_parameters(tmp_path / "p.yml"), {"external": "none", "threads": "", "mitigation": "None"}):
        checked = check_parameters(given)
        assert checked["shortcuts"]["external"] is checked["training"]["threads"] is None
        assert checked["preparation"]["mitigation"] is None


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


def test_the_notebooks_defaults_are_the_demos():
    demo = read_parameters(ROOT / "notebooks" / "parameters" / "demo.yml")
    declared = {name: default for step in STEPS for name, (_, default, _) in schema(step).items()}
    assert demo.items() <= declared.items()


def test_what_is_shared_has_one_default():
    """A parameter of several notebooks means the same in each; only the run differs, which the last one just reads."""
    found: dict[str, set] = {}
    for step in STEPS:
        for name, (_, default, _) in schema(step).items():
            found.setdefault(name, set()).add(default)
    assert found.pop("run") == {"scratch", "demo"}
    assert all(len(defaults) == 1 for defaults in found.values())


# --- those of a run


@pytest.fixture
def run(tmp_path) -> Run:
    """A run of somebody's own films that was stopped in its training; only what tells of its parameters is there."""
    made = Run(tmp_path / "mine")
    made.folder.mkdir()
    given = {"size": 64, "seed": 3, "epochs": 5, "replicates": 700, "external": "/x/other.zip", "budget": "standard"}
    asked = check_parameters(given)
    asked["eda"]["data"] = "/films/mine.zip"
    steps = {"eda": done_with(asked["eda"])}
    made.path("run.json").write_text(json.dumps({"steps": steps, "complete": False, "parameters": asked}))
    return made


def started(run: Run, data=None, file=None, going_on=False, **pairs):
    """Database and parameters of a command."""
    data, given, kept = asked_parameters(str(run.folder), data, file, pairs, going_on)
    return data, check_parameters(given, kept)


def test_without_a_database_a_command_starts_from_the_runs_own_parameters(run):
    for going_on in (False, True):
        data, found = started(run, going_on=going_on)
        assert data == "/films/mine.zip"
        assert found["training"]["epochs"] == 5
        assert found["preparation"]["size"] == 64
        assert {found[step]["seed"] for step in ("eda", "preparation", "training", "shortcuts")} == {3}
        shortcuts = found["shortcuts"]
        assert (shortcuts["external"], shortcuts["replicates"]) == ("/x/other.zip", 700)


def test_then_comes_the_file_then_the_pairs(run, tmp_path):
    (tmp_path / "p.yml").write_text("epochs: 7\nsize: 96\n")
    _, found = started(run, file=tmp_path / "p.yml", size="32")
    assert found["training"]["epochs"] == 7
    assert found["preparation"]["size"] == 32
    assert found["shortcuts"]["budget"] == "standard"


def test_a_database_is_a_new_start_unless_some_steps_are_asked_for(run):
    data, found = started(run, data="/films/mine.zip")
    assert (found["training"]["epochs"], found["preparation"]["size"]) == (20, 128)  # those of kaggle.yml
    data, found = started(run, data="/moved/mine.zip", going_on=True)
    assert data == "/moved/mine.zip"
    assert (found["training"]["epochs"], found["preparation"]["size"]) == (5, 64)


def test_a_name_without_a_run_starts_as_the_demo_does(tmp_path):
    data, found = started(Run(tmp_path / "new"))
    assert data == "demo"
    assert found["training"]["epochs"] == 12
    assert kept_parameters(Run(tmp_path / "new")) == {}
    assert not (tmp_path / "new").exists()


def test_parameters_of_an_earlier_version_are_told_with_how_to_begin_again(run):
    record = json.loads(run.path("run.json").read_text())
    record["parameters"]["training"] |= {"lr": 0.0, "recipe": "fast"}
    run.path("run.json").write_text(json.dumps(record))
    with pytest.raises(ParameterError, match=r"lr must be between .*--overwrite --data /films/mine\.zip"):
        started(run)
    assert started(run, data="/films/mine.zip")[1]["training"]["epochs"] == 20


def test_files_without_a_record_still_tell_their_database(tmp_path):
    run = Run(tmp_path)
    made = {"path": "/films/a.zip", "negative": "ok", "positive": "ill", "database": "a.zip", "digest": "0"}
    made |= {"synthetic": False, "films": {"ok": 1, "ill": 1}, "left_out": [], "notes": []}
    run.path("catalogue.json").write_text(json.dumps(made))
    data, found = started(run)
    assert data == "/films/a.zip"
    assert (found["eda"]["negative"], found["eda"]["positive"]) == ("ok", "ill")


def test_what_differs_from_the_run_is_told_by_step(run):
    _, found = started(run, epochs=9)
    assert differences(kept_parameters(run), found) == ["training: epochs 5 → 9"]
    assert differences({}, found) == []


def test_a_parameter_of_steps_that_are_not_run_is_refused():
    with pytest.raises(ParameterError, match=r"epochs belongs to training, which --from or --only leaves out"):
        refuse_idle(["epochs"], {"shortcuts"})
    refuse_idle(["epochs"], {"training", "evaluation"})
    refuse_idle(["epochs"], set())
    refuse_idle(["replicates"], {"shortcuts"})
    refuse_idle(["nonsense"], {"shortcuts"})  # told by check_parameters


def test_paths_mean_the_same_from_every_folder(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_text("")
    (tmp_path / "b,c").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = {"external": "a.zip, /far/b", "data": "b,c", "beside": "", "demo_preset": "planted", "epochs": 3}
    whole = with_whole_paths(settings)
    monkeypatch.chdir("/")
    assert whole == {
        "external": f"{tmp_path / 'a.zip'},/far/b",
        "data": str(tmp_path / "b,c"),
        "beside": "",
        "demo_preset": "planted",
        "epochs": 3,
    }
    assert with_whole_paths(whole) == whole
    assert with_whole_paths({"data": "demo"}) == {"data": "demo"}
    assert with_whole_paths({"films_read": "tests/real_films.csv"})["films_read"] == str(ROOT / "tests/real_films.csv")


def test_every_parameter_that_names_files_is_known_as_one():
    declared = {name: text for step in STEPS for name, (_, _, text) in schema(step).items()}
    assert set(PATHS) <= set(declared)
    told = {name for name, text in declared.items() if any(word in text for word in ("zip", "csv", "CSV", "path"))}
    assert told - {"run"} <= {*PATHS}


@pytest.mark.parametrize(("name", "value", "sentence"), [
    ("replicates", 0, "replicates must be between 40 and 1,000,000, not 0"),
    ("films_shown", 0, "films_shown must be between 1 and 100"),
    ("spectra_films", 0, "spectra_films must be between 1"),
    ("seed", -1, "seed must be between 0"),
    ("demo_seed", -1, "demo_seed must be between 0"),
    ("threads", 1000, "threads must be between 1 and 256"),
    ("size", 100, "size must be a multiple of 16, not 100"),
    ("precision", "fp16", "precision must be 'auto' or 'fp32' or 'bf16', not 'fp16'"),
    ("operating_point", "0.7", "operating_point must be"),
    ("schedule", "slow", "schedule must be"),
    ("dropout", 1, "dropout must be"),
])  # fmt: skip
def test_values_that_cannot_be_are_told_before_the_run_starts(name, value, sentence, tmp_path, capsys):
    with pytest.raises(ParameterError, match="must be"):
        check_parameters({name: value})
    assert main(["run", "--name", str(tmp_path / "run"), "-p", name, str(value)]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("pairs", "sentence"), [
    (["films_read", "none.csv"], "none.csv cannot be read"),
    (["beside", "none.zip"], "There is no database at"),
    (["positive", "normal"], "Both classes are called Normal"),
    (["external", "none.zip"], "none.zip"),
])  # fmt: skip
def test_what_is_not_there_is_told_before_the_run_starts(pairs, sentence, tmp_path, capsys):
    data = write_zip(tmp_path / "db.zip", {f"{label}/0.png": b"" for label in ("Normal", "Tuberculosis")})
    assert main(["run", "--name", str(tmp_path / "run"), "--data", str(data), "-p", *pairs]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_every_number_has_a_range():
    numbers = {name for step in STEPS for name, (kind, *_) in schema(step).items() if kind.type in (int, float)}
    assert numbers == set(RANGES)
