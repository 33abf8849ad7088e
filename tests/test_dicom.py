"""DICOM: stored values become the grey levels that a viewer would show, and nothing of a patient comes along."""

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from conftest import grey_film
from dicom_files import PATIENT, dicom, palette_elements, table

from tblib.dicom import DicomError, dicom_pixels, is_dicom
from tblib.film import FilmError, open_film

GREY = grey_film(1)
MOST = 10_000_000
SHIPPED = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))


def test_each_photometric_interpretation_gives_the_same_film():
    same = np.stack([GREY] * 3, axis=2)
    luminance = np.stack([GREY, np.full_like(GREY, 128), np.full_like(GREY, 128)], axis=2)
    levels = np.arange(256, dtype=np.uint16) * 257
    palette = palette_elements(np.stack([levels[::-1]] * 3, axis=1))
    films = {
        "MONOCHROME2": dicom(GREY),
        "MONOCHROME1": dicom(255 - GREY, "MONOCHROME1"),
        "RGB": dicom(same, "RGB"),
        "YBR_FULL": dicom(luminance, "YBR_FULL"),
        "PALETTE COLOR": dicom(255 - GREY, "PALETTE COLOR", **palette),
    }
    for photometric, content in films.items():
        film = open_film(content, "a.dcm")
        assert film.mode == photometric
        np.testing.assert_array_equal(film.grey, GREY, photometric)


def test_colours_stay_in_their_order():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[...] = 200, 100, 50
    np.testing.assert_array_equal(open_film(dicom(pixels, "RGB"), "a").pixels[0, 0], [200, 100, 50])


@pytest.mark.parametrize(("stored", "elements", "grey"), [
    ([0, 1023, 4095], {"BitsStored": 12, "HighBit": 11}, [0, 64, 255]),
    ([0, 100, 1000], {}, [0, 25, 249]),  # no window: the least depth that holds the largest, here ten bits
    ([0x1000, 0x1FFF, 0x2800], {"BitsStored": 12, "HighBit": 11}, [0, 255, 128]),  # what lies above is an overlay
    ([0, 1000, 1100, 1200, 4000], {"WindowCenter": 1100, "WindowWidth": 201}, [0, 0, 128, 255, 255]),
    ([0, 1000, 1100, 1200], {"WindowCenter": [1100, 500], "WindowWidth": [201, 9]}, [0, 0, 128, 255]),  # the first
    ([0, 100, 200], {"RescaleSlope": 10, "RescaleIntercept": -1000, "WindowCenter": 0.5, "WindowWidth": 2000},
     [0, 128, 255]),
    ([0, 1, 2], {"ModalityLUTSequence": [table("modality", np.array([4095, 2048, 0]))]}, [255, 128, 0]),
    ([0, 1, 2], {"VOILUTSequence": [table("voi", np.array([0, 256, 1023]), bits=10)]}, [0, 64, 255]),
])  # fmt: skip
def test_stored_values_become_grey_levels_as_the_standard_says(stored, elements, grey):
    content = dicom(np.array([stored], np.uint16), **elements)
    np.testing.assert_allclose(open_film(content, "a.dcm").grey[0].astype(int), grey, atol=1)


TWELVE = {"BitsStored": 12, "HighBit": 11}


@pytest.mark.parametrize(("elements", "depth", "least", "grey"), [
    (TWELVE, 12, 8, [0, 6, 56]),  # what is stored tells the depth, not the brightest pixel
    (TWELVE, 12, 14, [0, 6, 56]),
    (TWELVE | {"RescaleSlope": 2, "RescaleIntercept": 0}, 12, 8, [0, 6, 56]),  # and all is twice as much
    (TWELVE | {"WindowCenter": 512, "WindowWidth": 1024}, 8, 14, [0, 25, 224]),
    ({}, 10, 8, [0, 25, 224]),  # sixteen bits hold any depth
    ({}, 12, 12, [0, 6, 56]),
])  # fmt: skip
def test_films_without_a_window_are_as_deep_as_their_stored_bits(elements, depth, least, grey):
    film = open_film(dicom(np.array([[0, 100, 900]], np.uint16), **elements), "a.dcm", least)
    np.testing.assert_allclose(film.grey[0].astype(int), grey, atol=1)
    assert (film.bits, film.guessed) == (depth, not elements)


