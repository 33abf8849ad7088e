"""Preparation: films as one grey channel of one size, a split without leakage, and exact statistics."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from tblib.arrays import Ints, Normalisation, Pixels, TblibError
from tblib.films.cues import GROUPED
from tblib.films.database import CHUNK, Database
from tblib.films.film import grey_of
from tblib.mitigation import FindsLungs, ModelInput, chosen, lung_mask, needs_lungs, on_films
from tblib.phantoms.lesions import with_lesions
from tblib.run import Run, usable
from tblib.system.files import file_digest, replacing, write_json, write_table

if TYPE_CHECKING:
    import torch

    from tblib.dataset import TBDataset

PARTS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)
LUNGS_FILE = "lungs.safetensors"  # in the run folder: the lung network used to crop the films, if any
DRAWN_FILE = "lesions.npy"  # in the run folder: training films with drawn lesions, if any
LEAST_A_CLASS = 10  # with fewer films in a class an 80/10/10 split leaves a part without any


class PreparationError(TblibError):
    """A catalogue that cannot be prepared."""


def decode_images(database: Database, files: list[str], path: Path, model_input: ModelInput) -> None:
    """Write the model's input for each file, 0 black … 255 white, to the .npy file `path`: uint8 (N, size, size) or
    (N, size, size, 3).

    The file is written atomically. Threads decode the films in parallel (Pillow releases the GIL) into a memory map, so
    memory does not grow with the database.
    """
    with replacing(path) as part:
        shape = (len(files), *model_input.shape)
        images = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        _claim(part)
        _decode_into(images, lambda place: model_input.of(database.film(files[place]).pixels))


def drawn_images(database: Database, files: list[str], model_input: ModelInput, lungs: FindsLungs, seed: int) -> Pixels:
    """Model inputs, uint8 (N, size, size) or (N, size, size, 3), of films with a phantom's lesions drawn into the lungs
    that `lungs` finds (`tblib.phantoms.lesions`), in memory; `seed` decides on the lesions of each film."""
    images = np.empty((len(files), *model_input.shape), np.uint8)
    _decode_into(images, lambda place: _drawn(database, files[place], model_input, lungs, (seed, place)))
    return images


def _drawn(database: Database, file: str, model_input: ModelInput, lungs: FindsLungs, seed: tuple[int, int]) -> Pixels:
    return model_input.of(with_drawn_lesions(database.film(file).pixels, lungs, seed))


def with_drawn_lesions(film: Pixels, lungs: FindsLungs, seed: Sequence[int]) -> Pixels:
    """A film, uint8 (H, W) or (H, W, 3), with a phantom's lesions drawn into the lungs that `lungs` finds."""
    return with_lesions(film, lung_mask(grey_of(film), lungs), np.random.default_rng(seed))[0]


def _claim(path: Path) -> None:
    """Allocate the disk space of a possibly sparse file: filling one on a full disk would kill the process.
    Raises OSError if there is not enough space."""
    if not hasattr(os, "posix_fallocate"):  # Windows, which has no sparse files by default, and macOS
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # file systems without support, such as ZFS
                raise


def read_images(database: Database, files: list[str], model_input: ModelInput) -> Pixels:
    """Model inputs of films, uint8 (N, size, size) or (N, size, size, 3), 0 black … 255 white, in memory.

    Raises:
        FilmError: a file is not a usable film.
    """
    images = np.empty((len(files), *model_input.shape), np.uint8)
    _decode_into(images, lambda place: model_input.of(database.film(files[place]).pixels))
    return images


def _decode_into(images: Pixels, decoded: Callable[[int], Pixels]) -> None:
    """Fill each row of `images` with the film that `decoded` gives for it."""

    def fill(start: int) -> None:
        """Decode the `CHUNK` films from `start` on into their rows."""
        for i in range(start, min(start + CHUNK, len(images))):
            images[i] = decoded(i)

    starts = range(0, len(images), CHUNK)
    jobs = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(delayed(fill)(start) for start in starts)
    for _ in tqdm(jobs, total=len(starts), desc="decode", unit=f"×{CHUNK} films"):
        pass


