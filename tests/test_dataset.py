"""Batches and augmentation: by whole batches, by the seed, never flipped."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tblib.arrays import Normalisation
from tblib.dataset import Augmentation, TBDataset, _fits, augment, augmentation_parameters, batches, normalise

STILL = Augmentation(0, 0, 0, 0)


@pytest.fixture
def films():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (6, 1, 32, 32), dtype=np.uint8))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(count: int) -> TBDataset:
    images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 32, 32), np.uint8)
    return TBDataset(images, np.arange(count) % 2, torch.device("cpu"))


def test_batches_hold_each_film_once_with_its_own_target():
    seen = []
    for films, target in batches(data(10), 4, generator()):
        assert films.dtype == torch.uint8
        assert films.shape[1:] == (1, 32, 32)
        numbers = films[:, 0, 0, 0]
        assert (target == numbers % 2).all()
        seen += numbers.tolist()
    assert sorted(seen) == list(range(10))
    assert seen != list(range(10))
    in_order = torch.cat([films[:, 0, 0, 0] for films, _ in batches(data(10), 4)])
    assert in_order.tolist() == list(range(10))


def test_a_film_is_its_own_item():
    film, target = data(4)[3]
    assert film.shape == (1, 32, 32)
    assert (int(film[0, 0, 0]), float(target)) == (3, 1.0)
    assert len(data(4)) == 4


def test_films_are_taken_from_the_mapped_file_and_never_copied_whole(tmp_path):
    np.save(tmp_path / "images.npy", np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 32, 32), np.uint8))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    chosen = TBDataset(mapped, np.array([0, 1, 0]), torch.device("cpu"), rows=np.array([5, 1, 3]))
    assert not chosen.resident
    films, target = chosen[torch.tensor([2, 0])]
    assert (films[:, 0, 0, 0].tolist(), target.tolist()) == ([3, 5], [0, 0])
    assert chosen._images is mapped


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the process's memory from /proc")
def test_the_pages_of_a_mapped_file_are_given_back(tmp_path):
    shape, every = (2000, 128, 128), torch.arange(2000)
    np.lib.format.open_memmap(tmp_path / "images.npy", mode="w+", dtype=np.uint8, shape=shape)[:] = 7
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    data, before = TBDataset(mapped, np.zeros(2000, np.int64), torch.device("cpu")), mapped_bytes()
    for rows in every.split(50):
        assert int(data[rows][0].min()) == 7
    assert mapped_bytes() - before < mapped.nbytes / 10
    assert int(mapped.sum()) == 7 * mapped.size
    assert mapped_bytes() - before > mapped.nbytes / 2  # so the measure can see them


def test_a_film_changed_in_memory_is_fetched_as_changed(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((3, 32, 32), np.uint8))
    own = np.load(tmp_path / "images.npy", mmap_mode="c")
    own[1] = 9
    data = TBDataset(own, np.zeros(3, np.int64), torch.device("cpu"))
    assert [int(data[1][0].max()) for _ in range(2)] == [9, 9]


def mapped_bytes() -> int:
    """Bytes of files mapped into this process's memory."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))


def test_a_device_with_memory_of_its_own_gets_its_films_once():
    images = np.zeros((6, 32, 32), np.uint8)
    resident = TBDataset(images, np.zeros(2, np.int64), torch.device("meta"), rows=np.array([4, 2]))
    assert resident.resident
    assert [films.shape for films, _ in batches(resident, 2, generator())] == [(2, 1, 32, 32)]


def test_films_that_outgrow_the_card_stay_in_main_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000, 10_000))
    assert _fits(5_000, torch.device("cuda"))
    assert not _fits(5_001, torch.device("cuda"))
    assert _fits(10**12, torch.device("mps"))


def test_a_batch_has_its_films_targets_and_groups():
    films, targets, groups = TBDataset(
        np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 32, 32), np.uint8),
        np.array([0, 1, 0, 1]), torch.device("cpu"), groups=np.array([5, 6, 7, 8]),
    ).batch(torch.tensor([3, 0]))  # fmt: skip
    assert (films[:, 0, 0, 0].tolist(), targets.tolist(), groups.tolist()) == ([3, 0], [1, 0], [8, 5])


def test_films_may_be_changed_before_they_are_moved():
    films, targets, _ = data(4).batch(torch.tensor([1, 2]), lambda pixels: 100 + pixels)
    assert (films[:, 0, 0, 0].tolist(), films.shape, targets.tolist()) == ([101, 102], (2, 1, 32, 32), [1, 0])
    resident = TBDataset(np.zeros((2, 32, 32), np.uint8), np.array([0, 1]), torch.device("meta"))
    with pytest.raises(ValueError, match="resident=False"):
        resident.batch(torch.tensor([0]), lambda pixels: pixels)