def test_signed_values_without_a_window_take_their_own_range():
    content = dicom(np.array([[-1000, 0, 1000]], np.int16))
    np.testing.assert_array_equal(open_film(content, "a.dcm").grey, [[0, 128, 255]])


def test_monochrome1_is_inverted_after_its_window():
    elements = {"WindowCenter": 1100, "WindowWidth": 201}
    stored = np.array([[1000, 1100, 1300]], np.uint16)
    one, other = (open_film(dicom(stored, f"MONOCHROME{n}", **elements), "a").grey.astype(int) for n in (1, 2))
    np.testing.assert_array_equal(one, 255 - other)


def test_of_several_frames_the_first_is_taken():
    frames = np.concatenate([GREY, GREY // 2])
    content = dicom(frames, Rows=len(GREY), NumberOfFrames=2)
    np.testing.assert_array_equal(open_film(content, "a.dcm").grey, GREY)


@pytest.mark.parametrize(("content", "reason"), [
    (dicom(None), "without a picture"),
    (dicom(GREY, "CIELAB"), "photometric interpretation CIELAB"),
    (dicom(GREY.astype(np.uint32)), "32 bits"),
    (dicom(GREY, Rows=20_000, Columns=20_000), "more than 10,000,000 pixels"),
    (dicom(GREY)[:-200], "does not decode"),
    (dicom(GREY)[:140], "DICOM file"),
    (b"\0" * 128 + b"DICM", "DICOM file"),
    (b"\0" * 128 + b"DICM" + b"\xff" * 300, "DICOM file"),
])  # fmt: skip
def test_what_cannot_be_shown_gets_a_sentence(content, reason):
    with pytest.raises(DicomError, match=reason) as error:
        dicom_pixels(content, MOST)
    assert str(error.value).endswith(".")
    with pytest.raises(FilmError, match=r"^x-ray\.dcm (is|has) "):
        open_film(content, "x-ray.dcm")


def test_a_deflated_file_is_refused_before_it_is_inflated():
    data = pydicom.dcmread(io.BytesIO(dicom(GREY)))
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    out = io.BytesIO()
    data.save_as(out)
    with pytest.raises(DicomError, match="deflated"):
        dicom_pixels(out.getvalue(), MOST)


def test_nothing_of_the_patient_is_decoded_shown_or_logged(caplog, monkeypatch):
    caplog.set_level(0)
    from pydicom import config

    monkeypatch.setattr(config, "debugging", True)
    broken = dicom(GREY).replace(b"SECRET^PATIENT", b"SECRET\xff\xfeATIENT")  # would fail if it were decoded
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(open_film(broken, "a.dcm").grey, GREY)
        for content in (dicom(GREY)[:-200], dicom(None), dicom(GREY, "CIELAB"), dicom(GREY, BitsStored=40)):
            with pytest.raises(FilmError) as error:
                open_film(content, "a.dcm")
            chain = [error.value, error.value.__cause__, getattr(error.value.__cause__, "__cause__", None)]
            assert "SECRET" not in " ".join(map(str, chain))
    assert "SECRET" not in caplog.text
    assert PATIENT not in " ".join(str(one.message) for one in told)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_file_that_pydicom_ships_is_a_film_or_a_sentence(path):
    content = path.read_bytes()
    told = ""
    try:
        film = open_film(content, path.name)
    except FilmError as error:
        told = str(error)
    if told:
        assert told.startswith(path.name)
        assert "Traceback" not in told
    else:
        assert film.pixels.dtype == np.uint8
        assert film.pixels.shape[2:] in ((), (3,))
        assert is_dicom(content)


@pytest.mark.parametrize("packed", ["MR_small_RLE", "MR_small_jp2klossless"])
def test_lossless_compression_changes_nothing(packed):
    plain, other = (next(p for p in SHIPPED if p.stem == name).read_bytes() for name in ("MR_small", packed))
    np.testing.assert_array_equal(open_film(plain, "a").pixels, open_film(other, "b").pixels)


def test_a_codec_that_is_not_installed_is_named(monkeypatch):
    from pydicom.pixels.decoders.base import Decoder

    packed = next(p for p in SHIPPED if p.stem == "MR_small_RLE").read_bytes()
    monkeypatch.setattr(Decoder, "is_available", False)
    with pytest.raises(FilmError, match=r"film\.dcm is packed as RLE Lossless, for which no decoder is installed"):
        open_film(packed, "film.dcm")
