"""Zip or folder to table; bad databases are refused in a sentence, bad files are listed with their reason."""

import hashlib
import io
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import grey_film, png, write_zip
from dicom_files import dicom
from hypothesis import given
from hypothesis import strategies as st
from odd_files import saved
from PIL import Image
from test_film import bomb

from tblib import catalogue
from tblib.catalogue import _described, build_catalogue, catalogued_database, find_data, save_catalogue
from tblib.eda import sample
from tblib.films import kaggle
from tblib.films.database import DatabaseError, open_database
from tblib.films.depth import shared_depth
from tblib.phantoms import lungs
from tblib.run import Run, usable
from tblib.system.files import write_json


def entries(count: int = 3) -> dict[str, bytes]:
    """Grey RGB films of class Normal and one-channel films of class Tuberculosis."""
    normal = {f"x/Normal/Normal-{i}.png": png(np.repeat(grey_film(i)[..., None], 3, 2)) for i in range(count)}
    return normal | {f"x/Tuberculosis/Tuberculosis-{i}.png": png(grey_film(50 + i)) for i in range(count)}


def table_of(path) -> pd.DataFrame:
    return build_catalogue(open_database(path)).table


def test_zip_and_folder_give_the_same_table_whatever_the_order(tmp_path):
    films = entries()
    forward = write_zip(tmp_path / "a.zip", films)
    backward = write_zip(tmp_path / "b.zip", dict(reversed(films.items())))
    folder = tmp_path / "folder"
    for name, content in films.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    tables = [table_of(path) for path in (forward, backward, folder)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])
    assert tables[0]["file"].tolist() == sorted(films)
    digests = {build_catalogue(open_database(path)).summary["digest"] for path in (forward, folder)}
    assert len(digests) == 1


def test_rows_tell_the_facts_of_the_files(tmp_path):
    films = entries()
    table = table_of(write_zip(tmp_path / "a.zip", films)).set_index("file")
    row = table.loc["x/Tuberculosis/Tuberculosis-1.png"]
    assert (row["label"], row["mode"], row["width"], row["height"]) == ("Tuberculosis", "L", 64, 64)
    assert row["bytes"] == len(films["x/Tuberculosis/Tuberculosis-1.png"])
    assert row["one_channel"]
    assert not table.loc["x/Normal/Normal-0.png", "one_channel"]
    assert table.loc["x/Normal/Normal-0.png", "equal_channels"]
    assert table["sha256"].str.fullmatch("[0-9a-f]{64}").all()


def test_same_pixels_in_another_file_have_the_same_pixel_digest_and_duplicate_group(tmp_path):
    films = entries() | {"x/Normal/copy.png": png(np.repeat(grey_film(1)[..., None], 3, 2), compress_level=1)}
    table = table_of(write_zip(tmp_path / "a.zip", films)).set_index("file")
    copy, original = table.loc["x/Normal/copy.png"], table.loc["x/Normal/Normal-1.png"]
    assert copy["sha256"] != original["sha256"]
    assert copy["pixels_sha256"] == original["pixels_sha256"]
    assert copy["duplicate_group"] == original["duplicate_group"]
    assert table["duplicate_group"].nunique() == len(films) - 1


def test_unusable_files_are_listed_with_their_reason_and_left_out(tmp_path):
    bad = {
        "x/Normal/empty.png": b"",
        "x/Normal/text.png": b"this is text",
        "x/Tuberculosis/cut.png": png(grey_film(9))[:300],
        "x/Tuberculosis/bomb.png": bomb(20_000),
    }
    catalogue = build_catalogue(open_database(write_zip(tmp_path / "a.zip", entries() | bad)))
    left_out = {item["file"]: item["problem"] for item in catalogue.summary["left_out"]}
    assert set(left_out) == set(bad)
    assert "empty" in left_out["x/Normal/empty.png"]
    assert "not a picture" in left_out["x/Normal/text.png"]
    assert "damaged" in left_out["x/Tuberculosis/cut.png"]
    assert "decompression" in left_out["x/Tuberculosis/bomb.png"]
    assert len(catalogue.table) == 10
    assert len(usable(catalogue.table)) == 6
    assert catalogue.summary["films"] == {"Normal": 3, "Tuberculosis": 3}


