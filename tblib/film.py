"""One film: from the bytes of a picture file to grey pixels, whatever the file's mode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from tblib import TblibError
from tblib.depth import Pixels
from tblib.dicom import dicom_pixels, is_dicom, said
from tblib.greys import DicomError
from tblib.pictures import PictureError, picture_pixels
from tblib.text import printable

MAX_PIXELS = 64_000_000  # 8,000 x 8,000: a full-size digital film has about 20 million; decoding takes 1 GB at most


class FilmError(TblibError):
    """A picture file that cannot be used, with the reason in a sentence."""


@dataclass(frozen=True)
class Film:
    """A decoded picture file.

    Attributes:
        mode: the file's own Pillow mode, e.g. ``L`` (one channel), ``RGB``, ``P``, ``I;16``; of a DICOM file its
            photometric interpretation, e.g. ``MONOCHROME2``.
        pixels: uint8 (H, W) for one-channel files, uint8 (H, W, 3) red-green-blue for the others; 0 black … 255 white.
        bits: the depth by which a file of more than eight bits was scaled to eight. 8 for all that was not scaled by
            one: files of eight bits, DICOM windows, and fractions of one or below zero.
        guessed: the file does not say how deep it is; `bits` is the least that holds nearly all of its pixels, or the
            least that was asked for (`tblib.depth`).
    """

    mode: str
    pixels: Pixels
    bits: int = 8
    guessed: bool = False

    @property
    def grey(self) -> Pixels:
        """Uint8 (H, W): the pixels, or their luma by ITU-R BT.601 where there are three channels."""
        if self.pixels.ndim == 2:
            return self.pixels
        return np.asarray(Image.fromarray(self.pixels).convert("L"))


def open_film(content: bytes, name: str, bits: int = 8) -> Film:
    """Decode the bytes of a picture file, DICOM (`tblib.dicom`) or another one (`tblib.pictures`).

    What the file holds counts, not how its name ends. Files of more than eight bits a pixel are scaled to eight
    (`tblib.depth`) rather than clipped. They are scaled by the depth that the file tells; where it tells none, by the
    least one that holds nearly all of the film's pixels, but no less than `bits`: one dark film alone looks like one of
    fewer bits (`tblib.catalogue.shared_depth`).

    All films of the project are read here, so that whatever a decoder raises becomes a sentence about the film.

    Args:
        content: the file's bytes.
        name: only used in messages.
        bits: as above.

    Raises:
        FilmError: an empty file, a file that is no picture, a damaged one, or one above `MAX_PIXELS`.
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


def resized(grey: Pixels, size: int) -> Pixels:
    """Uint8 (size, size) from uint8 (H, W): each pixel the triangle-weighted mean of the area below it.

    A film that is not square is squashed, as the Kaggle database's own films were: padding would
    add the very borders that this project looks for.
    """
    if grey.shape == (size, size):
        return grey
    return np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.BILINEAR))
