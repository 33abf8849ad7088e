"""Preparation: every film once to one grey channel and one size; a split that leaks nothing; exact statistics."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from tblib import TblibError
from tblib.catalogue import CHUNK, Database, usable
from tblib.film import Pixels
from tblib.remedies import needs_lungs, on_films, seen
from tblib.run import Run, replacing, write_json, write_table

if TYPE_CHECKING:
    from tblib.lungs import LungNetwork

PARTS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)
GROUPING = {"marker": "marker", "white_rectangle": "rectangle", "bordered": "border"}  # column -> cue, of `cue_groups`
LUNGS = "lungs.safetensors"  # in the run folder: the network that films were cropped by, where they were
LEAST_A_CLASS = 10  # films of a class below which an 80/10/10 split leaves a part with none


class PreparationError(TblibError):
    """A catalogue that cannot be prepared."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the grey levels, 0 … 255, over all pixels of the training part."""

    mean: float
    sd: float


def decode_images(database: Database, files: list[str], size: int, path: Path, remedy: str = "none") -> None:
    """Write uint8 (N, size, size), 0 black … 255 white, to the .npy file `path`, whole or not at all.

    Image i is file i, as a model trained with `remedy` sees it (`tblib.remedies.seen`). Films are decoded in
    parallel threads (Pillow lets go of the interpreter while it decodes) into a memory map, so that memory does not
    grow with the database.
    """
    with replacing(path) as part:
        images = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(len(files), size, size))
        _claim(part)
        decode_into(images, database, files, remedy)


def _claim(path: Path) -> None:
    """Have the disk set aside all of a file, which may be a map of holes: filling one on a full disk kills the process.

    Raises:
        OSError: there is no room for it.
    """
    if not hasattr(os, "posix_fallocate"):  # Windows, which leaves no holes, and macOS
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # file systems that cannot, as ZFS
                raise


def decode_into(
    images: Pixels, database: Database, files: list[str], remedy: str, lungs: LungNetwork | None = None
) -> None:
    """Fill uint8 (N, size, size) with the films of N files, as a model trained with `remedy` sees them.

    `lungs` estimates where the lungs are, by default this machine's own network.
    """
    size = images.shape[1]

    def fill(start: int) -> None:
        """Decode one chunk of films into its place."""
        for i in range(start, min(start + CHUNK, len(files))):
            images[i] = seen(database.film(files[i]).grey, size, remedy, lungs)

    starts = range(0, len(files), CHUNK)
    jobs = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(delayed(fill)(start) for start in starts)
    for _ in tqdm(jobs, total=len(starts), desc="decode", unit=f"×{CHUNK} films"):
        pass


def split(table: pd.DataFrame, seed: int) -> pd.Series:
    """``train``, ``val`` or ``test`` for each usable film, 80/10/10 within each class, twins together.

    Twin groups are shuffled by `seed` and dealt, a class at a time and the largest first, to the part
    that lacks most films of that class. A group with films of both classes counts for its first film's class.

    Raises:
        PreparationError: a class has too few films, or too few twin groups for the three parts.
    """
    films = usable(table)
    groups = films.groupby("twin_group", sort=True).agg(label=("label", "first"), films=("label", "size"))
    rng = np.random.default_rng(seed)
    part_of: dict[int, str] = {}
    for label, members in groups.groupby("label", sort=True):
        dealt = _deal(members["films"].sample(frac=1, random_state=rng))
        if members["films"].sum() < LEAST_A_CLASS or set(dealt.values()) != set(PARTS):
            raise PreparationError(
                f"Class {label} has {members['films'].sum()} usable films in {len(members)} twin groups; "
                f"a split into {', '.join(PARTS)} needs at least {LEAST_A_CLASS} films and twin groups for each part. "
                "Add films of this class."
            )
        part_of |= dealt
    return films["twin_group"].map(part_of).rename("part")


def cue_groups(films: pd.DataFrame) -> pd.Series:
    """Label and cues of each film, as "Normal: marker, border": the groups whose balance a remedy may mend.

    Groups of a label with fewer than `LEAST_A_CLASS` films are one: "Normal: rarer".
    """
    carried = films[list(GROUPING)].astype(bool)
    names = carried.apply(lambda row: ", ".join(GROUPING[cue] for cue in GROUPING if row[cue]) or "none", axis=1)
    groups = films["label"] + ": " + names
    rare = groups.map(groups.value_counts()) < LEAST_A_CLASS
    return groups.where(~rare, films["label"] + ": rarer")


