"""Detectors are scored against what is known, in its place, and never against what is not known."""

import numpy as np
import pandas as pd
import pytest

from tblib.catalogue import build_catalogue
from tblib.eda import detectors
from tblib.films import artefacts
from tblib.films.boxes import Box, boxes_from_text
from tblib.films.cues import ON_FILMS
from tblib.films.database import open_database
from tblib.films.film import open_film
from tblib.metrics import wilson
from tblib.phantoms.demo import write_demo
from tblib.run import usable
from tblib.system.files import ROOT

REAL = ROOT / "tests" / "real_films.csv"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    database = open_database(write_demo(tmp_path_factory.mktemp("demo") / "demo.zip", films=96, seed=5))
    films = usable(build_catalogue(database).table)
    return database, films, detectors.known(database, films, REAL)


def films_of(**columns):
    """Rows of a catalogue as the detectors would have written them: 200 x 100 pixels, nothing found."""
    count = len(next(iter(columns.values())))
    plain = {
        "sha256": [f"{number:064x}" for number in range(count)],
        "height": 200,
        "width": 100,
        "one_channel": False,
        "tint_strength": 0.0,
        "marker": False,
        "marker_letter": "",
        "markers": "",
        "white_rectangle": False,
        "black_box": False,
        "bordered": False,
        "border_tilt": 0.0,
        "equalised": 0.5,
    }
    return pd.DataFrame(plain | columns, index=range(count))


def read(tmp_path, films, **columns):
    """The truth about `films` from a CSV in which they were read with these answers."""
    plain = {
        "sha256": films["sha256"],
        "half": "unseen",
        "tint": "none",
        "marker": "no",
        "letter": "",
        "place": "",
        "white_rectangle": "no",
        "black_box": "no",
        "border": "",
        "tilt": "no",
    }
    path = tmp_path / "read.csv"
    pd.DataFrame(plain | columns).to_csv(path, index=False)
    return detectors._read(detectors.read_annotations(path), films)


def row_of(scores, artefact):
    (row,) = scores[scores["artefact"] == artefact].itertuples()
    return row


def test_precision_and_recall_are_counted_as_defined(tmp_path):
    films = films_of(white_rectangle=[True, True, True, False, False])
    truth = read(tmp_path, films, white_rectangle=["yes", "yes", "no", "yes", "no"])
    row = row_of(detectors.scores(films, truth), "white rectangle")
    assert (row.films, row.carried, row.found, row.right) == (5, 3, 3, 2)
    assert (row.precision, row.precision_low, row.precision_high) == wilson(2, 3)
    assert (row.recall, row.recall_low, row.recall_high) == wilson(2, 3)


def test_a_marker_in_the_wrong_place_is_neither_right_nor_left_out(tmp_path):
    films = films_of(marker=[True, True], markers=["10,80,30,95", "10,5,30,20"], marker_letter=["L", "L"])
    truth = read(tmp_path, films, marker="yes", place="tr", letter="L")
    scores = detectors.scores(films, truth)
    marker, letter = row_of(scores, "L/R marker"), row_of(scores, "letter")
    assert (marker.carried, marker.found, marker.right) == (2, 2, 1)
    assert (letter.carried, letter.found, letter.right) == (1, 1, 1)
    wrong = detectors.missed(films, truth, ["L/R marker"])
    assert wrong["mistake"].tolist() == ["L/R marker wrong"]


def test_a_letter_is_right_if_the_reader_saw_it(tmp_path):
    films = films_of(marker=[True] * 3, markers=["10,80,30,95"] * 3, marker_letter=["R", "", "L"])
    truth = read(tmp_path, films, marker="yes", place="tr", letter=["L+R", "L", "R"])
    row = row_of(detectors.scores(films, truth), "letter")
    assert (row.carried, row.found, row.right) == (3, 2, 1)


def test_what_is_not_known_is_not_scored(tmp_path):
    films = films_of(border_tilt=[2.0, 2.0, 0.0], bordered=[True, True, False])
    truth = read(tmp_path, films, tilt=["?", "yes", "no"], tint="?")
    scores = detectors.scores(films, truth)
    assert row_of(scores, "film askew").films == 2
    assert not {"tint", "one-channel file", "equalised"} & set(scores["artefact"])


def test_films_are_known_by_their_bytes_alone(tmp_path):
    films = films_of(marker=[False, False, False])
    truth = read(tmp_path, films.iloc[[2]], marker="yes", place="tl")
    assert detectors._read(detectors.read_annotations(tmp_path / "read.csv"), films).index.tolist() == [2]
    assert truth["L/R marker"].tolist() == [True]


def test_a_table_that_is_none_is_refused(tmp_path):
    with pytest.raises(detectors.AnnotationsError, match=r"cannot be read.*tests/real_films\.csv"):
        detectors.read_annotations(tmp_path / "nothing.csv")
    (tmp_path / "other.csv").write_text("file,marker\nx,yes\n")
    with pytest.raises(detectors.AnnotationsError, match="lack columns"):
        detectors.read_annotations(tmp_path / "other.csv")


