"""The demo database: films carry what the truth says and as often as the preset says, and the same again by seed."""

import csv
import io
import json
import zipfile
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import Parallel
from PIL import Image
from scipy.ndimage import minimum_filter
from scipy.stats import binom

from tblib.films import edits
from tblib.films.boxes import Box, Widths
from tblib.films.film import open_film
from tblib.phantoms import demo as demos
from tblib.phantoms import phantom, presets
from tblib.phantoms.anatomy import SIDE, radiograph
from tblib.phantoms.phantom import Truth, phantom_film, phantom_truth
from tblib.phantoms.presets import CLASSES, CLEAN, KAGGLE, PRESETS, Prevalence
from tblib.system.code import place, reached
from tblib.system.shortages import ShortageError

FILMS, TUBERCULOSIS = 60, 20
DRAWS = 400
SINGLE = ("tilt", "white_rectangle", "black_box", "equalised", "blur", "jpeg")  # a film may carry all of these
NOTHING = dict.fromkeys(KAGGLE, Prevalence(0, 0))
EVEN = "even_light"  # of the light box behind a tinted film: no artefact, but the lack of one
ALWAYS = Prevalence(1, 1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return demos.write_demo(tmp_path_factory.mktemp("demo") / "demo.zip", FILMS, seed=1)


@pytest.fixture
def one_process(monkeypatch):
    """Films are drawn without workers: a few are drawn sooner than workers start."""
    monkeypatch.setattr(demos, "Parallel", lambda n_jobs, **given: Parallel(n_jobs=1, **given))


@pytest.fixture(scope="module")
def archive(demo):
    with zipfile.ZipFile(demo) as opened:
        yield opened


@pytest.fixture(scope="module")
def rows(archive):
    return list(csv.DictReader(io.StringIO(archive.read("demo/truth.csv").decode())))


@pytest.fixture(scope="module")
def films(archive, rows):
    """Every film of the demo with its line of the truth."""
    return [(open_film(archive.read(f"demo/{row['file']}"), row["file"]), truth_of(row)) for row in rows]


def truth_of(row: dict[str, str]) -> Truth:
    """The truth that a line of truth.csv tells, by the types that `Truth` gives its columns."""
    read = {
        str: str,
        int: int,
        float: float,
        bool: {"True": True, "False": False}.__getitem__,
        Box | None: lambda cell: Box(*map(int, cell.split(","))) if cell else None,
        Widths | None: lambda cell: Widths(*map(int, cell.split(","))) if cell else None,
    }
    return Truth(**{field.name: read[field.type](row[field.name]) for field in fields(Truth)})


def preset(**shares: float | Prevalence) -> presets.Preset:
    """A preset in which both classes carry these artefacts and no others."""
    return NOTHING | {
        name: share if isinstance(share, Prevalence) else Prevalence(share, share) for name, share in shares.items()
    }


def inside(pixels, box):
    return pixels[box.top : box.bottom, box.left : box.right]


def flat(level=100):
    return np.full((SIDE, SIDE), level, np.uint8)


def changed(truth: Truth) -> np.ndarray:
    """Bool (SIDE, SIDE): where a film of grey 100 shows what it carries."""
    return (phantom.carried(flat(), truth).reshape(SIDE, SIDE, -1) != 100).any(axis=2)


def tight_box(mask) -> Box:
    rows, columns = np.nonzero(mask)
    return Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


def apart(one: Box, other: Box) -> bool:
    return one.bottom <= other.top or other.bottom <= one.top or one.right <= other.left or other.right <= one.left


def png_pixels(content: bytes) -> tuple[str, np.ndarray]:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        return picture.mode, np.asarray(picture)


# --- presets -------------------------------------------------------------------------------------


def test_the_table_keeps_what_was_counted_on_the_real_database():
    colours = [name for name in presets.COLOURS if KAGGLE[name].normal]
    assert colours == []
    assert KAGGLE["white_rectangle"].normal == 0
    counted = {name: KAGGLE[name].tuberculosis for name in ("one_channel", "white_rectangle")}
    assert counted == pytest.approx({"one_channel": 308 / 700, "white_rectangle": 241 / 700}, abs=0.01)
    assert sum(KAGGLE[name].tuberculosis for name in edits.TINTS) == pytest.approx(368 / 700, abs=0.01)


def test_in_clean_no_artefact_differs_between_the_classes():
    assert CLEAN.keys() == KAGGLE.keys()
    for name, share in CLEAN.items():
        assert share.normal == share.tuberculosis
        assert share.normal == pytest.approx((KAGGLE[name].normal + KAGGLE[name].tuberculosis) / 2)


@pytest.mark.parametrize("table", PRESETS.values(), ids=PRESETS)
def test_of_a_group_a_film_carries_at_most_one(table):
    groups = presets.COLOURS, presets.MARKERS, tuple(presets.BORDERS)
    assert sorted(KAGGLE) == sorted([name for group in groups for name in group] + [*SINGLE, EVEN])
    for group in groups:
        for index in range(2):
            assert sum(table[name][index] for name in group) <= 1 + 1e-9


def test_the_presets_are_found_by_name():
    assert presets.read_preset("kaggle") is KAGGLE
    assert presets.read_preset("clean") is CLEAN


HEADER = "artefact,normal,tuberculosis\n"


def test_a_preset_is_read_from_a_csv_file(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(HEADER + "blue,0,0.25\nplate,1,0.5\njpeg,1e-1,1\n")
    expected = NOTHING | {"blue": (0, 0.25), "plate": (1, 0.5), "jpeg": (0.1, 1)}
    assert presets.read_preset(str(path)) == expected
    truths = [phantom_truth("Normal", seed, presets.read_preset(str(path))) for seed in range(20)]
    assert {truth.marker_kind for truth in truths} == {"plate"}
    assert {truth.tint for truth in truths} == {""}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_preset_written_out_and_read_again_is_the_same(tmp_path, encoding):
    path = tmp_path / "kaggle.csv"
    lines = [f"{name},{share.normal},{share.tuberculosis}\r\n" for name, share in reversed(KAGGLE.items())]
    path.write_text(HEADER + "".join(lines), encoding=encoding)
    again = presets.read_preset(str(path))
    assert again == KAGGLE
    assert demos.demo_name(6, 0, again) == demos.demo_name(6, 0, KAGGLE)
    assert phantom_truth("Tuberculosis", 3, again) == phantom_truth("Tuberculosis", 3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HEADER + "purple,0,0.5\n", r"no artefact 'purple'; there are one_channel, .*jpeg, even_light\.$"),
        (HEADER + "blue,0,1.5\n", r"between 0 and 1; those of blue are 0 and 1\.5\.$"),
        (HEADER + "blue,-0.1,0\n", r"between 0 and 1; those of blue are -0\.1 and 0\.$"),
        (HEADER + "blue,nan,0\n", r"between 0 and 1; those of blue are nan"),
        (HEADER + "blue,0,0.6\ncyan,0,0.5\n", r"one_channel, blue, .*; for Tuberculosis they add up to 1\.1\.$"),
        (HEADER + "plain,0.9,0\nplate,0.3,0\n", r"initials, plain, .*; for Normal they add up to 1\.2\.$"),
        (HEADER + "black_border,1,0\nbeige_border,1,0\n", r"black_border, .*; for Normal they add up to 2\.$"),
        ("artefact,normal\nblue,0\n", r"every line needs artefact,normal,tuberculosis .*'blue'"),
        (HEADER + "blue,0.1\n", r"every line needs artefact,normal,tuberculosis .*'blue'"),
        (HEADER + "blue,some,0.1\n", r"with two numbers, not .*'some'"),
        ("artefact;normal;tuberculosis\nblue;0;1\n", r"every line needs artefact,normal,tuberculosis .*'blue;0;1'"),
        (HEADER, "names no artefact"),
        ("", "names no artefact"),
    ],
)
def test_a_wrong_preset_is_refused_in_a_sentence_that_names_the_file_and_the_value(tmp_path, text, sentence):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(presets.DemoError, match=sentence) as refusal:
        presets.read_preset(str(path))
    assert str(path) in str(refusal.value)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize("content", [None, b"\x89PNG\r\n\x1a\n\xff\xfe", b"x" * 200_000])