def test_an_entry_damaged_inside_the_zip_is_listed(tmp_path):
    path = write_zip(tmp_path / "a.zip", entries())
    content = bytearray(path.read_bytes())
    at = content.find(b"Normal-1.png") + 200  # inside the stored PNG: its checksum no longer fits
    content[at] ^= 255
    path.write_bytes(content)
    left_out = build_catalogue(open_database(path)).summary["left_out"]
    assert [item["file"] for item in left_out] == ["x/Normal/Normal-1.png"]
    assert "download the database again" in left_out[0]["problem"]


def test_names_with_spaces_and_other_scripts_are_kept(tmp_path):
    names = [
        "ä ö/Normal/Снимок 1.png",
        "ä ö/Normal/胸 片.png",
        "ä ö/Tuberculosis/<img src=x>.png",
        "ä ö/Tuberculosis/b $.png",
    ]
    films = {name: png(grey_film(i)) for i, name in enumerate(names)}
    database = open_database(write_zip(tmp_path / "ü ñ.zip", films))
    table = build_catalogue(database).table
    assert table["file"].tolist() == sorted(names)
    assert (table["problem"] == "").all()


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda content: b"no zip", "not a zip file, or a truncated one"),
    (lambda content: content[: len(content) // 2], "truncated"),
    (lambda content: b"", "not a zip file"),
])  # fmt: skip
def test_files_that_are_no_whole_zip_are_refused(tmp_path, change, sentence):
    path = write_zip(tmp_path / "a.zip", entries())
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DatabaseError, match=sentence):
        open_database(path)


def test_a_zip_cut_off_behind_an_xlsx_is_not_taken_for_that_xlsx(tmp_path):
    sheet = io.BytesIO()
    pd.DataFrame({"FILE NAME": ["NORMAL-1"], "URL": ["https://example.org/a"]}).to_excel(sheet, index=False)
    path = write_zip(tmp_path / "a.zip", {"x/a.metadata.xlsx": sheet.getvalue()} | entries())
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"Normal-0.png")])
    assert zipfile.is_zipfile(path)
    with pytest.raises(DatabaseError, match="truncated"):
        open_database(path)


@pytest.mark.parametrize("name", ["../../Normal/evil.png", "x/../../Normal/evil.png", "..\\Normal\\evil.png"])
def test_entries_that_climb_out_of_the_zip_are_refused(tmp_path, name):
    with pytest.raises(DatabaseError, match="leads out"):
        open_database(write_zip(tmp_path / "a.zip", entries() | {name: png(grey_film(1))}))


def test_one_class_only_is_refused_with_the_folders_there_are(tmp_path):
    films = {name: content for name, content in entries().items() if "Normal" in name}
    with pytest.raises(DatabaseError, match=r"no image in a folder called Tuberculosis.*Normal") as error:
        open_database(write_zip(tmp_path / "a.zip", films))
    assert "-p negative" in str(error.value)


def test_a_class_folder_without_images_is_refused(tmp_path):
    films = {name: content for name, content in entries().items() if "Normal" in name}
    with pytest.raises(DatabaseError, match="no image in a folder called Tuberculosis"):
        open_database(write_zip(tmp_path / "a.zip", films | {"x/Tuberculosis/notes.txt": b"none"}))


def test_a_class_of_which_no_image_decodes_is_refused(tmp_path):
    films = {name: (b"text" if "Tuberculosis" in name else content) for name, content in entries().items()}
    with pytest.raises(DatabaseError, match="No image of class Tuberculosis can be used"):
        table_of(write_zip(tmp_path / "a.zip", films))


def test_a_missing_path_and_a_folder_that_only_holds_a_zip_are_refused(tmp_path):
    with pytest.raises(DatabaseError, match="There is no database at"):
        open_database(tmp_path / "nowhere.zip")
    write_zip(tmp_path / "inner.zip", entries())
    with pytest.raises(DatabaseError, match=r"does hold inner\.zip"):
        open_database(tmp_path)


def test_class_folders_may_have_other_names_at_any_depth(tmp_path):
    films = {
        "a/b/healthy/c/1.png": png(grey_film(1)),
        "tb/2.png": png(grey_film(2)),
        "__MACOSX/tb/._2.png": b"side file",
    }
    database = open_database(write_zip(tmp_path / "a.zip", films), "healthy", "tb")
    assert database.labels == {"a/b/healthy/c/1.png": "healthy", "tb/2.png": "tb"}


