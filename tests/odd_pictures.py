"""Pictures that are no upright chest film: eye photographs, drawings, pages, photographs, noise. SYNTHETIC, but for the
photographs that come with scikit-image (one of them of a retina) and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy.ndimage import gaussian_filter

SIDE = 384  # px, about; pictures differ in size and shape
Picture = np.ndarray  # uint8 (H, W) or (H, W, 3)
TEXT = "The patient was seen on Monday and sent home with advice to come back should the cough go on for a week. "


def fundus(rng: np.random.Generator) -> Picture:
    """An eye photograph: an orange disc on black with an optic disc, vessels, uneven light, perhaps cut or in grey."""
    side = int(rng.integers(256, 640))
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    radius, centre = rng.uniform(0.36, 0.62), rng.uniform(-0.05, 0.05, 2)
    colour = np.array([rng.uniform(150, 240), rng.uniform(60, 130), rng.uniform(15, 70)])
    light = 1 - rng.uniform(0.2, 1.2) * ((rows - rng.uniform(-0.2, 0.2)) ** 2 + (columns - rng.uniform(-0.2, 0.2)) ** 2)
    light = light + gaussian_filter(rng.normal(0, 1, (side, side)), side / 20) * rng.uniform(0, 2)
    disc = np.array([rng.uniform(-0.08, 0.08), rng.choice([-1, 1]) * rng.uniform(0.1, 0.28)])
    head = np.exp(-((((rows - disc[0]) / 0.055) ** 2 + ((columns - disc[1]) / 0.048) ** 2) ** 2))
    macula = np.exp(-((rows**2 + (columns + 0.5 * disc[1]) ** 2) / 0.006)) * rng.uniform(0.1, 0.4)
    vessels = _vessels(rng, side, disc)
    picture = colour * (light - macula - vessels)[..., None] + head[..., None] * np.array([60, 110, 90])
    inside = np.hypot(rows - centre[0], columns - centre[1]) < radius
    shown = np.where(gaussian_filter(inside * 1.0, 1.5)[..., None] > 0.5, picture, rng.uniform(0, 12))
    film = (shown + rng.normal(0, 2, shown.shape)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.4:  # cut above and below, as many cameras do
        film = film[int(side * rng.uniform(0.02, 0.12)) : int(side * rng.uniform(0.88, 0.98))]
    return film if rng.random() < 0.5 else _grey(film)


def _vessels(rng: np.random.Generator, side: int, disc: np.ndarray) -> np.ndarray:
    """Float (side, side), 0 … 0.5: branching lines that leave the optic disc."""
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    ends = [(*disc, angle, rng.uniform(0.008, 0.014)) for angle in rng.uniform(0, 2 * np.pi, 9)]
    while ends:
        row, column, angle, width = ends.pop()
        for _ in range(14):
            angle += rng.normal(0, 0.16)
            to = row + 0.03 * np.sin(angle), column + 0.03 * np.cos(angle)
            line = [((x + 0.5) * side, (y + 0.5) * side) for y, x in ((row, column), to)]
            pen.line(line, fill=int(rng.uniform(150, 255)), width=max(1, round(width * side)))
            row, column = to
            if width > 0.004 and rng.random() < 0.12:
                ends.append((row, column, angle + rng.choice([-1, 1]) * rng.uniform(0.3, 0.8), 0.6 * width))
    return np.asarray(canvas.filter(ImageFilter.GaussianBlur(1))) / 255 * rng.uniform(0.2, 0.5)


def retina(rng: np.random.Generator) -> Picture:
    """The photograph of a retina in scikit-image, turned, cut, in other light and colour, perhaps in grey."""
    from skimage import data

    film = Image.fromarray(data.retina()).resize((700, 700)).rotate(rng.uniform(0, 360))
    return _photographed(film, rng, rng.uniform(0.65, 1))


def photograph(rng: np.random.Generator) -> Picture:
    """A part of one of two dozen photographs of things, animals, people and textures, perhaps in grey."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    names = ("astronaut", "brick", "camera", "cat", "cell", "clock", "coffee", "coins", "colorwheel", "grass", "gravel",
             "hubble_deep_field", "immunohistochemistry", "moon", "rocket", "faces", "china", "flower")  # fmt: skip
    name = str(rng.choice(names))
    if name in ("china", "flower"):
        film = load_sample_images().images[name == "flower"]
    elif name == "faces":
        film = (255 * data.lfw_subset()[rng.integers(100)]).astype(np.uint8)
    else:
        film = getattr(data, name)()[..., :3] if getattr(data, name)().ndim == 3 else getattr(data, name)()
    return _photographed(Image.fromarray(film), rng, rng.uniform(0.4, 1))


def _photographed(film: Image.Image, rng: np.random.Generator, share: float) -> Picture:
    """A random part of a picture, that `share` of its sides, in other light, perhaps mirrored or in grey."""
    width, height = (max(8, int(share * side)) for side in film.size)
    left, top = int(rng.integers(film.size[0] - width + 1)), int(rng.integers(film.size[1] - height + 1))
    part = film.crop((left, top, left + width, top + height))
    part = ImageOps.mirror(part) if rng.random() < 0.5 else part
    tone = (np.asarray(part) / 255) ** rng.uniform(0.6, 1.6)
    found = (255 * tone).astype(np.uint8)
    return _grey(found) if rng.random() < 0.5 else found