def _deal(sizes: pd.Series) -> dict[int, str]:
    """Group -> part, for groups of one class in shuffled order."""
    wanted = np.array(SHARES) * sizes.sum()
    dealt: dict[int, str] = {}
    for group, films in sizes.sort_values(ascending=False, kind="stable").items():
        part = int(np.argmax(wanted))
        wanted[part] -= films
        dealt[int(str(group))] = PARTS[part]
    return dealt


def normalisation(images: Pixels, rows: npt.NDArray[np.int64]) -> Normalisation:
    """Exact mean and sd of the pixels of images uint8 (N, H, W) at `rows`: whole-number counts of the 256 levels."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(rows), 64):  # a million pixels: what stays in the processor's cache
        counts += np.bincount(images[rows[start : start + 64]].ravel(), minlength=256)
    levels = np.arange(256, dtype=np.int64)
    pixels, total, squares = int(counts.sum()), int(counts @ levels), int(counts @ levels**2)
    variance = (pixels * squares - total**2) / pixels**2  # whole numbers up to the one division
    return Normalisation(mean=total / pixels, sd=max(variance, 0.0) ** 0.5)


def prepare(run: Run, database: Database, size: int, seed: int, remedy: str = "none") -> dict[str, Any]:
    """Write ``images.npy``, ``split.csv`` and ``preparation.json``; return the last one's content.

    ``split.csv`` has a row an image: image (its number in ``images.npy``), file, label, target (1 for the
    positive class), twin_group, cues (its label and what it carries, `cue_groups`), part. ``preparation.json`` is
    the one place where class names, input size, the least bit depth of deep films (the catalogue's), what was done to
    the films (that part of `remedy`) and normalisation are kept; the model file carries them on.

    Raises:
        PreparationError: the size is not a multiple of 16 from 32 on, or the split cannot be made.
        RemedyError: there is no such remedy.
    """
    if size < 32 or size % 16:
        raise PreparationError(f"size is {size}; the CNN halves it four times and needs a multiple of 16, at least 32.")
    table, done = run.table("catalogue.csv"), on_films(remedy)
    catalogued = run.facts("catalogue.json")
    database = replace(database, bits=catalogued.get("bits", 8))
    films = usable(table)
    part = split(table, seed)
    lungs = _lungs_of(run, done)  # before films are cropped by them
    decode_images(database, films["file"].tolist(), size, run.path("images.npy"), done)
    rows = films[["file", "label", "twin_group"]].assign(
        cues=cue_groups(films), part=part, target=(films["label"] == database.positive).astype(int)
    )
    rows.insert(0, "image", np.arange(len(rows)))
    statistics = normalisation(load_images(run), rows.loc[part == "train", "image"].to_numpy())
    if statistics.sd == 0:
        raise PreparationError("Every pixel of the training part has the same grey level; check the films.")
    content = {
        "negative": database.negative,
        "positive": database.positive,
        "size": size,
        "database": catalogued["digest"],
        "bits": database.bits,
        "remedy": done,
        **lungs,
        "mean": statistics.mean,
        "sd": statistics.sd,
        "seed": seed,
        "parts": {name: rows.loc[part == name, "label"].value_counts().sort_index().to_dict() for name in PARTS},
    }
    write_table(run.path("split.csv"), rows)
    write_json(run.path("preparation.json"), content)
    return content


def _lungs_of(run: Run, remedy: str) -> dict[str, str]:
    """Where a remedy needs the lung network, keep a copy beside the images; its digest, under "lungs"."""
    if not needs_lungs(remedy):
        run.path(LUNGS).unlink(missing_ok=True)
        return {}
    from tblib.lungs import save_network  # brings torch, which a plain preparation does not need

    return {"lungs": save_network(run.path(LUNGS))}


def load_images(run: Run) -> Pixels:
    """The run's images, uint8 (N, size, size), mapped from disk rather than read, and safe from writes."""
    return run.images()
