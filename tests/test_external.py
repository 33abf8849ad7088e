"""Other databases: every layout is read, near-duplicates are found, wrong ones are told in a sentence."""

import numpy as np
import pandas as pd
import pytest
from conftest import grey_film, png, write_zip
from test_catalogue import deep_entries, twelve_bits

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


def test_montgomery_is_read_and_shares_no_film_with_the_kaggle_sample(films):
    found = read_external(str(films / "montgomery.zip"), ModelInput(64))
    assert np.bincount(found.target).tolist() == [80, 58]
    database = open_database(films / "TB_database.zip")
    inside = thumbnails_of(database, list(database.labels)[::4])
    assert not known_films(inside, found.thumbnails).any()
