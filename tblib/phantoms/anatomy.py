"""Synthetic frontal chest radiographs, with or without tuberculosis.

A film is simulated as a radiograph is made: the attenuation along the beam is summed, the beam is weakened by
Beer-Lambert's law, scattered rays add a veil, and the film's characteristic curve turns exposure into grey. Soft
tissue, lungs and heart are smooth and computed at half the size; bones and vessels are thin and drawn as outlines at
twice the size; texture and mottle are crops of noise banks that are generated once per process.

Films are shown as on a light box: the patient's left is on the viewer's right. Anatomical coordinates are x, -1 … 1
from the patient's right to left, and y, -1 … 1 downwards, before the person's stance is applied. The unit of
attenuation is the chest depth: 1 is a chest of water from front to back, and a bone counts as the water that would
weaken the beam as much.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageOps

from tblib.arrays import Mask, Pixels

Real = npt.NDArray[np.float32]
Mask = Mask
Lines = npt.NDArray[np.floating]  # points (…, 2) of outlines, or one of their coordinates
Pixels = Pixels
Place = tuple[float, float]  # x and y, or lengths along them
SIDE = 512  # pixels per side of every film, as in the Kaggle database
GRID = SIDE // 2  # soft tissue is smooth: at half the size it takes a quarter of the time
DRAWN = 2 * SIDE  # outlines are drawn at twice the size and reduced, against jagged edges
BRIGHTEST = 250  # 255 is reserved for what is painted on a film
TB_SIGNS = ("infiltrate", "cavity", "nodules", "miliary", "fibrosis", "effusion", "hilar nodes")
LOOKALIKES = ("prominent hila", "old rib fracture", "nipple shadows")
SIGN_SHARES = (0.40, 0.15, 0.13, 0.07, 0.11, 0.07, 0.07)  # of a film's first sign, in the order of TB_SIGNS
LOOKALIKE_SHARE = 0.25  # of all films
STREAMS = ("chest", "lesions", "film", "vessels")  # separate, so that a lesion moves no rib, and a rib no mottle
FIRST_STREAM = 10  # lower numbers are reserved for artefacts, which must not depend on the anatomy
FULL_INK = np.float32(0.30 / 255)  # chest depths per grey level of a bone drawing
FULL_VESSEL = np.float32(0.22 / 255)  # the same for a drawing of vessels
BLOOD = 3.0  # chest depths a vessel adds per half picture side of its width: as plain as on films, more than water
VISIBLE = 0.02  # least change by a visible lesion, in chest depths: about three grey levels
PLAIN = np.float32(1.8)  # extra density of plain lesions: obvious even at 128 pixels per side
TABLE = 1024  # steps of the look-up tables over x or y, -REACH … REACH: less than a pixel each
REACH = 1.6  # beyond the corners of the film for the smallest person
RIBS = 10  # pairs visible on films
CORTEX = 0.004  # thickness of a bone's cortex
BONY_FRONTS = 7  # below the seventh rib the front is cartilage, which is hardly visible
EXPOSURES = 16384  # length of the look-up table over exposure: at its dark end a step is less than half a grey level
STEPS_OF_EXPOSURE = 12000  # so that it reaches 1.36, more than the bare beam and its veil
LUNG_DEPTH = 0.70  # air in the thickest part of the lungs, in chest depths


@dataclass(frozen=True)
class Radiograph:
    """A synthetic chest without artefacts.

    Attributes:
        grey: uint8 (SIDE, SIDE), 0 black (much radiation) … 250 white (none).
        lungs: bool (SIDE, SIDE), True on visible lung: not behind the heart, not below the diaphragm.
        lesions: bool (SIDE, SIDE), True where tuberculosis visibly adds or removes attenuation.
        signs: the signs drawn, from `TB_SIGNS` and `LOOKALIKES`.
    """

    grey: Pixels
    lungs: Mask
    lesions: Mask
    signs: tuple[str, ...]


class Stance(NamedTuple):
    """Stance of a person: size, tilt in radians, and the position of the body's middle."""

    size: float
    tilt: float
    right: float
    down: float


class Bubble(NamedTuple):
    """Gas in the stomach or bowel; lengths in half picture sides, depth in chest depths."""

    centre: Place
    axes: Place
    depth: float


@dataclass(frozen=True)
class Build:
    """A person's build. Lengths in half picture sides; pairs are the patient's right and left."""

    stance: Stance
    girth: float  # 0 thin … 1 heavy
    age: float  # 0 young … 1 old
    turn: float  # shift of the front of the chest against the spine
    cage: tuple[float, float]  # half-width of the rib cage at its widest
    apex: float  # y of the lungs' apices
    domes: tuple[float, float]  # y of the diaphragm's domes
    flatness: float  # how steeply the domes fall to the sides; flatter after a deep breath
    hila: tuple[float, float]  # y of the hila
    heart: float  # how far its border reaches to the left
    shrug: float  # rise of the clavicles to the side, per length of 1
    breasts: float  # thickness, in chest depths
    pull: float  # shift of trachea and upper mediastinum by fibrosis, signed by its side
    gas: tuple[Bubble, ...]
    waves: Lines  # (2, 16) relative deviations of the mediastinum's width from the mean
    lookalike: str


class Body(NamedTuple):
    """Smooth fields (GRID, GRID) of one person."""

    x: Real
    y: Real
    edge: Real  # > 0 on visible lung
    air: Real  # share of the greatest depth of air, 0 … 1
    water: Real  # attenuation of all soft tissue


def radiograph(seed: int, severity: float) -> Radiograph:
    """Draw the chest for a seed, with tuberculosis of a severity 0 (none), just above 0 (barely visible) … 1 (plain).

    Anatomy, exposure, mottle and lesions have separate streams of random numbers. Severity affects only the lesions and
    the volume loss by fibrosis.
    """
    signs, side = _signs(_stream(seed, "lesions")) if severity > 0 else ((), 1)
    build = _build(_stream(seed, "chest"), severity * side if "fibrosis" in signs else 0.0)
    film, vessels = _stream(seed, "film"), _stream(seed, "vessels")
    body = _body(build)
    attenuation = _doubled(body.water)
    attenuation += _bones(build, vessels)
    attenuation += _lung_markings(build, body.air, vessels)
    _add_lookalike(attenuation, build, vessels)
    lesions = np.zeros((SIDE, SIDE), bool)
    if signs:
        added = PLAIN * _lesions(build, body, signs, side, _stream(seed, "lesions"))
        lesions = np.abs(added) > VISIBLE
        added *= np.float32(severity)
        attenuation += added
    signs += (build.lookalike,) if build.lookalike else ()
    return Radiograph(_developed(attenuation, film), _doubled(body.edge) > 0, lesions, signs)


def lesions_of(seed: int) -> tuple[Real, Mask]:
    """What plain tuberculosis adds to the chest for a seed, or removes from it: float32 (SIDE, SIDE), in chest depths;
    and that chest's lungs, bool (SIDE, SIDE)."""
    signs, side = _signs(_stream(seed, "lesions"))
    build = _build(_stream(seed, "chest"), side if "fibrosis" in signs else 0.0)
    body = _body(build)
    return PLAIN * _lesions(build, body, signs, side, _stream(seed, "lesions")), _doubled(body.edge) > 0


