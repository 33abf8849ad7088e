"""Zips and folders as people and their programs make them: what unzip reads is read, what is no film is told."""

import gzip
import io
import os
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import grey_film, png, write_zip
from dicom_files import dicom

from tblib.catalogue import build_catalogue, save_catalogue
from tblib.eda.balance import left_out
from tblib.films.archive import DEAD_LINK, HIDDEN, ZIP_LINK, ArchiveError, files_of
from tblib.films.database import DatabaseError, open_database
from tblib.run import Run

FILMS = {f"db/{label}/{i}.png": png(grey_film(i + 9 * (label == "Normal")))
         for label in ("Normal", "Tuberculosis") for i in range(3)}  # fmt: skip


def counts(path, *classes: str) -> list[int]:
    """Films of each class that can be used."""
    return list(build_catalogue(open_database(path, *classes)).summary["films"].values())


def renamed(path, change) -> None:
    """Write FILMS into a zip whose names are bytes, made by `change` from those of FILMS; they have the same length."""
    write_zip(path, FILMS)
    content = path.read_bytes()
    for name in FILMS:
        content = content.replace(name.encode(), change(name))
    path.write_bytes(content)


def folder(path, files: dict[str, bytes]):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("change", [
    lambda name: name.replace("/", "\\").encode(),  # as PowerShell wrote them
    lambda name: f"/{name[1:]}".encode(),
    lambda name: f"./{name[2:]}".encode(),
    lambda name: f"C:{name[2:]}".encode(),
])  # fmt: skip
def test_names_of_other_systems_are_read_as_unzip_does(tmp_path, change):
    renamed(tmp_path / "a.zip", change)
    assert counts(tmp_path / "a.zip") == [3, 3]


@pytest.mark.parametrize("front", [b"PK00", b"#!/bin/sh\nunzip $0\nexit\n", b"MZ" + b"\0" * 500])
def test_bytes_in_front_of_a_zip_do_not_matter(tmp_path, front):
    path = write_zip(tmp_path / "a.zip", FILMS)
    path.write_bytes(front + path.read_bytes())
    assert counts(path) == [3, 3]


@pytest.mark.parametrize(("page", "classes"), [
    ("cp866", ("Нормал", "Туберкулезны")), ("gbk", ("正常的", "肺结核病人片")), ("utf-8", ("正常", "肺结核病")),
])  # fmt: skip
def test_names_in_a_code_page_are_known_by_the_classes_that_were_asked_for(tmp_path, page, classes):
    path = write_zip(tmp_path / "a.zip", FILMS)
    content = path.read_bytes()
    for old, new in zip((b"Normal", b"Tuberculosis"), classes, strict=True):
        assert len(new.encode(page)) == len(old)
        content = content.replace(old, new.encode(page))
    path.write_bytes(content)
    assert counts(path, *classes) == [3, 3]


def test_of_two_entries_of_one_name_both_are_read_and_it_is_told(tmp_path):
    path = write_zip(tmp_path / "a.zip", FILMS)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("db/Normal/0.png", png(grey_film(77)))
    summary = build_catalogue(open_database(path)).summary
    assert list(summary["films"].values()) == [4, 3]
    assert "db/Normal/0.png stands in a.zip more than once" in summary["notes"][0]
    one, other = (open_database(path).read(f"db/Normal/{name}.png") for name in ("0", "0 (2)"))
    assert one != other