def labelled(tmp_path, files, *classes) -> dict[str, str]:
    """File -> class of a zip of such files, whose pixels nobody looks at."""
    return open_database(write_zip(tmp_path / "db.zip", dict.fromkeys(files, b"")), *classes).labels


@pytest.mark.parametrize(("negative", "positive"), [
    ("normal", "tb"), ("NORMAL", "TUBERCULOSIS"), ("Healthy", "Positive"), ("Non TB", "TB_positive"), ("no-TB", "tb"),
    ("TB negative", "TB Positive"), ("Controls", "Tuberculosis"), ("not_tb", "TB"), ("NonTB", "tb"), ("0", "1"),
    ("train/0", "train/1"), ("images/Normals", "images/TB"), ("Normal ", "Tuberculosis"),
])  # fmt: skip
def test_folders_name_classes_in_any_case_and_by_their_usual_names(tmp_path, negative, positive):
    """Their films end in _0 and _1, as two views of each patient do."""
    files = {f"db/{folder}/pat{i}_{view}.png": label for folder, label, patients in (
        (negative, "Normal", range(3)), (positive, "Tuberculosis", range(3, 6))
    ) for i in patients for view in (0, 1)}  # fmt: skip
    assert labelled(tmp_path, files) == files


def test_names_that_were_given_count_in_any_case_and_keep_their_class_from_other_names(tmp_path):
    files = ["CLEAR/a.png", "Normal/b.png", "tb/c.png", "Tuberculosis/d.png"]
    assert labelled(tmp_path, files, "clear", "TB") == {"CLEAR/a.png": "clear", "tb/c.png": "TB"}
    found = labelled(tmp_path, files, "clear")  # the other class was left at its usual names
    assert found == {"CLEAR/a.png": "clear", "tb/c.png": "Tuberculosis", "Tuberculosis/d.png": "Tuberculosis"}
    assert labelled(tmp_path, ["healthy/a.png", "normal/b.png"], "Normal", "Healthy") == {
        "healthy/a.png": "Healthy",
        "normal/b.png": "Normal",
    }
    assert labelled(tmp_path, ["0/a.png", "1/b.png", "2/c.png"], "0", "1") == {"0/a.png": "0", "1/b.png": "1"}


@pytest.mark.parametrize("classes", [("Normal", "normal"), ("non tb", "NON_TB"), ("Normal", "Normal")])
def test_classes_called_alike_are_refused(tmp_path, classes):
    with pytest.raises(DatabaseError, match="Both classes are called"):
        labelled(tmp_path, ["Normal/a.png", "Tuberculosis/b.png"], *classes)


@given(
    st.sampled_from(["normal", "TB", "x", "Healthy", "images"]),
    st.sampled_from(["", "view_0", "film_1", "0", "1", "2024"]),
    st.sampled_from(
        [("Normal", "Normal"), ("tb", "Tuberculosis"), ("CONTROL", "Normal"), ("Positive", "Tuberculosis")]
    ),
)
def test_the_nearest_class_folder_wins_whatever_lies_about_it(tmp_path_factory, above, below, nearest):
    folder, label = nearest
    files = {f"{above}/{folder}/{below}/a_1.png": label, f"{above}/normal/b_1.png": "Normal"}
    files |= {f"{above}/tuberculosis/c_0.png": "Tuberculosis", f"{above}/normal/{below}/d_0.png": "Normal"}
    found = labelled(tmp_path_factory.mktemp("nearest"), {file.replace("//", "/") for file in files})
    assert found == {file.replace("//", "/"): label for file, label in files.items()}


@pytest.mark.parametrize("files", [
    ["train/0/a.png", "train/1/b.png", "test/0/c.png", "test/1/d.png"],
    [f"site{site}/{label}/{i}.png" for site in "AB" for label in (0, 1) for i in range(5)],
    ["0/2023/a.png", "1/2024/b.png"],
    ["0/a.png", "1/b.png", "masks/a.png", "masks/b.png"],
])  # fmt: skip
def test_folders_called_0_and_1_may_be_classes(tmp_path, files):
    films = [file for file in files if "masks" not in file]
    expected = {file: ("Tuberculosis" if "1" in file.split("/")[:-1] else "Normal") for file in films}
    assert labelled(tmp_path, files) == expected


