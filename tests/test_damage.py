"""Damaged files of a run: a sentence or a rerun, or the same answer as before; no traceback and no other answer.

``TBLIB_DAMAGE=all pytest tests/test_damage.py`` takes minutes, asks for every combination, and prints the table.
"""

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from conftest import grey_film, png

from tblib import TblibError
from tblib.checkpoint import read_weights, write_weights
from tblib.predict.files import predict_files
from tblib.predict.panel import prediction_panel
from tblib.predict.predictor import open_predictor, sample_contents, sample_films
from tblib.report import kernel, pipeline, stale
from tblib.report.parameters import asked_parameters
from tblib.run import STEPS, DamagedError, Run, Step
from tblib.system import schemas
from tblib.system.files import write_json

FILES = [file for step in STEPS for file in step.writes] + ["run.json"]
UNREAD = ("passed_over.csv", "history.csv", "training.json", "external.csv")  # of which no answer is made
EVERY = os.environ.get("TBLIB_DAMAGE") == "all"
DAMAGES = ("empty", "cut", "flipped", "lacking", "mistyped")


@pytest.fixture(scope="module")
def run(smoke, tmp_path_factory) -> Run:
    """A copy of the whole smoke run whose record is its own; a test that damages a file puts it back."""
    folder = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(smoke.folder, folder)
    copy, record = Run(folder), smoke.facts("run.json")
    for step in STEPS:
        done = record["steps"][step.name]
        done["parameters"]["run"] = record["parameters"][step.name]["run"] = str(folder)
        done["fingerprint"] = stale.fingerprint(copy, step, done["parameters"])
    write_json(copy.path("run.json"), record)
    return copy


@contextmanager
def put(run: Run, file: str, content: bytes | None) -> Iterator[None]:
    """Within the block `file` holds something else, or, for None, is not there."""
    path, whole = run.path(file), run.path(file).read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    yield
    path.write_bytes(whole)