def test_what_is_no_preset_is_named_with_those_there_are(tmp_path, content):
    path = tmp_path / "nowhere.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        presets.DemoError, match=r"no preset '.*nowhere\.csv': give kaggle, clean, planted or a CSV file"
    ):
        presets.read_preset(str(path))


def test_a_group_that_adds_up_to_one_is_not_refused(tmp_path):
    path = tmp_path / "mine.csv"
    assert 0.2 + 0.4 + 0.3 + 0.1 > 1  # in floating point
    path.write_text(HEADER + "one_channel,0.2,0\nblue,0.4,0\ncyan,0.3,1\ngreen,0.1,0\n")
    table = presets.read_preset(str(path))
    assert {phantom_truth("Tuberculosis", seed, table).tint for seed in range(20)} == {"cyan"}


# --- the truth -----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", PRESETS.values(), ids=PRESETS)
@pytest.mark.parametrize("label", CLASSES)
def test_the_truth_can_be_had_without_the_film(label, table):
    for seed in (5, 2**62):
        film, truth = phantom_film(label, seed, table), phantom_truth(label, seed, table)
        assert truth.signs == ""
        chest = radiograph(seed, truth.severity)
        assert film.truth == replace(truth, signs="; ".join(chest.signs))
        assert np.array_equal(film.lungs, chest.lungs)
        assert np.array_equal(film.lesions, chest.lesions)
        assert film.lesions.any() == (label == "Tuberculosis")