def split(table: pd.DataFrame, seed: int) -> pd.Series:
    """Assign ``train``, ``val`` or ``test`` to each usable film: 80/10/10 within each class, near-duplicates together.

    Duplicate groups are shuffled by `seed` and assigned per class, largest first, to the part that lacks most films of
    the class. A group with films of both classes counts for the class of its first film.

    Raises:
        PreparationError: a class has too few films, or too few duplicate groups for the three parts.
    """
    films = usable(table)
    groups = films.groupby("duplicate_group", sort=True).agg(label=("label", "first"), films=("label", "size"))
    rng = np.random.default_rng(seed)
    part_of: dict[int, str] = {}
    for label, members in groups.groupby("label", sort=True):
        dealt = _deal(members["films"].sample(frac=1, random_state=rng))
        if members["films"].sum() < LEAST_A_CLASS or set(dealt.values()) != set(PARTS):
            raise PreparationError(
                f"Class {label} has {members['films'].sum()} usable films in {len(members)} duplicate groups; "
                f"a split into {', '.join(PARTS)} needs at least {LEAST_A_CLASS} films and duplicate groups for each "
                "part. Add films of this class."
            )
        part_of |= dealt
    return films["duplicate_group"].map(part_of).rename("part")


def cue_groups(films: pd.DataFrame) -> pd.Series:
    """Label and cues of each film, as "Normal: marker, border": the groups that a mitigation may balance.
    Groups of a label with fewer than `LEAST_A_CLASS` films are merged into "Normal: rarer"."""
    carried = pd.DataFrame({cue.group: cue.carried(films) > 0 for cue in GROUPED}, index=films.index)
    names = carried.apply(lambda row: ", ".join(row.index[row]) or "none", axis=1)
    groups = films["label"] + ": " + names
    rare = groups.map(groups.value_counts()) < LEAST_A_CLASS
    return groups.where(~rare, films["label"] + ": rarer")


def _deal(sizes: pd.Series) -> dict[int, str]:
    """Return group -> part, for the groups of one class in shuffled order."""
    wanted = np.array(SHARES) * sizes.sum()
    dealt: dict[int, str] = {}
    for group, films in sizes.sort_values(ascending=False, kind="stable").items():
        part = int(np.argmax(wanted))
        wanted[part] -= films
        dealt[int(str(group))] = PARTS[part]
    return dealt


