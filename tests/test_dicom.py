"""DICOM: stored values become the grey levels that a viewer would show, and nothing of a patient comes along."""

import io
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from conftest import grey_film
from dicom_files import PATIENT, dicom, palette_elements, table
from pydicom.encaps import encapsulate

from tblib.films.codecs import CODECS, is_available
from tblib.films.dicom import dicom_pixels, is_dicom
from tblib.films.film import FilmError, open_film
from tblib.films.greys import DicomError
from tblib.films.pictures import PictureError

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


F12 = np.array([[0, 16, 1000, 2048, 4095]], np.uint16)
SHOWN = (F12[0] / 4095 * 255).round().astype(int)
FULL = {"WindowCenter": 2048, "WindowWidth": 4096}
TURNED = {"RescaleSlope": -1, "RescaleIntercept": 4095}
RAMP, RAMP16 = np.arange(4096), np.rint(np.arange(4096) * 65535 / 4095)


def table8(values: np.ndarray) -> pydicom.Dataset:
    """A table whose entries of eight bits are packed."""
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData = [len(values), 0, 8], values.astype(np.uint8).tobytes()
    return item


def grouped(slope: float, window: dict[str, float]) -> dict[str, list[pydicom.Dataset]]:
    """The functional groups of a multi-frame film: a slope that all frames share, a window of the first."""
    shared, rescaling, frame, voi = (pydicom.Dataset() for _ in range(4))
    rescaling.RescaleSlope, rescaling.RescaleIntercept = slope, 4095
    shared.PixelValueTransformationSequence = [rescaling]
    voi.WindowCenter, voi.WindowWidth = window.values()
    frame.FrameVOILUTSequence = [voi]
    return {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": [frame]}


@pytest.mark.parametrize(("stored", "elements"), [
    # the slope turns the film over, with a window and without
    (4095 - F12, TURNED | FULL | TWELVE), (4095 - F12, TURNED | TWELVE),
    (4095 - F12, TURNED), (4095 - F12, TURNED | FULL),
    # what is empty, zero or nothing else than usual
    (F12, {"RescaleSlope": None, "RescaleIntercept": None} | FULL), (F12, {"RescaleSlope": 1} | FULL),
    (F12, {"RescaleSlope": 0, "RescaleIntercept": 0} | FULL),
    (F12, {"WindowCenter": None, "WindowWidth": None}), (F12, {"WindowCenter": 2048, "WindowWidth": 0}),
    (F12, {"WindowCenter": 2048}), (F12, {"WindowCenter": 2048, "WindowWidth": -5} | TWELVE),
    (F12, {"VOILUTFunction": ""} | FULL), (F12, {"VOILUTFunction": "LINEAR "} | FULL),
    (F12, {"VOILUTSequence": [], "ModalityLUTSequence": []} | FULL),
    (F12, {"VOILUTSequence": [pydicom.Dataset()]} | FULL),
    (F12, {"ModalityLUTSequence": [pydicom.Dataset()]} | FULL),
    (F12, {"NumberOfFrames": 0}), (F12, {"NumberOfFrames": None}),
    # tables and windows of other ranges
    (F12, {"ModalityLUTSequence": [table("modality", RAMP)]} | FULL | TWELVE),
    (F12, {"ModalityLUTSequence": [table("modality", RAMP)]} | TWELVE),
    (F12, {"ModalityLUTSequence": [table("modality", RAMP, bits=12)]} | TWELVE),
    (F12, {"ModalityLUTSequence": [table("modality", RAMP16)], "WindowCenter": 32768, "WindowWidth": 65536} | TWELVE),
    (F12, {"ModalityLUTSequence": [table("modality", RAMP)]} | TURNED | TWELVE),  # the table wins
    (F12.astype(np.int16) - 2048, {"ModalityLUTSequence": [table("modality", RAMP16, -2048)]} | TWELVE),
    (F12, {"VOILUTSequence": [table("voi", RAMP)]} | TWELVE), (F12, {"VOILUTSequence": [table("voi", RAMP, bits=12)]}),
    (F12 >> 4, {"VOILUTSequence": [table8(np.arange(256))]}),
    # bits: signed, at the top of the word, missing
    (F12.astype(np.int16) - 2048, TWELVE), (F12.astype(np.int16) - 2048, {}), (F12.astype(np.int16), {}),
    ((F12.astype(np.int16) - 2048) & 0xFFF, {"PixelRepresentation": 1} | TWELVE),
    (F12 << 4, {"BitsStored": 12, "HighBit": 15}), (F12 << 2 | 3, {"BitsStored": 12, "HighBit": 13}),
    (F12, {"BitsStored": None, "HighBit": None}), (F12, {"BitsStored": None, "HighBit": 11}),
    (F12, {"PixelRepresentation": None} | TWELVE),
    (F12.astype(np.uint32), {"BitsStored": 16, "HighBit": 15}),
    # in functional groups
    (4095 - F12, grouped(-1, FULL) | TWELVE),
])  # fmt: skip
def test_a_film_of_twelve_bits_is_the_same_however_its_file_puts_it(stored, elements):
    for photometric, turn in (("MONOCHROME2", 0), ("MONOCHROME1", 255)):
        film = open_film(dicom(stored, photometric, **elements), "a.dcm")
        np.testing.assert_allclose(np.abs(turn - film.grey[0].astype(int)), SHOWN, atol=1, err_msg=photometric)


def test_decimal_commas_are_read_and_what_is_no_number_is_told():
    content = dicom(F12, RescaleSlope=2.5, RescaleIntercept=0, WindowCenter=5120, WindowWidth=10240)
    comma = content.replace(b"2.5 ", b"2,5 ")
    assert comma != content
    np.testing.assert_allclose(open_film(comma, "a.dcm").grey[0].astype(int), SHOWN, atol=1)
    with pytest.raises(FilmError, match=r"a\.dcm has a RescaleSlope of 'x\.5', which is no number"):
        open_film(content.replace(b"2.5 ", b"x.5 "), "a.dcm")


@pytest.mark.parametrize(("stored", "elements", "padded"), [
    (F12.astype(np.int16), {"PixelPaddingValue": -2000}, -2000),
    (F12, {"PixelPaddingValue": 65535}, 65535),
    (F12, {"PixelPaddingValue": 60000, "PixelPaddingRangeLimit": 65535}, 61000),
    (F12, TWELVE | FULL | {"PixelPaddingValue": 4000}, 4000),
    (F12.astype(np.int16) - 2048, TWELVE | {"PixelPaddingValue": -1000}, -1000),
])  # fmt: skip
def test_padding_is_black_and_counts_for_nothing(stored, elements, padded):
    for photometric, turn in (("MONOCHROME2", 0), ("MONOCHROME1", 255)):
        with_edge = np.concatenate([np.full((1, 9), padded, stored.dtype), stored], axis=1)
        grey = open_film(dicom(with_edge, photometric, **elements), "a.dcm").grey[0].astype(int)
        assert (grey[:9] == 0).all()
        np.testing.assert_allclose(np.abs(turn - grey[9:]), SHOWN, atol=1)


def rewritten(content: bytes, **options: bool) -> bytes:
    """A file without its preamble, or without its transfer syntax."""
    data = pydicom.dcmread(io.BytesIO(content))
    if options.get("bare"):
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.preamble = None
    else:
        del data.file_meta.TransferSyntaxUID
    out = io.BytesIO()
    implicit = options.get("implicit", False)
    pydicom.dcmwrite(out, data, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    return out.getvalue()


@pytest.mark.parametrize("options", [{"bare": True}, {"bare": True, "implicit": True}, {}, {"implicit": True}], ids=str)
def test_a_missing_preamble_or_transfer_syntax_is_guessed(options):
    content = rewritten(dicom(GREY), **options)
    assert is_dicom(content)
    np.testing.assert_array_equal(open_film(content, "a").grey, GREY)


def test_the_syntax_of_a_packed_frame_is_guessed_by_what_it_begins_with():
    packed = next(p for p in SHIPPED if p.stem == "MR_small_jp2klossless").read_bytes()
    plain = next(p for p in SHIPPED if p.stem == "MR_small").read_bytes()
    np.testing.assert_array_equal(open_film(rewritten(packed), "a").pixels, open_film(plain, "b").pixels)


def test_palettes_of_eight_bits_may_lie_in_words_of_sixteen():
    levels = np.stack([np.arange(256)[::-1]] * 3, axis=1)
    for bits in (8, 16):
        palette = palette_elements(levels)
        for name in palette:
            if name.endswith("Descriptor"):
                palette[name] = [256, 0, bits]
        film = open_film(dicom(255 - GREY, "PALETTE COLOR", **palette), "a.dcm")
        np.testing.assert_array_equal(film.grey, GREY)


def test_deep_colours_are_scaled_by_their_bits():
    colours = np.stack([F12] * 3, axis=2)
    for elements in ({}, TWELVE):
        film = open_film(dicom(colours, "RGB", **elements), "a.dcm")
        np.testing.assert_allclose(film.grey[0].astype(int), SHOWN, atol=1)
        assert (film.bits, film.guessed) == (12, not elements)
    without = dicom(np.stack([GREY] * 3, axis=2), "RGB", PlanarConfiguration=None)
    np.testing.assert_array_equal(open_film(without, "a.dcm").grey, GREY)


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
    with pytest.raises((DicomError, PictureError), match=reason) as error:
        dicom_pixels(content, MOST)
    assert str(error.value).endswith(".")
    with pytest.raises(FilmError, match=r"^x-ray\.dcm (is|has) "):
        open_film(content, "x-ray.dcm")


def deflated(data: pydicom.Dataset) -> bytes:
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    out = io.BytesIO()
    data.save_as(out)
    return out.getvalue()


def test_a_deflated_file_is_read_unless_it_inflates_to_more_than_a_film():
    data = pydicom.dcmread(io.BytesIO(dicom(GREY)))
    np.testing.assert_array_equal(open_film(deflated(data), "a.dcm").grey, GREY)
    data.PixelData += bytes(20_000_000)
    with pytest.raises(DicomError, match="inflates to more than 5 MB"):
        dicom_pixels(deflated(data), 1_000_000)
    other = dicom(GREY, SOPInstanceUID="1.2.840.10008.1.2.1.99.1")  # begins like the name of that syntax
    np.testing.assert_array_equal(open_film(other, "a.dcm").grey, GREY)


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


@pytest.mark.parametrize("syntax", CODECS)
def test_what_x_ray_machines_pack_films_with_is_unpacked(syntax):
    if not is_available(syntax):
        pytest.skip("this imagecodecs does not have it")
    stored = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)
    encode = getattr(imagecodecs, f"{CODECS[syntax].replace('jpegsof3', 'ljpeg')}_encode")
    packed = encode(stored, **({"bitspersample": 12} if CODECS[syntax] in ("jpegsof3", "jpeg8") else {}))
    content = dicom(stored, syntax=syntax, PixelData=encapsulate([packed]), **TWELVE)
    grey = open_film(content, "a.dcm").grey.astype(int)
    np.testing.assert_allclose(grey, stored * (255 / 4095), atol=1)


def test_a_codec_that_is_not_installed_is_named(monkeypatch):
    from pydicom.pixels.decoders.base import Decoder

    packed = next(p for p in SHIPPED if p.stem == "MR_small_RLE").read_bytes()
    monkeypatch.setattr(Decoder, "is_available", False)
    with pytest.raises(FilmError, match=r"film\.dcm is packed as RLE Lossless, for which no decoder is installed"):
        open_film(packed, "film.dcm")
