"""Stacked CNNs: trained at once they become what they become alone, whoever they are stacked with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import grey_film
from fake_cards import NoWaiting

from tblib.arrays import Normalisation
from tblib.audit import fits, stacked
from tblib.audit.jobs import Job, run_jobs
from tblib.audit.stacked import Stacked, can_be_stacked, fit_stacked
from tblib.dataset import TBDataset
from tblib.devices import cpu_computes_in_bf16
from tblib.mitigation import randomised
from tblib.model import CNN
from tblib.train import Training, TrainingError, fit, new_optimiser, segments

SIDE, BY = 32, Normalisation(127, 70)
HOW = Training(
    epochs=2, batch_size=8, dropout=0.0, width=8, threads=1, precision="fp32", low_resolution_share=0.5,
    schedule="cosine", warm_up=0.1, padding="black",
)  # fmt: skip
BOTH = ["fp32", pytest.param("bf16", marks=pytest.mark.skipif(not cpu_computes_in_bf16(), reason="no bf16 here"))]


def films(seed: int, count: int = 20, channels: int = 1) -> TBDataset:
    images = np.stack([grey_film(100 * seed + i, SIDE) for i in range(count)])
    images = images if channels == 1 else np.repeat(images[..., None], 3, axis=-1)
    groups = np.arange(count) % 4
    return TBDataset(images, np.arange(count) % 2, torch.device("cpu"), groups=groups)


def weights(cnn: CNN) -> torch.Tensor:
    return torch.cat([tensor.flatten().float() for tensor in cnn.state_dict().values()])


def at_once(*seeds: int, how: Training = HOW, **of: int) -> list[torch.Tensor]:
    sets = [films(seed, **of) for seed in seeds]
    return [weights(cnn) for cnn in fit_stacked(sets, [BY] * len(seeds), [replace(how, seed=seed) for seed in seeds])]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_logits_are_those_of_each_cnn(channels):
    cnns = [CNN(SIDE, 0.0, 4, channels).train() for _ in range(3)]
    seen = torch.randn(5, 3 * channels, SIDE, SIDE)
    alone = torch.stack([cnn(part) for cnn, part in zip(cnns, seen.chunk(3, dim=1), strict=True)])
    network = Stacked(cnns)
    torch.testing.assert_close(network(seen), alone)
    small = torch.randn(5, 3 * channels, SIDE // 2, SIDE // 2)
    alone = torch.stack([cnn(part) for cnn, part in zip(cnns, small.chunk(3, dim=1), strict=True)])
    torch.testing.assert_close(network(small), alone)
    before = [weights(cnn) for cnn in cnns]
    for cnn, was in zip(network.parted(), before, strict=True):
        assert (weights(cnn) - was).abs().max() < 1  # the weights are as they were, the statistics have moved on


@pytest.mark.parametrize("mitigation", [None, "balance", "lesions"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_is_trained_as_alone_but_for_rounding(channels, mitigation):
    how = replace(HOW, mitigation=mitigation)
    alone = [weights(fit(films(seed, channels=channels), BY, replace(how, seed=seed)).cnn) for seed in range(3)]
    for own, found in zip(alone, at_once(0, 1, 2, how=how, channels=channels), strict=True):
        assert (found - own).norm() / own.norm() < 1e-3
        assert min((found - other).norm() / other.norm() for other in alone if other is not own) > 0.1


@pytest.mark.parametrize("precision", BOTH)
def test_the_others_and_the_place_among_them_change_no_bit(precision):
    how = replace(HOW, precision=precision)
    first, second = at_once(0, 1, how=how)
    for again, place in ((at_once(0, 2, how=how), 0), (at_once(1, 0, how=how), 1), (at_once(0, 0, how=how), 1)):
        assert torch.equal(again[place], first)
    assert not torch.equal(first, second)


def test_films_are_changed_as_alone():
    """The mitigation in training draws by seed, epoch and step, for each network its own."""

    def change(images, rng):
        return images // rng.integers(1, 4, dtype=np.uint8)

    how, sets = replace(HOW, mitigation="randomise"), [films(0), films(1)]
    cnns = fit_stacked(sets, [BY] * 2, [replace(how, seed=seed) for seed in (0, 1)], change)
    for seed, cnn in enumerate(cnns):
        alone = weights(fit(sets[seed], BY, replace(how, seed=seed), change=change).cnn)
        assert (weights(cnn) - alone).norm() / alone.norm() < 1e-3


@pytest.mark.parametrize("mitigation", [None, "balance", "randomise"])
def test_no_step_waits_for_the_device(mitigation):
    """On the meta device, taken for a card: it holds no numbers, and `NoWaiting` refuses copies that wait."""
    training = replace(HOW, mitigation=mitigation, batch_size=2, pos_weight=2.0)
    images, target, meta = np.zeros((6, SIDE, SIDE), np.uint8), np.arange(6) % 2, torch.device("meta")
    sets = [TBDataset(images, target, meta, resident=mitigation != "randomise") for _ in range(2)]
    network = stacked.Stacked([CNN(SIDE, 0.0, 4) for _ in sets]).to(meta)
    optimiser = new_optimiser(network, training, meta)
    change = randomised if mitigation == "randomise" else None
    with NoWaiting():
        for segment in segments(training, 6):
            parts = [stacked.Part(data, BY, training) for data in sets]
            stacked._train(network, optimiser, segment, parts, change)


@pytest.mark.parametrize("unlike", [
    {"dropout": 0.3}, {"mitigation": "group_dro"}, {"lr": 0.1}, {"batch_size": 4}, {"mitigation": "balance"},
])  # fmt: skip
def test_what_would_share_random_numbers_or_steps_is_not_stacked(unlike):
    sets = [films(0), films(1)]
    assert can_be_stacked(sets, [HOW, replace(HOW, seed=5, mitigation="equalise")])  # done to films before
    assert not can_be_stacked(sets, [replace(HOW, **unlike)] * 2) or unlike.keys() & {"lr", "batch_size", "mitigation"}
    assert not can_be_stacked(sets, [HOW, replace(HOW, **unlike)])
    assert not can_be_stacked([films(0), films(1, count=24)], [HOW] * 2)
    assert not can_be_stacked([films(0), films(1, channels=3)], [HOW] * 2)


def test_a_network_that_diverges_says_so():
    with pytest.raises(TrainingError, match="try a smaller lr"):
        fit_stacked([films(0), films(1)], [BY] * 2, [replace(HOW, lr=1e30), replace(HOW, lr=1e30)])


def jobs(*seeds: int, name: str = "whole film") -> list[Job]:
    data = films(0, count=40)
    arrays = {"images": data._images, "masks": np.ones((40, SIDE, SIDE), bool), "target": np.arange(40) % 2}
    arrays |= {"train": np.arange(40) < 32}
    how = {"epochs": 1, "low_resolution_share": 0.0, "precision": "fp32"}
    return [Job(fits.region, arrays, {"name": name, "seed": seed, "training": how}) for seed in seeds]


def test_results_of_an_audit_do_not_depend_on_what_else_is_trained(tmp_path):
    """One network more, one less, or those that a stopped audit left: each has the same result."""
    whole = run_jobs(jobs(0, 1, 2, 3), tmp_path / "whole")
    assert run_jobs(jobs(2, 0, 1), tmp_path / "fewer") == [whole[2], whole[0], whole[1]]
    for file in sorted((tmp_path / "whole").iterdir())[:1]:
        kept = file.read_bytes()
        file.unlink()
        assert run_jobs(jobs(0, 1, 2, 3), tmp_path / "whole") == whole
        assert file.read_bytes() == kept
    other = jobs(4, name="border 5 %")
    assert run_jobs([*jobs(0), *other], tmp_path / "both")[0] == whole[0]


def test_only_networks_that_are_alike_are_trained_at_once():
    job, other = jobs(0)[0], jobs(1, name="lungs only")[0]
    assert fits.alike(job.arrays, job.settings) == fits.alike(other.arrays, other.settings)
    fewer = job.arrays | {"train": np.arange(40) < 30}
    longer = job.settings | {"training": {"epochs": 2}}
    drawn = job.arrays | {"drawn": np.zeros((3, SIDE, SIDE), np.uint8)}
    balanced = job.settings | {"mitigation": "balance"}
    kinds = [(fewer, job.settings), (job.arrays, longer), (drawn, job.settings), (job.arrays, balanced)]
    assert len({fits.alike(*kind) for kind in (*kinds, (job.arrays, job.settings))}) == 5


def test_as_many_are_trained_at_once_as_pay():
    assert fits.at_once({"training": {}}) == 2
    assert fits.at_once({"training": {"width": 32}}) == 1
    assert fits.at_once({"training": {"width": 32}, "device": "cuda"}) == fits.STACKED