def test_the_demos_truth_is_its_own(demo):
    database, films, truth = demo
    assert len(truth) == len(films) == 96
    assert set(truth["part"]) == {"demo"}
    assert {cue.name for cue in ON_FILMS} <= set(truth.columns)
    assert truth["L/R marker"].sum() > 50
    for number, zones in truth["where"].items():
        assert len(zones) == int(truth.loc[number, "L/R marker"])
    assert database.others


def test_on_the_demo_colours_are_exact_and_shapes_are_found(demo):
    _, films, truth = demo
    scores = detectors.scores(films, truth).set_index("artefact")
    for exact in ("one-channel file", "tint"):
        assert scores.loc[exact, ["precision", "recall"]].tolist() == [1, 1]
    for artefact, least in {"L/R marker": 0.85, "letter": 0.8, "film border": 0.85, "grey histogram": 0.8}.items():
        assert scores.loc[artefact, "precision"] >= least, artefact
        assert scores.loc[artefact, "recall"] >= least, artefact


def test_scores_rank_films_that_were_treated(demo):
    _, films, truth = demo
    found = detectors.separation(films, truth)
    assert found["equalised"] > 0.9
    assert found["blockiness"] > 0.75
    assert found["sharpness"] > 0.6


def test_a_database_of_unknown_films_has_no_scores(demo):
    database, films, _ = demo
    truth = detectors._read(detectors.read_annotations(REAL), films)
    assert truth.empty
    assert detectors.scores(films, truth).empty
    assert detectors.missed(films, truth, detectors.SHAPES).empty
    assert detectors.separation(films, truth) == {}
    assert database.positive == "Tuberculosis"


def test_zones_cover_the_film_and_overlap_at_their_rims():
    middles = [Box(row, column, row + 1, column + 1) for row in range(0, 100, 3) for column in range(0, 100, 3)]
    zones = [detectors.zone(down + across) for down in "tmb" for across in "lcr"]
    assert all(any(detectors.inside(box, zone, (100, 100)) for zone in zones) for box in middles)
    assert detectors.inside(Box(0, 90, 10, 100), detectors.zone("tr"), (100, 100))
    assert not detectors.inside(Box(0, 90, 10, 100), detectors.zone("tl"), (100, 100))


# --- the reading of the real films ---------------------------------------------------------------


def test_the_reading_is_complete_and_says_nothing_else():
    table = pd.read_csv(REAL, dtype=str, keep_default_na=False)
    assert len(table) >= 150
    assert table["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert table["sha256"].is_unique
    assert (table["half"] == "unseen").sum() >= 75
    assert (table.loc[table["half"] == "unseen", "annotations"] == "2").all()
    for column in ("marker", "white_rectangle", "black_box"):
        assert set(table[column]) == {"yes", "no"}
    assert (table.loc[table["marker"] == "yes", "place"] != "").all()
    assert set("".join(table["border"])) <= set("trbl")


@pytest.fixture(scope="module")
def unseen(films):
    """Catalogue rows of the unseen films, and what is known of them."""
    table = pd.read_csv(REAL, dtype=str, keep_default_na=False)
    wanted = {row.file: row.sha256 for row in table[table["half"] == "unseen"].itertuples()}
    database, rows = open_database(films / "TB_database.zip"), []
    for file in database.labels:
        name = "/".join(file.split("/")[-2:])
        if name in wanted:
            content = database.read(file)
            film = open_film(content, file)
            seen = artefacts.artefacts(film, len(content))
            height, width = film.pixels.shape[:2]
            row = artefacts.facts(seen) | {"sha256": wanted[name], "height": height, "width": width}
            rows.append(row | {"markers": ";".join(",".join(map(str, one.box)) for one in seen.markers)})
    found = pd.DataFrame(rows)
    return found, detectors._read(detectors.read_annotations(REAL), found)


def test_on_unseen_real_films_the_detectors_keep_what_the_readme_says(unseen):
    films, truth = unseen
    scores = detectors.scores(films, truth).set_index("artefact")
    assert scores.loc["L/R marker", "films"] == len(truth) > 75
    for artefact, (precision, recall) in UNSEEN.items():
        assert scores.loc[artefact, "precision"] >= precision, artefact
        assert scores.loc[artefact, "recall"] >= recall, artefact


UNSEEN = {
    "tint": (0.95, 0.95),
    "L/R marker": (0.8, 0.8),
    "letter": (0.75, 0.75),
    "white rectangle": (0.95, 0.9),
    "film border": (0.85, 0.8),
}


def test_boxes_of_markers_are_inside_the_film(demo):
    _, films, _ = demo
    for row in films.itertuples():
        for box in boxes_from_text(row.markers):
            assert 0 <= box.top < box.bottom <= row.height
            assert 0 <= box.left < box.right <= row.width
    assert np.all(films["marker_score"].between(0, 1))
