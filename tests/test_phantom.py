"""The demo database: it is what its truth says, and the same again for the same seed."""

import csv
import io
import json
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import minimum_filter
from scipy.stats import binom

from tblib import phantom
from tblib.box import Box
from tblib.film import open_film

FILMS, TUBERCULOSIS = 60, 10


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return phantom.write_demo(tmp_path_factory.mktemp("demo") / "demo.zip", FILMS, seed=1)


@pytest.fixture(scope="module")
def archive(demo):
    with zipfile.ZipFile(demo) as opened:
        yield opened


@pytest.fixture(scope="module")
def truth(archive):
    return list(csv.DictReader(io.StringIO(archive.read("demo/truth.csv").decode())))


@pytest.fixture(scope="module")
def films(archive, truth):
    """Every film of the demo with its line of the truth."""
    return [(open_film(archive.read(f"demo/{row['file']}"), row["file"]), row) for row in truth]


def box_of(cell):
    return Box(*map(int, cell.split(",")))


def inside(pixels, box):
    return pixels[box.top : box.bottom, box.left : box.right]


def has_white_block(grey):
    """Whether 30 x 12 pixels in one place are all 255."""
    return bool((minimum_filter(grey, size=(12, 30), mode="constant", cval=0) == 255).any())


def test_the_same_films_and_seed_give_the_same_bytes(tmp_path):
    first, again, other = (
        phantom.write_demo(tmp_path / f"{name}.zip", 6, seed).read_bytes()
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    )
    assert first == again
    assert first != other


def test_the_zip_holds_each_film_and_its_lungs_at_the_kaggle_balance(archive):
    names = [f"Normal-{n}.png" for n in range(1, FILMS - TUBERCULOSIS + 1)]
    names += [f"Tuberculosis-{n}.png" for n in range(1, TUBERCULOSIS + 1)]
    expected = {f"demo/{name.split('-')[0]}/{name}" for name in names} | {f"demo/lungs/{name}" for name in names}
    assert set(archive.namelist()) == expected | {"demo/truth.csv", "demo/SYNTHETIC.json"}
    assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize(("films", "tuberculosis"), [(2, 1), (12, 2)])
def test_small_demos_hold_both_classes_and_no_twins(tmp_path, films, tuberculosis):
    with zipfile.ZipFile(phantom.write_demo(tmp_path / "demo.zip", films)) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("demo/truth.csv").decode())))
    assert [row["label"] for row in rows].count("Tuberculosis") == tuberculosis
    assert len(rows) == films
    assert not any(row["twin_of"] for row in rows)