def kinds(truth: Truth) -> set[str]:
    """The rows of a preset that a film carries."""
    return {
        *(["one_channel"] if truth.one_channel else []),
        *([truth.tint] if truth.tint else []),
        *([truth.marker_kind] if truth.marker_kind else []),
        *([truth.border_colour] if truth.border is not None and any(truth.border) else []),
        *(name for name in SINGLE if getattr(truth, name)),
    }


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.parametrize("name", PRESETS)
def test_every_artefact_is_as_frequent_as_the_table_says(name, label):
    table, index = PRESETS[name], CLASSES.index(label)
    counts = Counter(kind for seed in range(DRAWS) for kind in kinds(phantom_truth(label, seed, table)))
    assert counts.keys() <= table.keys()
    for artefact, share in table.items():
        if artefact == EVEN:
            continue
        low, high = binom.interval(0.9999, DRAWS, share[index]) if 0 < share[index] < 1 else [DRAWS * share[index]] * 2
        assert low <= counts[artefact] <= high, artefact


@pytest.mark.parametrize("artefact", [name for name in KAGGLE if name != EVEN])
def test_an_artefact_that_all_films_carry_is_the_only_one(artefact):
    for label in CLASSES:
        for seed in range(15):
            assert kinds(phantom_truth(label, seed, preset(**{artefact: 1}))) == {artefact}
            assert kinds(phantom_truth(label, seed, NOTHING)) == set()


def test_artefacts_of_different_kinds_are_independent():
    """With half of all films each, two artefacts meet on a quarter."""
    halves = preset(one_channel=0.5, plain=0.5, black_border=0.5, **dict.fromkeys(SINGLE, 0.5))
    names = [name for name, share in halves.items() if share.normal]
    carried = [kinds(phantom_truth("Normal", seed, halves)) for seed in range(DRAWS)]
    low, high = binom.interval(0.9999, DRAWS, 0.25)
    for one in names:
        for other in names[: names.index(one)]:
            assert low <= sum({one, other} <= film for film in carried) <= high, (one, other)


def test_only_tuberculosis_has_a_severity_and_most_of_it_is_plain():
    assert {phantom_truth("Normal", seed).severity for seed in range(20)} == {0}
    severities = [phantom_truth("Tuberculosis", seed).severity for seed in range(DRAWS)]
    assert phantom.LEAST_SEVERE <= min(severities) < 0.2
    assert 0.9 < max(severities) <= 1
    low, high = binom.interval(0.9999, DRAWS, 0.51)
    assert low <= sum(severity > 0.75 for severity in severities) <= high