@pytest.mark.parametrize("files", [
    ["0/a.png", "1/b.png", "2/c.png"],  # patients
    [f"{patient}/film.png" for patient in range(12)],
    [f"pat{patient}/{view}/film.png" for patient in range(20) for view in (0, 1)],  # views
    ["0/a.png", "1/b.png", "train/0/c.png", "train/1/d.png"],
    ["train/0/a.png", "test/1/b.png"],
    ["0/a.png", "0/b.png"],
])  # fmt: skip
def test_folders_of_numbered_patients_or_views_are_no_classes(tmp_path, files):
    with pytest.raises(DatabaseError, match=r"-p negative … -p positive …"):
        labelled(tmp_path, files)


def test_numbers_within_folders_that_have_names_are_no_classes(tmp_path):
    files = {"normal/0/a.png": "Normal", "normal/1/b.png": "Normal", "tb/0/c.png": "Tuberculosis"}
    assert labelled(tmp_path, files) == files


def test_names_tell_the_class_where_no_folder_does(tmp_path):
    files = {f"CXR_png/CHNCXR_{i:04}_{i % 2}.png": ("Normal", "Tuberculosis")[i % 2] for i in range(8)}
    masks = [file.replace("CXR_png", "mask").replace(".png", "_mask.png") for file in files]
    masks += [f"ManualMask/{side}Mask/{file.split('/')[1]}" for file in files for side in ("left", "right")]
    assert labelled(tmp_path, [*files, *masks, "CXR_png/readme.png"]) == files
    assert set(labelled(tmp_path, files, "clear", "sick").values()) == {"clear", "sick"}


@pytest.mark.parametrize(("files", "sentence"), [
    (["pat3_0.png", "pat3_1.png", "pat4_0.png", "pat5_1.png"], "numbers of views.*pat3_0.png and .*pat3_1.png"),
    (["a/PAT3_0.png", "b/pat3_1.png"], "numbers of views"),
    (["pat3/view_0.png", "pat3/view_1.png"], "numbers of views"),
    (["a_0.png", "b_1.png", "c_2.png"], "numbers of views.*c_2.png"),
    (["tb/a_0.png", "tb/b_1.png"], "no image in a folder called Normal;.*tb.*a_0.png"),
    (["Tuberculosus/a_0.png", "Normal/b_1.png"], "no image in a folder called Tuberculosis;.*Tuberculosus.*b_1.png"),
    (["db/tb/abnormal/a.png", "db/tb/normal/b.png"], "not clear about db/tb/abnormal/a.png"),
    (["a_0.png", "b_0.png"], "no image in a folder called Normal or Tuberculosis"),
])  # fmt: skip
def test_where_it_is_not_certain_what_tells_the_class_a_sentence_asks(tmp_path, files, sentence):
    with pytest.raises(DatabaseError, match=sentence) as error:
        labelled(tmp_path, files)
    assert "-p negative … -p positive …" in str(error.value)


def test_names_are_no_labels_where_the_classes_were_misspelt(tmp_path):
    with pytest.raises(DatabaseError, match=r"called normals or sick; its folders are: normal, tb"):
        labelled(tmp_path, ["normal/a_0.png", "normal/b_1.png", "tb/c_0.png", "tb/d_1.png"], "normals", "sick")


def test_a_folder_that_holds_both_classes_names_none(tmp_path):
    files = {"TB/train/Normal/a.png": "Normal", "TB/train/tb/b.png": "Tuberculosis"}
    assert labelled(tmp_path, [*files, "TB/logo.png", "TB/unsorted/c.png"]) == files
    files = {"Normal/Tuberculosis/a.png": "Tuberculosis", "Normal/b.png": "Normal"}
    assert labelled(tmp_path, files) == files