def test_a_demo_of_one_film_is_refused(tmp_path):
    with pytest.raises(phantom.DemoError, match="2 or more"):
        phantom.write_demo(tmp_path / "demo.zip", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(phantom.DemoError, match="could not be written"):
        phantom.write_demo(tmp_path / "file" / "demo.zip", 6)


def test_mode_and_colour_are_as_the_truth_says(films):
    for film, row in films:
        assert film.pixels.shape[:2] == (phantom.SIDE, phantom.SIDE)
        assert film.mode == ("L" if row["one_channel"] == "True" else "RGB")
        if film.mode == "RGB":
            red, _, blue = np.moveaxis(film.pixels.astype(int), 2, 0)
            channels_equal = bool((film.pixels == film.pixels[:, :, :1]).all())
            assert channels_equal == (row["label"] == "Normal") == (row["tint"] == "")
            assert (np.abs(red - blue).mean() > 4) == (row["tint"] in phantom.TINTS)


def test_the_white_rectangle_is_where_the_truth_says_and_nowhere_else(films):
    seen = [row for _, row in films if row["white_rectangle"]]
    assert seen
    assert len(seen) < TUBERCULOSIS
    for film, row in films:
        assert has_white_block(film.grey) == bool(row["white_rectangle"])
        if row["white_rectangle"]:
            block = inside(film.pixels, box_of(row["white_rectangle"]))
            assert (block == 255).all()
            assert block.shape[0] >= 12
            assert block.shape[1] >= 30


def test_a_marker_is_brighter_than_what_surrounds_it(films):
    seen = [(film.grey.astype(int), row) for film, row in films if row["marker"]]
    assert len(seen) > FILMS / 3
    for grey, row in seen:
        box = box_of(row["marker_box"])
        surroundings = inside(grey, Box(box.top - 4, box.left - 4, box.bottom + 4, box.right + 4)).copy()
        surroundings[4:-4, 4:-4] = 0
        assert inside(grey, box).max() > np.percentile(surroundings[surroundings > 0], 95)
        assert (box.left > phantom.SIDE / 2) == row["marker"].startswith("L")


@pytest.mark.parametrize("label", phantom.CLASSES)
def test_on_an_empty_film_the_boxes_hold_all_that_is_carried(label):
    """Grey 100 everywhere: whatever differs is an artefact, and lies in the box that the truth gives for it."""
    kinds = set()
    for seed in range(80):
        pixels, truth = phantom.with_artefacts(np.full((512, 512), 100, np.uint8), label, seed)
        if truth.equalised or truth.tint:
            continue  # these change every pixel
        differs = pixels.reshape(512, 512, -1)[:, :, 0] != 100
        for kind in ("marker_box", "white_rectangle", "dark_box"):
            box = getattr(truth, kind)
            if box is not None:
                kinds.add(kind)
                area = inside(differs, box)
                assert area[0].any() and area[-1].any() and area[:, 0].any() and area[:, -1].any()  # noqa: PT018
                assert area.all() or kind == "marker_box"
                area[:] = False
        if truth.border is not None:
            kinds.add("border")
            top, right, bottom, left = truth.border
            assert 4 <= max(truth.border) <= 20
            differs = differs[top : 512 - bottom, left : 512 - right]
        assert not differs.any()
    assert {"marker_box", "border"} <= kinds if label == "Normal" else len(kinds) == 4


def test_every_artefact_is_as_frequent_as_the_table_says():
    draws = 400
    for index, label in enumerate(phantom.CLASSES):
        truths = [phantom.phantom_truth(label, seed) for seed in range(draws)]
        counts = {
            "one_channel": sum(truth.one_channel for truth in truths),
            "tint": sum(truth.tint in phantom.TINTS for truth in truths),
            "neutral": sum(truth.tint == "neutral" for truth in truths),
            "equalised": sum(truth.equalised for truth in truths),
            "marker": sum(truth.marker != "" for truth in truths),
            "border": sum(truth.border is not None for truth in truths),
            "dark_box": sum(truth.dark_box is not None for truth in truths),
            "white_rectangle": sum(truth.white_rectangle is not None for truth in truths),
        }
        assert counts.keys() == phantom.KAGGLE.keys()
        for name, count in counts.items():
            low, high = binom.interval(0.9999, draws, phantom.KAGGLE[name][index])
            assert max(low, 0) <= count <= max(high, 0), (label, name)


def test_the_table_keeps_what_was_counted_on_the_real_database():
    never_in_normals = {name for name, share in phantom.KAGGLE.items() if share.normal == 0}
    assert never_in_normals == {"one_channel", "tint", "neutral", "white_rectangle"}
    counted = {name: phantom.KAGGLE[name].tuberculosis for name in ("one_channel", "tint", "white_rectangle")}
    assert counted == pytest.approx(
        {"one_channel": 308 / 700, "tint": 368 / 700, "white_rectangle": 241 / 700}, abs=0.01
    )


@pytest.mark.parametrize("label", phantom.CLASSES)
def test_the_truth_can_be_had_without_the_film(label):
    for seed in (5, 2**62):
        assert phantom.phantom_truth(label, seed) == phantom.phantom_film(label, seed).truth


def test_a_line_of_the_truth_is_enough_to_draw_the_film_again(films):
    for film, row in films[::10]:
        again = phantom.phantom_film(row["label"], int(row["seed"]))
        assert np.array_equal(film.pixels, again.pixels)
        assert row["severity"] == str(again.truth.severity)


def test_equalised_films_have_a_middle_mean():
    films = [phantom.phantom_film("Normal", seed) for seed in range(12)]
    means = [film.pixels.mean() for film in films if film.truth.equalised and not film.truth.border]
    assert len(means) >= 5
    assert all(118 < mean < 140 for mean in means)


def test_lungs_are_two_dark_fields_either_side_of_the_middle(archive):
    for name in [name for name in archive.namelist() if name.startswith("demo/lungs/")]:
        with Image.open(io.BytesIO(archive.read(name))) as mask:
            lungs = np.asarray(mask.convert("L")) > 0
        assert lungs.shape == (512, 512)
        assert 0.1 < lungs.mean() < 0.5
        right, left = lungs[:, :256].sum(), lungs[:, 256:].sum()
        assert 0.4 < left / right < 1.6
    chest = phantom.radiograph(seed=7, severity=0)
    assert chest.grey[chest.lungs].mean() < chest.grey[~chest.lungs].mean() - 30


def test_the_heart_lies_on_the_viewers_right():
    lungs = np.mean([phantom.radiograph(seed, 0).lungs for seed in range(6)], axis=0)
    lower = lungs[280:340]
    assert lower[:, :256].sum() > 1.15 * lower[:, 256:].sum()


def test_lesions_whiten_the_lungs_the_more_the_severer_and_nothing_else():
    for seed in range(5):
        chests = [phantom.radiograph(seed, severity) for severity in (0, 0.3, 1)]
        means = [chest.grey[chest.lungs].mean() for chest in chests]
        assert all(more > less + 0.2 for less, more in pairwise(means))
        healthy, ill = chests[0], chests[-1]
        assert np.array_equal(healthy.lungs, ill.lungs)
        below = np.s_[460:]  # the abdomen
        assert np.array_equal(healthy.grey[below], ill.grey[below])


def test_only_tuberculosis_has_a_severity():
    assert {phantom.phantom_truth("Normal", seed).severity for seed in range(20)} == {0}
    severities = [phantom.phantom_truth("Tuberculosis", seed).severity for seed in range(60)]
    assert 0 < min(severities) < 0.2
    assert 0.8 < max(severities) <= 1


def test_one_exact_and_two_near_twins(archive, truth):
    pairs = [(row["file"], row["twin_of"]) for row in truth if row["twin_of"]]
    assert len(pairs) == 3
    identical, alike = 0, 0
    for pair in pairs:
        first, second = (archive.read(f"demo/{file}") for file in pair)
        if first == second:
            identical += 1
        else:
            greys = [open_film(content, "twin").grey.ravel() for content in (first, second)]
            alike += np.corrcoef(greys)[0, 1] >= 0.995
    assert (identical, alike) == (1, 2)
    films = [archive.read(f"demo/{row['file']}") for row in truth]
    assert len(set(films)) == FILMS - 1


def test_the_provenance_says_synthetic_and_whether_the_demo_is_current(demo, archive):
    provenance = json.loads(archive.read("demo/SYNTHETIC.json"))
    assert provenance["synthetic"] is True
    assert (provenance["films"], provenance["seed"], provenance["made_by"]) == (FILMS, 1, "tblib.phantom")
    assert phantom.demo_is_current(demo, FILMS, 1)
    assert not phantom.demo_is_current(demo, FILMS + 1, 1)
    assert not phantom.demo_is_current(demo, FILMS, 2)


def test_a_demo_of_other_code_or_a_damaged_one_is_not_current(tmp_path, archive):
    missing, cut, foreign, outdated = (tmp_path / name for name in ("missing", "cut", "foreign", "outdated"))
    cut.write_bytes(Path(archive.filename).read_bytes()[:5000])
    provenance = json.loads(archive.read("demo/SYNTHETIC.json")) | {"digest": "0" * 64}
    for path, name, text in (
        (foreign, "readme.txt", "films"),
        (outdated, "demo/SYNTHETIC.json", json.dumps(provenance)),
    ):
        with zipfile.ZipFile(path, "w") as written:
            written.writestr(name, text)
    assert not any(phantom.demo_is_current(path, FILMS, 1) for path in (missing, cut, foreign, outdated))


@pytest.mark.filterwarnings("ignore:.*have been cancelled")  # joblib, of the films that nobody will collect
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_midway_leaves_no_part_and_what_was_there(tmp_path, monkeypatch, failure):
    path = tmp_path / "demo.zip"
    path.write_bytes(b"the demo before")
    write, calls = zipfile.ZipFile.writestr, []

    def fails_at_the_fourth(*arguments, **named):
        calls.append(arguments)
        if len(calls) == 4:
            raise failure
        write(*arguments, **named)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fails_at_the_fourth)
    expected = phantom.DemoError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        phantom.write_demo(path, 12)
    assert len(calls) == 4
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"demo.zip": b"the demo before"}
