"""A figure as an SVG that needs nothing else: glyphs are paths, films are small pictures inside."""

import base64
import io
import re

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

RASTER = 192  # dots per inch of what matplotlib turns into pixels: twice those of a screen
UNSIGNED = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # the same figure is the same text on any day
_PICTURE = re.compile(r'"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)"')


def svg(figure: Figure) -> str:
    """The figure as SVG text without a prolog; the same figure always gives the same text."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "tblib", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", dpi=RASTER, bbox_inches="tight", pad_inches=0.05, metadata=UNSIGNED)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(' style="image-rendering:crisp-edges;image-rendering:pixelated"', "")
    return _PICTURE.sub(lambda found: f'"data:image/png;base64,{_smaller(found[1])}"', text)


def size(text: str) -> tuple[int, int]:
    """Natural width and height of an SVG from `svg`, in CSS pixels (96 per inch)."""
    head = text[: text.index(">")]
    width, height = (float(re.search(rf'{name}="([\d.]+)pt"', head)[1]) for name in ("width", "height"))  # type: ignore[index]
    return round(width * 96 / 72), round(height * 96 / 72)


def _smaller(encoded: str) -> str:
    """A PNG without an opaque alpha channel, and in one channel if it is grey; matplotlib writes four."""
    picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
    red, green, blue, alpha = picture.convert("RGBA").split()
    if alpha.getextrema()[0] < 255:  # type: ignore[operator]
        return "".join(encoded.split())
    grey = red.tobytes() == green.tobytes() == blue.tobytes()
    buffer = io.BytesIO()
    (red if grey else picture.convert("RGB")).save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
