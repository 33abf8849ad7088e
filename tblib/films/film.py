"""One film: decoding a picture file of any mode to grey pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tblib.arrays import Pixels, TblibError
from tblib.films.dicom import dicom_pixels, is_dicom, said
from tblib.films.greys import DicomError
from tblib.films.pictures import PictureError, picture_pixels
from tblib.system.text import printable

MAX_PIXELS = 64_000_000  # 8,000 x 8,000: full-size digital films have about 20 million; decoding takes at most 1 GB


class FilmError(TblibError):
    """A picture file that cannot be used, with the reason in a sentence."""


@dataclass(frozen=True)
class Film:
    """A decoded picture file.

    Attributes:
        mode: Pillow mode of the file, e.g. ``L`` (one channel), ``RGB``, ``P``, ``I;16``; for DICOM files the
            photometric interpretation, e.g. ``MONOCHROME2``.
        pixels: uint8 (H, W) for one-channel files, uint8 (H, W, 3) red-green-blue for the others; 0 black … 255 white.
        bits: depth by which more than eight bits were scaled to eight; 8 if no depth was used: files of eight bits,
            DICOM windows, and floats up to one or with negative values.
        guessed: the file does not state its depth; `bits` is the least depth that holds nearly all of its pixels, or
            the requested minimum (`tblib.films.depth`).
    """

    mode: str
    pixels: Pixels
    bits: int = 8
    guessed: bool = False

    @property
    def grey(self) -> Pixels:
        """Uint8 (H, W): the pixels, or their luma by ITU-R BT.601 if there are three channels."""
        return grey_of(self.pixels)


def grey_of(pixels: Pixels) -> Pixels:
    """Uint8 (H, W) of a film uint8 (H, W) or (H, W, 3): the luma of its colours by ITU-R BT.601."""
    return pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))


def in_grey(film: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    """A change of grey levels, uint8 (H, W) → uint8 (H, W), on a film of either kind.

    The channels of a colour film, uint8 (H, W, 3), all change by as much as its luma does, so that its tint stays.
    """
    if film.ndim == 2:
        return change(film)
    grey = grey_of(film)
    by = change(grey).astype(np.int16) - grey
    return (film + by[:, :, None]).clip(0, 255).astype(np.uint8)


def open_film(content: bytes, name: str, bits: int = 8) -> Film:
    """Decode a picture file, DICOM (`tblib.films.dicom`) or another format (`tblib.films.pictures`).

    The format is detected from the content. More than eight bits per pixel are scaled to eight (`depth`), not clipped:
    by the depth that the file states, otherwise by the least depth that holds nearly all pixels, but at least `bits`,
    as a single dark film may look like one of fewer bits (`tblib.films.depth.shared_depth`). All films are read by this
    function, which turns any decoder's errors into sentences on the film.

    Args:
        content: the file's bytes.
        name: for messages.
        bits: minimum depth, see above.

    Raises:
        FilmError: the file is empty, not a picture, damaged, or larger than `MAX_PIXELS`.
    """
    name = printable(name)
    if not content:
        raise FilmError(f"{name} is empty (0 bytes); copy or download it again.")
    try:
        read = dicom_pixels if is_dicom(content) else picture_pixels
        mode, scaled = read(content, MAX_PIXELS, bits)
    except (DicomError, PictureError) as error:
        raise FilmError(f"{name} {error}") from error
    except MemoryError as error:
        raise FilmError(f"{name} takes more memory than there is; shrink it first, or free some.") from error
    except Exception as error:  # decoders raise errors of every kind on damaged files
        raise FilmError(f"{name} is damaged and does not decode ({said(error)}); copy or download it again.") from error
    return Film(mode, *scaled)


def resized(film: Pixels, size: int) -> Pixels:
    """Uint8 (size, size), or (size, size, 3) of a colour film: each pixel is the triangle-weighted mean of the area
    below it.

    Films that are not square are squashed, as in the Kaggle database: padding would add the very borders that this
    project examines.
    """
    if film.shape[:2] == (size, size):
        return film
    return np.asarray(Image.fromarray(film).resize((size, size), Image.Resampling.BILINEAR))
