"""Other databases: every layout is read, near-duplicates are found, wrong ones are told in a sentence."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import grey_film, png, write_zip
from test_catalogue import deep_entries, twelve_bits

from tblib.audit import hospitals
from tblib.audit.choice import LABEL, choosing, chose, names, reported, why_unknown
from tblib.audit.external import (
    ExternalError,
    find,
    known_films,
    measure,
    paths,
    read_external,
    thumbnails_of,
    without_known,
)
from tblib.classifiers.choice import film_digests
from tblib.classifiers.protocol import Calibration
from tblib.films.database import DatabaseError, open_database
from tblib.mitigation import ModelInput

SCALING = Calibration(0.0, 1.0, "")
INSIDE = pd.DataFrame({"target": [0] * 20 + [1] * 20, "logit": np.r_[np.full(20, -2.0), np.full(20, 2.0)]})
INSIDE["probability"] = 1 / (1 + np.exp(-INSIDE["logit"]))


def entries(negative: str, positive: str, each: int = 12) -> dict[str, bytes]:
    films = {negative.format(i): png(grey_film(i)) for i in range(each)}
    return films | {positive.format(100 + i): png(grey_film(100 + i)) for i in range(each)}


@pytest.mark.parametrize(("negative", "positive"), [
    ("Normal/a{}.png", "Tuberculosis/b{}.png"),
    ("set/normal/a{}.png", "set/TB/b{}.png"),
    ("deep/er/Healthy/a{}.png", "deep/er/positive/b{}.png"),
    ("0/a{}.png", "1/b{}.png"),
    ("Montgomery/images/MCUCXR_{:04}_0.png", "Montgomery/images/MCUCXR_{:04}_1.png"),
    ("CHNCXR_{:04}_0.png", "CHNCXR_{:04}_1.png"),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_every_layout_is_read(tmp_path, negative, positive, kind):
    path = write_zip(tmp_path / "other.zip", entries(negative, positive))
    if kind == "folder":
        import zipfile

        zipfile.ZipFile(path).extractall(tmp_path / "other")
        path = tmp_path / "other"
    found = read_external(str(path), ModelInput(32))
    assert found.name == "other"
    assert np.bincount(found.target).tolist() == [12, 12]
    assert found.images.shape == (24, 32, 32)
    label = dict(zip(found.files, found.target, strict=True))
    assert all(
        label[file] == (file.startswith(positive.split("{")[0]) and not file.endswith("_0.png")) for file in label
    )


def test_masks_beside_the_films_are_no_films(tmp_path):
    films = entries("images/x_{}_0.png", "images/x_{}_1.png")
    masks = {name.replace("images", "masks"): content for name, content in films.items()}
    assert len(open_database(write_zip(tmp_path / "m.zip", films | masks)).labels) == 24


def test_a_name_that_ends_in_a_figure_is_no_label_where_folders_tell(tmp_path):
    database = open_database(write_zip(tmp_path / "k.zip", entries("Normal/n_{}_1.png", "Tuberculosis/t_{}_0.png")))
    assert set(database.labels.values()) == {"Normal", "Tuberculosis"}
    assert database.labels["Normal/n_3_1.png"] == "Normal"


def test_broken_films_are_counted_and_left_out(tmp_path):
    films = entries("normal/a{}.png", "tb/b{}.png") | {"tb/broken.png": b"no picture"}
    found = read_external(str(write_zip(tmp_path / "b.zip", films)), ModelInput(32))
    assert len(found.target) == 24
    assert len(found.left_out) == 1
    assert "broken.png" in found.left_out[0]


@pytest.mark.parametrize(("content", "sentence"), [
    (None, "There is no database at"),
    (entries("x/a{}.png", "y/b{}.png"), "has no image in a folder called"),
    (entries("normal/a{}.png", "tb/b{}.png", each=4), "4 negative and 4 positive films"),
])  # fmt: skip
def test_what_cannot_be_used_is_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "o.zip"
    if content:
        write_zip(path, content)
    with pytest.raises(ExternalError, match=sentence):
        read_external(str(path), ModelInput(32))


def test_a_dark_film_of_12_bits_is_read_like_its_neighbours(tmp_path):
    path = write_zip(tmp_path / "deep.zip", deep_entries(12, dark=2) | {"Normal/broken.png": b"no picture"})
    found = read_external(str(path), ModelInput(64))
    assert found.database.bits == 12
    for seed, times in ((0, 8), (1, 20), (2, 1)):
        grey, place = twelve_bits(seed, times) >> 4, found.files.index(f"Normal/n{seed}.png")
        np.testing.assert_array_equal(found.images[place], grey)
        np.testing.assert_array_equal(found.thumbnails[place], grey)
    np.testing.assert_array_equal(thumbnails_of(found.database, found.files), found.thumbnails)


def test_a_zip_that_climbs_out_is_refused(tmp_path):
    path = write_zip(tmp_path / "evil.zip", entries("../normal/a{}.png", "../tb/b{}.png"))
    with pytest.raises(ExternalError, match="leads out"):
        find(str(path))
    with pytest.raises(DatabaseError, match="leads out"):
        open_database(path)


def test_databases_are_separated_by_commas():
    assert paths("") == []
    assert paths("a.zip, /b/c ,") == ["a.zip", "/b/c"]


def test_duplicates_of_training_films_are_found():
    inside = np.stack([grey_film(i) for i in range(6)])
    brighter = (inside[2] * 0.9 + 10).astype(np.uint8)
    outside = np.stack([grey_film(50), brighter, grey_film(51), inside[4]])
    assert known_films(inside, outside).tolist() == [False, True, False, True]


def measured(tmp_path, logits):
    found = read_external(str(write_zip(tmp_path / "e.zip", entries("normal/a{}.png", "tb/b{}.png"))), ModelInput(32))
    points = {"0.5": 0.5, "sensitivity_90": 0.8}
    return found, measure(found, logits(found.target), INSIDE, points, SCALING, 300, 0)


def test_what_is_measured(tmp_path):
    _, good = measured(tmp_path, lambda target: np.where(target == 1, 1.0, -1.0))
    assert good["auroc"]["value"] == 1
    assert not good["inverted"]
    assert good["points"]["0.5"]["sensitivity"]["value"] == 1
    assert good["points"]["sensitivity_90"]["sensitivity"]["value"] == 0  # 0.73 is below the carried threshold
    assert good["shift"]["1"]["ks"] == 1
    assert good["shift"]["1"]["median"] == -1
    assert sum(good["histograms"]["0"]) == 12
    assert good["recalibrated"]["specificity"] == 0.7
    assert good["recalibrated"]["sensitivity"]["value"] == good["recalibrated"]["gap"]["value"] == 1
    assert 0 < good["recalibrated"]["sensitivity"]["low"] < 1  # few films
    assert set(good["calibration"]) == {"brier", "ece"}


def test_an_inverted_model_is_called_so(tmp_path):
    _, bad = measured(tmp_path, lambda target: np.where(target == 1, -1.0, 1.0) + np.linspace(0, 0.1, 24))
    assert bad["inverted"]
    assert bad["auroc"]["high"] < 0.5


def test_films_of_the_training_database_are_left_out(tmp_path):
    found = read_external(str(write_zip(tmp_path / "e.zip", entries("normal/a{}.png", "tb/b{}.png"))), ModelInput(32))
    left = without_known(found, np.stack([grey_film(500), found.thumbnails[3], found.thumbnails[20]]))
    assert left.known == 2
    assert np.bincount(left.target).tolist() == [11, 11]
    assert set(found.files) - set(left.files) == {found.files[3], found.files[20]}
    for part in (left.images, left.thumbnails, left.files):
        assert len(part) == 22
    with pytest.raises(ExternalError, match="3 of the 24 films of the external database e stand in the training"):
        without_known(found, found.thumbnails[:3])


def test_copies_within_a_set_count_once(tmp_path):
    films = entries("normal/a{}.png", "tb/b{}.png")
    films |= {f"normal/copy{i}.png": films["normal/a0.png"] for i in range(3)}
    found = read_external(str(write_zip(tmp_path / "c.zip", films)), ModelInput(32))
    assert len(np.unique(found.group)) == 24
    assert len(found.target) == 27


# --- films on which settings were chosen


def test_digests_are_those_of_the_films_whatever_their_files_are_called_and_packed_like(tmp_path):
    films = {f"normal/a{i}.png": grey_film(i) for i in range(12)} | {
        f"tb/b{i}.png": grey_film(50 + i) for i in range(12)
    }
    files = {name: png(film) for name, film in films.items()}
    renamed = {name.replace("normal/a", "0/").replace("tb/b", "1/x"): png(film, compress_level=0)
               for name, film in films.items()}  # fmt: skip
    one, other = (
        read_external(str(write_zip(tmp_path / f"{name}.zip", entries)), ModelInput(side))
        for name, entries, side in (("one", files, 32), ("other", renamed, 64))
    )
    assert other.files != one.files
    digests = film_digests(one.thumbnails)
    assert sorted(digests) == sorted(film_digests(other.thumbnails))
    assert len(set(digests)) == 24
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)
    changed = one.thumbnails.copy()
    changed[3, 0, 0] ^= 1
    assert [
        place for place, both in enumerate(zip(digests, film_digests(changed), strict=True)) if len(set(both)) > 1
    ] == [3]


@pytest.mark.parametrize(("shared", "found"), [(0, False), (1, False), (4, False), (5, True), (100, True)])
def test_a_set_chose_if_a_twentieth_of_its_films_did(shared, found):
    digests = [f"{i:016x}" for i in range(100)]
    others = [f"{i:016x}" for i in range(1000, 1200)]
    assert chose(digests, {"set": "s", "n": 200 + shared, "films": digests[:shared] + others}) is found
    assert not chose(digests, None)
    assert not chose(digests, {"set": "s", "n": 0, "films": []})


RATE = {"value": 0.9, "low": 0.8, "high": 0.95}
INTERNAL = {
    "n": 40, "positives": 20, "auroc": {"value": 0.99, "low": 0.98, "high": 1.0}, "inverted": False, "ece": RATE,
    "brier": RATE, "thresholds": {"0.5": 0.5, "sensitivity_90": 0.3},
    "calibration": {"shift": 0.0, "temperature": 1.0, "note": ""},
}  # fmt: skip
INTERNAL["operating_points"] = {name: {"sensitivity": RATE, "specificity": RATE} for name in INTERNAL["thresholds"]}


def audited(sets, chosen_by, of_tblib=True):
    """What `hospitals.measure` needs of an audit of a model trained elsewhere, whose record has this `chosen_by`."""
    told = {} if chosen_by is None else {"chosen_by": chosen_by}
    run = SimpleNamespace(facts=lambda _: INTERNAL, table=lambda _: INSIDE.assign(part="test"))
    network = SimpleNamespace(training=told) if of_tblib else None
    return SimpleNamespace(
        run=run, network=network, sets=sets, selected=None, replicates=100, seed=0, known_masks=None, trained_here=False
    )


@pytest.fixture
def sets(tmp_path):
    """Two sets of 24 films each."""
    files = [{f"{label}/{i}.png": png(grey_film(first + 40 * (label == "tb") + i)) for label in ("normal", "tb")
              for i in range(12)} for first in (0, 100)]  # fmt: skip
    zips = [write_zip(tmp_path / f"{name}.zip", each) for name, each in zip(("first", "second"), files, strict=True)]
    return [read_external(str(path), ModelInput(32)) for path in zips]


def measured_sets(sets, chosen_by, shift=0.0, **how):
    """Films of either class with logits that overlap, the positive class above."""
    logits = [np.random.default_rng(0).normal(one.target + shift) for one in sets]
    tables = [pd.DataFrame({"logit": each}) for each in logits]
    return hospitals.measure(audited(sets, chosen_by, **how), tables)


def test_of_each_set_it_is_known_whether_settings_were_chosen_on_it(sets):
    by = {"set": "renamed", "n": 24, "films": film_digests(sets[1].thumbnails)}
    assert [one["chose"] for one in measured_sets(sets, by)["sets"]] == [False, True]
    assert [one["chose"] for one in measured_sets(sets, None)["sets"]] == [False, False]
    assert [one["chose"] for one in measured_sets(sets, by, of_tblib=False)["sets"]] == [False, False]
    half = by | {"films": by["films"][::2]}
    assert [one["chose"] for one in measured_sets(sets, half)["sets"]] == [False, True]


def test_a_set_that_chose_is_shown_and_called_so(sets):
    by = {"set": "second", "n": 24, "films": film_digests(sets[1].thumbnails)}
    found = measured_sets(sets, by)
    found["predicted"] = {"inside": 0.99, "shuffled": 0.6, "auroc": RATE}
    told, table = hospitals.finding(INTERNAL, found, ("N", "T")), hospitals.table(INTERNAL, found)
    assert "The model does not hold on “first”: AUROC" in told
    assert (
        "Settings of the model were chosen on films of “second”, so that this is no external validation: AUROC" in told
    )
    assert re.search(r"Measured: [^;]* on “first”, whose interval (includes|does not include) it\.", told)
    assert table.columns.tolist() == ["this database", "first", f"second ({LABEL})"]
    found["sets"][1]["auroc"]["value"] = 0.1  # the worst is not the one to begin with
    assert "chosen by results on “second”" in told
    figure = hospitals.figure(found, ("N", "T"))
    assert [LABEL in ax.get_title() for ax in figure.axes] == [False, False, True]
    assert f"second ({LABEL}): AUROC" in figure.get_label()
    assert figure.get_label().startswith("On first the model")
    only = found | {"sets": found["sets"][1:]}
    told = hospitals.finding(INTERNAL, only, ("N", "T"))
    assert told.startswith("How the model does elsewhere is not known: its settings were chosen on the films that were")
    assert "hold on" not in told
    assert "Measured" not in told
    assert "not shown to do worse" not in told
    assert hospitals.figure(only, ("N", "T")).get_label().startswith(f"On second ({LABEL}) the model")


def test_what_a_threshold_that_is_not_set_anew_loses_is_told_with_its_specificity(sets):
    high = measured_sets(sets[:1], None, shift=-3.0)  # hardly any film reaches the threshold
    one = high["sets"][0]
    assert one["points"]["sensitivity_90"]["sensitivity"]["value"] < 0.2
    assert one["recalibrated"]["gap"]["value"] > 0.5
    told = hospitals.finding(INTERNAL, high, ("N", "T"))
    best, gap = one["recalibrated"]["sensitivity"], one["recalibrated"]["gap"]
    assert "At a specificity of at least 70 % the best threshold there, chosen on these very films" in told
    assert f"films, finds {100 * best['value']:.1f} %" in told
    assert f"without recalibration {100 * gap['value']:.1f} points (" in told
    cells = hospitals.table(INTERNAL, high)["first"]
    assert cells[hospitals.BEST].startswith(f"{100 * best['value']:.1f} %")
    assert cells[hospitals.LOST].startswith(f"{100 * gap['value']:.1f} points (")
    assert "specificity" not in cells[hospitals.LOST]
    assert re.match(r"0\.\d{3} \(", cells["calibration error"])
    assert re.match(r"0\.\d{3} \(", cells["Brier score"])
    low = measured_sets(sets[:1], None, shift=3.0)  # nearly every film reaches it
    assert low["sets"][0]["recalibrated"]["gap"]["value"] <= 0
    told = hospitals.finding(INTERNAL, low, ("N", "T"))
    assert "that of validation has a lower specificity, so it lacks specificity and not sensitivity." in told
    assert "without recalibration" not in told
    assert hospitals.table(INTERNAL, low)["first"][hospitals.LOST].endswith("at a specificity below 70 %")


def test_results_of_earlier_versions_are_those_of_models_without_a_choice():
    old, new = {"set": "old"}, {"set": "new", "chose": True}
    assert (reported([old, new]), choosing([old, new])) == ([old], [new])
    assert names({"sets": [new, old]}) == {"chose": ["new"], "reported": ["old"]}
    assert names({"sets": [old], "chosen_by": "new"}) == {"chose": ["new"], "reported": ["old"]}
    assert names({"sets": [new], "chosen_by": "its own name"}) == {"chose": ["its own name", "new"], "reported": []}
    assert why_unknown([old, new]) == ""
    assert why_unknown([new]).endswith("given, new")
    assert why_unknown([]) == "no films of another hospital were given"


def test_montgomery_is_read_and_shares_no_film_with_the_kaggle_sample(films):
    found = read_external(str(films / "montgomery.zip"), ModelInput(64))
    assert np.bincount(found.target).tolist() == [80, 58]
    database = open_database(films / "TB_database.zip")
    inside = thumbnails_of(database, list(database.labels)[::4])
    assert not known_films(inside, found.thumbnails).any()
