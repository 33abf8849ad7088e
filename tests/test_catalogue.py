"""Zip or folder to table; bad databases are refused in a sentence, bad files are listed with their reason."""

import io
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import grey_film, png, write_zip
from test_film import bomb

from tblib.catalogue import (
    CatalogueError,
    build_catalogue,
    catalogued_database,
    find_data,
    open_database,
    save_catalogue,
    usable,
)
from tblib.run import Run


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


def test_same_pixels_in_another_file_have_the_same_pixel_digest_and_twin_group(tmp_path):
    films = entries() | {"x/Normal/copy.png": png(np.repeat(grey_film(1)[..., None], 3, 2), compress_level=1)}
    table = table_of(write_zip(tmp_path / "a.zip", films)).set_index("file")
    copy, original = table.loc["x/Normal/copy.png"], table.loc["x/Normal/Normal-1.png"]
    assert copy["sha256"] != original["sha256"]
    assert copy["pixels_sha256"] == original["pixels_sha256"]
    assert copy["twin_group"] == original["twin_group"]
    assert table["twin_group"].nunique() == len(films) - 1


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
    with pytest.raises(CatalogueError, match=sentence):
        open_database(path)


def test_a_zip_cut_off_behind_an_xlsx_is_not_taken_for_that_xlsx(tmp_path):
    sheet = io.BytesIO()
    pd.DataFrame({"FILE NAME": ["NORMAL-1"], "URL": ["https://example.org/a"]}).to_excel(sheet, index=False)
    path = write_zip(tmp_path / "a.zip", {"x/a.metadata.xlsx": sheet.getvalue()} | entries())
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"Normal-0.png")])
    assert zipfile.is_zipfile(path)
    with pytest.raises(CatalogueError, match="truncated"):
        open_database(path)


@pytest.mark.parametrize(
    "name", ["../../Normal/evil.png", "/Normal/evil.png", "C:/Normal/evil.png", "..\\Normal\\evil.png"]
)
def test_entries_that_climb_out_of_the_zip_are_refused(tmp_path, name):
    with pytest.raises(CatalogueError, match="climbs out"):
        open_database(write_zip(tmp_path / "a.zip", entries() | {name: png(grey_film(1))}))


def test_one_class_only_is_refused_with_the_folders_there_are(tmp_path):
    films = {name: content for name, content in entries().items() if "Normal" in name}
    with pytest.raises(CatalogueError, match=r"no image in a folder called Tuberculosis.*Normal") as error:
        open_database(write_zip(tmp_path / "a.zip", films))
    assert "-p negative" in str(error.value)


def test_a_class_folder_without_images_is_refused(tmp_path):
    films = {name: content for name, content in entries().items() if "Normal" in name}
    with pytest.raises(CatalogueError, match="no image in a folder called Tuberculosis"):
        open_database(write_zip(tmp_path / "a.zip", films | {"x/Tuberculosis/notes.txt": b"none"}))


def test_a_class_of_which_no_image_decodes_is_refused(tmp_path):
    films = {name: (b"text" if "Tuberculosis" in name else content) for name, content in entries().items()}
    with pytest.raises(CatalogueError, match="No image of class Tuberculosis can be used"):
        table_of(write_zip(tmp_path / "a.zip", films))


def test_a_missing_path_and_a_folder_that_only_holds_a_zip_are_refused(tmp_path):
    with pytest.raises(CatalogueError, match="There is no database at"):
        open_database(tmp_path / "nowhere.zip")
    write_zip(tmp_path / "inner.zip", entries())
    with pytest.raises(CatalogueError, match=r"does hold inner\.zip"):
        open_database(tmp_path)


def test_class_folders_may_have_other_names_at_any_depth(tmp_path):
    films = {
        "a/b/healthy/c/1.png": png(grey_film(1)),
        "tb/2.png": png(grey_film(2)),
        "__MACOSX/tb/._2.png": b"side file",
    }
    database = open_database(write_zip(tmp_path / "a.zip", films), "healthy", "tb")
    assert database.labels == {"a/b/healthy/c/1.png": "healthy", "tb/2.png": "tb"}


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
    with pytest.raises(CatalogueError, match="no longer at"):
        catalogued_database(run)


def test_the_demo_says_that_it_is_synthetic(demo):
    assert build_catalogue(open_database(demo)).summary["synthetic"] is True


def test_kaggle_without_its_package_or_without_network_says_what_to_do_by_hand(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(CatalogueError, match=r"pip install kagglehub.*by hand"):
        find_data("kaggle", 0, 0)

    class Hub:
        @staticmethod
        def dataset_download(name: str) -> str:
            raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "kagglehub", Hub)
    with pytest.raises(CatalogueError, match=r"no route.*by hand"):
        find_data("kaggle", 0, 0)


def test_nothing_is_unpacked(tmp_path):
    path = write_zip(tmp_path / "a.zip", entries())
    table_of(path)
    assert list(tmp_path.iterdir()) == [path]


def test_real_films_have_the_counts_and_twins_that_are_known(films):
    table = table_of(films / "TB_database.zip")
    assert table["label"].value_counts().to_dict() == {"Normal": 680, "Tuberculosis": 258}
    assert (table["problem"] == "").all()
    group = table.assign(stem=table["file"].str.extract(r"([^/]+)\.png$", expand=False)).set_index("stem")["twin_group"]
    for one, other in ((243, 244), (346, 348)):
        assert group[f"Tuberculosis-{one}"] == group[f"Tuberculosis-{other}"]
    assert table["claimed_source"].str.startswith("http").all()
    assert zipfile.is_zipfile(films / "TB_database.zip")