def test_uneven_light_falls_on_some_tinted_films_alone():
    lit = [phantom_truth("Tuberculosis", seed) for seed in range(100)]
    assert {truth.unevenness for truth in lit if truth.tint not in edits.TINTS} == {0}
    strengths = [truth.unevenness for truth in lit if truth.tint in edits.TINTS]
    assert 0 in strengths
    assert all(strength == 0 or 0.1 <= strength <= 0.6 for strength in strengths)
    assert max(strengths) > 0.4


def test_with_even_light_a_film_is_the_same_but_for_the_dark_corners():
    tinted = preset(cyan=1, plain=0.5, black_border=0.5, jpeg=0.5)
    for seed in range(30):
        free, even = (phantom_truth("Normal", seed, tinted | {EVEN: Prevalence(share, 0)}) for share in (0, 1))
        assert even == replace(free, unevenness=0.0)


@pytest.mark.parametrize("kind", presets.MARKERS)
def test_a_marker_is_drawn_from_its_kind_and_lies_clear_of_every_block(kind):
    table = preset(**{kind: 1, "white_rectangle": 1, "black_box": 1})
    source, letters = phantom.MARKER_KINDS[kind], set()
    for seed in range(150):
        truth = phantom_truth("Normal", seed, table)
        box = truth.marker_box
        letters.add(truth.marker)
        assert truth.marker_style in source.styles
        assert source.size[0] <= truth.marker_size < source.size[1]
        assert source.strength[0] <= truth.marker_strength <= source.strength[1]
        assert len(truth.marker_word) in (0, source.initials)
        assert Box(0, 0, SIDE, SIDE).holds(box)
        for block in (truth.white_rectangle, truth.black_box):
            assert Box(0, 0, SIDE, SIDE).holds(block)
            assert apart(box, block), seed
        if truth.marker in ("R", "П"):
            assert box.right < SIDE / 2  # the patient's right is on the viewer's left
        elif len(truth.marker) == 1:
            assert box.left > SIDE / 2
    assert letters == set(source.letters)


# --- what the film shows -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", presets.MARKERS)
def test_on_an_empty_film_the_boxes_hold_all_that_is_carried(kind):
    """Grey 100 everywhere: whatever differs is an artefact, and fills the box that the truth gives for it."""
    table = preset(**{kind: 0.8, "white_rectangle": 0.6, "black_box": 0.6, "one_channel": 0.5})
    seen = Counter()
    for seed in range(16):
        truth = phantom_truth("Normal", seed, table)
        pixels, differs = phantom.carried(flat(), truth), changed(truth)
        for name, level in (("white_rectangle", 255), ("black_box", 0)):
            box = getattr(truth, name)
            if box is not None:
                seen[name] += 1
                assert (inside(pixels, box) == level).all()
                inside(differs, box)[:] = False
        if truth.marker_box is not None:
            seen["marker"] += 1
            found, box = tight_box(differs), truth.marker_box
            assert box.holds(found)
            assert np.abs(np.subtract(found, box)).max() <= 1  # the ink's faintest edge changes no level
            inside(differs, truth.marker_box)[:] = False
        assert not differs.any()
    assert len(seen) == 3


@pytest.mark.parametrize("colour", presets.BORDERS)
@pytest.mark.parametrize("tilt", [0, 1])
def test_on_an_empty_film_a_border_reaches_as_far_as_its_widths_and_its_tilt(colour, tilt):
    for seed in range(12):
        truth = phantom_truth("Normal", seed, preset(**{colour: 1, "tilt": tilt}))
        assert truth.border_colour == colour
        assert 4 <= max(truth.border) <= 20
        assert all(width == 0 or 4 <= width <= 20 for width in truth.border)
        assert 0.8 <= abs(truth.tilt) <= 4 if tilt else truth.tilt == 0
        differs = changed(truth)
        reach = int(np.ceil(np.tan(np.radians(abs(truth.tilt))) * SIDE / 2 + 1)) if tilt else 0
        top, right, bottom, left = (width + reach for width in truth.border)
        film = np.s_[top : SIDE - bottom, left : SIDE - right]
        assert not differs[film].any()
        differs[film] = True
        assert differs.all() == (not tilt)
        pixels, middle = phantom.carried(flat(), truth), SIDE // 2
        sides = pixels[0, middle], pixels[middle, -1], pixels[-1, middle], pixels[middle, 0]
        luma = 255 * np.dot(presets.BORDERS[colour], (0.299, 0.587, 0.114))  # the film is grey, and its border too
        for side, width in zip(sides, truth.border, strict=True):
            assert not width or side == pytest.approx(luma, abs=1)