@pytest.mark.parametrize(("device", "expected"), [
    ("cuda", ["pinned", ("cuda", True)]),
    ("mps", [("mps", False)]),  # it would read the memory after it is freed: pytorch/pytorch#189690
])  # fmt: skip
@pytest.mark.parametrize("change", [None, lambda pixels: pixels.copy()])
def test_a_batch_is_moved_once_and_in_the_way_its_device_can_take(device, expected, change, monkeypatch):
    films, moved = data(4), []
    films.device = torch.device(device)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda host: moved.append("pinned") or host)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda host, there, non_blocking=False: moved.append((there.type, non_blocking)) or host
    )
    films.batch(torch.tensor([1, 2]), change)
    assert moved == 2 * expected  # the films' numbers, and the films


def test_half_the_side_gives_the_mean_of_four(films):
    halved = augment(films, STILL, augmentation_parameters(len(films), generator()), side=16)
    assert halved.shape == (6, 1, 16, 16)
    expected = torch.nn.functional.avg_pool2d(films.float(), 2)
    torch.testing.assert_close(halved, expected, atol=0.02, rtol=0)


def test_no_augmentation_leaves_the_films_as_they_are(films):
    parameters = augmentation_parameters(len(films), generator())
    torch.testing.assert_close(augment(films, STILL, parameters), films.float(), atol=1e-3, rtol=0)


def test_what_a_move_brings_in_is_the_edge_or_black():
    grey = torch.full((1, 1, 32, 32), 100, dtype=torch.uint8)
    by, far = Augmentation(shift=0.5, scale=0, brightness=0, contrast=0), torch.tensor([[0], [1], [0], [0], [0.0]])
    assert (augment(grey, by, far) == 100).all()
    black = augment(grey, by, far, padding="black")[0, 0]
    assert (black[:, :15] == 100).all()
    assert (black[:, 17:] == 0).all()


def test_augmentation_follows_the_seed_and_each_film_gets_its_own(films):
    same = films[:1].repeat(4, 1, 1, 1)
    once = augment(same, Augmentation(), augmentation_parameters(len(same), generator(1)))
    torch.testing.assert_close(once, augment(same, Augmentation(), augmentation_parameters(len(same), generator(1))))
    assert (once != augment(same, Augmentation(), augmentation_parameters(len(same), generator(2)))).any()
    assert all((once[0] != other).any() for other in once[1:])
    assert float(once.min()) >= 0
    assert float(once.max()) <= 255


def test_augmentation_never_moves_a_marker_to_the_other_side():
    film = torch.zeros(200, 1, 64, 64)
    film[:, :, 4:12, 50:58] = 255  # upper right, where an L stands
    moved = augment(film, Augmentation(brightness=0, contrast=0), augmentation_parameters(len(film), generator()))
    right, left = moved[:, :, :24, 40:].sum(dim=(1, 2, 3)), moved[:, :, :, :24].sum(dim=(1, 2, 3))
    assert (right > 0).all()
    assert (left == 0).all()


@pytest.mark.parametrize(("name", "changed"), [("brightness", "mean"), ("contrast", "sd")])
def test_brightness_and_contrast_change_what_they_say(films, name, changed):
    dim = films.float() * 0.3 + 90  # far from 0 and 255, so that nothing is clipped
    settings = {"shift": 0, "scale": 0, "brightness": 0, "contrast": 0} | {name: 0.1}
    after = augment(dim, Augmentation(**settings), augmentation_parameters(len(dim), generator()))
    moved_mean = (after.mean(dim=(1, 2, 3)) - dim.mean(dim=(1, 2, 3))).abs().max()
    moved_sd = (after.std(dim=(1, 2, 3)) - dim.std(dim=(1, 2, 3))).abs().max()
    assert (moved_mean > 1) == (changed == "mean")
    assert (moved_sd > 0.3) == (changed == "sd")


def test_normalised_films_have_mean_0_and_sd_1_and_channels_last(films):
    by = Normalisation(float(films.float().mean()), float(films.float().std(unbiased=False)))
    after = normalise(films, by)
    assert float(after.mean()) == pytest.approx(0, abs=1e-5)
    assert float(after.std(unbiased=False)) == pytest.approx(1, abs=1e-5)
    assert after.is_contiguous(memory_format=torch.channels_last)
