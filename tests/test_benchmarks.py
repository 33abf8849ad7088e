"""The benchmarks run as they stand: what they make up for themselves has all that the project reads of a run."""

import importlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tblib.audit import fits
from tblib.audit.external import ExternalError
from tblib.audit.verdicts import AVAILABLE, DECISIVE, UNDECIDED, USED
from tblib.catalogue import build_catalogue, save_catalogue
from tblib.classifiers.choice import read_choice
from tblib.classifiers.trained import load_model
from tblib.devices import pick_device
from tblib.films.database import open_database
from tblib.metrics import wilson
from tblib.phantoms.demo import write_demo
from tblib.prepare import load_part, prepare
from tblib.run import open_run
from tblib.system.files import ROOT, write_json
from tblib.train import Training
from tests.benchmarks import (
    bench,
    careful,
    elsewhere,
    external,
    kinds,
    learning,
    limits,
    plain,
    scale,
    stability,
    table,
)

FILES = sorted(path.stem for path in (ROOT / "tests" / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_each_of_them_can_be_imported(name):
    assert importlib.import_module(f"tests.benchmarks.{name}").__doc__


def test_the_training_on_a_card_trains_anywhere(tmp_path):
    """The benchmark that only a card runs, on what is here: it warms up, and then trains from the beginning."""
    training = Training(epochs=2, batch_size=8, width=4, precision="fp32", threads=1)
    train, name = bench.on_a_card(tmp_path / "card", 16, 32, training)
    run = open_run(str(tmp_path / "card"))
    assert len(run.table("history.csv")) == 1
    train()
    assert len(run.table("history.csv")) == 2
    assert load_model(run.path("model.safetensors")).size == 32
    assert [len(load_part(run, part, pick_device())) for part in ("train", "val", "test")] == [16, bench.VAL, bench.VAL]
    assert ("not a card" in name) == (pick_device().type != "cuda")


@pytest.fixture(scope="module")
def careful_films(tmp_path_factory):
    """SYNTHETIC films as the careful way prepares them: the folder, and the levels of the training part."""
    folder = tmp_path_factory.mktemp("careful")
    return folder, careful.prepare(write_demo(folder / "films.zip", films=72, seed=0), folder, 32)


def test_the_careful_way_prepares_what_the_project_prepares(careful_films, tmp_path):
    folder, (mean, sd) = careful_films
    table, images = pd.read_csv(folder / "table.csv"), np.load(folder / "images.npy")
    run, database = open_run(str(tmp_path / "run")), open_database(folder / "films.zip")
    save_catalogue(run, build_catalogue(database))
    facts = prepare(run, database, 32, 0)
    ours = run.table("split.csv").set_index("file")["image"]
    np.testing.assert_array_equal(images, run.images()[ours.loc[table["file"]]])
    assert (
        table["sha256"].tolist() == run.table("catalogue.csv").set_index("file")["sha256"].loc[table["file"]].tolist()
    )
    assert table.groupby("group")["part"].nunique().max() == 1
    assert set(table["part"]) == {"train", "val", "test"}
    assert (mean, sd) == pytest.approx((facts["mean"], facts["sd"]), rel=0.1)  # of another split


def test_the_careful_way_learns_and_predicts(careful_films, tmp_path):
    folder, by = careful_films
    table = pd.read_csv(folder / "table.csv")
    rows = table.assign(image=np.arange(len(table)), target=(table["label"] == "Tuberculosis").astype(int))
    parts, cnn = careful.loaders(np.load(folder / "images.npy"), rows), careful.network(32, width=4)
    history = list(careful.train(parts, cnn, by, epochs=12))
    assert history[-1]["val_loss"] < history[0]["val_loss"]
    with zipfile.ZipFile(folder / "films.zip") as file:
        files = [Path(file.extract(name, tmp_path)) for name in table.loc[table["part"] == "test", "file"]]
    (logits, _), alone = careful.infer(cnn, parts["test"], careful.transforms(*by)[1]), []
    for workers in (0, careful.WORKERS):
        alone.append(careful.predict(cnn, files, by, 32, workers))
    assert torch.equal(*alone)
    np.testing.assert_allclose(alone[0], logits.sigmoid(), atol=0.02)  # in bfloat16


def test_both_opponents_are_no_longer_than_a_notebook():
    for opponent in (plain, careful):
        assert len(Path(opponent.__file__).read_text(encoding="utf-8").splitlines()) <= 200


def kept_learning(folder: Path, way: str, best: dict[int, float], f1: float, seconds: float = 10) -> None:
    """Results of a learning study: the best F1 of each seed, reached in the second of two epochs."""
    for seed, reached in best.items():
        rows = [{"val_f1": value, "seconds": seconds} for value in (0.1, reached)]
        place = folder / "learning" / "real" / f"{way}-{seed}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, {"seed": seed, "history": rows, "test": {"auroc": 0.99, "f1": f1 + seed / 1e4}})


def test_a_way_is_as_soon_as_half_of_its_seeds_and_equal_within_the_margin(tmp_path, monkeypatch):
    for module in (learning, table):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    assert learning.times_to_result("real") == {}
    kept_learning(tmp_path, "careful", {100: 0.9, 101: 0.95, 102: 1.0, 103: 0.9}, f1=0.9)
    kept_learning(tmp_path, "fast", {100: 1.0, 101: 0.93, 102: 0.92, 103: 0.95}, f1=0.9, seconds=2)
    kept_learning(tmp_path, "reference", {100: 0.95, 101: 0.1, 102: 0.1, 103: 0.1}, f1=0.95)
    assert learning.aim("real") == pytest.approx(0.925)
    assert learning.times_to_result("real") == {"careful": 20, "reference": None, "fast": 4}
    assert [row.equivalent for row in learning.compared("real", "fast")] == [True, True]
    assert [row.verdict for row in learning.compared("real", "reference")] == ["equivalent", "better"]
    kept_learning(tmp_path, "reference", {100: 0.95, 101: 0.1, 102: 0.1, 103: 0.1}, f1=0.85)
    off = learning.compared("real", "reference")
    assert [row.equivalent for row in off] == [True, False]
    assert off[1].difference == pytest.approx(-0.05)
    learning.place_of("real", "fast", 101).unlink()  # as in a study that was interrupted
    (area, _) = learning.compared("real", "fast")
    assert (area.n, area.difference) == (3, 0)
    told = learning.tables()
    assert "| reference | F1 | 0.8" in told
    assert "not shown to be equivalent" in told
    line = next(line for line in table.table({"benchmarks": []}).splitlines() if "time to F1, real" in line)
    assert "5.00, ≥ 3 |" in line


def test_the_table_marks_what_falls_short(tmp_path, monkeypatch):
    for module in (learning, table):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    timed = {"test_training_ours[bf16]": 2.0, "test_training_plain": 8.0, "test_training_careful[0]": 2.4}
    tests = [{"name": name, "stats": {"median": at}, "extra_info": {"films": 48}} for name, at in timed.items()]
    tests.append({"name": "test_one_film_cold", "stats": {"median": 2.5}, "extra_info": {"films": 1}})
    write_json(tmp_path / "audit.json", {"seconds": 700.0})
    lines = table.table({"benchmarks": tests}).splitlines()
    training = next(line for line in lines if line.startswith("| training |"))
    assert "| 6.0 | 20.0 | 24.0 | 4.00, ≥ 4 | 1.20, ≥ 1.3: falls short |" in training
    assert careful.LESS["training"] in training
    cold = next(line for line in lines if "cold" in line)
    assert cold.endswith("| 2.500 s | ≤ 2 s | falls short |")
    assert any("budget standard | 700 s | ≤ 720 s | |" in line.replace("  ", " ") for line in lines)
    assert any("no CUDA card" in line for line in lines)


def test_the_films_of_the_scale_study_can_be_prepared_and_edited(tmp_path, monkeypatch):
    scale.catalogue(tmp_path, 66)  # 11 of them positive
    prepare(open_run(str(tmp_path)), open_database(tmp_path / "films.zip"), 32, 0)
    run = open_run(str(tmp_path))
    assert len(load_part(run, "train", pick_device())) > 40
    monkeypatch.setattr(scale, "SIZE", 32)
    scale.edit(run)  # it checks how many it edited


def test_audits_agree_where_both_decide_and_pairs_of_one_cue_count_once():
    columns = pd.DataFrame(
        {"a": [USED, AVAILABLE, UNDECIDED], "b": [USED, AVAILABLE, USED], "c": [DECISIVE, AVAILABLE, UNDECIDED]},
        index=["tint", "marker", "box"],
    )
    same, alike = (wilson(share * 2, 2).text(percent=True) for share in (4 / 6, 1))
    assert stability.agreement(columns, ["a", "b", "c"]) == f"{same} of 6 (used or not: {alike})"


@pytest.fixture(scope="module")
def hospitals_zips(tmp_path_factory):
    """SYNTHETIC films of a hospital to train on, of one that chooses and of one that reports."""
    folder = tmp_path_factory.mktemp("hospitals")
    seeds = {"own": 1, "chooses": 50_001, "reports": 70_001}
    return {name: str(write_demo(folder / f"{name}.zip", films=60, seed=seed)) for name, seed in seeds.items()}


def test_a_mitigation_is_chosen_on_one_set_and_reported_once_on_another(hospitals_zips, tmp_path, monkeypatch):
    for name, value in (("SMALL_SEEDS", 2), ("FULL_SEEDS", 2), ("REPLICATES", 50), ("SIZE", 32)):
        monkeypatch.setattr(external, name, value)
    monkeypatch.setattr(external, "fast", lambda **given: Training(epochs=1, width=4, **given))
    own, chooses, reports = hospitals_zips.values()
    candidates = [external.Candidate(each, 32) for each in (None, "smooth", "lesions")]
    study = external.Study(own, chooses, [reports], tmp_path)
    rows, left = external.compare(study, candidates, minutes=60)
    assert [row["mitigation"] for row in rows] == [each.name for each in candidates]
    assert not left
    ranked = [
        {**row, "worst_group": {"mean": 0.9}, "selection": row["selection"] | {"mean": place}}
        for place, row in enumerate(rows)
    ]
    assert external.choose(ranked, candidates) == candidates[2]
    poor = [*ranked[:2], ranked[2] | {"worst_group": {"mean": 0.69}}]
    assert external.choose(poor, candidates) == candidates[1]
    assert external.choose([row | {"worst_group": {"mean": None}} for row in ranked], candidates) == candidates[0]
    selected = study.audit(32).selected
    external.keep_choice(tmp_path / "choice.json", candidates[2], rows, left, selected)
    assert read_choice(str(tmp_path / "choice.json"))["n"] == 60
    found = external.report(study, candidates[0], candidates[2])
    assert {row["set"]: row["chose"] for row in found["rows"] if "gain" in row} == {"chooses": True, "reports": False}
    assert "| reports | AUROC |" in external.reported_table(found, "lesions")
    record = json.loads((tmp_path / "choice.json").read_text()) | {"reported": ["reports"]}
    write_json(tmp_path / "choice.json", record)
    external.keep_choice(tmp_path / "choice.json", candidates[2], rows, left, selected)  # the same choice again
    with pytest.raises(ExternalError, match="To report on the same films again would be to choose on them"):
        external.keep_choice(tmp_path / "choice.json", candidates[1], rows, left, selected)
    with pytest.raises(ExternalError, match="cannot be validated on them"):
        external.report(
            external.Study(own, chooses, [str(shutil.copy(chooses, tmp_path / "renamed.zip"))], tmp_path),
            candidates[0],
            candidates[2],
        )
    with pytest.raises(ExternalError, match="is of other films"):
        external.Study(reports, chooses, [], tmp_path).audit(32)


def test_what_limits_a_mitigation_is_scored_on_films_that_were_not_learnt(hospitals_zips, tmp_path, monkeypatch):
    for name, value in (("SMALL_SEEDS", 2), ("FOLDS", 2), ("REPLICATES", 50)):
        monkeypatch.setattr(elsewhere, name, value)
    own, chooses, reports = hospitals_zips.values()
    audit = replace(external.Study(own, chooses, [], tmp_path).audit(32), external=reports)
    learnt = int(audit.train[audit.fitted_rows].sum())
    table = elsewhere.measure(audit, "lesions")
    assert list(table)[2:] == ["AUROC on chooses", "AUROC on reports"]
    counts = table["films"].tolist()
    assert counts[1] == learnt
    assert counts[0] == pytest.approx(learnt / 2, abs=1)
    assert counts[2] == learnt + counts[3]
    assert counts[3] == pytest.approx(30, abs=4)
    some = elsewhere.Films(np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1]), np.ones((4, 8, 8), np.uint8))
    given = elsewhere.job(audit, [some, some.some(np.array([1, 2]))], [some.images, some.images], "lesions", 0).arrays
    assert given["train"].tolist() == [True] * 6 + [False] * 4
    assert len(given["drawn"]) == 3  # of the negative films alone