def test_a_tilt_alone_turns_the_film_in_a_black_or_white_picture():
    colours = set()
    for seed in range(20):
        truth = phantom_truth("Normal", seed, preset(tilt=1))
        colours.add(truth.border_colour)
        assert truth.border == Widths(0, 0, 0, 0)
        differs = changed(truth)
        wedge = np.tan(np.radians(abs(truth.tilt))) / 2
        assert differs.mean() == pytest.approx(wedge, rel=0.1)
        assert (differs[:20, 60].sum() > differs[:20, -60].sum()) == (truth.tilt > 0)
    assert colours == {"black_border", "white_border"}


def test_markers_and_borders_together_change_nothing_else():
    table = preset(initials=1, black_border=0.5, tilt=0.5, white_rectangle=0.5, black_box=0.5)
    for seed in range(20):
        truth = phantom_truth("Tuberculosis", seed, table)
        differs = changed(truth)
        for box in (truth.marker_box, truth.white_rectangle, truth.black_box):
            if box is not None:
                inside(differs, box)[:] = False
        bare = replace(truth, marker_box=None, white_rectangle=None, black_box=None)
        assert not (differs & ~changed(bare)).any()
        assert truth.border is not None or not changed(bare).any()


def test_blocks_stay_black_and_white_whatever_else_the_film_carries():
    all_else = {"equalised": 1, "blur": 1, "jpeg": 1, "plain": 1, "tilt": 1, "beige_border": 1}
    grey = radiograph(0, 0).grey
    for seed, colour in enumerate([*edits.TINTS, "neutral", "one_channel"]):
        truth = phantom_truth("Normal", seed, preset(**all_else, **{colour: 1, "white_rectangle": 1, "black_box": 1}))
        pixels = phantom.carried(grey, truth)
        assert (inside(pixels, truth.white_rectangle) == 255).all()
        assert (inside(pixels, truth.black_box) == 0).all()


def test_a_film_that_carries_nothing_is_the_bare_chest():
    for label in CLASSES:
        truth = phantom_truth(label, 11, NOTHING)
        film = phantom_film(label, 11, NOTHING)
        bare = radiograph(11, truth.severity).grey
        assert np.array_equal(film.pixels, np.repeat(bare[:, :, None], 3, axis=2))
        grey = phantom_film(label, 11, preset(one_channel=1))
        assert np.array_equal(grey.pixels, bare)


@pytest.mark.parametrize("artefact", ["equalised", "blur", "jpeg"])
def test_an_export_changes_the_film_but_not_its_marker(artefact):
    grey = radiograph(3, 0).grey
    changes = []
    for seed in range(6):
        truth = phantom_truth("Normal", seed, preset(**{artefact: 1, "plate": 1}))
        without = replace(truth, **{artefact: type(getattr(truth, artefact))(0)})
        film, bare = (phantom.carried(grey, one)[:, :, 0].astype(int) for one in (truth, without))
        changes.append(np.abs(film - bare).mean())
        marker = inside(np.abs(film - bare), truth.marker_box)
        assert np.percentile(marker, 50) <= np.ceil(255 * (1 - truth.marker_strength))
    assert min(changes) > 0.05
    assert len(set(changes)) == 6  # each film by its own strength


def test_the_numbers_of_an_export_lie_where_they_should():
    truths = [phantom_truth("Normal", seed, preset(equalised=1, blur=1, jpeg=1)) for seed in range(100)]
    for name, low, high in (("equalised", 0.5, 1), ("blur", 0.6, 1.8), ("jpeg", 15, 70)):
        values = [getattr(truth, name) for truth in truths]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high >= max(values) > high - 0.1 * (high - low)
    assert all(isinstance(truth.jpeg, int) for truth in truths)


