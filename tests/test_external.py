"""Other databases: every layout is read, twins are found, wrong ones are told in a sentence."""

import numpy as np
import pandas as pd
import pytest
from conftest import grey_film, png, write_zip

from tblib.catalogue import CatalogueError, open_database
from tblib.evaluate import Calibration
from tblib.external import ExternalError, find, known_films, measure, paths, read_external

SCALING = Calibration(0.0, 1.0, "")
INSIDE = pd.DataFrame({"target": [0] * 20 + [1] * 20, "logit": np.r_[np.full(20, -2.0), np.full(20, 2.0)]})
INSIDE["probability"] = 1 / (1 + np.exp(-INSIDE["logit"]))


def entries(negative: str, positive: str, each: int = 12) -> dict[str, bytes]:
    films = {negative.format(i): png(grey_film(i)) for i in range(each)}
    return films | {positive.format(i): png(grey_film(100 + i)) for i in range(each)}


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
    found = read_external(str(path), 32, "none")
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
    found = read_external(str(write_zip(tmp_path / "b.zip", films)), 32, "none")
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
        read_external(str(path), 32, "none")


def test_a_zip_that_climbs_out_is_refused(tmp_path):
    path = write_zip(tmp_path / "evil.zip", entries("../normal/a{}.png", "../tb/b{}.png"))
    with pytest.raises(ExternalError, match="climbs out"):
        find(str(path))
    with pytest.raises(CatalogueError, match="climbs out"):
        open_database(path)


def test_databases_are_separated_by_commas():
    assert paths("") == []
    assert paths("a.zip, /b/c ,") == ["a.zip", "/b/c"]


def test_twins_of_training_films_are_found():
    inside = np.stack([grey_film(i) for i in range(6)])
    brighter = (inside[2] * 0.9 + 10).astype(np.uint8)
    outside = np.stack([grey_film(50), brighter, grey_film(51), inside[4]])
    assert known_films(inside, outside).tolist() == [False, True, False, True]


def measured(tmp_path, logits, twin=None):
    found = read_external(str(write_zip(tmp_path / "e.zip", entries("normal/a{}.png", "tb/b{}.png"))), 32, "none")
    twin = np.zeros(24, bool) if twin is None else twin
    points = {"0.5": 0.5, "sensitivity_90": 0.8}
    return found, measure(found, twin, logits(found.target), INSIDE, points, SCALING, 300, 0)


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


def test_twins_are_left_out_of_every_figure(tmp_path):
    twin = np.zeros(24, bool)
    twin[:3] = True
    _, found = measured(tmp_path, lambda target: target.astype(float), twin)
    assert found["n"] == 21
    assert found["twins_left_out"] == 3


def test_montgomery_is_read_and_shares_no_film_with_the_kaggle_sample(films):
    from tblib.external import thumbnails_of

    found = read_external(str(films / "montgomery.zip"), 64, "none")
    assert np.bincount(found.target).tolist() == [80, 58]
    database = open_database(films / "TB_database.zip")
    inside = thumbnails_of(database, list(database.labels)[::4])
    assert not known_films(inside, found.thumbnails).any()