def test_the_mean_over_parts_forgives_networks_of_another_level():
    films = SimpleNamespace(target=np.array([0, 1, 0, 1]), group=np.arange(4))
    logits = [[np.array([5.0, 6.0]), np.array([-2.0, -1.0])], [np.array([6.0, 5.0]), np.array([-2.0, -1.0])]]
    values, _ = elsewhere.areas(films, [np.array([0, 1]), np.array([2, 3])], logits)
    assert values.tolist() == [1.0, 0.5]


def test_the_machines_limits_name_the_bottleneck_of_training():
    trained = {"gflops": 20.0, "precision": "bf16", "inference_gflops": 30.0, "operators": {"slow": 0.6, "quick": 0.1}}
    prepared = {"decode the PNG": 3.0, "of which inflate": 2.0, "resize": 1.0}
    told = limits.table({"preparation": prepared, "peak_fp32": 60.0, "peak_bf16": 100.0, "training": trained})
    assert "| a training step, bf16 | 20 | 20% |" in told
    limit = {"peak_bf16": 100.0, "training": trained, "cores": 2, "preparation": {"of which inflating, by zlib": 2.0}}
    assert limits.share_of_peak(limit) == pytest.approx(0.2)
    assert limits.share_of_inflating(limit | {"decoding": 1.25}) == pytest.approx(0.8)  # 1 ms on two cores
    assert "What takes longest is `slow` in training (60%), and in preparation: decode the PNG (75%)." in told


