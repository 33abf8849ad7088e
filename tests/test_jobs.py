"""Jobs: each result is kept as soon as it is there; a Dask cluster gives the same ones."""

import json
import os
import time

import numpy as np
import pytest

from tblib.audit import jobs
from tblib.audit.jobs import Job, JobError, run_jobs
from tblib.system import code


def scaled(values: np.ndarray, factor: float, log: str = "") -> dict:
    """A job: the sum of an array times a factor; it leaves a line in a file each time it runs."""
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{factor}\n")
    if factor < 0:
        time.sleep(2)  # the others are done by then
        raise ValueError("a negative factor")
    return {"sum": float((values * factor).sum())}


def made(factors, log="", values=None) -> list[Job]:
    values = np.arange(4.0) if values is None else values
    return [Job(scaled, {"values": values}, {"factor": factor, "log": str(log)}) for factor in factors]


def runs(log) -> list[str]:
    return sorted(log.read_text().split()) if log.exists() else []


def test_results_come_in_the_order_of_the_jobs(tmp_path):
    assert [found["sum"] for found in run_jobs(made([3, 1, 2]), tmp_path)] == [18, 6, 12]
    assert run_jobs([], tmp_path) == []


def test_what_is_done_is_not_done_again(tmp_path):
    log = tmp_path / "log"
    run_jobs(made([1, 2], log), tmp_path / "kept")
    run_jobs(made([2, 3, 1], log), tmp_path / "kept")
    assert runs(log) == ["1", "2", "3"]


def test_an_interrupted_audit_goes_on_with_what_is_left(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(ValueError, match="a negative factor"):
        run_jobs(made([1, 2, 3, 4, -1], log), tmp_path / "kept")
    kept = len(list((tmp_path / "kept").glob("*.json")))
    assert kept >= 1
    before = len(runs(log))
    assert [found["sum"] for found in run_jobs(made([1, 2, 3, 4], log), tmp_path / "kept")] == [6, 12, 18, 24]
    assert len(runs(log)) - before <= 4 - kept + 1


def test_other_settings_arrays_or_code_are_another_job(tmp_path, monkeypatch):
    log = tmp_path / "log"
    run_jobs(made([1], log), tmp_path / "kept")
    changed = np.arange(4.0)
    changed[3] += 1e-9
    run_jobs(made([1], log, changed), tmp_path / "kept")
    assert len(runs(log)) == 2
    monkeypatch.setattr(jobs, "code_digest", lambda *names: "edited")
    run_jobs(made([1], log), tmp_path / "kept")
    assert len(runs(log)) == 3


@pytest.mark.parametrize("package", ["torch", "numpy", "scikit-learn"])
def test_other_packages_are_another_job(tmp_path, monkeypatch, package):
    log = tmp_path / "log"
    run_jobs(made([1], log), tmp_path / "kept")
    others = code.versions() | {package: "0.1"}
    monkeypatch.setattr(code, "versions", lambda: others)
    run_jobs(made([1], log), tmp_path / "kept")
    assert len(runs(log)) == 2


def test_results_are_plain_json(tmp_path):
    run_jobs(made([2]), tmp_path)
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text())["result"] == {"sum": 12}


@pytest.mark.parametrize("damage", [
    lambda text: "",
    lambda text: text[: len(text) // 2],
    lambda text: text.replace("12.0", "13.0"),
    lambda text: text.replace('"result"', '"other"'),
    lambda text: text.replace("12.0", "NaN"),
    lambda text: text.replace('{\n    "sum": 12.0\n  }', "[]"),
    lambda text: "[" * 100_000,
    lambda text: '{"sum": 12.0}',  # as earlier versions kept it
])  # fmt: skip
def test_a_damaged_result_is_made_again(damage, tmp_path):
    log, kept = tmp_path / "log", tmp_path / "kept"
    run_jobs(made([2], log), kept)
    (file,) = kept.glob("*.json")
    whole = file.read_text()
    file.write_text(damage(whole))
    assert file.read_text() != whole
    assert run_jobs(made([2], log), kept) == [{"sum": 12}]
    assert runs(log) == ["2", "2"]
    assert file.read_text() == whole


@pytest.fixture(scope="module")
def cluster():
    """A scheduler of dask.distributed with two worker processes."""
    distributed = pytest.importorskip("distributed")
    before = dict(os.environ)  # Dask sets OMP_NUM_THREADS, which kernels of later tests would inherit
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as made:
        yield made.scheduler_address
    os.environ.clear()
    os.environ.update(before)


def test_a_dask_cluster_gives_the_same_results(tmp_path, cluster):
    log = tmp_path / "log"
    here = run_jobs(made([1, 2, 3]), tmp_path / "here")
    there = run_jobs(made([1, 2, 3], log), tmp_path / "there", cluster)
    assert there == here
    assert len(runs(log)) == 3


def arrays_in(content) -> list[np.ndarray]:
    """Arrays within nested lists, tuples and dicts."""
    if isinstance(content, np.ndarray):
        return [content]
    parts = content.values() if isinstance(content, dict) else content if isinstance(content, list | tuple) else ()
    return [array for part in parts for array in arrays_in(part)]


def test_each_array_is_sent_to_a_cluster_once_and_not_with_every_job(tmp_path, cluster, monkeypatch):
    from distributed import Client

    sent, submitted = [], []
    scatter, submit = Client.scatter, Client.submit

    def scattered(client, data, **how):
        sent.append(data)
        return scatter(client, data, **how)

    def noted(client, *call, **how):
        submitted.append(how["tasks"])
        return submit(client, *call, **how)

    monkeypatch.setattr(Client, "scatter", scattered)
    monkeypatch.setattr(Client, "submit", noted)
    values = np.arange(500_000.0)
    assert len(run_jobs(made([1, 2, 3, 4, 5, 6], values=values), tmp_path / "there", cluster)) == 6
    assert [array.nbytes for array in arrays_in(sent)] == [values.nbytes]
    assert submitted
    assert not arrays_in(submitted)


def test_a_cluster_trains_the_same_networks(tmp_path, cluster):
    from test_fits import FILMS, LABEL, SMALL, with_block

    from tblib.audit.fits import planted

    arrays = {"plain": FILMS, "put": with_block(FILMS), "carries": LABEL == 1, "target": LABEL}
    arrays |= {"held_out": FILMS[:8], "edited": with_block(FILMS[:8]), "placebo": FILMS[:8]}
    todo = [Job(planted, arrays, {"seed": seed, "training": SMALL | {"epochs": 2}}) for seed in range(2)]
    assert run_jobs(todo, tmp_path / "there", cluster) == run_jobs(todo, tmp_path / "here")


def test_an_error_in_a_worker_is_told(tmp_path, cluster):
    with pytest.raises(ValueError, match="a negative factor"):
        run_jobs(made([-1]), tmp_path / "there", cluster)


def test_a_scheduler_that_is_not_there_is_a_sentence(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(jobs, "WAIT", 1)
    with pytest.raises(JobError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run_jobs(made([1]), tmp_path, "tcp://127.0.0.1:9")


def process(values: np.ndarray, device: str = "cpu") -> dict:
    """A job: the process that it runs in."""
    return {"process": os.getpid()}


@pytest.mark.parametrize(("device", "here"), [("cpu", False), ("cuda", True)])
def test_jobs_for_a_card_run_in_this_process_and_no_worker_opens_it(device, here, tmp_path):
    jobs_of = [Job(process, {"values": np.arange(place)}, {"device": device}) for place in (3, 4)]
    found = {one["process"] for one in run_jobs(jobs_of, tmp_path)}
    assert (found == {os.getpid()}) is here
