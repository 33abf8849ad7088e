"""imagecodecs as a decoder of packed DICOM frames, for pydicom, which brings none for these transfer syntaxes itself.

pydicom finds `is_available`, `DECODER_DEPENDENCIES` and the decoding function in the module that a plugin names.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import imagecodecs

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

CODECS = {  # transfer syntax -> imagecodecs' name of what it is packed with
    "1.2.840.10008.1.2.4.51": "jpeg8",  # JPEG of twelve bits
    "1.2.840.10008.1.2.4.57": "jpegsof3",  # lossless JPEG, as most X-ray machines send it
    "1.2.840.10008.1.2.4.70": "jpegsof3",
    "1.2.840.10008.1.2.4.80": "jpegls",
    "1.2.840.10008.1.2.4.81": "jpegls",
    "1.2.840.10008.1.2.4.201": "htj2k",
    "1.2.840.10008.1.2.4.202": "htj2k",
    "1.2.840.10008.1.2.4.203": "htj2k",
}
DECODER_DEPENDENCIES: dict[str, tuple[str, ...]] = dict.fromkeys(CODECS, ("numpy", "imagecodecs"))
NAME = "imagecodecs"


def is_available(uid: str) -> bool:
    """Whether this machine's imagecodecs was built with what a transfer syntax needs."""
    codec = getattr(imagecodecs, CODECS.get(uid, "").upper(), None)  # older versions lack some
    return bool(getattr(codec, "available", False))


def _decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """The pixels of one frame."""
    pixels: Any = getattr(imagecodecs, f"{CODECS[str(runner.transfer_syntax)]}_decode")(src)
    runner.set_option("bits_allocated", 8 * pixels.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    return bytes(pixels.tobytes())


@cache
def register() -> None:
    """Make pydicom use this module for the transfer syntaxes that it has no other decoder for."""
    from pydicom.pixels import get_decoder

    for syntax in CODECS:
        decoder = get_decoder(syntax)
        if is_available(syntax) and NAME not in decoder.available_plugins:
            decoder.add_plugin(NAME, (__name__, "_decode_frame"))