def test_links_and_archives_within_a_zip_are_told(tmp_path):
    path = write_zip(tmp_path / "a.zip", FILMS | {"db/more.zip": b"PK", "__MACOSX/db/Normal/._0.png": b"x"})
    link = zipfile.ZipInfo("db/Normal/link.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "../Tuberculosis/0.png")
    found = build_catalogue(open_database(path))
    assert dict(found.passed_over.itertuples(index=False)) == {
        "__MACOSX/db/Normal/._0.png": HIDDEN,
        "db/Normal/link.png": ZIP_LINK,
        "db/more.zip": "an archive within",
    }
    assert "db/more.zip" in found.summary["notes"][0]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_entry_that_no_decompressor_reads_costs_that_film_only(tmp_path, method):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in FILMS.items():
            archive.writestr(name, content)
        entry = archive.infolist()[1]
    content = bytearray(path.read_bytes())
    begin = entry.header_offset + 30 + len(entry.filename)
    content[begin : begin + 60] = b"\xff" * 60
    path.write_bytes(content)
    (left,) = build_catalogue(open_database(path)).summary["left_out"]
    assert left["file"] == entry.filename
    assert "cannot be read" in left["problem"]


@pytest.mark.parametrize(
    ("place", "bits", "reason"), [(6, 1, "encrypted"), (8, 9 ^ 8, "packed in a way that is not read")]
)
def test_entries_that_cannot_be_opened_say_why(tmp_path, place, bits, reason):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILMS.items():
            archive.writestr(name, content)
    content = bytearray(path.read_bytes())
    listed = content.index(b"PK\1\2")
    content[place] ^= bits
    content[listed + place + 2] ^= bits
    path.write_bytes(content)
    (left,) = build_catalogue(open_database(path)).summary["left_out"]
    assert reason in left["problem"]


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    return gzip.compress(buffer.getvalue(), mtime=0)  # the test's name holds these bytes


@pytest.mark.parametrize(("content", "sentence"), [
    (tarred(), "tar.gz"), (b"\0" * 257 + b"ustar\0" + b"\0" * 300, "tar archive"), (b"7z\xbc\xaf\x27\x1c....", "7-Zip"),
    (b"Rar!\x1a\7", "RAR"), (b"\n<!DOCTYPE html>", "web page"), (b'{"error": 403}', "answer of a server"),
    (png(grey_film(1)), "one picture"), (b"", "not a zip file"), (b"PK\3\4 cut", "truncated"),
])  # fmt: skip
def test_what_is_no_zip_is_called_what_it_is(tmp_path, content, sentence):
    (tmp_path / "films.zip").write_bytes(content)
    with pytest.raises(ArchiveError, match=rf"^films\.zip .*{sentence}"):
        files_of(tmp_path / "films.zip")


def test_what_systems_and_programs_leave_in_folders_is_no_film_and_is_counted(tmp_path):
    left = {f"{place}/0.png": png(grey_film(1)) for place in (
        "db/Normal/.ipynb_checkpoints", "db/Normal/@eaDir", "$RECYCLE.BIN/Normal", ".Trash-1000/files/Normal",
    )} | {"db/Normal/._0.png": b"x", "db/~$a.metadata.xlsx": b"x", "db/Thumbs.db": b"x", "db/Icon\r": b""}  # fmt: skip
    database = open_database(folder(tmp_path / "db", FILMS | left))
    assert set(database.labels) == set(FILMS)
    assert set(database.passed_over.values()) == {HIDDEN}
    assert len(database.passed_over) == len(left)
    summary = build_catalogue(database).summary
    assert f"passed over as no films (passed_over.csv): 8 ({HIDDEN})." in left_out(summary)


def test_masks_beside_images_are_no_films(tmp_path):
    files = {f"db/{label}/{kind}/{label}-{i}.png": png(grey_film(i)) for label in ("Normal", "Tuberculosis")
             for kind in ("images", "masks") for i in range(3)}  # fmt: skip
    database = open_database(write_zip(tmp_path / "a.zip", files))
    assert all("/images/" in file for file in database.labels)
    assert list(database.passed_over.values()) == ["a mask"] * 6


def test_films_of_any_ending_are_films_and_the_others_are_told(tmp_path):
    content = dicom(grey_film(5))
    more = {
        "db/Normal/a.jfif": png(grey_film(3)),
        "db/Normal/IM000001": content,
        "db/Normal/1.2.840.7": content,
        "db/normal/b.dicom": content,
        "db/TUBERCULOSIS/c.PNG": png(grey_film(8)),
        "db/Tuberculosis/d": png(grey_film(6)),
    }
    others = {"db/Normal/notes": b"a note", "db/Normal/list.csv": b"a,b", "db/other/x.png": png(grey_film(4))}
    database = open_database(folder(tmp_path / "db", FILMS | more | others))
    assert set(database.labels) == set(FILMS) | set(more)
    assert database.passed_over == {
        "db/Normal/notes": "no picture",
        "db/Normal/list.csv": "no picture",
        "db/other/x.png": "in no class's folder",
    }


def test_links_are_followed_in_folders_and_dead_ones_told(tmp_path):
    real = folder(tmp_path / "real", {f"{i}.png": png(grey_film(i)) for i in range(3)})
    base = folder(tmp_path / "db", {f"Tuberculosis/{i}.png": png(grey_film(i + 5)) for i in range(3)})
    (base / "Normal").symlink_to(real)
    (base / "Tuberculosis" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (base / "Tuberculosis" / "loop").symlink_to(base)
    database = open_database(base)
    assert [list(database.labels.values()).count(label) for label in database.classes] == [3, 3]
    assert database.passed_over["Tuberculosis/gone.png"] == DEAD_LINK
    assert counts(base) == [3, 3]


def test_any_name_comes_back_from_the_catalogue(tmp_path):
    names = [
        "two\nlines.png",
        "car\rriage.png",
        'quo"te,comma.png',
        "=1+1.png",
        "-x.png",
        "@sum.png",
        "'=quoted.png",
        " x.png",
    ]
    base = folder(tmp_path / "db", FILMS | {f"Normal/{name}": png(grey_film(20 + i)) for i, name in enumerate(names)})
    with open(os.fsencode(base) + b"/Normal/\xd1\xed.png", "wb") as file:
        file.write(png(grey_film(70)))
    catalogue = build_catalogue(open_database(base))
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    save_catalogue(run, catalogue)
    assert (catalogue.table["problem"] == "").all()
    assert run.table("catalogue.csv")["file"].tolist() == catalogue.table["file"].tolist()
    assert len(catalogue.table) == len(FILMS) + len(names) + 1
    lines = run.path("catalogue.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(catalogue.table) + 1
    cells = pd.read_csv(run.path("catalogue.csv"))["file"].str.split("/").str[-1]
    assert {"two\\nlines.png", "\\udcd1\\udced.png"} <= set(cells)


def test_cells_of_tables_are_no_formulas_and_come_back(tmp_path):
    from tblib.system.files import write_table

    texts = ["=1+1", "+1", "-x.png", "@sum", "'=1", "''+", "plain", "'quoted'", "", "a=b"]
    run = Run(tmp_path)
    write_table(run.path("t.csv"), pd.DataFrame({"file": texts, "value": np.arange(len(texts)) - 5.0}))
    cells = pd.read_csv(run.path("t.csv"), keep_default_na=False)
    assert not cells["file"].str.match(r"[=+\-@]").any()
    assert run.table("t.csv")["file"].tolist() == texts
    assert run.table("t.csv")["value"].min() == -5


def test_a_sheet_that_inflates_to_any_size_is_told_and_costs_nothing(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as sheet:
        sheet.writestr("xl/worksheets/sheet1.xml", b"0" * 150_000_000)
    path = write_zip(tmp_path / "a.zip", FILMS | {"db/a.metadata.xlsx": buffer.getvalue(), "db/b.metadata.xlsx": b"no"})
    notes = " ".join(build_catalogue(open_database(path)).summary["notes"])
    assert "db/a.metadata.xlsx could not be read (it unpacks to more than 100,000,000 bytes)" in notes
    assert "db/b.metadata.xlsx could not be read" in notes


def test_a_missing_class_says_which_link_is_dead(tmp_path):
    base = folder(tmp_path / "db", {"Tuberculosis/0.png": png(grey_film(1))})
    (base / "Normal").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DatabaseError, match=r"Normal is a link that leads nowhere"):
        open_database(base)