def test_equalised_films_have_a_middle_mean():
    for seed in range(4):
        film = phantom_film("Normal", seed, preset(equalised=1))
        assert 100 < film.pixels.mean() < 150
        whole = phantom.carried(radiograph(seed, 0).grey, replace(film.truth, equalised=1.0))
        assert 120 < whole.mean() < 135


# --- the database --------------------------------------------------------------------------------


def test_the_same_films_seed_and_preset_give_the_same_bytes(tmp_path, request):
    def written(name, **given):
        return demos.write_demo(tmp_path / f"{name}.zip", 3, **given).read_bytes()

    first = written("first", seed=3)
    request.getfixturevalue("one_process")
    again, seed, table = (
        written(name, **given)
        for name, given in (("again", {"seed": 3}), ("seed", {"seed": 4}), ("table", {"seed": 3, "table": CLEAN}))
    )
    assert first == again
    assert len({first, seed, table}) == 3


def test_the_zip_holds_each_film_and_its_masks_at_its_balance(archive):
    names = [f"Normal-{n}.png" for n in range(1, FILMS - TUBERCULOSIS + 1)]
    names += [f"Tuberculosis-{n}.png" for n in range(1, TUBERCULOSIS + 1)]
    films = {f"demo/{name.split('-')[0]}/{name}" for name in names}
    masks = {f"demo/{kind}/{name}" for kind in ("lungs", "lesions") for name in names}
    assert sorted(archive.namelist()) == sorted(films | masks | {"demo/truth.csv", "demo/SYNTHETIC.json"})
    assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("films", "tuberculosis"), [(2, 1), (12, 4)])
def test_small_demos_hold_both_classes_and_no_duplicates(tmp_path, films, tuberculosis):
    with zipfile.ZipFile(demos.write_demo(tmp_path / "demo.zip", films)) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("demo/truth.csv").decode())))
    assert [row["label"] for row in rows].count("Tuberculosis") == tuberculosis
    assert len(rows) == films
    assert not any(row["duplicate_of"] for row in rows)


@pytest.mark.usefixtures("one_process")
def test_a_demo_carries_what_its_preset_says(tmp_path):
    table = preset(blue=Prevalence(0, 1), white_rectangle=Prevalence(1, 0))
    with zipfile.ZipFile(demos.write_demo(tmp_path / "demo.zip", 6, 0, table)) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("demo/truth.csv").decode())))
    for row in rows:
        assert (row["tint"], bool(row["white_rectangle"])) == (
            ("blue", False) if row["label"] == "Tuberculosis" else ("", True)
        )


@pytest.mark.parametrize("films", [1, 0, -3])
def test_a_demo_of_too_few_films_is_refused(tmp_path, films):
    with pytest.raises(presets.DemoError, match=rf"demo of {films} films cannot hold both classes.* 2 or more\."):
        demos.write_demo(tmp_path / "demo.zip", films)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(presets.DemoError, match=r"could not be written to .*demo\.zip \(.+\)\."):
        demos.write_demo(tmp_path / "file" / "demo.zip", 6)


def test_the_truth_has_a_column_for_all_a_film_carries(rows):
    columns = ["file", *(field.name for field in fields(Truth)), "duplicate_of"]
    assert {tuple(row) for row in rows} == {tuple(columns)}
    assert {"marker_box", "white_rectangle", "black_box", "border", "tilt", "unevenness", "signs"} < set(columns)
    assert [row["file"] for row in rows[:2]] == ["Normal/Normal-1.png", "Normal/Normal-2.png"]
    assert all(row["file"].startswith(row["label"] + "/") for row in rows)