def line_drawing(rng: np.random.Generator) -> Picture:
    """Lines, ellipses and polygons on white or coloured paper, or bright on black."""
    width, height = (int(side) for side in rng.integers(256, 512, 2))
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(6, 40))):
        corners = sorted(rng.uniform(0, width, 2)), sorted(rng.uniform(0, height, 2))
        box = [corners[0][0], corners[1][0], corners[0][1], corners[1][1]]
        ink, thick = tuple(int(level) for level in rng.integers(0, 120, 3)), int(rng.integers(1, 7))
        kind = rng.integers(4)
        if kind == 0:
            pen.ellipse(box, outline=ink, width=thick)
        elif kind == 1:
            pen.line(list(rng.uniform(0, min(width, height), 8)), fill=ink, width=thick)
        elif kind == 2:
            pen.arc(box, *sorted(rng.uniform(0, 360, 2)), fill=ink, width=thick)
        else:
            pen.rectangle(box, outline=ink, width=thick)
    return _inked(image, rng)


def child_drawing(rng: np.random.Generator) -> Picture:
    """A house, a sun, a tree and a person in thick crayon, coloured in."""
    width, height = (int(side) for side in rng.integers(300, 512, 2))
    image = Image.new("RGB", (width, height), tuple(int(level) for level in rng.integers(225, 256, 3)))
    pen, thick = ImageDraw.Draw(image), int(rng.integers(3, 9))
    ground = height * rng.uniform(0.7, 0.85)
    if rng.random() < 0.6:
        pen.rectangle([0, ground, width, height], fill=_crayon(rng))
    left, size = rng.uniform(0, 0.5) * width, rng.uniform(0.25, 0.45) * min(width, height)
    box = [left, ground - size, left + size, ground]
    pen.rectangle(box, fill=_crayon(rng) if rng.random() < 0.6 else None, outline="black", width=thick)
    roof = [(left - 9, ground - size), (left + size / 2, ground - 1.6 * size), (left + size + 9, ground - size)]
    pen.polygon(roof, fill=_crayon(rng) if rng.random() < 0.6 else None, outline="black", width=thick)
    sun = rng.uniform(0.6, 0.95) * width, rng.uniform(0.05, 0.2) * height, rng.uniform(15, 45)
    pen.ellipse([sun[0] - sun[2], sun[1] - sun[2], sun[0] + sun[2], sun[1] + sun[2]], fill=_crayon(rng), width=thick)
    middle, tall = rng.uniform(0.6, 0.9) * width, rng.uniform(0.2, 0.4) * height
    pen.line([middle, ground, middle, ground - tall], fill="black", width=thick)
    pen.ellipse([middle - 22, ground - tall - 40, middle + 22, ground - tall], outline="black", width=thick)
    pen.line([middle - 30, ground - 0.7 * tall, middle + 30, ground - 0.7 * tall], fill="black", width=thick)
    return _inked(image, rng)


def _crayon(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(level) for level in rng.integers(30, 256, 3))


def page(rng: np.random.Generator) -> Picture:
    """A page of text, printed or projected, perhaps with a table or a heading."""
    width, height = (int(side) for side in rng.integers(300, 640, 2))
    image = Image.new("RGB", (width, height), "white")
    pen, size = ImageDraw.Draw(image), int(rng.integers(9, 22))
    font, margin = ImageFont.load_default(size), int(rng.integers(10, 50))
    words, top = (TEXT * 40).split(), margin
    if rng.random() < 0.5:
        pen.text((margin, top), "Report on examination", fill=0, font=ImageFont.load_default(2 * size))
        top += 3 * size
    while top < height - margin:
        first, count = int(rng.integers(len(words) - 20)), max(1, int((width - 2 * margin) / size / 2.6))
        pen.text((margin, top), " ".join(words[first : first + count]), fill=int(rng.integers(0, 70)), font=font)
        top += int(size * rng.uniform(1.2, 2.2))
    return _inked(image, rng)


def _inked(image: Image.Image, rng: np.random.Generator) -> Picture:
    """A drawing as it was made, in grey, bright on black, or scanned: a little turned, grey and soft."""
    how = rng.integers(4)
    if how == 1:
        return _grey(np.asarray(image))
    if how == 2:
        return 255 - _grey(np.asarray(image))
    if how == 3:
        paper = image.convert("L").rotate(rng.uniform(-4, 4), fillcolor=int(rng.integers(180, 240)))
        return np.asarray(paper.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5))))
    return np.asarray(image)


def noise(rng: np.random.Generator) -> Picture:
    """Noise of one grain size."""
    grains = gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), rng.choice([0, 1, 4, 12, 30]))
    return (128 + rng.uniform(20, 60) * grains / grains.std()).clip(0, 255).astype(np.uint8)


def plain(rng: np.random.Generator) -> Picture:
    """One grey level, or a straight slope between two."""
    first, second = rng.integers(0, 256, 2)
    levels = np.linspace(first, first if rng.random() < 0.5 else second, SIDE)
    film = np.repeat(levels[:, None], SIDE, 1).astype(np.uint8)
    return film if rng.random() < 0.5 else film.T


KINDS: dict[str, Callable[[np.random.Generator], Picture]] = {
    "eye photographs, SYNTHETIC": fundus,
    "one eye photograph, varied": retina,
    "photographs": photograph,
    "line drawings, SYNTHETIC": line_drawing,
    "children's drawings, SYNTHETIC": child_drawing,
    "pages of text, SYNTHETIC": page,
    "noise, SYNTHETIC": noise,
    "plain, SYNTHETIC": plain,
}


def pictures(kind: str, count: int, seed: int = 0) -> list[Picture]:
    """That many pictures of a kind, the same for the same seed."""
    rng = np.random.default_rng([seed, *kind.encode()])
    return [KINDS[kind](rng) for _ in range(count)]


def _grey(film: Picture) -> Picture:
    return film if film.ndim == 2 else np.asarray(Image.fromarray(film).convert("L"))