@pytest.mark.parametrize("masks", [
    "{}/masks/{}", "{}/Mask/{}", "{}/lung_masks/left/{}", "masks/{}/{}", "{}/lungs/{}", "lungs/{}/{}",
])  # fmt: skip
@pytest.mark.parametrize("films", ["{}/images/{}", "{}/{}"])
@pytest.mark.parametrize("top", ["", "films with masks/"])
def test_masks_are_no_films_and_are_found(tmp_path, top, films, masks):
    """Both classes count their films alike, and a mask is as bright as its film's number says."""
    places = [(label, i) for label in ("Normal", "Tuberculosis") for i in range(3)]
    files = {top + films.format(label, f"{i}.png"): label for label, i in places}
    brought = {
        top + masks.format(label, f"{i}.png"): png(np.full((32, 32), 255 * (place % 2), np.uint8))
        for place, (label, i) in enumerate(places)
    }
    database = open_database(write_zip(tmp_path / "db.zip", dict.fromkeys(files, b"") | brought))
    assert database.labels == files
    assert set(database.others) == set(brought)
    order = [top + films.format(label, f"{i}.png") for label, i in places]
    found = lungs.known_masks(database, order, 32)
    if "left" not in masks:
        assert found.mean(axis=(1, 2)).tolist() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("files", [
    {"Normal/1.png": "Normal", "Tuberculosis/lungs/1.png": "Tuberculosis", "Tuberculosis/spine/2.png": "Tuberculosis"},
    {"lungs/Normal/1.png": "Normal", "lungs/Tuberculosis/1.png": "Tuberculosis"},
    {"TB with masks/Normal/1.png": "Normal", "TB with masks/Tuberculosis/1.png": "Tuberculosis", "logo.png": None},
    {"unmasked/Normal/1.png": "Normal", "masked/Tuberculosis/1.png": "Tuberculosis"},
])  # fmt: skip
def test_folders_that_only_sound_like_masks_hold_films(tmp_path, files):
    assert labelled(tmp_path, files) == {file: label for file, label in files.items() if label}


def test_the_films_that_are_at_hand_keep_their_labels(films, demo):
    counts = {"TB_database.zip": [680, 258], "montgomery.zip": [80, 58], "shenzhen_half.zip": [137, 146]}
    for file, expected in counts.items():
        if (films / file).exists():
            labels = list(open_database(films / file).labels.values())
            assert [labels.count("Normal"), labels.count("Tuberculosis")] == expected
    assert all(f"/{label}/" in file for file, label in open_database(demo).labels.items())


def test_claimed_sources_come_from_the_xlsx_and_an_unreadable_one_is_noted(tmp_path):
    sheet = io.BytesIO()
    pd.DataFrame({"FILE NAME": ["NORMAL-1"], "URL": ["https://example.org/a"]}).to_excel(sheet, index=False)
    extra = {"x/Normal.metadata.xlsx": sheet.getvalue(), "x/Tuberculosis.metadata.xlsx": b"broken"}
    catalogue = build_catalogue(open_database(write_zip(tmp_path / "a.zip", entries() | extra)))
    claimed = catalogue.table.set_index("file")["claimed_source"]
    assert claimed["x/Normal/Normal-1.png"] == "https://example.org/a"
    assert (claimed.drop("x/Normal/Normal-1.png") == "").all()
    assert "Tuberculosis.metadata.xlsx" in catalogue.summary["notes"][0]


def test_a_catalogue_finds_its_database_again_or_says_that_it_moved(tmp_path):
    path = write_zip(tmp_path / "a.zip", entries())
    run = Run(tmp_path)
    save_catalogue(run, build_catalogue(open_database(path)))
    assert not run.synthetic
    assert catalogued_database(run).labels == open_database(path).labels
    path.unlink()
    with pytest.raises(DatabaseError, match="no longer at"):
        catalogued_database(run)


def test_the_demo_says_that_it_is_synthetic(demo):
    assert build_catalogue(open_database(demo)).summary["synthetic"] is True


