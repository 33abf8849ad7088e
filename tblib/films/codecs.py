"""A pydicom plugin that decodes compressed DICOM frames with imagecodecs, for transfer syntaxes pydicom cannot decode.

pydicom uses `is_available`, `DECODER_DEPENDENCIES` and the decoding function of the plugin's module.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import imagecodecs

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

CODECS = {  # transfer syntax -> imagecodecs' name of its codec
    "1.2.840.10008.1.2.4.51": "jpeg8",  # 12-bit JPEG
    "1.2.840.10008.1.2.4.57": "jpegsof3",  # lossless JPEG, used by most X-ray machines
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
    """Whether the installed imagecodecs was built with the codec of a transfer syntax."""
    codec = getattr(imagecodecs, CODECS.get(uid, "").upper(), None)  # older versions lack some
    return bool(getattr(codec, "available", False))


def _decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    pixels: Any = getattr(imagecodecs, f"{CODECS[str(runner.transfer_syntax)]}_decode")(src)
    runner.set_option("bits_allocated", 8 * pixels.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    return bytes(pixels.tobytes())


@cache
def register() -> None:
    """Register this module with pydicom for the transfer syntaxes that have no other decoder."""
    from pydicom.pixels import get_decoder

    for syntax in CODECS:
        decoder = get_decoder(syntax)
        if is_available(syntax) and NAME not in decoder.available_plugins:
            decoder.add_plugin(NAME, (__name__, "_decode_frame"))
