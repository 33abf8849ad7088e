"""Places outside the lungs that move a network, and what the demo's design says of each cue."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import grey_film

from tblib.audit import truth, unnamed
from tblib.audit.saliency import Saliency
from tblib.audit.study import Audit, open_audit
from tblib.audit.unnamed import GRID, Unnamed, block
from tblib.phantoms.presets import PLANTED
from tblib.system.files import write_json

OPEN = Saliency({"gate": {"open": True}}, np.empty(0, np.int64), np.empty(0))


class Corner:
    """An audit whose network only looks at the brightness of the upper left corner; a class has it painted white."""

    seed, replicates = 0, 100
    target = np.arange(60) % 2
    group = np.arange(60)
    held_out_rows = np.arange(60)
    masks = np.zeros((60, 64, 64), bool)
    grey = np.stack([grey_film(i, 64) // 2 for i in range(60)])

    def __init__(self) -> None:
        self.grey[self.target == 1, :8, :8] = 250
        self.masks[:, 24:40, 24:40] = True

    def masks_in_files(self, rows: np.ndarray) -> np.ndarray:
        return self.masks[rows]

    def pictures(self, rows: np.ndarray) -> list[np.ndarray]:
        return [self.grey[row] for row in rows]

    def logits_of(self, films: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
        return (np.stack(films)[:, :8, :8].mean((1, 2)) - 150) / 40


def test_the_place_that_a_network_looks_at_is_found():
    found = unnamed.measure(Corner(), OPEN)
    strongest = next(one for one in found.places if one["label"] == 1)
    assert (strongest["row"], strongest["column"]) == (0, 0)
    assert strongest["points"] > 20
    assert strongest["auroc"]["low"] > 0.8
    told = unnamed.finding(found, ("N", "T"))
    assert told.startswith("Outside the lungs, these places move the model most")
    assert "row 1 and column 1 of 8" in told
    assert len(unnamed.table(found, ("N", "T"))) == len(found.places)


def test_blocks_with_lung_are_not_painted_over():
    moved = unnamed.occluded(Corner(), np.arange(4), 1.0)
    assert np.isnan(moved[:, 3:5, 3:5]).all()
    assert np.isfinite(moved[:, 0]).all()


def test_nothing_is_sought_where_maps_depend_on_nothing_learned():
    shut = replace(OPEN, numbers={"gate": {"open": False}})
    found = unnamed.measure(Corner(), shut)
    assert found == Unnamed([], [], unnamed.SHUT)
    assert unnamed.finding(found, ("N", "T")) == unnamed.SHUT
    assert unnamed.table(found, ("N", "T")).empty


@pytest.mark.parametrize("side", [32, 50, 128])
def test_blocks_cover_a_film_once(side):
    seen = np.zeros((side, side), int)
    for row in range(GRID):
        for column in range(GRID):
            box = block(row, column, (side, side))
            seen[box.top : box.bottom, box.left : box.right] += 1
    assert (seen == 1).all()


# --- truth against verdicts


@pytest.fixture
def audit(smoke) -> Audit:
    return open_audit(smoke, "smoke", None, None, 50, 0)


def verdicts(**used: str) -> list[dict]:
    return [{"cue": name, "verdict": used.get(name.split()[0], "NOT SHOWN")} for name in truth.SOURCES]


def test_verdicts_are_compared_with_what_the_preset_plants(audit, monkeypatch):
    content = json.dumps({"shares": {name: list(share) for name, share in PLANTED.items()}}).encode()
    monkeypatch.setattr(type(audit.database), "read", lambda database, file: content)
    right = truth.measure(audit, verdicts(tint="DECISIVE", white="USED"))
    assert [row["cue"] for row in right if row["planted"]] == ["tint", "white rectangle"]
    assert all(row["agrees"] for row in right)
    assert "agree with their truth for 7 of 7 cues." in truth.finding(right)
    wrong = truth.measure(audit, verdicts(tint="USED", film="USED"))
    assert truth.finding(wrong).endswith("for 5 of 7 cues; not for white rectangle and film border.")
    assert truth.table(wrong, audit.database.classes).loc["white rectangle", "agrees"] == "NO"
    shares = next(row["shares"] for row in right if row["cue"] == "white rectangle")
    assert shares == [*PLANTED["white_rectangle"]]


def test_of_other_films_the_truth_is_not_known(audit, monkeypatch):
    monkeypatch.setattr(type(audit.database), "read", lambda database, file: b'{"shares": "none"}')
    assert truth.measure(audit, verdicts()) == []
    assert truth.finding([]) == truth.NOT_KNOWN
    assert truth.table([], ("N", "T")).empty


def test_a_model_from_elsewhere_is_told_from_the_runs_own(smoke, tmp_path):
    import shutil

    from tblib.run import Run

    assert open_audit(smoke, "smoke", None, None, 50, 0).trained_here
    shutil.copytree(smoke.folder, tmp_path / "copy")
    run = Run(tmp_path / "copy")
    run.path("run.json").unlink()
    write_json(run.path("training.json"), run.facts("training.json") | {"best_val_loss": 0.123})
    assert not open_audit(run, "smoke", None, None, 50, 0).trained_here