def _stream(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, FIRST_STREAM + STREAMS.index(purpose)])


def _signs(rng: np.random.Generator) -> tuple[tuple[str, ...], int]:
    """One to three signs of tuberculosis, and the worse side: -1 the patient's right, 1 the left."""
    count = 1 + int(rng.choice(3, p=[0.45, 0.38, 0.17]))
    chosen = rng.choice(len(TB_SIGNS), size=count, replace=False, p=np.array(SIGN_SHARES) / sum(SIGN_SHARES))
    return tuple(TB_SIGNS[index] for index in sorted(chosen)), int(rng.choice([-1, 1]))


def _build(rng: np.random.Generator, pull: float) -> Build:
    """Sample a person; `pull` is the severity of fibrosis times its side."""
    girth, age = float(rng.beta(2, 2.6)), float(rng.random())
    stance = Stance(
        size=float(np.clip(rng.normal(1.09, 0.1), 0.92, 1.32)),
        tilt=rng.normal(0, 0.028),
        right=rng.normal(0, 0.03),
        down=rng.normal(0.02, 0.06),
    )
    cage = rng.uniform(0.64, 0.75) + 0.03 * girth
    right_dome = rng.uniform(0.33, 0.62) - 0.08 * girth
    left_dome = right_dome + rng.uniform(0.025, 0.08)
    hilum = rng.uniform(-0.12, -0.02)
    pulled, bumps = 0.12 * abs(pull), rng.normal(0, 0.09, (2, 18))
    return Build(
        stance=stance,
        girth=girth,
        age=age,
        turn=rng.normal(0, 0.025),
        cage=(cage, cage + rng.normal(0, 0.02)),
        apex=rng.uniform(-0.86, -0.76),
        domes=(right_dome, left_dome),
        flatness=1.15 - 1.1 * (right_dome - 0.2) + rng.normal(0, 0.12),
        hila=(hilum - pulled * (pull < 0), hilum - 0.05 - pulled * (pull > 0)),
        heart=rng.uniform(0.32, 0.43) + 0.06 * age + 0.05 * girth,
        shrug=rng.uniform(0.0, 0.34),
        breasts=float(rng.choice([0.0, rng.uniform(0.08, 0.22)], p=[0.6, 0.4])),
        pull=0.07 * pull,
        gas=_gas(left_dome, rng),
        waves=np.stack([bumps[:, :-2], bumps[:, 1:-1], bumps[:, 2:]]).mean(axis=0),  # neighbours bulge together
        lookalike=str(rng.choice(LOOKALIKES)) if rng.random() < LOOKALIKE_SHARE else "",
    )


def _gas(dome: float, rng: np.random.Generator) -> tuple[Bubble, ...]:
    """Bubbles under the left dome: one in the stomach of half of all people, some in the bowel of fewer."""
    bubbles = []
    if rng.random() < 0.5:
        axes = (rng.uniform(0.08, 0.17), rng.uniform(0.04, 0.09))
        bubbles.append(Bubble((rng.uniform(0.26, 0.42), dome + 0.05 + axes[1]), axes, rng.uniform(0.1, 0.25)))
    for _ in range(rng.integers(2, 5) if rng.random() < 0.3 else 0):
        radius, centre = rng.uniform(0.03, 0.07), (rng.uniform(0.3, 0.65), dome + rng.uniform(0.2, 0.4))
        bubbles.append(Bubble(centre, (radius, radius), rng.uniform(0.06, 0.15)))
    return tuple(bubbles)


@lru_cache(maxsize=1)
def _steps() -> Real:
    return np.linspace(-REACH, REACH, TABLE, dtype=np.float32)


def _at(value: Real) -> npt.NDArray[np.intp]:
    return np.clip((value + REACH) * ((TABLE - 1) / (2 * REACH)), 0, TABLE - 1).astype(np.intp)


def _curve(points: list[tuple[float, float]], smooth: int) -> Real:
    """A smooth look-up table through about these points (position, value); `smooth` in steps."""
    positions, values = zip(*points, strict=True)
    kernel = np.hanning(smooth + 2)
    return np.convolve(np.interp(_steps(), positions, values), kernel / kernel.sum(), mode="same").astype(np.float32)


def _round(inside: Lines) -> Real:
    """Relative thickness of a round body: 0 at its outline (`inside` = 0), 1 at its core (`inside` ≥ 1)."""
    depth: Real = np.clip(inside, 0, 1)
    return np.sqrt(depth * (2 - depth))


def _ellipse(x: Real, y: Real, centre: Place, axes: Place, turn: float = 0.0) -> Real:
    """1 at the centre, 0 on the outline, negative outside; `turn` in radians, clockwise as seen."""
    u, v = x - np.float32(centre[0]), y - np.float32(centre[1])
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    across, along = (cos * u + sin * v) / np.float32(axes[0]), (cos * v - sin * u) / np.float32(axes[1])
    return 1 - np.sqrt(across * across + along * along)


def _wall(build: Build, side: int) -> Real:
    """Look-up table over y: half-width of one side of the rib cage, a superellipse from the apex down."""
    widest = np.float32(0.22)
    height = np.clip((widest - _steps()) / (widest - np.float32(build.apex)), -0.5, 1)
    wall = np.float32(build.cage[side]) * (1 - np.abs(height) ** np.float32(2.6)) ** np.float32(0.42)
    return wall + np.float32(0.25) * (height < 0) * height * height


def _mediastinum(build: Build, side: int) -> Real:
    """Look-up table over y: how far the mediastinum reaches to one side."""
    apex, base, hilum, heart = build.apex, build.domes[side] + 0.02, build.hila[side], build.heart
    sign, old = 1 if side else -1, build.age
    shares: tuple[Place, ...]  # of the heart: y from the diaphragm, and share of its greatest width
    tip = [(-1.0, 0.2), (apex, 0.25), (apex + 0.08, 0.155)]
    if side:  # subclavian artery, aortic knob, window, pulmonary trunk, auricle, left ventricle
        vessels = [(apex + 0.2, 0.14), (hilum - 0.36, 0.13), (hilum - 0.27, 0.16 + 0.05 * old)]
        vessels += [(hilum - 0.19, 0.165 + 0.05 * old), (hilum - 0.11, 0.14), (hilum - 0.02, 0.16)]
        shares = ((-0.30, 0.70), (-0.18, 0.91), (-0.08, 1.0), (0.04, 0.98), (0.16, 0.88), (0.3, 0.8))
        lower = [(hilum + 0.08, 0.185 - 0.03 * old)] + [(base + at, share * heart) for at, share in shares]
    else:  # great veins, ascending aorta, right atrium
        atrium = 0.19 + 0.35 * (heart - 0.36)
        vessels = [(apex + 0.2, 0.135), (hilum - 0.25, 0.135 + 0.02 * old), (hilum - 0.08, 0.145 + 0.02 * old)]
        shares = ((-0.28, 0.9), (-0.16, 1.0), (-0.05, 0.92), (0.06, 0.75), (0.3, 0.7))
        lower = [(hilum + 0.06, 0.14)] + [(base + at, share * atrium) for at, share in shares]
    points = [
        (at, value * (1 + wave) + sign * (build.turn + build.pull * (at < hilum)))
        for (at, value), wave in zip(tip + vessels + lower, build.waves[side], strict=False)
    ]
    return _curve(points, 62)


