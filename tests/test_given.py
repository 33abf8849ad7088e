"""A model of somebody else through the whole study: notebooks, report, panel, prediction, export, comparison."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import SMOKE, png

from tblib.__main__ import main
from tblib.audit.edited import edited_films
from tblib.audit.study import open_audit
from tblib.catalogue import catalogued_database
from tblib.classifiers.export import export
from tblib.classifiers.opened import give_model, open_given, open_model
from tblib.classifiers.protocol import ClassifierError, file_logits
from tblib.classifiers.spec import SpecError
from tblib.classifiers.trained import load_model
from tblib.predict.files import predict_files
from tblib.predict.panel import prediction_panel
from tblib.predict.predictor import open_predictor
from tblib.report.compare import CompareError, compare
from tblib.report.parameters import model_parameters, read_parameters
from tblib.report.pipeline import run_study
from tblib.report.summary import orientation
from tblib.run import Run


def test_the_same_network_answers_alike_in_every_way(smoke, exported, theirs, tmp_path):
    """As it was trained, in an ONNX file, as an object with the protocol, by prediction, and in the panel."""
    own = smoke.table("predictions.csv").set_index("file")["probability"]
    scored = theirs.table("predictions.csv").set_index("file")["probability"]
    np.testing.assert_allclose(scored[own.index], own, atol=1e-5)
    database, files = catalogued_database(smoke), own.index.tolist()[:6]
    ways = [load_model(smoke.path("model.safetensors")), open_given(*map(str, exported)).classifier]
    for model in ways:
        found = 1 / (1 + np.exp(-file_logits(model, database, files)))
        np.testing.assert_allclose(found, own[files], atol=1e-5)
    paths = [tmp_path / f"{place}.png" for place in range(len(files))]
    for path, file in zip(paths, files, strict=True):
        path.write_bytes(database.read(file))
    for model, spec in (
        (smoke.path("model.safetensors"), None),
        (theirs.path("model.json"), None),
        (exported[0], str(exported[1])),
    ):
        table = predict_files(open_predictor(model, spec), paths)
        np.testing.assert_allclose(table["score"], own[files], atol=1e-5)
    panel = prediction_panel(open_predictor(theirs.path("model.json")), {"a film": paths[0].read_bytes()})
    assert panel.case.answer.score.raw == pytest.approx(own[files[0]], abs=1e-5)


def test_its_verdicts_are_the_same_in_every_way(smoke, exported, theirs, tmp_path):
    """Trained by the run, given in an ONNX file whose spec says that it has seen the films, given as its model file."""
    assert open_audit(theirs, "smoke", None, None, 50, 0).trained_here
    told = [
        [(row["verdict"], row["reason"]) for row in run.facts("shortcuts.json")["verdicts"]] for run in (smoke, theirs)
    ]
    assert told[0] == told[1]
    run = Run(tmp_path / "as_file")
    shutil.copytree(theirs.folder, run.folder)
    run.path("run.json").unlink()
    given = give_model(run, str(smoke.path("model.safetensors")), None)
    assert given.facts()["seen"] == "yes"  # its file tells
    audit, itself = (open_audit(each, "smoke", None, None, 50, 0) for each in (theirs, run))
    assert (audit.of_tblib, itself.of_tblib, itself.trained_here) == (True, True, True)
    one, other = (edited_films(each) for each in (audit, itself))
    assert one.pairs.keys() == other.pairs.keys()
    for way, pairs in one.pairs.items():
        np.testing.assert_array_equal(pairs.edited, other.pairs[way].edited)
        np.testing.assert_allclose(pairs.after, other.pairs[way].after, atol=1e-4)
        np.testing.assert_allclose(pairs.before, other.pairs[way].before, atol=1e-4)


def test_a_model_that_has_not_seen_the_films_is_judged_as_a_stranger(theirs, exported, smoke, tmp_path):
    run = Run(tmp_path / "stranger")
    shutil.copytree(theirs.folder, run.folder)
    run.path("run.json").unlink()
    for seen in ("no", "unknown"):
        spec = tmp_path / f"{seen}.yml"
        spec.write_text(exported[1].read_text(encoding="utf-8").replace("'yes'", f"'{seen}'"), encoding="utf-8")
        give_model(run, str(exported[0]), str(spec))
        assert not open_audit(run, "smoke", None, None, 50, 0).trained_here
    denied = tmp_path / "denied.yml"
    denied.write_text("seen: no\n", encoding="utf-8")
    with pytest.raises(SpecError, match="was trained on this database"):
        give_model(run, str(smoke.path("model.safetensors")), str(denied))


def test_a_given_model_is_judged_on_all_films_but_those_of_validation(theirs):
    table, metrics = theirs.table("predictions.csv"), theirs.facts("metrics.json")
    assert len(table) == len(theirs.table("split.csv"))
    assert metrics["n"] == (table["part"] != "val").sum()
    assert metrics["model"] == {"name": "CNN of run", "trained_on": "the films of the run run", "seen": "yes"}
    assert not theirs.path("model.safetensors").exists()
    assert not theirs.path("training.json").exists()


def test_the_report_tells_of_the_model_and_that_it_may_know_the_films(theirs, exported):
    page = BeautifulSoup(theirs.path("report.html").read_text(encoding="utf-8"), "html.parser")
    first = page.find("section").get_text(" ")
    assert "), on which it may have been trained. Calling every film" in first
    assert "a model of somebody else" in page.find("p", class_="about").text
    training = page.find("section", {"aria-labelledby": "training"}).get_text(" ")
    facts = theirs.facts("model.json")
    assert facts["about"]["SHA-256"] in training
    assert "Nothing was trained." in training
    assert "Relu" in training
    assert str(exported[0].parent) not in page.get_text()  # no folder of the machine
    assert all(image.get("alt") for image in page.find_all("img"))


def test_an_unchanged_run_is_left_and_a_changed_model_is_told(theirs, demo, exported, tmp_path, capsys):
    folder = tmp_path / "theirs"
    shutil.copytree(theirs.folder, folder)
    model, spec = (shutil.copy(path, tmp_path) for path in exported)
    asked = read_parameters(SMOKE) | model_parameters(model, spec)
    assert run_study(str(folder), str(demo), asked, overwrite=True) == folder / "report.html"
    capsys.readouterr()
    assert run_study(str(folder), str(demo), asked) == folder / "report.html"
    assert capsys.readouterr().out.count("unchanged, skipped") == 6
    text = Path(spec).read_text(encoding="utf-8")
    Path(spec).write_text(text.replace("threshold: 0.5", "threshold: 0.4"), encoding="utf-8")
    with pytest.raises(Exception, match="step training would now be another one"):
        run_study(str(folder), str(demo), asked)
    Path(model).write_bytes(Path(model).read_bytes()[:-1] + b"\0")
    with pytest.raises(ClassifierError):
        open_model(Run(folder))


def test_the_panel_of_a_given_model_has_no_map_and_says_why(theirs):
    predictor = open_predictor(theirs.path("model.json"))
    answer = predictor.answer(png(np.full((64, 64), 90, np.uint8)), "a.png")
    told = predictor.attribution(answer)
    assert told.found is None
    assert "gives scores alone" in told.sentence


def test_an_audit_from_the_command_line_says_what_it_lacks(exported, tmp_path, capsys):
    assert main(["audit", "--example"]) == 0
    assert "positive_index" in capsys.readouterr().out
    assert main(["audit"]) == 1
    assert "Name a model" in capsys.readouterr().err
    assert main(["audit", str(exported[0]), "--name", str(tmp_path / "run")]) == 1
    assert "needs a spec" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    spec = tmp_path / "odd.yml"
    spec.write_text(exported[1].read_text(encoding="utf-8").replace("size:", "siez:"), encoding="utf-8")
    assert main(["audit", str(exported[0]), "--spec", str(spec), "--name", str(tmp_path / "run")]) == 1
    assert "Did you mean size?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# --- export


def test_an_export_replaces_nothing_unasked(smoke, tmp_path):
    run = Run(tmp_path / "run")
    shutil.copytree(smoke.folder, run.folder)
    model, _ = export(run)
    before = model.read_bytes()
    with pytest.raises(ClassifierError, match=r"model\.onnx.*would be replaced; ask for it with --overwrite"):
        export(run)
    assert export(run, overwrite=True)[0].read_bytes() == before
    assert not [path for path in run.folder.iterdir() if "part" in path.name]


# --- comparison


def test_runs_are_compared_on_the_films_that_both_judged(smoke, theirs, renamed, tmp_path, capsys):
    names = [str(run.folder) for run in (smoke, theirs, renamed)]
    assert main(["compare", *names, "--out", str(tmp_path / "both")]) == 0
    page = BeautifulSoup((tmp_path / "both" / "comparison.html").read_text(encoding="utf-8"), "html.parser")
    table = pd.read_csv(tmp_path / "both" / "comparison.csv")
    assert len(table) == 3
    assert table["data digest"].nunique() == 2
    assert table["AUROC"][0].startswith(f"{smoke.facts('metrics.json')['auroc']['value']:.3f}")
    verdicts = {row["cue"]: row["verdict"] for row in smoke.facts("shortcuts.json")["verdicts"]}
    assert {name: table[f"verdict: {name}"][0] for name in verdicts} == verdicts
    rows = [[cell.text for cell in row.find_all("td")] for row in page.find_all("table")[1].find_all("tr")][1:]
    first = next(row for row in rows if row[0].startswith("smoke"))
    judged = (smoke.table("split.csv")["part"] == "test").sum()
    assert first[1:3] == ["the run's own films", str(judged)]
    assert first[3].startswith("0.000 (0.000 to 0.000)")  # the same network
    assert sum("not comparable" in row[3] for row in rows) == 2
    assert "SYNTHETIC" in page.text
    assert main(["compare", *names, "--out", str(tmp_path / "both")]) == 1
    assert "would be replaced" in capsys.readouterr().err
    with pytest.raises(CompareError, match="two runs or more"):
        compare(names[:1], tmp_path / "one")
    with pytest.raises(CompareError, match="holds no complete run"):
        compare([names[0], str(tmp_path / "none")], tmp_path / "one")
    assert not (tmp_path / "one").exists()


# --- orientation


def area(value: float) -> dict:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


@pytest.mark.parametrize(("sets", "sentence"), [
    ([], "films of other hospitals (external) would tell"),
    ([0.9], "It ranks rightly on 0 (0.900"),
    ([0.2], "the spec may name the wrong class (positive_index)"),
    ([0.9, 0.2], "films of other hospitals do not tell, either"),
    ([0.5], "films of other hospitals do not tell, either"),
    ([-0.9], "more films of other hospitals (external) would tell"),  # below 0: settings were chosen on these films
    ([-0.9, 0.2], "the spec may name the wrong class (positive_index)"),
])  # fmt: skip
def test_a_model_that_ranks_the_wrong_way_is_told_first_and_what_others_films_suggest(sets, sentence):
    rows = [{"set": str(i), "auroc": area(abs(value)), "chose": value < 0} for i, value in enumerate(sets)]
    results = {"external": {"sets": rows}}
    told = orientation({"inverted": True, "auroc": area(0.3)}, results)
    assert "ranks the wrong way on these films" in told[0]
    assert sentence in told[0]
    assert orientation({"inverted": False, "auroc": area(0.3)}, results) == []


def test_facts_of_a_model_survive_json(theirs):
    assert json.loads(json.dumps(theirs.facts("model.json"))) == theirs.facts("model.json")