def test_a_line_of_the_truth_is_enough_to_draw_the_film_again(archive, rows, films):
    again = 0
    for row, (film, truth) in zip(rows, films, strict=True):
        if row["duplicate_of"] or int(row["file"].split("-")[1][:-4]) % 5 != 1:
            continue
        drawn = phantom_film(row["label"], int(row["seed"]))
        assert drawn.truth == truth
        assert np.array_equal(film.pixels, drawn.pixels)
        chest = radiograph(truth.seed, truth.severity)
        assert np.array_equal(film.pixels, phantom.carried(chest.grey, truth))
        mode, pixels = png_pixels(archive.read(f"demo/{row['file']}"))
        assert mode == ("L" if truth.one_channel else "RGB")
        assert np.array_equal(pixels, drawn.pixels)
        for kind, mask in (("lungs", drawn.lungs), ("lesions", drawn.lesions)):
            mode, pixels = png_pixels(archive.read(f"demo/{kind}/{Path(row['file']).name}"))
            assert mode == "1"
            assert np.array_equal(pixels, mask)
        again += 1
    assert again == 11


def test_every_seed_of_the_demo_is_another(rows):
    seeds = [row["seed"] for row in rows if not row["duplicate_of"]]
    assert len(set(seeds)) == len(seeds)


def test_a_film_does_not_depend_on_how_many_there_are():
    short, long = ({(entry.label, entry.number): entry.seed for entry in demos._plan(films, 3)} for films in (60, 600))
    assert short.items() <= long.items()
    other = {entry.seed for entry in demos._plan(60, 4)}
    assert not other & set(short.values())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 2**32))
def test_the_projects_own_png_files_decode_to_the_same_pixels(height, width, colour, seed):
    shape = (height, width, 3) if colour else (height, width)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    mode, again = png_pixels(demos._png(pixels))
    assert mode == ("RGB" if colour else "L")
    assert np.array_equal(again, pixels)


def test_mode_and_colour_are_as_the_truth_says(films):
    for film, truth in films:
        assert film.pixels.shape[:2] == (SIDE, SIDE)
        assert film.mode == ("L" if truth.one_channel else "RGB")
        if film.mode == "RGB":
            red, _, blue = np.moveaxis(film.pixels.astype(int), 2, 0)
            grey = bool((film.pixels == film.pixels[:, :, :1]).all())
            assert grey == (truth.tint == "")
            assert truth.tint or truth.label == "Normal"
            assert (np.abs(red - blue).mean() > 4) == (truth.tint in edits.TINTS)


def test_the_white_rectangle_is_where_the_truth_says_and_nowhere_else(films):
    with_block = [truth for _, truth in films if truth.white_rectangle]
    assert 0 < len(with_block) < TUBERCULOSIS
    for film, truth in films:
        if truth.border is not None and truth.border_colour == "white_border":
            continue  # as white, and long
        found = (minimum_filter(film.grey, size=(12, 30), mode="constant", cval=0) == 255).any()
        assert found == (truth.white_rectangle is not None)
        if truth.white_rectangle:
            assert (inside(film.pixels, truth.white_rectangle) == 255).all()


def test_lungs_are_seen_on_every_film_and_lesions_on_those_with_tuberculosis(archive, rows):
    for row in rows:
        name = Path(row["file"]).name
        _, lungs = png_pixels(archive.read(f"demo/lungs/{name}"))
        _, lesions = png_pixels(archive.read(f"demo/lesions/{name}"))
        assert lungs.shape == lesions.shape == (SIDE, SIDE)
        assert 0.1 < lungs.mean() < 0.5
        assert lesions.any() == (row["label"] == "Tuberculosis")


def test_one_exact_and_two_near_duplicates(archive, rows):
    pairs = [row for row in rows if row["duplicate_of"]]
    assert [(row["file"], row["duplicate_of"]) for row in pairs] == [
        (f"Tuberculosis/Tuberculosis-{duplicate}.png", f"Tuberculosis/Tuberculosis-{first}.png")
        for duplicate, first in ((2, 1), (4, 3), (6, 5))
    ]
    lines = {row["file"]: row for row in rows}
    identical, alike = [], []
    for row in pairs:
        first = lines[row["duplicate_of"]]
        assert truth_of(row) == truth_of(first)
        one, other = (archive.read(f"demo/{line['file']}") for line in (row, first))
        masks = [archive.read(f"demo/lesions/{Path(line['file']).name}") for line in (row, first)]
        assert masks[0] == masks[1]
        if one == other:
            identical.append(row["file"])
            continue
        greys = [open_film(content, "duplicate").grey.astype(float) for content in (one, other)]
        assert np.corrcoef(greys[0].ravel(), greys[1].ravel())[0, 1] >= 0.99
        alike.append(row["file"])
    assert (len(identical), len(alike)) == (1, 2)
    films = [archive.read(f"demo/{row['file']}") for row in rows]
    assert len(set(films)) == FILMS - 1