def _dome(build: Build) -> Real:
    """Look-up table over x: y of the diaphragm, highest near the middle of each half, lowest at the chest walls."""
    tables = []
    for side in (0, 1):
        top, wall, flat = build.domes[side], build.cage[side], build.flatness
        points = [(0.0, top + 0.05), (0.12, top + 0.035), (0.38 * wall, top - 0.005), (0.55 * wall, top + 0.01 * flat)]
        points += [(share * wall, top + fall * flat) for share, fall in ((0.72, 0.055), (0.88, 0.15), (0.97, 0.25))]
        tables.append(_curve([*points, (1.3, top + 0.5)], 60))
    half = TABLE // 2
    return np.concatenate([tables[0][: half - 1 : -1], tables[1][half:]])


def _body(build: Build) -> Body:
    x, y = _before(build.stance, GRID)
    out, row = np.abs(x), _at(y)
    sided = row + TABLE * (x > 0)
    wall = np.concatenate([_wall(build, 0), _wall(build, 1)])[sided] - out
    medial = out - np.concatenate([_mediastinum(build, 0), _mediastinum(build, 1)])[sided]
    above = _dome(build)[_at(x)] - y
    heart = _round(medial * np.float32(-1 / 0.16))
    depth = np.clip(above * np.float32(-1 / 0.3), 0, 1)  # behind the dome lung continues, ever thinner
    below = np.float32(0.78) * _round(above * np.float32(-1 / 0.06)) + np.float32(0.22) * np.sqrt(depth)
    air = _round(wall * np.float32(1 / 0.40)) * (1 - np.float32(0.88) * heart) * (1 - below)
    air *= np.float32(0.5) + np.float32(0.5) * _round((y - np.float32(build.apex)) * np.float32(1 / 0.55))
    edge = np.minimum(np.minimum(wall, medial), above)
    water = _doubled(_soft_tissue(build)) - np.float32(LUNG_DEPTH) * air
    return Body(x, y, edge, air, water)


def _before(stance: Stance, side: int) -> tuple[Real, Real]:
    """The anatomical x and y, each (side, side), of the film's pixels."""
    size, tilt, right, down = (np.float32(value) for value in stance)
    line = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / side) - 1
    u, v = (line - right)[None, :] / size, (line - down)[:, None] / size
    return u + tilt * v, v - tilt * u


@lru_cache(maxsize=1)
def _depths() -> Real:
    """Look-up table over y: water from front to back in the middle of the body."""
    return _curve([(-1.1, 0.5), (-0.85, 0.5), (-0.6, 0.66), (-0.2, 0.92), (0.3, 1.02), (0.6, 1.1), (1.2, 1.15)], 60)


