"""The benchmarks run as they stand: what they make up for themselves has all that the project reads of a run."""

import importlib
from dataclasses import replace

import pandas as pd
import pytest

from tblib.audit.verdicts import AVAILABLE, DECISIVE, UNDECIDED, USED
from tblib.classifiers.trained import load_model, train_run
from tblib.devices import pick_device
from tblib.metrics import wilson
from tblib.prepare import load_part, prepare
from tblib.run import open_run
from tblib.system.files import ROOT
from tests.benchmarks import bench, scale, stability

FILES = sorted(path.stem for path in (ROOT / "tests" / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_each_of_them_can_be_imported(name):
    assert importlib.import_module(f"tests.benchmarks.{name}").__doc__


def test_the_training_on_a_card_trains_anywhere(tmp_path):
    run = bench.noise(tmp_path / "card", train=16, size=32)
    history = train_run(run, replace(bench.ONE_EPOCH, batch_size=8, width=4, precision="fp32", threads=1))
    assert len(history) == 1
    assert load_model(run.path("model.safetensors")).size == 32
    assert [len(load_part(run, part, pick_device())) for part in ("train", "val", "test")] == [16, bench.VAL, bench.VAL]


def test_the_films_of_the_scale_study_can_be_prepared(tmp_path):
    scale.catalogue(tmp_path, 66)  # 11 of them positive
    prepare(open_run(str(tmp_path)), scale.open_database(tmp_path / "films.zip"), 32, 0)
    assert len(load_part(open_run(str(tmp_path)), "train", pick_device())) > 40


def test_audits_agree_where_both_decide_and_pairs_of_one_cue_count_once():
    columns = pd.DataFrame(
        {"a": [USED, AVAILABLE, UNDECIDED], "b": [USED, AVAILABLE, USED], "c": [DECISIVE, AVAILABLE, UNDECIDED]},
        index=["tint", "marker", "box"],
    )
    same, alike = (wilson(share * 2, 2).text(percent=True) for share in (4 / 6, 1))
    assert stability.agreement(columns, ["a", "b", "c"]) == f"{same} of 6 (used or not: {alike})"