def test_a_study_stops_at_its_budget_and_says_what_is_missing(hospitals_zips, tmp_path, monkeypatch):
    monkeypatch.setattr(external, "SMALL_SEEDS", 1)
    clock = iter([0, 0, *[60] * 10])
    monkeypatch.setattr(external, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    own, chooses, _ = hospitals_zips.values()
    rows, left = external.compare(
        external.Study(own, chooses, [], tmp_path), [external.Candidate(each, 32) for each in (None, "smooth")], 0.5
    )
    assert ([row["mitigation"] for row in rows], left) == (["none at 32 px"], ["smooth at 32 px"])


@pytest.mark.parametrize("kind", kinds.NAMES)
def test_kinds_of_training_that_no_run_has_change_what_they_say(kind, monkeypatch):
    """The plain loop is that of a run, bit by bit; each kind changes the network, or how it is used elsewhere."""
    monkeypatch.setattr(kinds, "PHANTOMS", 4)
    monkeypatch.setattr(kinds, "PASSES", 1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 32, 32), dtype=np.uint8)
    target, train = np.arange(24) % 2, np.arange(24) < 16
    arrays = {"images": images, "edited": np.empty((0, 2, 0, 32, 32), np.uint8), "others": images[:9] // 2}
    arrays |= {"target": target, "groups": target, "train": train, "drawn": images[train][target[train] == 0] // 2}
    settings = {"mitigation": "lesions", "seed": 0, "training": {"epochs": 1}}
    plain = fits.mitigated(**arrays, **settings)
    same = kinds.mitigated(**arrays, **settings, kind="")
    assert same == plain
    found = kinds.mitigated(**arrays, **settings, kind=kind)
    assert (found["logits"] == plain["logits"]) == (kind == kinds.ADAPTED)
    assert found["others"] != plain["others"]
