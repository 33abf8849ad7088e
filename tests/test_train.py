"""Training: it learns, it repeats, and an interrupted one goes on as if nothing had happened."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from fake_cards import NoWaiting, noted_generators, refuse_cards

from tblib import arrays, checkpoint, dataset, prepare, train
from tblib.arrays import Normalisation
from tblib.classifiers import trained
from tblib.classifiers.trained import CHECKPOINT, load_model, train_run
from tblib.dataset import TBDataset
from tblib.devices import full_precision, seeded
from tblib.mitigation import randomised
from tblib.model import CNN, ModelError, films_of, logits_of
from tblib.run import Run
from tblib.system.files import write_json, write_table
from tblib.train import Training, TrainingError, cosine, fit, imbalance
from tests.benchmarks.films import fast

QUICK = Training(epochs=3, batch_size=8, lr=1e-3, precision="fp32", threads=1)
FAST = fast(batch_size=8, precision="fp32", threads=1)


def prepared(folder, films: int = 40) -> Run:
    """A run with prepared films whose positives carry a bright square: easy to learn."""
    run = Run(folder)
    target = (np.arange(films) % 4 == 0).astype(int)
    images = np.random.default_rng(0).integers(60, 120, (films, 32, 32), dtype=np.uint8)
    images[target == 1, 8:20, 8:20] = 250
    np.save(run.path("images.npy"), images)
    part = np.where(np.arange(films) < films * 0.7, "train", "val")
    texts = dict.fromkeys(("file", "label", "cues"), target.astype(str))
    rows = {"image": np.arange(films), "duplicate_group": np.arange(films), "target": target, "part": part, **texts}
    write_table(run.path("split.csv"), pd.DataFrame(rows))
    write_json(run.path("preparation.json"), {"size": 32, "mean": 95.0, "sd": 40.0, "negative": "N", "positive": "T"})
    return run


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_model(run.path("model.safetensors")).cnn.state_dict()


def test_it_learns_what_is_easy(tmp_path):
    history = train_run(prepared(tmp_path), Training(epochs=8, batch_size=8, lr=1e-3, threads=1))
    assert history["val_f1"].max() == 1.0
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]


@pytest.mark.parametrize("training", [QUICK, replace(FAST, epochs=3)])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, capsys, training):
    whole, cut = (prepared(tmp_path / name) for name in ("whole", "cut") if (tmp_path / name).mkdir() is None)
    expected = train_run(whole, training)
    save = checkpoint.save_checkpoint

    def save_and_stop(path, state, fingerprint):
        save(path, state, fingerprint)
        if len(state.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "SAVE_EVERY", 0)
    monkeypatch.setattr(train, "save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train_run(cut, training)
    assert not cut.path("model.safetensors").exists()
    monkeypatch.undo()
    history = train_run(cut, training)
    assert "resumes after epoch 2" in capsys.readouterr().out
    pd.testing.assert_frame_equal(history.drop(columns="seconds"), expected.drop(columns="seconds"))
    one, other = weights(whole), weights(cut)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not cut.path(CHECKPOINT).exists()


def stop_at_the_end(run: Run, monkeypatch) -> None:
    """Train, and be interrupted when all that is left is to write the results: a checkpoint stays behind."""
    monkeypatch.setattr(train, "SAVE_EVERY", 0)
    monkeypatch.setattr(trained, "save_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train_run(run, QUICK)
    monkeypatch.undo()


def test_a_checkpoint_of_another_training_is_not_used(tmp_path, monkeypatch, capsys):
    run = prepared(tmp_path)
    stop_at_the_end(run, monkeypatch)
    history = train_run(run, Training(epochs=1, batch_size=8, threads=1, precision="fp32"))
    assert "another training" in capsys.readouterr().out
    assert len(history) == 1


@pytest.mark.parametrize("changed", ["split.csv", "images.npy", "code", "packages"])
def test_a_checkpoint_is_not_resumed_once_films_split_code_or_packages_are_others(
    tmp_path, monkeypatch, capsys, changed
):
    run = prepared(tmp_path)
    stop_at_the_end(run, monkeypatch)
    if changed == "split.csv":
        write_table(run.path("split.csv"), run.table("split.csv").assign(cues="all"))
    elif changed == "images.npy":
        np.save(run.path("images.npy"), 255 - np.load(run.path("images.npy")))
    elif changed == "code":
        monkeypatch.setattr(trained, "code_digest", lambda *names: "edited")
    else:
        monkeypatch.setattr("tblib.system.code.versions", lambda: {"torch": "0.1"})
    assert len(train_run(run, QUICK)) == 3
    assert "another training" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [
    lambda whole: b"",
    lambda whole: whole[: len(whole) // 2],
    lambda whole: whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],  # a weight is another one
    lambda whole: whole.replace(b"history", b"stories", 1),
])  # fmt: skip
def test_a_damaged_checkpoint_is_not_used(damage, tmp_path, monkeypatch, capsys):
    run = prepared(tmp_path)
    stop_at_the_end(run, monkeypatch)
    run.path(CHECKPOINT).write_bytes(damage(run.path(CHECKPOINT).read_bytes()))
    assert len(train_run(run, QUICK)) == 3
    told = capsys.readouterr().out
    assert "The checkpoint cannot be used, and the training starts from the beginning" in told
    assert "resumes after" not in told


def test_the_seed_decides(tmp_path):
    losses = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        run = prepared(tmp_path / name)
        losses.append(train_run(run, Training(epochs=1, batch_size=8, threads=1, seed=seed))["train_loss"].iloc[0])
    assert losses[0] == losses[1] != losses[2]


def test_training_leaves_the_global_random_state_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train_run(prepared(tmp_path), Training(epochs=1, batch_size=8, threads=1))
    assert torch.equal(torch.rand(1), expected)


def test_the_imbalance_weighs_positives_unless_a_weight_is_given(tmp_path):
    assert imbalance(torch.tensor([1.0, 0, 0, 0])) == 3
    run = prepared(tmp_path)
    train_run(run, QUICK)
    assert run.facts("training.json")["pos_weight"] == 3
    train_run(run, Training(epochs=1, batch_size=8, pos_weight=1.5, threads=1))
    assert run.facts("training.json")["pos_weight"] == 1.5


def test_the_best_epoch_is_the_one_kept(tmp_path):
    run = prepared(tmp_path)
    history = train_run(run, Training(epochs=5, batch_size=8, lr=3e-3, threads=1, precision="fp32"))
    outcome = run.facts("training.json")
    assert outcome["best_epoch"] == history["val_loss"].idxmin() + 1
    kept = load_model(run.path("model.safetensors"))
    val = prepare.load_part(run, "val", torch.device("cpu"))
    logits = logits_of(kept.cnn, films_of(val), kept.normalisation)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, val.targets, pos_weight=torch.tensor(3.0))
    assert float(loss) == pytest.approx(outcome["best_val_loss"], rel=1e-5)


def test_the_rate_falls_when_the_loss_no_longer_does(tmp_path):
    history = train_run(
        prepared(tmp_path), Training(epochs=6, batch_size=8, lr=0.1, patience=0, threads=1, precision="fp32")
    )
    assert history["lr"].iloc[-1] < history["lr"].iloc[0]


@pytest.mark.parametrize("wrong", [
    {"epochs": 0}, {"lr": 0.0}, {"batch_size": 1}, {"pos_weight": -1.0}, {"dropout": 1.0}, {"factor": 1.0},
    {"precision": "fp8"}, {"patience": -1}, {"threads": -1}, {"schedule": "steps"}, {"warm_up": -0.1},
    {"low_resolution_share": 1.0}, {"validations": 0}, {"padding": "white"},
])  # fmt: skip
def test_values_that_cannot_be_trained_with_are_named(wrong):
    (name,) = wrong
    with pytest.raises(TrainingError, match=f"{name} is"):
        Training(**wrong)


def test_a_diverging_training_is_stopped_with_a_sentence(tmp_path):
    run = prepared(tmp_path)
    write_json(run.path("preparation.json"), run.facts("preparation.json") | {"sd": 1e-40})
    with pytest.raises(TrainingError, match="no number in epoch 1"):
        train_run(run, QUICK)
    assert not run.path("model.safetensors").exists()


def test_what_is_left_open_is_decided_by_films_and_machine():
    settled = Training(precision="auto").settled(small_films(12))
    assert (settled.pos_weight, settled.threads) == (1.0, torch.get_num_threads())
    assert settled.precision in ("fp32", "bf16")
    assert Training(pos_weight=3.0, threads=1, precision="fp32").settled(small_films()).pos_weight == 3.0


def test_the_cosine_rises_in_a_line_and_falls_to_0():
    assert [cosine(done, 0.2) for done in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert cosine(0, 0) == 1


def test_the_fast_parameters_train_too(tmp_path):
    history = train_run(prepared(tmp_path), replace(FAST, epochs=20))
    assert history["val_f1"].max() == 1.0
    assert history["lr"].iloc[-1] < history["lr"].max() / 4


def test_films_are_trained_at_half_their_side_first(tmp_path, monkeypatch):
    sides = []
    augment = dataset.augment

    def seen(films, by, moves, side, padding):
        sides.append(side)
        return augment(films, by, moves, side, padding)

    monkeypatch.setattr(train, "augment", seen)
    train_run(
        prepared(tmp_path), Training(epochs=4, batch_size=28, low_resolution_share=0.5, threads=1, precision="fp32")
    )
    assert sides == [16, 16, 32, 32]


def test_epochs_at_full_resolution_are_cut_at_each_validation_and_the_others_are_not(tmp_path):
    training = Training(epochs=4, batch_size=8, low_resolution_share=0.5, validations=2, threads=1, precision="fp32")
    assert [(s.epoch, s.steps, s.low_resolution) for s in train.segments(training, 40)] == [
        (0, range(5), True), (1, range(5), True),
        (2, range(2), False), (2, range(2, 5), False), (3, range(2), False), (3, range(2, 5), False),
    ]  # fmt: skip
    history = train_run(prepared(tmp_path), training)
    assert history["epoch"].tolist() == [1, 2, 2.5, 3, 3.5, 4]
    assert len(train.segments(replace(training, epochs=1, low_resolution_share=0, validations=9), 24)) == 3


def test_validating_more_often_changes_no_weight(tmp_path):
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
    once, twice = prepared(tmp_path / "once"), prepared(tmp_path / "twice")
    training = replace(QUICK, epochs=2, dropout=0.0)
    losses = [train_run(run, replace(training, validations=n))["val_loss"] for run, n in ((once, 1), (twice, 2))]
    assert losses[0].tolist() == losses[1][1::2].tolist()


def test_checkpoints_wait_for_their_time(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(train, "save_checkpoint", lambda path, state, fingerprint: saved.append(state.history[-1]))
    monkeypatch.setattr(train, "SAVE_EVERY", float("inf"))
    train_run(prepared(tmp_path), QUICK)
    assert saved == []
    monkeypatch.setattr(train, "SAVE_EVERY", 0)
    train_run(prepared(tmp_path), QUICK)
    assert [row["epoch"] for row in saved] == [1, 2, 3]


@pytest.mark.parametrize("mitigation", [None, "balance", "group_dro"])
def test_a_step_never_waits_for_the_device(mitigation):
    """On the meta device there are no numbers: whatever asks for one, as a host that waits would, fails."""
    data = TBDataset(np.zeros((4, 32, 32), np.uint8), np.array([0, 1, 0, 1]), torch.device("cpu"))
    data.device = torch.device("meta")
    state = train._begin(Training(mitigation=mitigation), data)
    films = torch.empty(4, 1, 32, 32, dtype=torch.uint8, device="meta")
    moves, target = torch.empty(5, 4, device="meta"), torch.empty(4, device="meta")
    inputs = dataset.normalise(dataset.augment(films, dataset.Augmentation(), moves), arrays.Normalisation(100, 50))
    groups = torch.empty(4, dtype=torch.long, device="meta")
    weight = torch.empty((), device="meta")
    training = Training(mitigation=mitigation, precision="fp32")
    logits = train._step(state, inputs, target, groups, training, weight)
    assert (logits.device.type, logits.shape) == ("meta", (4,))
    with pytest.raises(RuntimeError, match="meta"):
        float(logits.sum())


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("mitigation", [None, "balance", "group_dro", "randomise", "randomise+group_dro"])
def test_no_step_of_a_segment_waits_for_the_device(mitigation, resident, monkeypatch):
    """On the meta device, taken for a card: it holds no numbers, and `NoWaiting` refuses copies that wait."""
    monkeypatch.setattr("tblib.dataset._fits", lambda *_: resident)
    randomises = "randomise" in (mitigation or "")
    training = Training(
        batch_size=2,
        mitigation=mitigation,
        schedule="cosine",
        precision="fp32",
        pos_weight=2.0,
        validations=2,
        epochs=1,
    )
    images, target = np.random.default_rng(0).integers(0, 256, (6, 32, 32), dtype=np.uint8), np.arange(6) % 2
    begun = TBDataset(images, target, torch.device("cpu"), groups=np.arange(6) % 3)
    begun.device = torch.device("meta")
    state = train._begin(training, begun)
    data = TBDataset(images, target, torch.device("meta"), groups=np.arange(6) % 3, resident=not randomises)
    assert data.resident == (resident and not randomises)
    change, by = randomised if randomises else None, Normalisation(100, 50)
    with NoWaiting():
        for segment in train.segments(training, 6):
            logits, targets = train._steps(state, segment, data, by, training, change, lambda steps, text: None)
    assert logits.shape == targets.shape == (4,)
    assert logits.is_meta


def test_films_that_a_mitigation_changes_stay_in_main_memory(tmp_path, monkeypatch):
    seen, load = [], prepare.load_part

    def loaded(run, part, device=None, resident=True):
        seen.append((part, resident))
        return load(run, part, device, resident)

    monkeypatch.setattr(trained, "load_part", loaded)
    run = prepared(tmp_path)
    train_run(run, replace(QUICK, epochs=1, mitigation="randomise"))
    assert seen == [("train", False), ("val", True)]
    assert not load(run, "train", torch.device("meta"), False).resident
    assert load(run, "val", torch.device("meta")).resident


def test_films_are_changed_by_seed_epoch_and_step():
    films = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    changed = train._change(randomised, (3, 4, 5))(films)
    np.testing.assert_array_equal(changed, randomised(films, np.random.default_rng((3, 4, 5))))
    assert train._change(None, (3, 4, 5)) is None


def small_films(count: int = 12) -> TBDataset:
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32), dtype=np.uint8)
    return TBDataset(images, np.arange(count) % 2, torch.device("cpu"))


def test_a_training_on_the_cpu_leaves_every_card_alone(monkeypatch):
    refuse_cards(monkeypatch)
    fit(small_films(), Normalisation(127, 70), replace(QUICK, epochs=1, width=4))


@pytest.mark.parametrize(("device", "seeding"), [
    (torch.device("cuda", 1), [("cuda", "current", torch.device("cuda", 1))]),
    (torch.device("cuda"), [("cuda", "current", torch.device("cuda"))]),
    (torch.device("mps"), []),
])  # fmt: skip
def test_seeding_touches_the_device_in_use_and_puts_it_back(device, seeding, monkeypatch):
    noted, name = noted_generators(monkeypatch), device.type
    with seeded(7, device):
        noted.append("drawn")
    assert noted == [
        *seeding, (name, "get", device), (name, "seed", 7), "drawn", (name, "set", "state", device),
    ]  # fmt: skip


def test_seeding_draws_the_numbers_that_the_seed_gives_and_puts_the_cpu_back():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(5)
    other = torch.rand(3)
    torch.manual_seed(5)
    drawn = []

    def draw():
        drawn.append(torch.rand(3))
        raise KeyError

    with pytest.raises(KeyError), seeded(7, torch.device("cpu")):
        draw()
    assert torch.equal(drawn[0], expected)
    assert torch.equal(torch.rand(3), other)


def switches() -> dict[str, str]:
    """How float32 is computed: ``ieee``, ``none`` (which means the same here), or less exactly."""
    backends = torch.backends
    if not hasattr(backends.cudnn, "conv"):  # PyTorch before 2.9
        matmul = torch.get_float32_matmul_precision()
        conv = "tf32" if backends.cudnn.allow_tf32 else "ieee"
        return {"conv": conv, "matmul": "ieee" if matmul == "highest" else matmul}
    places = {"conv": backends.cudnn.conv, "matmul": backends.cuda.matmul}
    places |= {"onednn conv": backends.mkldnn.conv, "onednn matmul": backends.mkldnn.matmul}
    return {name: place.fp32_precision for name, place in places.items()}


class Recording(CNN):
    """Writes down how float32 is computed whenever it is asked; its answer for a film is the film's first level."""

    def forward(self, films):
        self.seen = [*getattr(self, "seen", []), switches()]
        return films[:, 0, 0, 0]


