"""Training: it learns, it repeats, and an interrupted one goes on as if nothing had happened."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tblib import train
from tblib.dataset import TBDataset
from tblib.model import load_model
from tblib.run import Run, write_json, write_table
from tblib.train import CHECKPOINT, RECIPES, Training, TrainingError, cosine, fit, imbalance, recipe

QUICK = Training(epochs=3, batch_size=8, lr=1e-3, precision="fp32", threads=1)


def prepared(folder, films: int = 40) -> Run:
    """A run with prepared films whose positives carry a bright square: easy to learn."""
    run = Run(folder)
    target = (np.arange(films) % 4 == 0).astype(int)
    images = np.random.default_rng(0).integers(60, 120, (films, 32, 32), dtype=np.uint8)
    images[target == 1, 8:20, 8:20] = 250
    np.save(run.path("images.npy"), images)
    part = np.where(np.arange(films) < films * 0.7, "train", "val")
    rows = pd.DataFrame({"image": np.arange(films), "target": target, "part": part, "cues": target.astype(str)})
    write_table(run.path("split.csv"), rows)
    write_json(run.path("preparation.json"), {"size": 32, "mean": 95.0, "sd": 40.0, "negative": "N", "positive": "T"})
    return run


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_model(run.path("model.safetensors")).cnn.state_dict()


def test_it_learns_what_is_easy(tmp_path):
    history = fit(prepared(tmp_path), Training(epochs=8, batch_size=8, lr=1e-3, threads=1))
    assert history["val_f1"].max() == 1.0
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]


@pytest.mark.parametrize("training", [QUICK, recipe("fast", epochs=3, batch_size=8, precision="fp32", threads=1)])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, capsys, training):
    whole, cut = (prepared(tmp_path / name) for name in ("whole", "cut") if (tmp_path / name).mkdir() is None)
    expected = fit(whole, training)
    save = train._save_checkpoint

    def save_and_stop(path, state, fingerprint):
        save(path, state, fingerprint)
        if len(state.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "SAVE_EVERY", 0)
    monkeypatch.setattr(train, "_save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        fit(cut, training)
    assert not cut.path("model.safetensors").exists()
    monkeypatch.undo()
    history = fit(cut, training)
    assert "goes on behind epoch 2" in capsys.readouterr().out
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), expected.drop(columns="seconds"))
    one, other = weights(whole), weights(cut)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not cut.path(CHECKPOINT).exists()


def test_a_checkpoint_of_another_training_is_not_used(tmp_path, monkeypatch, capsys):
    run = prepared(tmp_path)
    monkeypatch.setattr(train, "SAVE_EVERY", 0)
    monkeypatch.setattr(train, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fit(run, QUICK)
    monkeypatch.undo()
    history = fit(run, Training(epochs=1, batch_size=8, threads=1, precision="fp32"))
    assert "another training" in capsys.readouterr().out
    assert len(history) == 1


def test_a_damaged_checkpoint_is_not_used(tmp_path, capsys):
    run = prepared(tmp_path)
    run.path(CHECKPOINT).write_bytes(b"half")
    assert len(fit(run, QUICK)) == 3
    assert "cannot be read" in capsys.readouterr().out


def test_the_seed_decides(tmp_path):
    losses = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        run = prepared(tmp_path / name)
        losses.append(fit(run, Training(epochs=1, batch_size=8, threads=1, seed=seed))["train_loss"].iloc[0])
    assert losses[0] == losses[1] != losses[2]


def test_training_leaves_the_global_random_state_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit(prepared(tmp_path), Training(epochs=1, batch_size=8, threads=1))
    assert torch.equal(torch.rand(1), expected)


def test_the_imbalance_weighs_positives_unless_a_weight_is_given(tmp_path):
    assert imbalance(torch.tensor([1.0, 0, 0, 0])) == 3
    run = prepared(tmp_path)
    fit(run, QUICK)
    assert run.facts("training.json")["pos_weight"] == 3
    fit(run, Training(epochs=1, batch_size=8, pos_weight=1.5, threads=1))
    assert run.facts("training.json")["pos_weight"] == 1.5


def test_the_best_epoch_is_the_one_kept(tmp_path):
    run = prepared(tmp_path)
    history = fit(run, Training(epochs=5, batch_size=8, lr=3e-3, threads=1, precision="fp32"))
    outcome = run.facts("training.json")
    assert outcome["best_epoch"] == history["val_loss"].idxmin() + 1
    model = load_model(run.path("model.safetensors"))
    val = train.load_part(run, "val", torch.device("cpu"))
    logits = train.infer(model.cnn, train.films_of(val), model.normalisation)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, val.targets, pos_weight=torch.tensor(3.0))
    assert float(loss) == pytest.approx(outcome["best_val_loss"], rel=1e-5)


def test_the_rate_falls_when_the_loss_no_longer_does(tmp_path):
    history = fit(prepared(tmp_path), Training(epochs=6, batch_size=8, lr=0.1, patience=0, threads=1, precision="fp32"))
    assert history["lr"].iloc[-1] < history["lr"].iloc[0]


@pytest.mark.parametrize("wrong", [
    {"epochs": 0}, {"lr": 0.0}, {"batch_size": 1}, {"pos_weight": -1.0}, {"dropout": 1.0}, {"factor": 1.0},
    {"precision": "fp8"}, {"patience": -1}, {"threads": -1}, {"schedule": "steps"}, {"small": 1.0}, {"warm_up": -0.1},
    {"looks": 0}, {"outside": "white"},
])  # fmt: skip
def test_values_that_cannot_be_trained_with_are_named(wrong):
    (name,) = wrong
    with pytest.raises(TrainingError, match=f"{name} is"):
        Training(**wrong)


def test_a_diverging_training_is_stopped_with_a_sentence(tmp_path):
    run = prepared(tmp_path)
    write_json(run.path("preparation.json"), run.facts("preparation.json") | {"sd": 1e-40})
    with pytest.raises(TrainingError, match="no number in epoch 1"):
        fit(run, QUICK)
    assert not run.path("model.safetensors").exists()


def test_a_recipe_is_what_is_not_given():
    assert recipe("reference", epochs=0, lr=0.0, batch_size=0, dropout=-1.0, outside="") == Training()
    assert (recipe("fast", outside="").outside, recipe("fast", outside="edge").outside) == ("black", "edge")
    fast = recipe("fast", epochs=0, lr=1e-3, seed=4)
    assert (fast.epochs, fast.lr, fast.seed) == (RECIPES["fast"]["epochs"], 1e-3, 4)
    assert recipe("reference", dropout=0.0).dropout == 0
    assert (recipe("fast", dropout=-1.0).dropout, recipe("fast", dropout=0.3).dropout) == (0, 0.3)
    with pytest.raises(TrainingError, match="no recipe 'quick'; give reference or fast"):
        recipe("quick")


def test_the_cosine_rises_in_a_line_and_falls_to_0():
    assert [cosine(done, 0.2) for done in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert cosine(0, 0) == 1


def test_the_fast_recipe_learns_too(tmp_path):
    history = fit(prepared(tmp_path), recipe("fast", epochs=20, batch_size=8, precision="fp32", threads=1))
    assert history["val_f1"].max() == 1.0
    assert history["lr"].iloc[-1] < history["lr"].max() / 4


def test_films_are_trained_at_half_their_side_first(tmp_path, monkeypatch):
    sides = []
    augment = train.augment

    def seen(films, by, drawn, side, outside):
        sides.append(side)
        return augment(films, by, drawn, side, outside)

    monkeypatch.setattr(train, "augment", seen)
    fit(prepared(tmp_path), Training(epochs=4, batch_size=28, small=0.5, threads=1, precision="fp32"))
    assert sides == [16, 16, 32, 32]


def test_whole_epochs_are_cut_at_each_look_and_small_ones_are_not(tmp_path):
    training = Training(epochs=4, batch_size=8, small=0.5, looks=2, threads=1, precision="fp32")
    assert [(s.epoch, s.steps, s.small) for s in train.stretches(training, 5)] == [
        (0, range(5), True), (1, range(5), True),
        (2, range(2), False), (2, range(2, 5), False), (3, range(2), False), (3, range(2, 5), False),
    ]  # fmt: skip
    history = fit(prepared(tmp_path), training)
    assert history["epoch"].tolist() == [1, 2, 2.5, 3, 3.5, 4]
    assert len(train.stretches(replace(training, epochs=1, small=0, looks=9), 3)) == 3


def test_looking_more_often_changes_nothing_that_is_learnt(tmp_path):
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
    once, twice = prepared(tmp_path / "once"), prepared(tmp_path / "twice")
    training = replace(QUICK, epochs=2, dropout=0.0)
    losses = [fit(run, replace(training, looks=looks))["val_loss"] for run, looks in ((once, 1), (twice, 2))]
    assert losses[0].tolist() == losses[1][1::2].tolist()


def test_checkpoints_wait_for_their_time(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(train, "_save_checkpoint", lambda path, state, fingerprint: saved.append(state.history[-1]))
    monkeypatch.setattr(train, "SAVE_EVERY", float("inf"))
    fit(prepared(tmp_path), QUICK)
    assert saved == []
    monkeypatch.setattr(train, "SAVE_EVERY", 0)
    fit(prepared(tmp_path), QUICK)
    assert [row["epoch"] for row in saved] == [1, 2, 3]


@pytest.mark.parametrize("remedy", ["none", "balance", "group_dro"])
def test_a_step_never_waits_for_the_device(remedy):
    """On the meta device there are no numbers: whatever asks for one, as a host that waits would, fails."""
    data = TBDataset(np.zeros((4, 32, 32), np.uint8), np.array([0, 1, 0, 1]), torch.device("cpu"))
    data.device = torch.device("meta")
    state = train._begin(Training(remedy=remedy), 32, data, 2.0)
    films = torch.empty(4, 1, 32, 32, dtype=torch.uint8, device="meta")
    drawn, target = torch.empty(5, 4, device="meta"), torch.empty(4, device="meta")
    inputs = train.normalise(train.augment(films, train.Augmentation(), drawn), train.Normalisation(100, 50))
    groups = torch.empty(4, dtype=torch.long, device="meta")
    logits = train._step(state, inputs, target, groups, Training(remedy=remedy), "fp32")
    assert (logits.device.type, logits.shape) == ("meta", (4,))
    with pytest.raises(RuntimeError, match="meta"):
        float(logits.sum())