@pytest.mark.parametrize(
    ("mounted", "found"),
    [
        ("tuberculosis-tb-chest-xray-dataset/TB_Chest_Radiography_Database", "tuberculosis-tb-chest-xray-dataset"),
        (
            "datasets/someone/tuberculosis-tb-chest-xray-dataset/TB_Chest_Radiography_Database",
            "datasets/someone/tuberculosis-tb-chest-xray-dataset",
        ),
        ("datasets/me/my-copy/TB_Chest_Radiography_Database", "datasets/me/my-copy/TB_Chest_Radiography_Database"),
        ("films/TB_Chest_Radiography_Database", "films/TB_Chest_Radiography_Database"),
    ],
)
def test_kaggle_is_taken_from_a_notebooks_inputs_on_kaggle(mounted, found, tmp_path, monkeypatch):
    monkeypatch.setattr(kaggle, "KAGGLE_INPUT", tmp_path)
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    (tmp_path / "a-competition" / "Normal").mkdir(parents=True)
    for name, content in entries().items():
        path = tmp_path / mounted / name.removeprefix("x/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    database = open_database(find_data("kaggle", 0, 0))
    assert database.path == tmp_path / found
    assert sorted(database.labels.values()) == ["Normal"] * 3 + ["Tuberculosis"] * 3


def test_kaggle_is_taken_from_a_zip_among_the_inputs(tmp_path, monkeypatch):
    monkeypatch.setattr(kaggle, "KAGGLE_INPUT", tmp_path)
    (tmp_path / "mine").mkdir()
    path = write_zip(tmp_path / "mine" / "TB_Chest_Radiography_Database.zip", entries())
    assert find_data("kaggle", 0, 0) == path


def test_kaggle_without_its_package_or_without_network_says_what_to_do_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(kaggle, "KAGGLE_INPUT", tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DatabaseError, match=r"pip install kagglehub.*by hand.*notebook's inputs"):
        find_data("kaggle", 0, 0)

    class Hub:
        @staticmethod
        def dataset_download(name: str) -> str:
            raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "kagglehub", Hub)
    with pytest.raises(DatabaseError, match=r"no route.*by hand"):
        find_data("kaggle", 0, 0)


def twelve_bits(seed: int, times: int = 1) -> np.ndarray:
    """A film of 12 bits, uint16 (64, 64), made so many times darker."""
    return (np.clip(grey_film(seed), 1, 254).astype(np.uint16) * 16 + seed % 16) // times


def deep_entries(count: int, dark: int = 0, suffix: str = "png") -> dict[str, bytes]:
    """`count` 12-bit films of each class; of the negative one the first `dark` stay below 1,024 and below 256."""
    films = {}
    for i in range(count):
        values = twelve_bits(i, (1, 8, 20)[1 + i % 2 if i < dark else 0])
        films[f"Normal/n{i}.{suffix}"] = values
        films[f"Tuberculosis/t{i}.{suffix}"] = twelve_bits(100 + i)
    return {name: saved(Image.fromarray(values), suffix.upper()) for name, values in films.items()}


@pytest.mark.parametrize("count", [4, 15])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_a_dark_film_is_scaled_like_its_neighbours(tmp_path, count, suffix):
    films = deep_entries(count, dark=2, suffix=suffix)
    catalogue = build_catalogue(open_database(write_zip(tmp_path / "a.zip", films)))
    save_catalogue(Run(tmp_path), catalogue)
    database = catalogued_database(Run(tmp_path))
    assert catalogue.summary["bits"] == database.bits == 12
    assert (catalogue.table["bits"] == 12).all()
    assert "guessed" not in catalogue.table
    rows = catalogue.table.set_index("file")
    for seed, times in ((0, 8), (1, 20), (2, 1)):
        grey = (twelve_bits(seed, times) >> 4).astype(np.uint8)
        file = f"Normal/n{seed}.{suffix}"
        np.testing.assert_array_equal(database.film(file).grey, grey)
        digest = hashlib.sha256(f"{grey.shape}".encode() + grey.tobytes()).hexdigest()
        assert rows.loc[file, "pixels_sha256"] == digest
    assert catalogue.summary["notes"] == [
        f"Films in files of more than eight bits that do not tell their depth: {2 * count}. They were scaled as films "
        "of 12 bits, the least depth that holds all of them."
    ]


def test_one_film_with_a_burnt_in_white_does_not_turn_the_others_black(tmp_path):
    films = deep_entries(15, dark=1)
    burnt = twelve_bits(99)
    burnt[0, 0] = 65535
    deeper = twelve_bits(98)
    deeper[::2] *= 15
    films |= {"Normal/y.png": png(burnt), "Normal/z.png": png(deeper)}
    catalogue = build_catalogue(open_database(write_zip(tmp_path / "a.zip", films)))
    assert catalogue.summary["bits"] == 12
    bits = catalogue.table.set_index("file")["bits"]
    assert bits["Normal/z.png"] == 16
    assert (bits.drop("Normal/z.png") == 12).all()
    assert "nearly all of them; 1 with brighter pixels" in catalogue.summary["notes"][0]