@pytest.fixture(params=["highest", "medium"])
def matmul_precision(request):
    """A process that has, or has not, used PyTorch's old way to ask for less."""
    torch.set_float32_matmul_precision(request.param)
    yield
    torch.set_float32_matmul_precision("highest")


def test_inference_is_in_full_precision_whatever_was_set(matmul_precision):
    before, cnn, films = switches(), Recording(32), [torch.zeros(2, 1, 32, 32, dtype=torch.uint8)] * 2
    assert before["conv"] == "tf32"  # PyTorch's default
    logits_of(cnn, films, Normalisation(0, 1))
    assert len(cnn.seen) == 2
    assert {how for seen in cnn.seen for how in seen.values()} <= {"ieee", "none"}
    assert switches() == before
    with pytest.raises(KeyError), full_precision():
        raise KeyError
    assert switches() == before
    assert torch.backends.cudnn.allow_tf32 is True


@pytest.mark.parametrize(("precision", "conv"), [("fp32", "ieee"), ("bf16", "tf32")])
def test_a_training_in_fp32_is_in_full_precision(precision, conv, monkeypatch):
    seen, step = [], train._step

    def noted(*given):
        seen.append(switches()["conv"])
        return step(*given)

    monkeypatch.setattr(train, "_step", noted)
    fit(small_films(), Normalisation(127, 70), replace(QUICK, epochs=1, width=4, precision=precision))
    assert set(seen) == {conv}
    assert switches()["conv"] == "tf32"


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_an_error(odd):
    class Odd(CNN):
        def forward(self, films):
            return torch.where(films[:, 0, 0, 0] > 1, odd, films[:, 0, 0, 0])

    films = torch.zeros(5, 1, 32, 32, dtype=torch.uint8)
    films[3:] = 9
    assert logits_of(Odd(32), films[:3].split(2), Normalisation(0, 1)).tolist() == [0, 0, 0]
    with pytest.raises(ModelError, match=r"gives 2 of 5 films a score that is no finite number\. Train again"):
        logits_of(Odd(32), films.split(2), Normalisation(0, 1))


def test_a_small_training_that_diverges_says_so():
    with pytest.raises(TrainingError, match=r"no numbers after the last epoch; try a smaller lr than 0\.001"):
        fit(small_films(), Normalisation(127, 1e-40), replace(QUICK, epochs=1, width=4))
