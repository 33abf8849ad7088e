"""Independent jobs on all cores, or on a Dask cluster; what a job found is kept, so that a stopped audit resumes."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from tblib.arrays import TblibError
from tblib.system.code import code_digest
from tblib.system.files import write_json
from tblib.system.processes import workers
from tblib.system.schemas import SchemaError, parsed

WAIT = 10  # seconds for a scheduler to answer


class JobError(TblibError):
    """Jobs that cannot be run where they were meant to be."""


@dataclass(frozen=True)
class Job:
    """One call of a function: the same settings and arrays give the same result, wherever it runs.

    Attributes:
        of: a function of a tblib module; takes arrays and settings by name, returns what JSON can hold.
        arrays: its large arguments.
        settings: its small ones, of JSON's types; they and the arrays' contents name the result.
    """

    of: Callable[..., dict[str, Any]]
    arrays: dict[str, npt.NDArray[Any]]
    settings: dict[str, Any]


def run_jobs(jobs: list[Job], folder: Path, scheduler: str | None = None, what: str = "jobs") -> list[dict[str, Any]]:
    """The results of all jobs, in their order; those found whole in `folder` are read, the others run and kept there.

    Jobs that are alike are run several in one call, if their function has the attributes ``together``, ``alike`` and
    ``at_once`` (`tblib.audit.fits.asks`).

    Args:
        jobs: in any number.
        folder: where results lie, one JSON file each; made where needed.
        scheduler: address of a Dask scheduler, as tcp://host:8786; None for this machine's cores.
        what: named in the progress bar.

    Raises:
        JobError: `distributed` is not installed, or no scheduler answers there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests: dict[int, str] = {}
    files = [folder / f"{_key(job, digests)}.json" for job in jobs]
    found = [_kept(file) for file in files]
    waiting = [group for group in _groups(jobs) if any(found[place] is None for place in group)]
    with _workers(scheduler) if waiting else nullcontext():
        calls = (_called(jobs, group) for group in waiting)
        cores = 1 if any(job.settings.get("device", "cpu") != "cpu" for job in jobs) else -1  # no worker opens a card
        done = Parallel(n_jobs=cores, return_as="generator_unordered")(calls) if waiting else iter(())
        with tqdm(total=sum(len(set(group)) for group in waiting), desc=what, unit="job", disable=not waiting) as bar:
            for place, result in (each for group in done for each in group):
                found[place] = result = json.loads(json.dumps(result))  # as it will be read
                write_json(files[place], {"result": result, "sha256": _digest(result)})
                bar.update()
    return [result for result in found if result is not None]


def _kept(file: Path) -> dict[str, Any] | None:
    """The result that is kept in a file; None where it is not there, or damaged: then it is made again."""
    try:
        kept = parsed(file.read_bytes())
        result: dict[str, Any] = kept["result"]
        return result if kept["sha256"] == _digest(result) else None
    except (OSError, SchemaError, KeyError, TypeError):
        return None


def _digest(result: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(result).encode()).hexdigest()


def _groups(jobs: list[Job]) -> list[tuple[int, ...]]:
    """Places of jobs that are run in one call: of those that are alike.

    All such groups are of the same size, the last one filled up with its first job: how many networks are trained at
    once shows in their last digits, and a result may not depend on which others are wanted.
    """
    alike: dict[Any, list[int]] = {}
    for place, job in enumerate(jobs):
        of: Any = job.of
        key = of.alike(job.arrays, job.settings) if hasattr(of, "together") else place
        alike.setdefault((of, key), []).append(place)
    groups = []
    for (of, _), places in alike.items():
        size = of.at_once(jobs[places[0]].settings) if hasattr(of, "together") else 1
        for start in range(0, len(places), size):
            group = places[start : start + size]
            groups.append((*group, *group[:1] * (size - len(group))))
    return groups


def _called(jobs: list[Job], group: tuple[int, ...]) -> Any:
    """The call of a group. Each array is an argument of its own, as joblib then hands it to the workers only once."""
    arrays = {
        f"{number} {name}": array for number, place in enumerate(group) for name, array in jobs[place].arrays.items()
    }
    return delayed(_run)(group, jobs[group[0]].of, [jobs[place].settings for place in group], **arrays)


def _run(
    group: tuple[int, ...], of: Callable[..., Any], settings: list[dict[str, Any]], **arrays: Any
) -> list[tuple[int, Any]]:
    """Places and results of a group of jobs, each once."""
    calls = [dict(own) for own in settings]
    for name, array in arrays.items():
        number, argument = name.split(" ")
        calls[int(number)][argument] = array
    together: Callable[..., list[Any]] | None = getattr(of, "together", None)
    results = [of(**calls[0])] if together is None or len(calls) == 1 else together(calls)
    return list(dict(zip(group, results, strict=True)).items())


def _key(job: Job, digests: dict[int, str]) -> str:
    """SHA-256 of what the job's result depends on."""
    for array in job.arrays.values():
        if id(array) not in digests:
            content = f"{array.dtype}{array.shape}".encode() + array.tobytes()
            digests[id(array)] = hashlib.sha256(content).hexdigest()
    arrays = {name: digests[id(array)] for name, array in job.arrays.items()}
    name = f"{job.of.__module__}.{job.of.__qualname__}"
    text = json.dumps([name, arrays, job.settings, code_digest(name)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def need_scheduler(scheduler: str) -> None:
    """Check that jobs can be run at the address of a Dask scheduler.

    Raises:
        JobError: `distributed` is not installed, or no scheduler answers there.
    """
    with _workers(scheduler):
        pass


@contextmanager
def _workers(scheduler: str | None) -> Iterator[None]:
    """Where joblib's calls inside the block run."""
    if not scheduler:
        with parallel_config(**workers(), inner_max_num_threads=1):
            yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise JobError(f"A scheduler needs the package distributed ({error}): pip install -e '.[dask]'") from error
    try:
        client = Client(scheduler, timeout=WAIT)
    except (OSError, ValueError, TimeoutError) as error:
        raise JobError(f"No Dask scheduler answers at {scheduler} ({error}). Start one with: dask scheduler") from error
    with client, parallel_config(backend="dask"):
        yield