def normalisation(images: Pixels, rows: Ints) -> Normalisation:
    """Exact mean and sd of all levels of images uint8 (N, H, W) or (N, H, W, 3) at `rows`, from counts of the 256."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(rows), 64):  # a million pixels, which fit into the CPU's cache
        counts += np.bincount(images[rows[start : start + 64]].ravel(), minlength=256)
    levels = np.arange(256, dtype=np.int64)
    pixels, total, squares = int(counts.sum()), int(counts @ levels), int(counts @ levels**2)
    variance = (pixels * squares - total**2) / pixels**2  # integers up to the one division
    return Normalisation(mean=total / pixels, sd=max(variance, 0.0) ** 0.5)


def prepare(
    run: Run, database: Database, size: int, seed: int, mitigation: str | None = None, channels: int = 1
) -> dict[str, Any]:
    """Write ``images.npy``, ``split.csv`` and ``preparation.json``; return the content of the last.

    ``split.csv`` has one row per image: image (index in ``images.npy``), file, label, target (1 for the positive
    class), duplicate_group, cues (`cue_groups`), part. ``preparation.json`` is the single source of class names, input
    size, channels (1, grey, or 3, colour), the least bit depth of deep films (from the catalogue), the mitigation on
    films, how many were drawn, and the normalisation; the model file copies them. If the mitigation draws lesions,
    ``lesions.npy`` has the films with them, of the training part alone.

    Raises:
        PreparationError: the size is below 32 or not a multiple of 16, the channels are neither 1 nor 3, or the split
            is impossible.
        MitigationError: the mitigation does not exist.
    """
    if size < 32 or size % 16:
        raise PreparationError(f"size is {size}; the CNN halves it four times and needs a multiple of 16, at least 32.")
    if channels not in (1, 3):
        raise PreparationError(f"channels is {channels}; give 1, for films in grey, or 3, for films in colour.")
    table, done = run.table("catalogue.csv"), on_films(mitigation)
    catalogued = run.facts("catalogue.json")
    database = replace(database, bits=catalogued.get("bits", 8))
    films = usable(table)
    part = split(table, seed)
    model_input, digest = _model_input(run, size, done, channels)
    decode_images(database, films["file"].tolist(), run.path("images.npy"), model_input)
    rows = _split_table(films, part, database.positive)
    negative = rows.loc[(part == "train") & (rows["target"] == 0), "file"].tolist()
    digest |= _draw(run, database, negative if "lesions" in chosen(mitigation) else [], model_input, seed)
    statistics = _statistics(run, rows.loc[part == "train", "image"].to_numpy())
    content = {
        "negative": database.negative,
        "positive": database.positive,
        "size": size,
        "channels": channels,
        "database": catalogued["digest"],
        "bits": database.bits,
        "mitigation": done,
        **digest,
        "mean": statistics.mean,
        "sd": statistics.sd,
        "seed": seed,
        "parts": {name: rows.loc[part == name, "label"].value_counts().sort_index().to_dict() for name in PARTS},
    }
    write_table(run.path("split.csv"), rows)
    write_json(run.path("preparation.json"), content)
    return content


def _split_table(films: pd.DataFrame, part: pd.Series, positive: str) -> pd.DataFrame:
    """The content of ``split.csv``."""
    rows = films[["file", "label", "duplicate_group"]].assign(
        cues=cue_groups(films), part=part, target=(films["label"] == positive).astype(int)
    )
    rows.insert(0, "image", np.arange(len(rows)))
    return rows


def _draw(run: Run, database: Database, files: list[str], model_input: ModelInput, seed: int) -> dict[str, Any]:
    """Write the training films with drawn lesions, one for each of the files; return what the preparation tells."""
    path = run.path(DRAWN_FILE)
    if not files:
        path.unlink(missing_ok=True)
        return {}
    from tblib.phantoms.lungs import lung_network  # imports torch, not needed for a plain preparation

    with replacing(path) as part, part.open("wb") as file:
        np.save(file, drawn_images(database, files, model_input, lung_network(), seed))
    return {"drawn": {"films": len(files), "sha256": file_digest(path)}}


def _statistics(run: Run, rows: Ints) -> Normalisation:
    """Mean and sd of the images at `rows`; raises `PreparationError` if all their pixels are alike."""
    found = normalisation(run.images(), rows)
    if found.sd == 0:
        raise PreparationError("Every pixel of the training part has the same grey level; check the films.")
    return found


def _model_input(run: Run, size: int, mitigation: str | None, channels: int) -> tuple[ModelInput, dict[str, str]]:
    """The CNN's input; a lung network that it needs is copied beside the images, and its digest returned."""
    if not needs_lungs(mitigation):
        run.path(LUNGS_FILE).unlink(missing_ok=True)
        return ModelInput(size, mitigation, channels=channels), {}
    from tblib.phantoms.lungs import lung_network, save_network  # imports torch, not needed for a plain preparation

    return ModelInput(size, mitigation, lung_network(), channels), {"lungs": save_network(run.path(LUNGS_FILE))}


def load_part(run: Run, part: str, device: torch.device | None = None, resident: bool = True) -> TBDataset:
    """Films and targets of one part of the run's split, in the order of ``split.csv``, for this machine's `device`.

    Behind the films of the training part come those with drawn lesions, if the run was prepared with them; all of them
    are then in memory.

    Raises:
        PreparationError: the drawn films are missing, or others than preparation left.
    """
    from tblib.dataset import TBDataset  # imports torch, which preparation itself does not need

    split = run.table("split.csv")
    split["group"] = pd.factorize(split["cues"], sort=True)[0]
    rows = split[split["part"] == part]
    target, image, group = (rows[name].to_numpy() for name in ("target", "image", "group"))
    drawn = _drawn_films(run) if part == "train" else None
    if drawn is None:
        return TBDataset(run.images(), target, device, image, group, resident)
    images, target, group = with_drawn(run.images()[image], target, group, drawn)
    return TBDataset(images, target, device, groups=group, resident=resident)


def with_drawn(images: Pixels, target: Ints, group: Ints, drawn: Pixels) -> tuple[Pixels, Ints, Ints]:
    """Training films with those that were drawn behind them, which are positive and a group of their own."""
    return (
        np.concatenate([images, drawn]),
        np.concatenate([target, np.ones(len(drawn), target.dtype)]),
        np.concatenate([group, np.full(len(drawn), group.max() + 1, group.dtype)]),
    )


def _drawn_films(run: Run) -> Pixels | None:
    """The films with drawn lesions that preparation left; None if it drew none."""
    told = run.facts("preparation.json").get("drawn")
    if told is None:
        return None
    path = run.path(DRAWN_FILE)
    if not path.is_file() or file_digest(path) != told["sha256"]:
        raise PreparationError(
            f"The training films with drawn lesions, {path}, are missing or others than preparation left. Prepare the "
            f"films again: {run.command('--from', 'preparation')}"
        )
    return np.asarray(np.load(path))