def _soft_tissue(build: Build) -> Real:
    """Water from front to back, (GRID / 2, GRID / 2): neck, shoulders, trunk, arms and breasts, minus the hollows."""
    x, y = _before(build.stance, GRID // 2)
    out, row, fat = np.abs(x), _at(y), build.girth
    flank, neck = max(build.cage) + 0.035 + 0.17 * fat, build.apex
    top = neck + 0.10 - 0.45 * build.shrug
    widths = _curve(
        [(-1.4, 0.2), (neck - 0.22, 0.22 + 0.05 * fat), (neck - 0.08, 0.34 + 0.1 * fat), (top, 0.74),
         (top + 0.1, 1.0), (-0.4, 1.04), (-0.1, flank + 0.1), (0.2, flank + 0.02), (0.5, flank), (1.0, flank + 0.03)],
        50,
    )  # fmt: skip
    trunk = _depths()[row] * _round(np.float32(1.5 - 0.3 * fat) * (1 - out / widths[row]))
    arm = 1 - np.abs(out - (np.float32(1.06) + np.float32(0.2 - 0.1 * fat) * y)) / np.float32(0.19 + 0.06 * fat)
    arm = np.minimum(arm, (y - np.float32(neck + 0.08)) * 4)
    trunk = np.maximum(trunk, np.float32(0.55) * _round(arm * np.float32(1.4)))
    # muscles of chest and shoulder blade, thickest at the armpit
    trunk += np.float32(0.12) * np.maximum(_ellipse(out, y, (0.76, -0.28), (0.42, 0.4), turn=0.3), 0)
    trunk += np.float32(0.1) * _round(1.2 - out / np.float32(0.12))  # the spine's own thickness and what lies before it
    if build.breasts:
        crescent = _ellipse(out, y, (0.45, 0.26), (0.36, 0.30 + 0.1 * fat))
        hanging = np.clip(y * 2 + np.float32(0.4), 0, 1)  # thin above, full and sharply outlined below
        trunk += np.float32(build.breasts) * _round(crescent * np.float32(1.6)) * hanging
    for sign, hilum in zip((-1, 1), build.hila, strict=True):  # the hila are more than the individually visible vessels
        inside = _ellipse(x, y, (sign * 0.19, hilum + 0.03), (0.10, 0.17), -sign * 0.3)
        trunk += np.float32(0.16) * np.maximum(inside, 0)
    trunk += np.float32(0.012) * _texture()[: GRID // 2, : GRID // 2]
    return trunk - _hollows(build, x, y)


def _hollows(build: Build, x: Real, y: Real) -> Real:
    """Air outside the lungs: the windpipe, and gas in the stomach and the bowel."""
    middle = np.float32(build.turn * 0.5) + np.float32(build.pull) * np.clip(y + 1, 0, 1)
    carina = np.float32(min(build.hila) - 0.12)
    tube = np.maximum(1 - np.abs(x - middle) / np.float32(0.042), 0) * np.clip((carina - y) / np.float32(0.1), 0, 1)
    hollows = np.float32(0.11) * tube
    for (cx, cy), (wide, high), depth in build.gas:
        above_level = (np.float32(cy + 0.35 * high) - y) * np.float32(1 / high)  # people stand: fluid lies below
        inside = np.minimum(_ellipse(x, y, (cx, cy), (wide, high), turn=0.2), above_level)
        hollows += np.float32(depth) * _round(np.float32(1.6) * inside)
    return hollows


def _placed(points: Lines, stance: Stance) -> Lines:
    """Pixels of the drawing, (…, 2), from anatomical points (…, 2)."""
    x, y = points[..., 0], points[..., 1]
    u = stance.right + stance.size * (x - stance.tilt * y)
    v = stance.down + stance.size * (y + stance.tilt * x)
    return (np.stack([u, v], axis=-1) + 1) * (DRAWN / 2)


def _reduced(canvas: Image.Image) -> Real:
    """Reduce a drawing to the film's size, 0 … 255."""
    return np.asarray(canvas.reduce(DRAWN // SIDE), np.float32)


def _bones(build: Build, rng: np.random.Generator) -> Real:
    """Attenuation (SIDE, SIDE) of ribs, spine, clavicles, scapulae and humeri."""
    behind, front = Image.new("L", (DRAWN, DRAWN)), Image.new("L", (DRAWN, DRAWN))
    back_arcs, front_arcs = _rib_arcs(build, rng)
    draw_behind, draw_front = ImageDraw.Draw(behind), ImageDraw.Draw(front)
    _draw_shoulders(draw_front, build, rng)
    _draw_bands(draw_behind, back_arcs, build.stance, rng.integers(52, 68, len(back_arcs)).tolist(), cortex=88)
    _draw_bands(draw_front, front_arcs, build.stance, rng.integers(24, 40, len(front_arcs)).tolist(), cortex=46)
    if build.age > 0.6:
        _draw_cartilage(draw_front, _placed(front_arcs[:, 0, front_arcs.shape[2] // 2], build.stance), rng)
    _draw_spine(draw_front, build, rng)
    _draw_clavicles(draw_front, build, rng)
    total = _reduced(ImageChops.add(behind, front))  # structures behind and in front of the lungs add up
    total *= FULL_INK * np.float32(rng.uniform(0.75, 1.2))
    return total


def _rib_arcs(build: Build, rng: np.random.Generator) -> tuple[Lines, Lines]:
    """All posterior and all anterior arcs of the ribs, as from `_band`: (ribs, 2, points, 2)."""
    turn = np.linspace(0, np.pi / 2, 15)  # from the spine to the side wall, or on from there to the front
    number = (np.arange(RIBS) / (RIBS - 1))[:, None]
    sign = np.array([-1, 1])[:, None, None]
    fall, front_fall, rise = rng.uniform(0.20, 0.42), rng.uniform(0.26, 0.42), rng.uniform(0.0, 0.04)
    width = rng.uniform(0.022, 0.029)
    wobble = rng.normal(0, 0.009, (5, 2, RIBS, 1))
    top, bottom = build.apex + 0.03, 0.46 + 0.4 * (max(build.domes) - 0.5)
    start = top + (bottom - top) * number**0.95 + wobble[0]
    drop = fall * (0.45 + 0.85 * number) + wobble[1]
    lateral = np.minimum(start + drop, 0.5 + 0.5 * max(build.domes))
    wall = np.stack([np.interp(lateral[side] - 0.03, _steps(), _wall(build, side)) for side in (0, 1)]) + 0.012
    x = 0.06 + (wall - 0.06) * np.sin(turn)
    y = start + drop * (1 - np.cos(turn)) ** (0.75 + 0.2 * number) - rise * np.sin(2 * turn) * (0.2 + 1.3 * number)
    waist = np.minimum(1, 0.3 + 1.6 * turn) - 0.35 * (turn / 1.57) ** 2 + 0.08 * np.sin(3 * turn + wobble[3] * 300)
    waist *= 1 - 0.8 * (number > 0.75) * (turn / 1.57) ** 3  # the lowest ribs end in a point
    backs = _band(sign * x, y + wobble[4] * np.sin(3 * turn), (width + 0.25 * wobble[2]) * waist)
    sternal = np.minimum(0.14 + 0.45 * number**0.7, 0.6 * wall)
    x = wall - (wall - sternal) * (1 - np.cos(turn)) ** 1.05
    slant = front_fall * (0.5 + 0.6 * number - np.maximum(number - 0.65, 0)) + wobble[3]
    fronts = _band(sign * x, lateral + slant * np.sin(turn) ** 1.3, width * (0.65 + 0.32 * turn))[:, :BONY_FRONTS]
    return backs.reshape(-1, *backs.shape[2:]), fronts.reshape(-1, *fronts.shape[2:])


def _band(x: Lines, y: Lines, half: Lines) -> Lines:
    """Outlines (…, 2, 2 n, 2) of bands with axes x, y (…, n) and half-width `half`, and of the marrow inside."""
    axis = np.stack([x, y], axis=-1)
    along = np.concatenate([axis[..., 1:, :], axis[..., -1:, :]], axis=-2)
    along -= np.concatenate([axis[..., :1, :], axis[..., :-1, :]], axis=-2)
    across = along[..., ::-1] * (-1, 1) / np.hypot(along[..., 0], along[..., 1])[..., None]
    within = np.maximum(half - CORTEX, 0.3 * half)
    outlines = []
    for width in (half, within):
        shift = across * width[..., None]
        outlines.append(np.concatenate([axis - shift, (axis + shift)[..., ::-1, :]], axis=-2))
    return np.stack(outlines, axis=-3)


def _draw_bands(draw: ImageDraw.ImageDraw, bands: Lines, stance: Stance, fills: list[int], cortex: int) -> None:
    """Draw flat bones (n, 2, points, 2): marrow inside a dense cortex."""
    outlines = _placed(bands, stance).reshape(len(bands), 2, -1).tolist()
    for (outer, inner), fill in zip(outlines, fills, strict=True):
        draw.polygon(outer, fill=cortex)
        draw.polygon(inner, fill=fill)


def _draw_cartilage(draw: ImageDraw.ImageDraw, ends: Lines, rng: np.random.Generator) -> None:
    """Draw calcified flecks beyond the front ends (n, 2) of the ribs, as in ageing cartilage."""
    flecks = np.repeat(ends, 6, axis=0)
    along = rng.normal(25, 18, len(flecks))
    flecks[:, 0] += np.sign(DRAWN / 2 - flecks[:, 0]) * along
    flecks[:, 1] += 0.2 * along + rng.normal(-8, 9, len(flecks))
    for (x, y), r in zip(flecks.tolist(), rng.uniform(1, 6, len(flecks)).tolist(), strict=True):
        draw.ellipse((x - 1.5 * r, y - r, x + 1.5 * r, y + r), fill=56)


def _draw_spine(draw: ImageDraw.ImageDraw, build: Build, rng: np.random.Generator) -> None:
    """Draw vertebral bodies with end plates, pedicles and spinous processes, from the neck to the loins."""
    number = np.arange(18)
    top = np.cumsum(0.084 + 0.0045 * number) - 1.25
    middle = rng.normal(0, 0.012) * np.sin(2 * top + rng.uniform(0, 6))
    offset = np.stack([middle, top], axis=-1)[:, None]
    size = np.stack([0.068 + 0.0022 * number, 0.080 + 0.0045 * number], axis=-1)[:, None]
    waist = np.array([(-1, 0.03), (-0.86, 0.5), (-1, 0.97), (1, 0.97), (0.86, 0.5), (1, 0.03)])
    knobs = np.array([(-0.62, 0.36), (0.62, 0.36), (0.0, 0.8)])
    bodies = _placed(offset + waist * size, build.stance).reshape(number.size, -1).tolist()
    centres = _placed(offset + knobs * size, build.stance).tolist()
    shades = (rng.uniform(20, 40) * rng.uniform(0.85, 1.15, number.size)).astype(int).tolist()
    for corners, places, shade in zip(bodies, centres, shades, strict=True):
        draw.polygon(corners, fill=shade)
        draw.line(corners[4:8], fill=shade + 10, width=4)
        draw.line(corners[:2] + corners[10:], fill=shade + 8, width=4)
        for (u, v), high in zip(places, (9, 9, 13), strict=True):
            draw.ellipse((u - 5, v - high, u + 5, v + high), fill=shade + 16)
        u, v = places[2]
        draw.ellipse((u - 2, v - 9, u + 2, v + 9), fill=shade + 5)


def _rounded(outline: Lines) -> Lines:
    """A closed outline (n, 2) with its corners cut twice: (4 n, 2)."""
    for _ in range(2):
        step = (np.roll(outline, -1, axis=0) - outline) / 4
        outline = np.stack([outline + step, outline + 3 * step], axis=1).reshape(-1, 2)
    return outline


SCAPULA = _rounded(np.array(
    [(0.66, 0.14), (0.63, 0.30), (0.64, 0.50), (0.70, 0.76), (0.75, 0.78), (0.79, 0.60), (0.86, 0.42), (0.92, 0.33),
     (0.96, 0.28), (0.96, 0.18), (0.88, 0.17), (0.78, 0.10)]
))  # fmt: skip
SCAPULAR_SPINE = np.array([(0.66, 0.25), (0.74, 0.18), (0.86, 0.12), (0.97, 0.06), (1.06, 0.1)]).T
HUMERUS = np.array([(0.96, 0.3), (1.1, 0.2), (1.2, 0.6), (1.5, 2.4), (1.38, 2.4), (1.08, 0.6)])
SHOULDER_JOINT = np.array([(1.03, 0.24)])
CLAVICLE = np.array(  # x outwards, and half-width along it
    [(0.06, 0.012), (0.075, 0.024), (0.11, 0.030), (0.2, 0.025), (0.3, 0.021), (0.42, 0.019), (0.55, 0.019),
     (0.68, 0.021), (0.8, 0.025), (0.88, 0.026), (0.92, 0.020), (0.94, 0.006)]
).T  # fmt: skip


def _draw_shoulders(draw: ImageDraw.ImageDraw, build: Build, rng: np.random.Generator) -> None:
    """Draw scapulae and heads of the humeri; the outlines above have y from the apex of the lungs down."""
    moved = np.array([rng.uniform(-0.02, 0.1), build.apex + rng.normal(0.06, 0.02) - 0.4 * build.shrug])
    turn, radius = rng.uniform(-0.12, 0.3), 0.1 * DRAWN / 2 * build.stance.size
    joint = SHOULDER_JOINT
    blade = (SCAPULA - joint) @ np.array([[1, -turn], [turn, 1]]) + joint  # it turns as the arm is raised
    ridge = _band(SCAPULAR_SPINE[0], SCAPULAR_SPINE[1], np.full(SCAPULAR_SPINE.shape[1], 0.018))[0]
    shapes = np.concatenate([blade, HUMERUS, ridge, joint]) + moved
    ends = 2 * np.cumsum([len(blade), len(HUMERUS), len(ridge)])
    for points in _placed(np.stack([shapes * (-1, 1), shapes]), build.stance).reshape(2, -1).tolist():
        edge, bone, (u, v) = points[: ends[0]], points[ends[0] : ends[1]], points[ends[2] :]
        draw.polygon(edge, fill=34)
        draw.line(edge[: len(edge) // 3], fill=70, width=4)
        draw.polygon(points[ends[1] : ends[2]], fill=72)
        draw.polygon(bone, fill=90)
        draw.line(bone[2:8], fill=128, width=5)
        draw.line(bone[8:] + bone[:2], fill=128, width=5)
        draw.ellipse((u - radius, v - radius, u + radius, v + radius), fill=100)


def _draw_clavicles(draw: ImageDraw.ImageDraw, build: Build, rng: np.random.Generator) -> None:
    """Draw clavicles: an S from beside the windpipe to the shoulder, raised by a shrug."""
    out, half = CLAVICLE
    y = build.apex + 0.2 - build.shrug * (out - 0.22) + rng.uniform(0.015, 0.045) * np.sin(7.5 * out)
    bands = _band(np.stack([-out, out]) + 0.9 * build.turn, y + rng.normal(0, 0.015, (2, 1)), half)
    _draw_bands(draw, bands, build.stance, rng.integers(92, 130, 2).tolist(), cortex=156)


TREES = 6  # trees of vessels in the bank
TREE_SCALE = SIDE / 2  # pixels of a bank's picture per length of 1
TREE_BOX = (-0.14, -0.80, 0.76, 0.66)  # extent of a picture: x outwards from the hilum and y, from … to
STEMS = (  # heading from the hilum in radians, 0 outwards and positive down; width at the hilum
    (-1.5, 0.030), (-1.3, 0.036), (-1.05, 0.030), (-0.75, 0.024), (-0.4, 0.020), (-0.05, 0.020), (0.3, 0.024),
    (0.6, 0.030), (0.8, 0.030), (1.0, 0.036), (1.15, 0.052), (1.3, 0.040), (1.5, 0.028),
)  # fmt: skip


def _lung_markings(build: Build, air: Real, rng: np.random.Generator) -> Real:
    """Attenuation (SIDE, SIDE) of the vessels and fine texture of the lungs; `air` is (GRID, GRID)."""
    marks = np.float32(rng.uniform(0.008, 0.02)) * _cut(_texture(), rng)
    for side in (0, 1):
        _add_tree(marks, build, side, rng)
    seen = np.repeat(np.minimum(3 * air + np.float32(0.1), 1), 2, axis=1)
    marks[0::2] *= seen
    marks[1::2] *= seen
    return marks


def _add_tree(marks: Real, build: Build, side: int, rng: np.random.Generator) -> None:
    """Add a slightly stretched tree of the bank at the hilum to one half of `marks`."""
    tree = _trees()[int(rng.integers(TREES))]
    stretch = np.array(build.stance.size * rng.uniform(0.9, 1.1, 2) * (build.cage[side] / 0.74, 1.0))
    hilum = _placed(np.array([0.17 if side else -0.17, build.hila[side]]), build.stance) * (SIDE / DRAWN)
    box = np.reshape(TREE_BOX, (2, 2)) * stretch * TREE_SCALE  # corners relative to the hilum, in pixels of the film
    if not side:
        box, tree = np.stack([box[::-1, 0] * -1, box[:, 1]], axis=1), ImageOps.mirror(tree)
    corners = np.clip(np.rint(hilum + box), 0, SIDE).astype(int)
    source = (corners - hilum - box[0]) / stretch  # the part of the tree's picture that lies on the film
    source = np.clip(source, 0, tree.size)
    (left, top), (right, bottom) = corners.tolist()
    laid = tree.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=source.ravel().tolist())
    marks[top:bottom, left:right] += np.multiply(np.asarray(laid), FULL_VESSEL, dtype=np.float32)


@lru_cache(maxsize=1)
def _trees() -> tuple[Image.Image, ...]:
    """The bank: pictures of the vessels of left lungs, hilum at the origin of `TREE_BOX`; mirrored for right ones."""
    return tuple(_tree(_bank_stream(10 + number)) for number in range(TREES))


def _tree(rng: np.random.Generator) -> Image.Image:
    """The vessels of one lung, drawn at twice the size of `TREE_SCALE` and reduced."""
    wide, high = (int(2 * TREE_SCALE * (TREE_BOX[axis + 2] - TREE_BOX[axis])) for axis in (0, 1))
    layers = [Image.new("L", (wide, high)) for _ in range(4)]  # vessels of different layers add up where they cross
    draws = [ImageDraw.Draw(layer) for layer in layers]
    for heading, width in STEMS:
        start = np.array([rng.normal(0.0, 0.02), 0.08 * heading + rng.normal(0, 0.015)])
        width, length = width * rng.uniform(0.7, 1.1), rng.uniform(0.55, 0.72)
        _grow(draws, start, heading + rng.normal(0, 0.1), width, length, rng)
    _draw_hilum(draws, rng)
    total = np.sum([np.asarray(layer.reduce(2), np.float32) for layer in layers], axis=0)
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


def _on_tree(point: Lines) -> Lines:
    """Pixels of a tree's drawing from x and y in `TREE_BOX`."""
    return (point - np.array(TREE_BOX[:2])) * (2 * TREE_SCALE)


Draws = list[ImageDraw.ImageDraw]


def _grow(draws: Draws, point: Lines, heading: float, width: float, length: float, rng: np.random.Generator) -> None:
    """Draw a vessel, which bends and thins out, with branches to alternating sides."""
    draw, pieces = draws[rng.integers(len(draws))], max(3, int(length / 0.045))
    bend, hand = rng.normal(0, 0.05), rng.choice([-1, 1])
    for piece in range(pieces):
        heading += bend + rng.normal(0, 0.07)
        end = point + length / pieces * np.array([np.cos(heading), np.sin(heading)])
        thin, left = width * (1 - 0.8 * piece / pieces), length * (1 - piece / pieces)
        line = [*_on_tree(point).tolist(), *_on_tree(end).tolist()]
        for share, ink in ((1.0, 0.6), (0.6, 1.0)):  # a round vessel is thickest along its middle
            thickness = max(1, round(share * thin * 2 * TREE_SCALE))
            draw.line(line, fill=min(255, int(ink * thin * BLOOD / FULL_VESSEL)), width=thickness)
        point = end
        if piece and thin > 0.0045 and rng.random() < 0.75:
            hand = -hand
            turned, thinner = heading + hand * rng.uniform(0.3, 0.8), thin * rng.uniform(0.5, 0.75)
            _grow(draws, end, turned, thinner, left * rng.uniform(0.5, 0.9), rng)


def _draw_hilum(draws: Draws, rng: np.random.Generator) -> None:
    """Draw vessels (dots) and bronchi (rings) seen end-on near the hilum."""
    for _ in range(22):
        radius, draw = rng.uniform(0.006, 0.017), draws[rng.integers(len(draws))]
        centre = np.array([rng.normal(0.045, 0.045), rng.normal(0.02, 0.09)])
        box = [*_on_tree(centre - radius).tolist(), *_on_tree(centre + radius).tolist()]
        if rng.random() < 0.3:
            draw.ellipse(box, outline=60, width=3)
        else:
            draw.ellipse(box, fill=min(255, int(rng.uniform(0.9, 2.1) * BLOOD * radius / FULL_VESSEL)))


def _bank_stream(number: int) -> np.random.Generator:
    """Generator of a bank, which is the same for all films: its seed lies past the streams of any film."""
    return np.random.default_rng([number, FIRST_STREAM + len(STREAMS)])


def _octaves(rng: np.random.Generator, weights: dict[int, float]) -> Real:
    """A bank (DRAWN, DRAWN) of smooth noise: weighted sum of random grids with these numbers of cells per side."""
    grids = {cells: rng.standard_normal((cells, cells), np.float32) for cells in weights}
    total = np.zeros((DRAWN, DRAWN), np.float32)
    for cells, grid in grids.items():
        total += np.float32(weights[cells]) * _resized(grid, DRAWN)
    return total


@lru_cache(maxsize=1)
def _texture() -> Real:
    """A bank of lung texture with mean 0 and sd 1: clouds, and a net of the smallest vessels."""
    rng = _bank_stream(0)
    total = _octaves(rng, {32: 0.5, 64: 0.6, 128: 0.6, 256: 0.5})
    for _ in range(6):  # layers, which add up where vessels cross
        canvas = Image.new("L", (DRAWN, DRAWN))
        draw = ImageDraw.Draw(canvas)
        steps = rng.normal(0, 7, (900, 1, 2)) + rng.normal(0, 3, (900, 5, 2))
        lines = rng.uniform(0, DRAWN, (900, 1, 2)) + np.cumsum(steps, axis=1)
        for line in lines.reshape(900, -1).tolist():
            draw.line(line, fill=200, width=2)
        total += _resized(_reduced(canvas), DRAWN) / np.float32(90)
    total -= total.mean()
    return total / total.std()


@lru_cache(maxsize=1)
def _mottle() -> tuple[Real, ...]:
    """Banks of noise with sd 1, from grains of one pixel to grains of several."""
    rng = _bank_stream(1)
    fine, coarse = rng.standard_normal((DRAWN, DRAWN), np.float32), _octaves(rng, {DRAWN // 2: 1.4})
    mixed = [np.float32(1 - share) * fine + np.float32(share) * coarse for share in (0.3, 0.6, 0.85, 0.97)]
    return tuple(bank / bank.std() for bank in mixed)


@lru_cache(maxsize=1)
def _lumps() -> Real:
    """A bank of 0.4 … 3.4, mean about 1.4: haze with dense lumps of many sizes and clearer lung between them."""
    lumps = np.exp(np.float32(0.55) * _octaves(_bank_stream(2), {16: 0.6, 36: 0.8, 70: 0.8, 130: 0.5, 250: 0.25}))
    return np.minimum(lumps / lumps.mean(), 3) + np.float32(0.4)


@lru_cache(maxsize=1)
def _seeds() -> Real:
    """A bank of miliary nodules, 0 … about 3: dots of one to three pixels, often overlapping."""
    rng = _bank_stream(3)
    dots = np.zeros((DRAWN, DRAWN), np.float32)
    np.add.at(dots, tuple(rng.integers(0, DRAWN, (2, 16000))), rng.uniform(3, 6, 16000).astype(np.float32))
    return np.ascontiguousarray(_blurred(_blurred(dots, np.float32(0.25)), np.float32(0.25)))


def _cut(bank: Real, rng: np.random.Generator) -> Real:
    """A random crop (SIDE, SIDE) of a bank."""
    row, column = rng.integers(0, DRAWN - SIDE, size=2)
    return bank[row : row + SIDE, column : column + SIDE]


class Window(NamedTuple):
    """A small part of the film around a point, with its pixels' distances from there in anatomical lengths."""

    area: tuple[slice, slice]
    x: Real  # (1, w)
    y: Real  # (h, 1)


def _window(build: Build, centre: Place, radius: float) -> Window:
    """The part of the film, at least two pixels per side, that contains a disc of the anatomy."""
    middle = _placed(np.array(centre), build.stance) * (SIDE / DRAWN)
    reach, scale = radius * build.stance.size * SIDE / 2, np.float32(2 / (SIDE * build.stance.size))
    first = np.clip(middle - reach, 0, SIDE - 2).astype(int).tolist()
    past = np.clip(middle + reach + 1, 2, SIDE).astype(int).tolist()
    x, y = (
        (np.arange(a, b, dtype=np.float32) + np.float32(0.5 - at)) * scale
        for a, b, at in zip(first, past, middle, strict=True)
    )
    return Window((slice(first[1], past[1]), slice(first[0], past[0])), x[None, :], y[:, None])


def _add_ball(added: Real, build: Build, centre: Place, radius: float, depth: float) -> None:
    """Add a round body with a soft outline, `depth` chest depths at its core."""
    window = _window(build, centre, 1.3 * radius)
    inside = 1 - (window.x * window.x + window.y * window.y) / np.float32((1.2 * radius) ** 2)
    inside = np.maximum(inside, 0)
    added[window.area] += np.float32(depth) * inside * (np.float32(1.6) - np.float32(0.6) * inside)


def _add_lookalike(attenuation: Real, build: Build, rng: np.random.Generator) -> None:
    """Add a healthy finding that beginners mistake for disease."""
    if build.lookalike == "prominent hila":
        for sign, hilum in zip((-1, 1), build.hila, strict=True):
            for _ in range(5):
                centre = (sign * (0.2 + rng.uniform(-0.02, 0.07)), hilum + rng.uniform(-0.06, 0.14))
                _add_ball(attenuation, build, centre, rng.uniform(0.03, 0.055), rng.uniform(0.03, 0.06))
    elif build.lookalike == "old rib fracture":
        sign, y = int(rng.choice([-1, 1])), rng.uniform(-0.3, 0.3)
        x = float(np.interp(y, _steps(), _wall(build, int(sign > 0)))) - rng.uniform(0.03, 0.12)
        for step in (-0.02, 0.0, 0.02):
            _add_ball(attenuation, build, (sign * x + step, y + sign * 0.8 * step), 0.035, 0.05)
    elif build.lookalike == "nipple shadows":
        x, y = rng.uniform(0.36, 0.46), build.domes[0] - rng.uniform(0.02, 0.14)
        for sign in (-1, 1):
            _add_ball(attenuation, build, (sign * x + rng.normal(0, 0.01), y + rng.normal(0, 0.01)), 0.026, 0.07)


def _lesions(build: Build, body: Body, signs: tuple[str, ...], side: int, rng: np.random.Generator) -> Real:
    """Attenuation (SIDE, SIDE) that tuberculosis of severity 1 adds or, if negative, removes."""
    added = np.zeros((SIDE, SIDE), np.float32)
    place = (side * rng.uniform(0.28, 0.46), build.apex + rng.uniform(0.26, 0.5))
    if "infiltrate" in signs:
        _add_infiltrate(added, build, place, rng.uniform(0.2, 0.5), rng)
        if rng.random() < 0.4:
            other = (-place[0], place[1] + rng.normal(0, 0.1))
            _add_infiltrate(added, build, other, rng.uniform(0.15, 0.35), rng)
    if "cavity" in signs:
        _add_cavity(added, build, place, rng)
    if "nodules" in signs:
        for _ in range(rng.integers(5, 18)):
            centre = (place[0] + rng.normal(0, 0.14), place[1] + rng.normal(0.06, 0.18))
            radius = rng.uniform(0.014, 0.045)
            _add_ball(added, build, centre, radius, 2.5 * radius + 0.05)
    if "miliary" in signs:
        added += np.float32(rng.uniform(0.06, 0.1)) * _cut(_seeds(), rng)
    if "fibrosis" in signs:
        _add_fibrosis(added, build, side, rng)
    added *= _doubled(np.clip(np.float32(2.5) * body.air - np.float32(0.2), 0, 1))  # lesions lie in the lungs
    if "effusion" in signs:
        added += _effusion(build, body, side, rng)
    if "hilar nodes" in signs:
        _add_nodes(added, build, side, rng)
    return added


def _add_infiltrate(added: Real, build: Build, place: Place, radius: float, rng: np.random.Generator) -> None:
    """Add confluent patches of haze and lumps without a clear border."""
    line = np.arange(GRID, dtype=np.float32) + np.float32(0.5)
    haze = np.zeros((GRID, GRID), np.float32)
    for _ in range(3):
        centre = np.array(place) + rng.normal(0, 0.35 * radius, 2)
        middle = _placed(centre, build.stance) * (GRID / DRAWN)
        reach = radius * rng.uniform(0.7, 1.3, 2) * build.stance.size * GRID / 2
        across, down = np.exp(-2 * ((line - middle[:, None]) / reach[:, None]) ** 2).astype(np.float32)
        haze += np.float32(rng.uniform(0.06, 0.12)) * across * down[:, None]
    added += _doubled(np.maximum(haze - np.float32(0.001), 0)) * _cut(_lumps(), rng)


def _add_cavity(added: Real, build: Build, place: Place, rng: np.random.Generator) -> None:
    """Add a cavity: air within a thick, irregular wall, inside an infiltrate."""
    _add_infiltrate(added, build, place, rng.uniform(0.16, 0.26), rng)
    radius, wall = rng.uniform(0.06, 0.125), rng.uniform(0.025, 0.045)
    window = _window(build, place, 2 * radius)
    angle = np.arctan2(window.y, window.x)
    edge = np.full_like(angle, radius)
    for n in (2, 3, 4, 5):
        edge += np.float32(radius * rng.normal(0, 0.16 / n)) * np.cos(n * angle + np.float32(rng.uniform(0, 6.3)))
    outward = (np.sqrt(window.x * window.x + window.y * window.y) - edge) / np.float32(wall)
    hole = np.clip(np.float32(0.4) - outward, 0, 1)
    area = added[window.area]
    area *= 1 - np.float32(0.8) * hole
    uneven = np.float32(0.3) + np.float32(0.5) * _cut(_lumps(), rng)[window.area]
    area += np.float32(rng.uniform(0.07, 0.12)) * uneven * np.maximum(1 - outward * outward, 0)
    area -= np.float32(0.04) * hole


def _add_fibrosis(added: Real, build: Build, side: int, rng: np.random.Generator) -> None:
    """Add strands from the hilum to the apex, and a cap of thickened pleura over it."""
    canvas = Image.new("L", (DRAWN, DRAWN))
    draw = ImageDraw.Draw(canvas)
    start, count = np.array([0.2, build.hila[side > 0]]), 24
    ends = np.stack([rng.uniform(0.15, 0.6, count), build.apex + rng.uniform(0.05, 0.4, count)], axis=-1)
    along = rng.uniform(-0.1, 0.6, (count, 1)) + rng.uniform(0.2, 0.5, (count, 1)) * np.linspace(0, 1, 6)
    paths = start + (ends - start)[:, None] * along[..., None] + rng.normal(0, 0.008, (count, 6, 2))
    paths[..., 0] += 0.05 * rng.normal(size=(count, 1)) * np.sin(3 * along)
    lines = _placed(paths * (side, 1), build.stance).reshape(count, -1).tolist()
    for line, ink, width in zip(lines, rng.integers(70, 200, count).tolist(), rng.integers(2, 8, count), strict=True):
        draw.line(line, fill=ink, width=int(width))
    added += _reduced(canvas) * np.float32(0.14 / 255)
    _add_infiltrate(added, build, (side * 0.33, build.apex + 0.18), 0.22, rng)


def _effusion(build: Build, body: Body, side: int, rng: np.random.Generator) -> Real:
    """Fluid in place of air, with a meniscus along the side wall."""
    dome = build.domes[side > 0]
    level = dome + 0.13 - rng.uniform(0.0, 0.4)
    wall = np.interp(body.y[:, GRID // 2], _steps(), _wall(build, int(side > 0))).astype(np.float32)[:, None]
    rise = np.exp(np.minimum((np.float32(side) * body.x - wall) / np.float32(0.16), 0))
    depth = (body.y - np.float32(level) + np.float32(0.3) * rise) / np.float32(0.1)
    out = body.x * np.float32(side)
    chest = (body.air + np.float32(0.2) * np.clip(5 * out - np.float32(0.7), 0, 1) * (out < wall)) * (out > 0)
    return _doubled(np.float32(0.85 * LUNG_DEPTH) * chest * np.clip(depth, 0, 1))


def _add_nodes(added: Real, build: Build, side: int, rng: np.random.Generator) -> None:
    """Add enlarged lymph nodes: lobulated bodies at the hilum and, on the right, beside the windpipe."""
    hilum = build.hila[side > 0]
    for _ in range(rng.integers(3, 6)):
        centre = (side * rng.uniform(0.17, 0.27), hilum + rng.uniform(-0.07, 0.1))
        _add_ball(added, build, centre, rng.uniform(0.05, 0.085), rng.uniform(0.07, 0.12))
    if rng.random() < 0.5:
        _add_ball(added, build, (-0.13, hilum - 0.2), rng.uniform(0.07, 0.1), 0.14)


def _developed(attenuation: Real, rng: np.random.Generator) -> Pixels:
    """Uint8 (SIDE, SIDE) from attenuation (SIDE, SIDE): Beer-Lambert's law, scatter, then the film's S-shaped curve."""
    attenuation *= np.float32(-rng.uniform(2.5, 3.1))
    beam = _blurred(np.exp(attenuation, out=attenuation), np.float32(rng.uniform(0.02, 0.3)))
    veil = np.repeat(np.float32(rng.uniform(0.06, 0.25)) * _veil(beam), 2, axis=1)
    beam.reshape(GRID, 2, SIDE)[...] += veil[:, None]
    grain = np.float32(rng.uniform(0.002, 0.012) * rng.random()) * _cut(_mottle()[rng.integers(4)], rng)
    beam += grain * (beam + np.float32(0.05))
    beam *= np.float32(STEPS_OF_EXPOSURE)
    grey = _characteristic(rng).take(beam.astype(np.intp), mode="clip")
    grain *= np.float32(rng.uniform(0.2, 0.8)) / grain[:8].std()
    grey += grain[::-1]
    _collimate(grey, rng)
    return np.clip(grey, 0, BRIGHTEST, out=grey).astype(np.uint8)


def _blurred(field: Real, share: np.float32) -> Real:
    """Blur by giving this share of each pixel to each neighbour, along both axes: focal spot, screen and scanner."""
    for _ in range(2):
        given = share * field
        kept = (1 - 2 * share) * field
        kept[1:] += given[:-1]
        kept[:-1] += given[1:]
        kept[0] += given[0]
        kept[-1] += given[-1]
        field = np.swapaxes(kept, 0, 1)
    return field


FADED = np.float32(0.35)  # share of the film's level left at a faded edge


def _collimate(grey: Real, rng: np.random.Generator) -> None:
    """On some films, fade an edge, dark or bright, like the penumbra of the collimator's leaves; no film ends there."""
    if rng.random() > 0.3:
        return
    level = np.float32(rng.uniform(0, 12) if rng.random() < 0.7 else rng.uniform(180, 235))
    for turned in (grey, grey[::-1], grey.T, grey.T[::-1]):
        width = int(rng.integers(24, 80))
        if rng.random() < 0.4:
            share = FADED + (1 - FADED) * (np.arange(width, dtype=np.float32)[:, None] + 0.5) / width
            turned[:width] = level + share * (turned[:width] - level)


def _veil(beam: Real) -> Real:
    """Scattered radiation, (GRID, GRID): the picture, blurred beyond recognition."""
    small = Image.fromarray(np.ascontiguousarray(beam[::16, ::16])).resize((8, 8), Image.Resampling.BOX)
    return _doubled(_doubled(_resized(np.asarray(small), GRID // 4)))


def _characteristic(rng: np.random.Generator) -> Real:
    """The film's curve as a look-up table over exposure, in steps of 1 / STEPS_OF_EXPOSURE of the bare beam."""
    middle, contrast = float(np.clip(rng.normal(1.02, 0.36), 0.4, 1.6)), rng.uniform(1.0, 3.0)
    dark, bright = rng.uniform(-3, 12) + 35 * rng.random() ** 3, rng.uniform(188, 250)
    exposure = np.linspace(1e-3, 1, 512) ** 2 * EXPOSURES / STEPS_OF_EXPOSURE
    steep, shallow = (1 / (1 + (exposure * np.exp(middle)) ** power) for power in (contrast, 0.45 * contrast))
    curve = 0.7 * steep + 0.3 * shallow  # real films have a long toe and shoulder
    fog = rng.uniform(0.3, 1) * np.interp(1.15, exposure, curve)  # but bare film is nearly black
    curve = dark + (bright - dark) * (curve - fog) / (1 - fog)
    return np.interp(np.arange(EXPOSURES, dtype=np.float32) / STEPS_OF_EXPOSURE, exposure, curve).astype(np.float32)


def _doubled(field: Real) -> Real:
    """A field (h, w) at twice the size: each pixel is 3/4 of its own and 1/4 of the next one's value."""
    height, width = field.shape
    far, near = np.float32(0.25) * field, np.float32(0.75) * field
    tall = np.empty((2 * height, width), np.float32)
    tall[2::2], tall[1:-1:2] = near[1:] + far[:-1], near[:-1] + far[1:]
    tall[0], tall[-1] = field[0], field[-1]
    far, near = np.float32(0.25) * tall, np.float32(0.75) * tall
    large = np.empty((2 * height, 2 * width), np.float32)
    large[:, 2::2], large[:, 1:-1:2] = near[:, 1:] + far[:, :-1], near[:, :-1] + far[:, 1:]
    large[:, 0], large[:, -1] = tall[:, 0], tall[:, -1]
    return large


def _resized(field: Real, side: int) -> Real:
    return np.array(Image.fromarray(field).resize((side, side), Image.Resampling.BICUBIC), np.float32)