def test_of_few_deep_films_the_brightest_counts_and_films_of_8_bits_do_not(tmp_path):
    films = entries(20) | {"x/Normal/a.png": png(twelve_bits(1, 20)), "x/Normal/b.png": png(twelve_bits(2, 8))}
    catalogue = build_catalogue(open_database(write_zip(tmp_path / "a.zip", films)))
    bits = catalogue.table.set_index("file")["bits"]
    assert catalogue.summary["bits"] == 10
    assert (bits[["x/Normal/a.png", "x/Normal/b.png"]] == 10).all()
    assert bits.value_counts().to_dict() == {8: 40, 10: 2}


def test_one_deep_film_goes_by_those_that_tell_their_depth(tmp_path):
    films = {f"{label}/{i}.dcm": dicom(twelve_bits(i, 9), BitsStored=12, HighBit=11)
             for label in ("Normal", "Tuberculosis") for i in range(2)}  # fmt: skip
    films |= {"Normal/a.png": png(twelve_bits(5, 9)), "Normal/b.png": png(grey_film(1))}
    catalogue = build_catalogue(open_database(write_zip(tmp_path / "a.zip", films)))
    assert catalogue.summary["bits"] == 12
    assert catalogue.table.set_index("file")["bits"].drop("Normal/b.png").eq(12).all()
    del films["Normal/a.png"]
    summary = build_catalogue(open_database(write_zip(tmp_path / "b.zip", films))).summary
    assert (summary["bits"], summary["notes"]) == (8, [])


def test_films_of_a_database_that_was_not_catalogued_are_shown_alike(tmp_path):
    database = open_database(write_zip(tmp_path / "a.zip", deep_entries(4, dark=2)))
    shown = {item.row["file"]: item.film for item in sample.pick(database, sample.uncatalogued(database), 4, 0)}
    for seed, times in ((0, 8), (1, 20), (2, 1)):
        np.testing.assert_array_equal(shown[f"Normal/n{seed}.png"].grey, twelve_bits(seed, times) >> 4)


@pytest.mark.parametrize(("depths", "expected"), [
    ([], 8), ([(8, False)] * 30, 8), ([(8, True)] * 30, 8), ([(10, True), (12, True)], 12), ([(16, False)], 8),
    ([(12, True)] * 19 + [(16, True)], 12), ([(12, True)] * 18 + [(16, True)], 16),
    ([(12, True)] * 38 + [(16, True)] * 2, 12), ([(12, True)] * 38 + [(16, True)] * 3, 16), ([(32, True)], 16),
    ([(10, True)] + [(14, False)] * 30, 14), ([(10, True)] * 20 + [(14, False)] * 30, 10),
])  # fmt: skip
def test_the_depth_of_a_database_holds_all_but_a_twentieth(depths, expected):
    assert shared_depth(depths) == expected


def test_films_of_8_bits_are_read_once(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(catalogue, "_described", lambda *given: asked.append(given[1]) or _described(*given))
    build_catalogue(open_database(write_zip(tmp_path / "a.zip", entries())))
    assert [len(files) for files in asked] == [6, 0]


def test_a_catalogue_without_a_depth_is_of_8_bits(tmp_path):
    path, run = write_zip(tmp_path / "a.zip", entries()), Run(tmp_path)
    summary = build_catalogue(open_database(path)).summary
    del summary["bits"]
    write_json(run.path("catalogue.json"), summary)
    assert catalogued_database(run).bits == 8


def test_nothing_is_unpacked(tmp_path):
    path = write_zip(tmp_path / "a.zip", entries())
    table_of(path)
    assert list(tmp_path.iterdir()) == [path]


def test_real_films_have_the_counts_and_duplicates_that_are_known(films, real_films):
    table = real_films
    assert table["label"].value_counts().to_dict() == {"Normal": 680, "Tuberculosis": 258}
    assert (table["problem"] == "").all()
    group = table.assign(stem=table["file"].str.extract(r"([^/]+)\.png$", expand=False)).set_index("stem")[
        "duplicate_group"
    ]
    for one, other in ((243, 244), (346, 348)):
        assert group[f"Tuberculosis-{one}"] == group[f"Tuberculosis-{other}"]
    assert table["claimed_source"].str.startswith("http").all()
    assert zipfile.is_zipfile(films / "TB_database.zip")
