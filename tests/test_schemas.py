"""What a run's files must hold: each field that is lacking or of another type is named."""

import json

import numpy as np
import pandas as pd
import pytest

from tblib.run import GIVEN, DamagedError, Run
from tblib.system.schemas import JSON, TABLES, SchemaError, check_facts, check_table, parsed

GIVEN_FACTS = {
    **dict.fromkeys(("name", "kind", "model", "digest", "folder", "trained_on", "seen"), "text"),
    "channels": 3,
    "threshold": 0.5,
    "spec": {},
    "about": {"format": "ONNX"},
    "operators": {"Conv": 3},
}
ELSEWHERE = pd.DataFrame({"set": "m", "file": ["a", "b"], "target": [0, 1], "group": [0, 1], "logit": [0.5, -1.0]})


@pytest.fixture
def alone(smoke, tmp_path) -> Run:
    """The smoke run's files without the record of how they were made, whose digests would tell of any change."""
    for file in (*JSON, *TABLES, "images.npy"):
        if file not in ("run.json", GIVEN):
            (tmp_path / file).symlink_to(smoke.path(file))
    return Run(tmp_path)


def put(run: Run, file: str, content: bytes) -> None:
    run.path(file).unlink()
    run.path(file).write_bytes(content)


@pytest.mark.parametrize("file", JSON)
def test_each_field_that_a_reader_needs_is_named_where_it_is_lacking_or_of_another_type(file, smoke):
    content = GIVEN_FACTS if file == GIVEN else smoke.facts(file)
    check_facts(file, content)
    for name in JSON[file]["required"]:
        with pytest.raises(SchemaError, match=f"it has no {name}"):
            check_facts(file, {key: value for key, value in content.items() if key != name})
        other = 3 if isinstance(content[name], dict | list | str) else []
        with pytest.raises(SchemaError, match=f"^{name} must be .*, and is"):
            check_facts(file, content | {name: other})


@pytest.mark.parametrize("file", TABLES)
def test_each_column_that_a_reader_needs_is_named_where_it_is_lacking_or_of_another_type(file, smoke):
    table = ELSEWHERE if file == "external.csv" else smoke.table(file)  # the smoke run has no films of other hospitals
    check_table(file, table)
    for name, column in TABLES[file].items():
        with pytest.raises(SchemaError, match=f"it has no column {name}"):
            check_table(file, table.drop(columns=name))
        if column.wanted not in ("text", "a name"):
            other = table[name].astype(object).copy()
            other.iloc[1] = "?"
            with pytest.raises(SchemaError, match=rf"{name} is '\?' in row 2, not {column.wanted}"):
                check_table(file, table.assign(**{name: other}))
    if file not in (
        "passed_over.csv",
        "external.csv",
    ):  # no other hospital may have been given, and every file may be a film
        with pytest.raises(SchemaError, match="it has no row"):
            check_table(file, table.head(0))


def test_what_is_kept_of_sets_that_chose_is_checked():
    record = {"steps": {}, "complete": False}
    check_facts("run.json", record | {"sets": {"chose": ["m"], "reported": []}})
    with pytest.raises(SchemaError, match="sets has no reported"):
        check_facts("run.json", record | {"sets": {"chose": ["m"]}})
    training = {
        "schedule": "cosine",
        "device": "cpu",
        "precision": "fp32",
        "pos_weight": 1.0,
        "epochs": 1,
        "threads": 1,
    }
    training |= {"best_epoch": 1.0, "films_per_second": 9.0}
    for by in (None, {"set": "m", "n": 2, "films": ["a", "b"]}):
        check_facts("training.json", training | {"chosen_by": by})
    with pytest.raises(SchemaError, match="chosen_by has no films"):
        check_facts("training.json", training | {"chosen_by": {"set": "m", "n": 2}})


@pytest.mark.parametrize(("text", "told"), [
    (b"", "no JSON"), (b'{"a": 1', "no JSON"), (b"\x80", "no JSON"), (b"[" * 100_000, "no JSON"),
    (b'{"a": NaN}', "NaN is no finite number"), (b'{"a": 1e999}', "1e999 is no finite number"),
    (b'{"a": 1' + b"0" * 30 + b"}", "too large a number"),
])  # fmt: skip
def test_what_is_no_json_is_told(text, told):
    with pytest.raises(SchemaError, match=told):
        parsed(text)
    assert parsed(json.dumps({"a": [1, 2.5, -(2**40), None, True, "ä"]})) == {"a": [1, 2.5, -(2**40), None, True, "ä"]}


@pytest.mark.parametrize(("change", "told"), [
    (lambda text: text[:-40], "it ends within a row"),
    (lambda text: text[: text[:-1].rindex(b"\n") + 1], r"it has 71 rows, and images\.npy 72 films"),
    (lambda text: text.replace(b"\n1,", b"\n7,"), "image does not number the rows from 0"),
    (lambda text: text.replace(b",train,", b",trains,"), "part is 'trains' in row"),
    (lambda text: text + b"\xff\n", "cannot be used"),
])  # fmt: skip
def test_a_split_that_goes_with_other_images_is_told(change, told, alone):
    put(alone, "split.csv", change(alone.path("split.csv").read_bytes()))
    with pytest.raises(DamagedError, match=rf"split\.csv cannot be used: .*{told}|split\.csv {told}"):
        alone.table("split.csv")


def test_predictions_of_other_films_are_told(alone):
    rows = alone.path("predictions.csv").read_bytes().splitlines(keepends=True)
    put(alone, "predictions.csv", b"".join(rows[:-1]))
    with pytest.raises(DamagedError, match=r"its films are others than those of validation and test in split\.csv"):
        alone.table("predictions.csv")


@pytest.mark.parametrize(("images", "told"), [
    (np.zeros((72, 32, 32), np.float32), "float32"),
    (np.zeros((72, 32, 16), np.uint8), "not a square film"),
    (np.zeros((72, 32), np.uint8), "not a square film"),
    (np.zeros((32, 32, 72), np.uint8).T, "not a square film"),
    (np.array([{}] * 3), "object"),
])  # fmt: skip
def test_images_of_another_kind_are_told(images, told, tmp_path):
    np.save(tmp_path / "images.npy", images)
    with pytest.raises(DamagedError, match=rf"images\.npy cannot be used: .*{told}"):
        Run(tmp_path).images()


def test_images_that_are_cut_or_go_on_behind_their_end_are_told(alone):
    whole = alone.path("images.npy").read_bytes()
    for content in (b"", whole[:60], whole[:-1], whole + b"0", b"PK" + whole[2:], whole.replace(b"72, 32", b"71, 32")):
        put(alone, "images.npy", content)
        with pytest.raises(DamagedError, match=r"images\.npy cannot be used"):
            alone.images()


def test_the_catalogue_may_lack_what_only_films_that_decode_have(smoke):
    table = smoke.table("catalogue.csv").astype(object)
    table.loc[5, "problem"] = "broken"
    table.loc[5, list(table.columns.drop(["file", "label", "problem"]))] = np.nan
    check_table("catalogue.csv", table)
    assert isinstance(table, pd.DataFrame)


def test_a_file_that_is_not_as_its_step_left_it_is_told(smoke, alone):
    (alone.folder / "run.json").symlink_to(smoke.path("run.json"))
    content = alone.facts("metrics.json")
    put(alone, "metrics.json", json.dumps(content | {"n": content["n"] + 1}).encode())
    with pytest.raises(
        DamagedError, match=r"metrics\.json cannot be used: it is not as its step left it.*--only evalu"
    ):
        alone.facts("metrics.json")