def test_a_film_exported_again_is_a_little_brighter():
    grey = radiograph(2, 0.5).grey
    again = phantom._exported_again(grey).astype(int)
    assert 2 < (again - grey).mean() < 8
    assert np.abs(again - grey).max() < 40
    assert np.corrcoef(again.ravel(), grey.ravel())[0, 1] > 0.998


# --- whether a demo is current -------------------------------------------------------------------


def test_the_provenance_says_synthetic_and_whether_the_demo_is_current(demo, archive):
    provenance = json.loads(archive.read("demo/SYNTHETIC.json"))
    assert provenance["synthetic"] is True
    assert (provenance["films"], provenance["seed"], provenance["made_by"]) == (FILMS, 1, "tblib.phantoms")
    assert demos.demo_is_current(demo, FILMS, 1)
    assert not demos.demo_is_current(demo, FILMS + 1, 1)
    assert not demos.demo_is_current(demo, FILMS, 2)
    assert not demos.demo_is_current(demo, FILMS, 1, CLEAN)


def test_another_demo_has_another_name():
    name = demos.demo_name(60, 1)
    assert name.startswith("demo-60-1-")
    assert name.endswith(".zip")
    one_more = KAGGLE | {"jpeg": Prevalence(0.10, 0.41)}
    others = [(61, 1, KAGGLE), (60, 2, KAGGLE), (60, 1, CLEAN), (60, 1, one_more)]
    assert len({name, *(demos.demo_name(*other) for other in others)}) == 5
    assert demos.demo_name(60, 1, dict(reversed(KAGGLE.items()))) == name


def test_other_code_gives_another_name_and_an_outdated_demo(monkeypatch, demo):
    before = demos.demo_name(FILMS, 1)
    monkeypatch.setattr(demos, "code_digest", lambda name: "edited")
    assert demos.demo_name(FILMS, 1) != before
    assert not demos.demo_is_current(demo, FILMS, 1)


def test_a_demo_depends_on_the_code_of_chest_edits_and_boxes():
    modules = {module for module, _ in reached([place("tblib.phantoms.demo.write_demo")])}
    assert {"phantoms.anatomy", "phantoms.phantom", "films.edits", "films.boxes"} <= modules


def test_a_damaged_demo_or_a_foreign_zip_is_not_current(tmp_path, archive):
    missing, cut, foreign, outdated, garbled = (
        tmp_path / name for name in ("missing", "cut", "foreign", "outdated", "garbled")
    )
    cut.write_bytes(Path(archive.filename).read_bytes()[:5000])
    provenance = json.loads(archive.read("demo/SYNTHETIC.json")) | {"digest": "0" * 64}
    for path, name, text in (
        (foreign, "readme.txt", "films"),
        (outdated, "demo/SYNTHETIC.json", json.dumps(provenance)),
        (garbled, "demo/SYNTHETIC.json", "{"),
    ):
        with zipfile.ZipFile(path, "w") as written:
            written.writestr(name, text)
    assert not any(demos.demo_is_current(path, FILMS, 1) for path in (missing, cut, foreign, outdated, garbled))


@pytest.mark.filterwarnings("ignore:.*have been cancelled")  # joblib, of the films that nobody will collect
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_midway_leaves_no_part_and_what_was_there(tmp_path, monkeypatch, request, failure):
    if isinstance(failure, OSError):
        request.getfixturevalue("one_process")
    path = tmp_path / "demo.zip"
    path.write_bytes(b"the demo before")
    write, calls = zipfile.ZipFile.writestr, []

    def fails_at_the_fourth(*arguments, **named):
        calls.append(arguments)
        if len(calls) == 4:
            raise failure
        write(*arguments, **named)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fails_at_the_fourth)
    expected = ShortageError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        demos.write_demo(path, 12)
    assert len(calls) == 4
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"demo.zip": b"the demo before"}