def damaged(run: Run, file: str, damage: str) -> bytes:
    """The content of `file` after a damage."""
    whole = run.path(file).read_bytes()
    if damage in ("empty", "cut"):
        return whole[: len(whole) // 2] if damage == "cut" else b""
    if damage == "flipped":  # the lowest bit: of a digit another one
        middle = 0 if file == "run.json" else len(whole) // 2  # what else it may hit there, time and path decide
        return whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    if file.endswith(".json"):
        return next(edited(json.loads(whole), damage, first=list(schemas.JSON[file]["required"])))
    if file.endswith(".csv"):
        return next(recolumned(pd.read_csv(io.BytesIO(whole), dtype=str), damage, list(schemas.TABLES[file])))
    if file.endswith(".npy"):
        images, buffer = np.load(io.BytesIO(whole)), io.BytesIO()
        np.save(buffer, images[:, 0] if damage == "lacking" else images.astype(np.float32))
        return buffer.getvalue()
    return remade(run, damage)


def edited(content: dict, damage: str, first: list[str]) -> Iterator[bytes]:
    """JSON texts, each without one of the fields, or with a value of another type there."""
    for name in first:
        other = {key: value for key, value in content.items() if key != name}
        if damage == "mistyped":
            other[name] = 3 if isinstance(content[name], dict | list | str) else []
        yield json.dumps(other).encode()


def recolumned(table: pd.DataFrame, damage: str, names: list[str]) -> Iterator[bytes]:
    """CSV texts, each without one of the columns, or with words in it."""
    for name in names:
        other = table.drop(columns=name) if damage == "lacking" else table.assign(**{name: "?"})
        yield other.to_csv(index=False).encode()


def remade(run: Run, damage: str) -> bytes:
    """A model file whose training lacks its dropout, or whose size is a word."""
    tensors, texts = read_weights(run.path("model.safetensors"))
    name, key = ("training", "dropout") if damage == "lacking" else ("preparation", "size")
    facts = json.loads(texts[name])
    del facts[key]
    texts[name] = json.dumps(facts if damage == "lacking" else facts | {key: "large"})
    write_weights(run.folder / "other", tensors, texts)
    content = (run.folder / "other").read_bytes()
    (run.folder / "other").unlink()
    return content


# --- what reads a run


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.png"
    path.write_bytes(png(grey_film(1)))
    return path


def asked_by_predict(run: Run, film) -> str:
    return predict_files(open_predictor(run.path("model.safetensors")), [film], warn=True).drop(columns="date").to_csv()


def asked_by_panel(run: Run, film) -> str:
    """All that the panel shows of one film, and the samples that it offers."""
    predictor, samples = open_predictor(run.path("model.safetensors")), sample_films(run)
    contents = sample_contents(run, samples)
    panel = prediction_panel(predictor, {"film": film.read_bytes()}, run.synthetic)
    assert "inside tblib" not in panel.told.value
    if panel.told.value:
        raise DamagedError(panel.told.value)
    rows = [{**row, "date": ""} for row in panel.table.rows]
    return f"{panel.answer.value} {rows} {list(contents)} {samples.to_csv()}"


def outcome(asked, run: Run, film, before: str) -> str:
    """What comes of asking: a sentence, or the same as before."""
    try:
        answer = asked(run, film)
    except TblibError as error:
        sentence = str(error)
    else:
        assert answer == before
        return "same"
    assert str(run.folder) in sentence
    return "sentence"


class WouldRunError(Exception):
    """A step would be executed."""


def outcome_of_run(run: Run, file: str) -> str:
    """What `run` makes of a complete run, which it keeps, with advice; that advice, followed, makes the file anew."""
    makes = next((step.name for step in STEPS if file in step.writes), None)
    with pytest.raises(TblibError, match=rf"{file}.*{f'--only {makes}' if makes else 'Take it away'}"):
        again(run)
    if makes:
        with put(run, "run.json", run.path("run.json").read_bytes()), pytest.raises(WouldRunError, match=makes):
            again(run, only=makes)
    return "advice"


def again(run: Run, only: str | None = None) -> None:
    """What ``python -m tblib run --name …`` does."""
    data, given, kept = asked_parameters(str(run.folder), None, None, {}, bool(only))
    pipeline.run_study(str(run.folder), data, given, only=only, kept=kept)


def would_run(run: Run, step: Step, settings: dict) -> None:
    raise WouldRunError(step.name)


def test_each_damage_of_each_file_ends_in_a_sentence_or_the_same_answer(run, film, capsys, monkeypatch):
    """Each answer is that of the whole run: a flipped digit is noticed by the digests in ``run.json``."""
    monkeypatch.setattr(kernel, "execute", would_run)
    monkeypatch.setattr("tblib.audit.saliency.gate", lambda *_, **__: {"open": False, "correlation": 1.0, "limit": 0.7})
    readers = {"predict": asked_by_predict, "panel": asked_by_panel}
    before = {name: asked(run, film) for name, asked in readers.items()}
    for file in FILES:
        for damage in DAMAGES if EVERY or file not in UNREAD else DAMAGES[:1]:
            with put(run, file, damaged(run, file, damage)):
                asked = readers if EVERY or damage == "flipped" else ["panel"]  # it asks for all that predict does
                row = {name: outcome(readers[name], run, film, before[name]) for name in asked}
                if EVERY or damage == "flipped":
                    row["run"] = outcome_of_run(run, file)
            assert (row["panel"] == "same") == (file in UNREAD)
            if EVERY:
                with capsys.disabled():
                    print(f"{file:20}{damage:10}{row}")


def test_the_run_is_whole_again(run, capsys, monkeypatch):
    """As it was damaged and mended, and nothing else was touched."""
    monkeypatch.setattr(kernel, "execute", would_run)
    again(run)
    assert capsys.readouterr().out.count("unchanged, skipped") == len(STEPS)
