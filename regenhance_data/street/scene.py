"""The demo's street: vehicles and people before a fixed traffic camera, drawn with NumPy and OpenCV, with true boxes.

A pinhole camera with level view and a shifted lens looks down a straight street: a point `x` metres right, `y` up and
`z` ahead of the camera's foot is seen at column `vanishing_px + focal_px·x/z`, row
`horizon_px + focal_px·(height_m − y)/z`. The still street is painted once per seed; whatever moves is a list of
coloured polygons, drawn supersampled from far to near.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

CLASS_NAMES = ("car", "truck", "person")  # "truck": vans, lorries and buses
CAR, TRUCK, PERSON = range(3)

MIN_BOX_PX = 6  # smaller visible parts of an object (behind another, past the edge) are not labelled
MIN_VISIBLE = 0.35  # share of an object's pixels that must be seen; about where a person would still name it
_SUPERSAMPLE = 4  # samples a side for objects below 64 px, 2 above: the finest that stays under 40 ms a frame
_SHIFT = 4  # fractional bits of OpenCV's polygon corners
_HAZE_M = 420.0  # distance in which haze takes 63 % of the contrast: clear at 20 m, a little pale at 100 m

Colour = tuple[float, float, float]
Part = tuple[np.ndarray, Colour]  # a flat shape: outline float [n, 2] in metres (right, up)


class Face(NamedTuple):
    """A polygon to fill: corners float [n, 2] in pixels of the frame, colour RGB 0..255."""

    corners: np.ndarray
    colour: Colour


@dataclass(frozen=True)
class Camera:
    """The view: see the module's text for the projection."""

    focal_px: float
    height_m: float
    horizon_px: float
    vanishing_px: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points float [..., 3] (x, y, z metres, z > 0) → pixels float [..., 2] (column, row)."""
        x, y, z = np.moveaxis(points, -1, 0)
        u = self.vanishing_px + self.focal_px * x / z
        return np.stack([u, self.horizon_px + self.focal_px * (self.height_m - y) / z], -1)

    def ground(self, height_px: int, width_px: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """(x, z) in metres of the ground seen by each sample: two float32 [height·samples, width·samples]."""
        rows = (np.arange(height_px * samples, dtype=np.float32) + 0.5) / samples
        cols = (np.arange(width_px * samples, dtype=np.float32) + 0.5) / samples
        z = self.focal_px * self.height_m / np.maximum(rows - self.horizon_px, 1e-3)[:, None]
        return (cols[None] - self.vanishing_px) * z / self.focal_px, np.broadcast_to(z, (len(rows), len(cols)))


class House(NamedTuple):
    """A house beside the street."""

    side: int  # -1 left, 1 right
    near_m: float
    far_m: float
    height_m: float


@dataclass(frozen=True)
class Street:
    """What a seed decides about the street: metres, and colours RGB 0..255."""

    centre_m: float  # of the road, right of the camera
    road_m: float  # half the width between the kerbs
    pavement_m: float
    facade_m: float  # from the centre of the road to the buildings
    crossing_m: float  # distance of the zebra crossing
    junction: bool  # whether a side road meets the street behind the crossing
    end_m: float  # distance of the viaduct that closes the street
    lanes: tuple[float, ...]  # centre of each lane, from the centre of the road; traffic keeps right
    asphalt: float
    sky: tuple[Colour, Colour]  # top, horizon
    sun: np.ndarray  # towards the sun, unit length
    sun_strength: float  # 0 overcast .. 1 clear
    verge: Colour  # of the ground between pavement and houses
    houses: tuple[House, ...]

    @classmethod
    def of(cls, rng: np.random.Generator) -> "Street":
        """A street drawn from `rng`."""
        lanes_each_way = int(rng.integers(1, 3))
        road = 3.3 * lanes_each_way + 2.3  # and a strip to park on
        pavement = rng.uniform(2.8, 4.2)
        sun = np.array([rng.choice([-1, 1]) * rng.uniform(0.2, 0.55), 1.0, rng.uniform(-0.5, 0.3)])
        offsets = tuple(3.3 * (i + 0.5) for i in range(lanes_each_way))
        crossing, junction, end = rng.uniform(28, 50), bool(rng.random() < 0.6), rng.uniform(88, 102)
        houses = []
        for side in (-1, 1):
            near = rng.uniform(2, 8)
            while near < end - 4:
                far = min(near + rng.uniform(9, 20), end)
                if not junction or far < crossing + 2 or near > crossing + 13:
                    houses.append(House(side, near, far, rng.uniform(8, 17)))
                near = far + rng.choice([0.0, 0.0, 3.0])
        return cls(
            centre_m=rng.uniform(-0.6, 0.6) * road,
            road_m=road,
            pavement_m=pavement,
            facade_m=road + pavement + rng.uniform(0.5, 4.0),
            crossing_m=crossing,
            junction=junction,
            end_m=end,
            lanes=tuple(-o for o in reversed(offsets)) + offsets,
            asphalt=rng.uniform(88, 122),
            sky=_SKIES[rng.integers(len(_SKIES))],
            sun=sun / np.linalg.norm(sun),
            sun_strength=float(rng.choice([0.15, 0.6, 1.0])),
            verge=((96, 118, 66), (128, 122, 114), (104, 112, 72))[rng.integers(3)],
            houses=tuple(houses),
        )

    @property
    def side_road_m(self) -> float:
        """Distance of the middle of the side road, where there is one."""
        return self.crossing_m + 7.5

    def shade(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """How much of the light the houses' shadows leave at ground points (x, z): 1, or less in a shadow."""
        side = np.sign(self.sun[0])
        reach = np.zeros_like(z, dtype=np.float32)
        for house in self.houses:
            if house.side == side:
                inside = (z >= house.near_m) & (z < house.far_m)
                reach = np.where(inside, house.height_m * abs(self.sun[0]) / self.sun[1], reach)
        hidden = side * (x - self.centre_m) > self.facade_m - reach
        return 1 - 0.38 * self.sun_strength * hidden

    def light(self, normal: np.ndarray) -> float:
        """How bright a surface with this unit normal is: ambient and direct light."""
        return 0.72 + 0.10 * float(normal[1]) + 0.42 * self.sun_strength * max(0.0, float(normal @ self.sun))


_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((96, 146, 205), (203, 220, 234)),
    ((150, 168, 188), (214, 219, 222)),
    ((120, 150, 190), (240, 214, 186)),
    ((84, 128, 190), (190, 212, 236)),
)
_PAINTS: tuple[Colour, ...] = (
    (226, 228, 230), (196, 199, 203), (150, 155, 162), (48, 52, 60), (30, 31, 34), (168, 32, 36),
    (36, 74, 148), (70, 118, 168), (188, 164, 120), (62, 96, 70), (208, 130, 40), (118, 30, 44),
)  # fmt: skip
_CLOTHES: tuple[Colour, ...] = (
    (190, 40, 44), (38, 60, 120), (236, 232, 222), (40, 40, 46), (222, 178, 52), (64, 120, 84),
    (120, 72, 130), (98, 104, 112), (214, 112, 66), (84, 150, 186),
)  # fmt: skip
_SKINS: tuple[Colour, ...] = ((236, 196, 168), (206, 156, 122), (150, 104, 76), (98, 66, 48))
_HAIR: tuple[Colour, ...] = ((36, 28, 24), (84, 58, 36), (178, 142, 86), (120, 118, 116))
_WALLS: tuple[Colour, ...] = (
    (178, 120, 92), (204, 190, 164), (168, 160, 150), (150, 88, 70), (214, 206, 196), (186, 160, 120), (134, 142, 150)
)  # fmt: skip
_GLASS: Colour = (42, 54, 66)
_GLINT: Colour = (96, 116, 134)
_TAIL: Colour = (226, 34, 30)
_HEAD: Colour = (255, 250, 220)
_PLATE: Colour = (240, 236, 206)
_GRILLE: Colour = (36, 38, 42)
_TRIM: Colour = (46, 48, 52)
_TYRE: Colour = (16, 16, 18)
_RIM: Colour = (172, 176, 182)


# --- drawing -------------------------------------------------------------------------------------------------------


def _shade(colour: Sequence[float] | np.ndarray, light: float) -> Colour:
    red, green, blue = (min(255.0, c * light) for c in colour)
    return red, green, blue


def _haze(faces: list[Face], distance_m: float, haze: Colour) -> list[Face]:
    share = 1 - float(np.exp(-distance_m / _HAZE_M))
    mixed = []
    for corners, (red, green, blue) in faces:
        colour = red + share * (haze[0] - red), green + share * (haze[1] - green), blue + share * (haze[2] - blue)
        mixed.append(Face(corners, colour))
    return mixed


class _Patch(NamedTuple):
    """A drawn object: premultiplied RGBA float32 [h, w, 4] (0..255) with its top left corner in the frame."""

    left: int
    top: int
    rgba: np.ndarray

    @classmethod
    def of(cls, faces: list[Face]) -> "_Patch":
        corners = np.concatenate([face.corners for face in faces])
        left, top = np.floor(corners.min(0)).astype(int) - 1
        right, bottom = np.ceil(corners.max(0)).astype(int) + 1
        width, height = int(right - left), int(bottom - top)
        samples = _SUPERSAMPLE if max(width, height) < 64 else 2
        fine = np.zeros((height * samples, width * samples, 4), np.uint8)
        for face in faces:
            points = ((face.corners - (left, top)) * samples - 0.5) * (1 << _SHIFT)
            cv2.fillPoly(fine, [np.rint(points).astype(np.int32)], (*face.colour, 255), cv2.LINE_8, _SHIFT)
        small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        return cls(int(left), int(top), small.astype(np.float32))

    def inside(self, frame: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
        """(where in the frame, the part of the patch that lies there); both empty where nothing does."""
        height, width = frame.shape[:2]
        top, bottom = max(self.top, 0), min(self.top + self.rgba.shape[0], height)
        left, right = max(self.left, 0), min(self.left + self.rgba.shape[1], width)
        where = slice(top, max(bottom, top)), slice(left, max(right, left))
        rows = slice(where[0].start - self.top, where[0].stop - self.top)
        return where, self.rgba[rows, where[1].start - self.left : where[1].stop - self.left]

    def draw(self, frame: np.ndarray) -> None:
        """Lay the patch over `frame`, uint8 [H, W, 3], in place."""
        where, rgba = self.inside(frame)
        frame[where] = rgba[..., :3] + frame[where] * (1 - rgba[..., 3:] / 255) + 0.5


def _circle(centre: np.ndarray, across: np.ndarray, up: np.ndarray, corners: int = 14) -> np.ndarray:
    """World points [corners, 3] of a circle (or ellipse) around `centre`, spanned by two radii."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)[:, None]
    return centre + np.cos(angle) * across + np.sin(angle) * up


# --- vehicles ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Body:
    """The shape of a vehicle: an outline from rear bottom over the top to front bottom, as wide as each point says.

    `outline` float [n, 3]: metres ahead of the middle, metres up, half the width. `glass` are the outline's edges
    that are windows, `windows` side windows (from, to, bottom, top), `wheels` where the axles are.
    """

    label: int
    outline: np.ndarray
    glass: tuple[int, ...]
    windows: tuple[tuple[float, float, float, float], ...]
    wheels: tuple[float, ...]
    wheel_m: float
    cargo: tuple[float, float, float, float] | None = None  # a panel of its own colour, as a side window


_SALOON = _Body(
    CAR,
    np.array([(-2.2, 0.3, 0.84), (-2.15, 0.95, 0.86), (-1.7, 1.0, 0.84), (-1.0, 1.44, 0.62), (0.3, 1.48, 0.62),
              (1.0, 0.98, 0.84), (2.05, 0.8, 0.82), (2.2, 0.3, 0.82)]),
    (2, 4), ((-1.45, -0.45, 0.98, 1.36), (-0.35, 0.75, 0.98, 1.38)), (-1.35, 1.35), 0.33,
)  # fmt: skip
_HATCH = _Body(
    CAR,
    np.array([(-1.9, 0.3, 0.82), (-1.88, 0.95, 0.84), (-1.5, 1.48, 0.64), (0.2, 1.54, 0.64), (0.95, 1.0, 0.82),
              (1.8, 0.82, 0.8), (1.95, 0.3, 0.8)]),
    (1, 3), ((-1.5, -0.55, 1.0, 1.4), (-0.45, 0.65, 1.0, 1.42)), (-1.2, 1.2), 0.32,
)  # fmt: skip
_VAN = _Body(
    TRUCK,
    np.array([(-2.6, 0.4, 0.95), (-2.6, 2.2, 0.9), (1.2, 2.25, 0.88), (1.95, 1.35, 0.93), (2.55, 1.1, 0.92),
              (2.65, 0.4, 0.92)]),
    (2,), ((0.35, 1.45, 1.35, 1.95),), (-1.6, 1.65), 0.36, (-2.4, 0.2, 0.8, 1.9),
)  # fmt: skip
_LORRY = _Body(
    TRUCK,
    np.array([(-3.6, 0.6, 1.15), (-3.6, 2.85, 1.15), (1.6, 2.85, 1.15), (1.65, 2.3, 1.08), (2.8, 2.3, 1.05),
              (3.2, 1.3, 1.08), (3.3, 0.5, 1.08)]),
    (4,), ((2.0, 2.8, 1.35, 2.1),), (-2.4, 2.3), 0.48, (-3.55, 1.55, 0.85, 2.8),
)  # fmt: skip
_BUS = _Body(
    TRUCK,
    np.array([(-4.8, 0.45, 1.2), (-4.8, 2.8, 1.15), (4.6, 2.8, 1.15), (4.8, 1.2, 1.2), (4.85, 0.45, 1.2)]),
    (2,), tuple((s, s + 1.35, 1.25, 2.3) for s in (-4.5, -3.0, -1.5, 0.0, 1.5, 3.0)), (-3.0, 2.9), 0.48,
)  # fmt: skip
_BODIES, _BODY_SHARES = (_SALOON, _HATCH, _VAN, _LORRY, _BUS), (0.42, 0.3, 0.13, 0.1, 0.05)


def _vehicle(camera: Camera, street: Street, body: _Body, paint: Colour, cargo: Colour, x: float, z: float,
             heading: tuple[float, float], shade: float) -> list[Face]:  # fmt: skip
    """The faces of a vehicle whose middle stands at (x, z), its front towards `heading` (unit x, z)."""
    ahead, right = np.array([heading[0], 0.0, heading[1]]), np.array([heading[1], 0.0, -heading[0]])
    up, middle, eye = np.array([0.0, 1.0, 0.0]), np.array([x, 0.0, z]), np.array([0.0, camera.height_m, 0.0])
    blocks: list[tuple[float, list[Face]]] = []

    def points(along: Sequence[tuple[float, float, float]] | np.ndarray) -> np.ndarray:
        s, y, w = np.asarray(along, float).T[..., None]
        return middle + s * ahead + y * up + w * right

    def block(corners: np.ndarray, normal: np.ndarray, decals: list[tuple[np.ndarray, Colour]]) -> None:
        centre = corners.mean(0)
        if normal @ (eye - centre) > 0:
            light = street.light(normal) * shade
            faces = [Face(camera.project(c), _shade(colour, light)) for c, colour in [(corners, paint), *decals]]
            blocks.append((float(np.linalg.norm(centre - eye)), faces))

    def strip(a: np.ndarray, b: np.ndarray, left: float, right: float, low: float, high: float) -> np.ndarray:
        (s0, y0, w0), (s1, y1, w1) = a + low * (b - a), a + high * (b - a)
        return points([(s0, y0, left * w0), (s1, y1, left * w1), (s1, y1, right * w1), (s0, y0, right * w0)])

    outline, front = body.outline, len(body.outline) - 2
    for edge, (a, b) in enumerate(pairwise(outline)):
        run, rise = b[0] - a[0], b[1] - a[1]
        decals: list[tuple[np.ndarray, Colour]] = []
        if edge in body.glass:
            decals += [(strip(a, b, -0.88, 0.88, 0.1, 0.92), _GLASS), (strip(a, b, -0.7, -0.2, 0.4, 0.85), _GLINT)]
        if edge in (0, front):
            lamp, plate, bumper = (_TAIL, _PLATE, (0.0, 0.2)) if edge == 0 else (_HEAD, _GRILLE, (0.8, 1.0))
            decals += [(strip(a, b, -1, 1, *bumper), _TRIM), (strip(a, b, -0.35, 0.35, 0.4, 0.72), plate)]
            decals += [(strip(a, b, side * 0.96, side * 0.6, 0.35, 0.68), lamp) for side in (-1, 1)]
        block(strip(a, b, -1, 1, 0, 1), (run * up - rise * ahead) / np.hypot(run, rise), decals)

    lowest, widest = outline[0, 1], outline[:2, 2].max()
    for side in (-1, 1):
        panes = [(window, _GLASS) for window in body.windows]
        panes += [(body.cargo, cargo)] if body.cargo else []
        panes += [((s - 0.02, s + 0.02, lowest + 0.1, 0.95), _TRIM) for s in (-0.45, 0.75) if body.label == CAR]
        panes += [((outline[0, 0] + 0.2, outline[-1, 0] - 0.2, lowest, lowest + 0.12), _TRIM)]
        decals = []
        for (rear, fore, low, high), colour in panes:
            lean = 0.25 * (high - low) if body.label == CAR and colour == _GLASS else 0.0
            width = np.interp((low, high), (1.0, 1.5), (widest, outline[:, 2].min()))
            corners = [(rear, low, width[0]), (fore, low, width[0]), (fore - lean, high, width[1])]
            corners.append((rear + lean, high, width[1]))
            decals.append((points([(s, y, side * w) for s, y, w in corners]), colour))
        for axle in body.wheels:
            (hub,) = points([(axle, body.wheel_m, side * widest)])
            tyre, rim = body.wheel_m * 1.1, body.wheel_m * 0.5
            decals += [(_circle(hub, tyre * ahead, tyre * up), _TYRE), (_circle(hub, rim * ahead, rim * up), _RIM)]
        block(points(outline * (1, 1, side)), side * right, decals)
    return [face for _, faces in sorted(blocks, key=lambda b: -b[0]) for face in faces]


# --- people and things that stand about ----------------------------------------------------------------------------


def _figure(camera: Camera, x: float, z: float, parts: Sequence[Part], light: float) -> list[Face]:
    """Flat shapes, each a polygon of (right, up) metres, standing at (x, z) and facing the camera."""
    faces = []
    for outline, colour in parts:
        points = np.stack([x + outline[:, 0], outline[:, 1], np.full(len(outline), z)], -1)
        faces.append(Face(camera.project(points), _shade(colour, light)))
    return faces


def _disc(x: float, y: float, across: float, up: float) -> np.ndarray:
    return _circle(np.array([x, y]), np.array([across, 0.0]), np.array([0.0, up]), 12)


def _bar(x0: float, y0: float, x1: float, y1: float, width: float, width1: float | None = None) -> np.ndarray:
    """A limb or post from (x0, y0) to (x1, y1), as wide as it says at its start and end."""
    a, b = width / 2, (width if width1 is None else width1) / 2
    return np.array([(x0 - a, y0), (x0 + a, y0), (x1 + b, y1), (x1 - b, y1)])


class _Looks(NamedTuple):
    """A person's colours and build."""

    skin: Colour
    hair: Colour
    top: Colour
    legs: Colour
    coat: bool
    bag: Colour | None
    height: float  # times 1.75 m


def _person(looks: _Looks, phase: float, sideways: float, back: bool) -> list[Part]:
    """The parts of a walking person. `phase` of the step in radians; `sideways` -1..1: how much they walk across."""
    swing = (0.10 + 0.22 * abs(sideways)) * float(np.sin(phase))
    dark = _shade(looks.legs, 0.78)
    sleeve = _shade(looks.top, 0.82)
    parts: list[Part] = [
        (_bar(-0.07, 0.9, -swing - 0.08, 0.06, 0.16), dark),
        (_bar(0.07, 0.9, swing + 0.08, 0.06, 0.16), looks.legs),
        (_bar(-swing - 0.07, 0.08, -swing - 0.07 + 0.08 * sideways, 0.0, 0.2), (30, 28, 28)),
        (_bar(swing + 0.09, 0.08, swing + 0.09 + 0.08 * sideways, 0.0, 0.2), (30, 28, 28)),
        (_bar(-0.2, 1.42, -0.26 + swing, 0.86, 0.11), sleeve),
        (_disc(-0.26 + swing, 0.83, 0.055, 0.06), looks.skin),
        (_bar(0, 0.85, 0, 1.42, 0.36, 0.46), looks.top),
        (_bar(0, 1.42, 0, 1.5, 0.46, 0.24), looks.top),
    ]
    if looks.coat:
        parts.append((_bar(0, 0.95, 0, 0.5, 0.36, 0.5), looks.top))
    if looks.bag:
        parts.append((_bar(0.0, 1.4, 0.0, 0.98, 0.3) if back else _bar(-0.25, 0.95, -0.25, 0.68, 0.22), looks.bag))
    parts += [
        (_bar(0.2, 1.42, 0.26 - swing, 0.86, 0.11), sleeve),
        (_disc(0.26 - swing, 0.83, 0.055, 0.06), looks.skin),
        (_bar(0.0, 1.56, 0.0, 1.46, 0.11), looks.skin),
        (_disc(0.0, 1.63, 0.105, 0.135), looks.hair if back else looks.skin),
        (_disc(-0.03 * sideways, 1.70, 0.115, 0.08), looks.hair),
    ]
    return [(outline * looks.height, colour) for outline, colour in parts]


def _clutter(rng: np.random.Generator, kind: str) -> list[Part]:
    """An object on the pavement of no class that may look like one at low resolution."""
    paint = _PAINTS[rng.integers(len(_PAINTS))]
    grey = (92.0, 96.0, 100.0)
    dark = _shade(paint, 0.6)
    if kind == "bin":
        body = [(_bar(0, 0, 0, 1.0, 0.5, 0.64), paint), (_bar(0, 1.0, 0, 1.14, 0.7), dark)]
        return [*body, (_bar(0, 0.5, 0, 0.72, 0.3), _shade(paint, 1.3)), (_bar(-0.2, 0, -0.2, 0.16, 0.14), _TYRE)]
    if kind == "bollard":
        return [(_bar(0, 0, 0, 1.15, 0.22), grey), (_disc(0, 1.15, 0.13, 0.1), grey)] + [
            (_bar(0, y, 0, y + 0.14, 0.22), (228, 228, 222)) for y in (0.5, 0.85)
        ]
    if kind == "postbox":
        return [(_bar(0, 0, 0, 1.45, 0.5), paint), (_disc(0, 1.45, 0.28, 0.14), dark), (_bar(0, 0, 0, 0.2, 0.54), dark),
                (_bar(0, 1.15, 0, 1.22, 0.32), (22, 22, 24)), (_bar(0, 0.7, 0, 0.95, 0.28), _PLATE)]  # fmt: skip
    if kind == "sign":
        face: Colour = ((200, 30, 34), (28, 84, 170), (240, 240, 236))[rng.integers(3)]
        inner: Colour = (244, 244, 240) if face[0] < 220 else (200, 30, 34)
        disc = [(_disc(0, 2.2, 0.32, 0.32), face), (_bar(0, 2.14, 0, 2.26, 0.4), inner)]
        return [(_bar(0, 0, 0, 2.1, 0.07), grey), *disc]
    if kind == "meter":
        head = [(_bar(0, 1.1, 0, 1.5, 0.28), dark), (_bar(0, 1.3, 0, 1.42, 0.18), _GLINT)]
        return [(_bar(0, 0, 0, 1.1, 0.12), grey), *head]
    if kind == "cabinet":
        ribs = [(_bar(x, 0.2, x, 1.2, 0.03), dark) for x in (-0.3, 0.0, 0.3)]
        return [(_bar(0, 0, 0, 1.3, 1.1), paint), (_bar(0, 1.3, 0, 1.38, 1.2), dark), *ribs]
    if kind == "skip":
        ribs = [(_bar(x, 0.15, x, 1.2, 0.08), dark) for x in (-0.9, -0.45, 0.0, 0.45, 0.9)]
        rubble = [(_disc(x, 1.25, 0.35, 0.22), (120.0, 104.0, 88.0)) for x in (-0.6, -0.1, 0.5)]
        return [*rubble, (_bar(0, 0.1, 0, 1.25, 1.7, 2.4), paint), *ribs, (_bar(0, 1.17, 0, 1.27, 2.5), dark)]
    if kind == "lamp":
        return [(_bar(0, 0, 0, 6.2, 0.18, 0.1), grey), (_bar(0, 6.2, 0.9, 6.4, 0.1), grey),
                (_bar(0.9, 6.3, 0.9, 6.45, 0.7), (228, 226, 210))]  # fmt: skip
    crown, green = rng.uniform(1.2, 1.9), np.array([rng.uniform(46, 82), rng.uniform(88, 122), rng.uniform(38, 58)])
    leaves: list[Part] = [(_bar(0, 0, 0, 3.4, 0.34, 0.2), (84, 66, 50))]
    for _ in range(140):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * crown
        at = np.array([np.cos(angle) * reach, np.sin(angle) * reach * 0.9])
        lit = 0.72 + 0.22 * at[1] / crown + rng.uniform(-0.14, 0.2)
        size = rng.uniform(0.12, 0.42)
        leaves.append((_disc(at[0], 3.9 + at[1], size, size * 0.8), _shade(green, lit)))
    return leaves


_CLUTTER = ("tree", "tree", "lamp", "sign", "bin", "bin", "bollard", "bollard", "postbox", "meter", "cabinet", "skip")


# --- the still street ----------------------------------------------------------------------------------------------


def _noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Smooth noise around 0 with deviation about 1 and grains of `cell` pixels: float32 [height, width]."""
    coarse = rng.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _facade(rng: np.random.Generator, length_m: float, height_m: float, wall: np.ndarray, shops: bool) -> np.ndarray:
    """A wall of a house, 24 px a metre: uint8 [H, W, 3]; windows with frames, and shops on the ground floor."""
    height, width = int(height_m * 24), int(length_m * 24)
    grain = 5 * _noise(rng, height, width, 3) + 6 * _noise(rng, height, width, 40)
    image = np.clip(wall + grain[..., None], 0, 255).astype(np.uint8)
    if rng.random() < 0.5:  # bricks
        image[::6] = image[::6] * 0.86
    bay, storey, frame = int(rng.uniform(2.2, 3.4) * 24), int(3.1 * 24), tuple(float(c) for c in wall * 0.62)
    wide, tall = int(bay * rng.uniform(0.4, 0.6)), int(storey * 0.55)
    for bottom in range(height - storey - int(0.8 * 24), tall, -storey):
        for left in range((bay - wide) // 2, width - wide, bay):
            pane = _shade((70, 86, 102), rng.uniform(0.6, 1.5))
            cv2.rectangle(image, (left - 3, bottom - tall - 3), (left + wide + 3, bottom + 3), (226, 224, 216), -1)
            cv2.rectangle(image, (left, bottom - tall), (left + wide, bottom), pane, -1)
            cv2.line(image, (left + wide // 2, bottom - tall), (left + wide // 2, bottom), (220, 218, 210), 3)
            cv2.line(image, (left, bottom - tall // 2), (left + wide, bottom - tall // 2), (220, 218, 210), 2)
            cv2.rectangle(image, (left - 6, bottom + 3), (left + wide + 6, bottom + 8), frame, -1)
    shop = tuple(float(c) for c in _CLOTHES[rng.integers(len(_CLOTHES))])
    for left in range(8, width - 60, 96) if shops else ():
        cv2.rectangle(image, (left, height - 58), (left + 80, height - 4), (52, 60, 66), -1)
        cv2.rectangle(image, (left + 6, height - 52), (left + 38, height - 10), (104, 116, 120), -1)
        cv2.rectangle(image, (left - 4, height - 72), (left + 84, height - 58), shop, -1)
    return image


def _hang(canvas: np.ndarray, picture: np.ndarray, corners: np.ndarray) -> None:
    """Warp `picture` onto the quadrangle `corners` [4, 2] (top left, top right, bottom right, bottom left)."""
    left, top = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int), (canvas.shape[1], canvas.shape[0]))
    if right <= left or bottom <= top:
        return
    height, width = picture.shape[:2]
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    warp = cv2.getPerspectiveTransform(source, (corners - (left, top)).astype(np.float32))
    size = int(right - left), int(bottom - top)
    cover = cv2.warpPerspective(np.full((height, width), 255, np.uint8), warp, size, flags=cv2.INTER_NEAREST)
    hung = cv2.warpPerspective(picture, warp, size, flags=cv2.INTER_LINEAR)
    cv2.copyTo(hung, cover, canvas[top:bottom, left:right])


def _paint_sky(rng: np.random.Generator, street: Street, canvas: np.ndarray) -> None:
    height, width = canvas.shape[:2]
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top, low = (np.array(c, np.float32) for c in street.sky)
    clouds = sum(_noise(rng, height, width, width // n) / n for n in (6, 12, 24, 48))
    cloud = np.clip(clouds * 3, 0, 0.75)[..., None] * (1 - down)
    sky = top + (low - top) * down
    canvas[:] = np.clip(sky + (244 - sky) * cloud, 0, 255)


def _paint_houses(rng: np.random.Generator, street: Street, camera: Camera, canvas: np.ndarray, samples: int) -> None:
    for house in sorted(street.houses, key=lambda h: -h.far_m):
        near, far, tall = house.near_m, house.far_m, house.height_m
        wall = street.centre_m + house.side * street.facade_m
        wall_colour = np.array(_WALLS[rng.integers(len(_WALLS))]) * rng.uniform(0.85, 1.08)
        front, side = _facade(rng, far - near, tall, wall_colour, True), _facade(rng, 14, tall, wall_colour, False)
        ends = ((wall, near), (wall, far)) if house.side < 0 else ((wall, far), (wall, near))
        gable = ((wall - 14, near), (wall, near)) if house.side < 0 else ((wall, near), (wall + 14, near))
        for picture, (a, b), normal in ((side, gable, (0, 0, -1)), (front, ends, (-house.side, 0, 0))):
            corners = np.array([(a[0], tall, a[1]), (b[0], tall, b[1]), (b[0], 0, b[1]), (a[0], 0, a[1])])
            pale = 1 - np.exp(-(near + far) / 2 / _HAZE_M)
            lit = picture * street.light(np.array(normal)) * (1 - pale) + np.array(street.sky[1]) * pale
            _hang(canvas, np.clip(lit, 0, 255).astype(np.uint8), camera.project(corners) * samples)


def _paint_viaduct(rng: np.random.Generator, street: Street, camera: Camera, canvas: np.ndarray, samples: int) -> None:
    """A railway bridge across the end of the street: traffic comes out of the dark of its arches."""
    tall, half = 9.5, 70.0
    picture = np.clip(np.array((142, 104, 84)) + 7 * rng.standard_normal((int(tall * 12), int(half * 24), 1)), 0, 255)
    picture[::4] *= 0.9
    picture[6:12] = (176, 168, 156)
    picture = picture.astype(np.uint8)
    for centre in (-26.0, -13.0, 0.0, 13.0, 26.0):
        column, springing = int((half + centre) * 12), int((tall - 3.2) * 12)
        for grow, colour in ((8, (168, 156, 140)), (0, (38, 38, 42))):
            cv2.ellipse(picture, (column, springing), (64 + grow, 34 + grow), 0, 180, 360, colour, -1)
            cv2.rectangle(picture, (column - 64 - grow, springing), (column + 64 + grow, picture.shape[0]), colour, -1)
    sides = [(street.centre_m - half, tall), (street.centre_m + half, tall)]
    corners = np.array([(x, y, street.end_m) for x, y in [*sides, (sides[1][0], 0.0), (sides[0][0], 0.0)]])
    _hang(canvas, picture, camera.project(corners) * samples)


def _ground_colours(rng: np.random.Generator, street: Street, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The ground's colour at points (x, z): float32 [..., 3]."""
    across = np.abs(x - street.centre_m)
    side_road = street.junction & (np.abs(z - street.side_road_m) < 4.2)
    fade = np.clip(22 / z, 0, 1)
    fine, coarse = (rng.standard_normal((512, 512)).astype(np.float32) for _ in range(2))

    def grain(texture: np.ndarray, per_metre: float) -> np.ndarray:
        return cv2.remap(texture, x * per_metre, z * per_metre, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)

    asphalt = street.asphalt + 7 * fade * grain(fine, 22) + 5 * grain(coarse, 0.6) + 3 * grain(coarse, 3)
    worn = np.minimum(np.abs(np.subtract.outer(across, street.lanes[-1:])[..., 0] % 3.3 - 0.85), 0.4)
    asphalt += 10 * (worn - 0.2)
    colours = asphalt[..., None] * np.array((0.98, 1.0, 1.03), np.float32)

    def paint(where: np.ndarray, colour: Sequence[float], rough: float) -> None:
        speckle = rough * (fade * grain(fine, 16) + 0.6 * grain(coarse, 2))
        colours[where] = np.array(colour, np.float32) + speckle[where][:, None]

    white = (222.0, 222.0, 216.0)
    lanes_each_way = len(street.lanes) // 2
    paint((across < 0.08) & ~side_road, white, 8)
    for line in range(1, lanes_each_way):
        paint((np.abs(across - 3.3 * line) < 0.07) & (z % 9 < 4) & ~side_road, white, 8)
    paint((np.abs(across - 3.3 * lanes_each_way) < 0.06) & (z % 1.6 < 0.8) & ~side_road, white, 8)
    paint((np.abs(z - street.crossing_m) < 1.6) & (x % 1.1 < 0.55) & (across < street.road_m), white, 8)
    beyond = (across > street.road_m) & ~side_road
    paint(beyond, (150, 146, 140), 6)
    tiles = beyond & (((x - street.centre_m) % 0.9 < 0.05) | (z % 0.9 < 0.06)) & (z < 45)
    paint(tiles, (124, 121, 116), 4)
    paint(beyond & (across < street.road_m + 0.28), (186, 184, 178), 5)
    paint(beyond & (across > street.road_m + street.pavement_m), street.verge, 9)
    shade = cv2.GaussianBlur(street.shade(x, z).astype(np.float32), (0, 0), 2.5)
    pale = (1 - np.exp(-z / _HAZE_M))[..., None]
    lit = colours * (shade * street.light(np.array([0.0, 1.0, 0.0])))[..., None]
    return np.clip(lit * (1 - pale) + np.array(street.sky[1], np.float32) * pale, 0, 255)


def _paint_street(rng: np.random.Generator, street: Street, camera: Camera, height_px: int, width_px: int
                  ) -> np.ndarray:  # fmt: skip
    """The street without anything that stands or moves on it: uint8 [height_px, width_px, 3]."""
    samples = 2
    canvas = np.empty((height_px * samples, width_px * samples, 3), np.uint8)
    end = min(max(int(samples * camera.project(np.array([0.0, 0.0, street.end_m]))[1]), 1), len(canvas) - 1)
    _paint_sky(rng, street, canvas[:end])
    x, z = camera.ground(height_px, width_px, samples)
    canvas[end:] = _ground_colours(rng, street, x[end:], z[end:])
    _paint_viaduct(rng, street, camera, canvas, samples)
    _paint_houses(rng, street, camera, canvas, samples)
    return cv2.resize(canvas, (width_px, height_px), interpolation=cv2.INTER_AREA)


# --- traffic -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mover:
    """Something that is labelled: it goes along the street (or across it) at constant speed, again and again."""

    label: int
    x: float
    z: float
    speed: float  # metres a second along `heading`
    heading: tuple[float, float]
    span: tuple[float, float]  # range of z, or of x for what crosses the street, in which it moves
    body: _Body | None
    paint: Colour
    cargo: Colour
    looks: _Looks | None

    def place(self, seconds: float) -> tuple[float, float]:
        """(x, z) at this time."""
        low, high = self.span
        way = self.speed * seconds
        if self.heading[0]:
            return low + (self.x + self.heading[0] * way - low) % (high - low), self.z
        return self.x, low + (self.z + self.heading[1] * way - low) % (high - low)

    def faces(self, camera: Camera, street: Street, seconds: float) -> list[Face]:
        """What to draw, from back to front; nothing where it is too near the camera to be seen whole."""
        x, z = self.place(seconds)
        shade = float(street.shade(np.array(x), np.array(z)))
        if self.body is not None:
            if z - abs(self.heading[1]) * 5 < 1:
                return []
            return _vehicle(camera, street, self.body, self.paint, self.cargo, x, z, self.heading, shade)
        assert self.looks is not None
        step = 2 * np.pi * seconds * self.speed / 1.5 + self.z  # a double step is 1.5 m
        parts = _person(self.looks, step, self.heading[0], self.heading[1] > 0)
        return _figure(camera, x, z, parts, shade * street.light(np.array([0.0, 0.3, -1.0])))

    def footprint(self, seconds: float) -> np.ndarray:
        """The ground under it: world points [4, 3]."""
        x, z = self.place(seconds)
        length, width = (self.body.outline[-1, 0] * 2, 1.9) if self.body is not None else (0.4, 0.4)
        dx, dz = (length / 2, width / 2) if self.heading[0] else (width / 2, length / 2)
        return np.array([(x - dx, 0, z - dz), (x + dx, 0, z - dz), (x + dx, 0, z + dz), (x - dx, 0, z + dz)])

    @property
    def height_m(self) -> float:
        return float(self.body.outline[:, 1].max()) if self.body is not None else 1.75


def _draw_people(rng: np.random.Generator) -> _Looks:
    def pick(colours: Sequence[Colour]) -> Colour:
        return colours[rng.integers(len(colours))]

    top, legs = pick(_CLOTHES), pick(((44, 52, 78), (34, 34, 38), (112, 100, 84), (70, 84, 110)))
    bag = pick(_CLOTHES) if rng.random() < 0.4 else None
    return _Looks(pick(_SKINS), pick(_HAIR), top, legs, bool(rng.random() < 0.3), bag, rng.uniform(0.92, 1.06))


def _traffic(rng: np.random.Generator, street: Street) -> list[_Mover]:
    """The objects on the street: about six vehicles in the lanes, a few parked, a few people."""
    movers: list[_Mover] = []

    def vehicle(x: float, z: float, speed: float, heading: tuple[float, float], span: tuple[float, float]) -> None:
        body = _BODIES[rng.choice(len(_BODIES), p=_BODY_SHARES)]
        paint, cargo = (_PAINTS[i] for i in rng.integers(len(_PAINTS), size=2))
        movers.append(_Mover(body.label, x, z, speed, heading, span, body, paint, cargo, None))

    def person(x: float, z: float, heading: tuple[float, float], span: tuple[float, float]) -> None:
        looks = _draw_people(rng)
        movers.append(_Mover(PERSON, x, z, rng.uniform(0.9, 1.6), heading, span, None, looks.top, looks.top, looks))

    span = (2.0, street.end_m - 3)
    for lane in street.lanes:
        speed, at = rng.uniform(6, 11), rng.uniform(0, 30)
        while at < span[1] - span[0] - 14:
            vehicle(street.centre_m + lane, span[0] + at, speed, (0.0, 1.0 if lane > 0 else -1.0), span)
            at += 15 + rng.exponential(32 * len(street.lanes) / 2)
    for side in (-1, 1):
        at = rng.uniform(15, 60)
        while at < street.end_m - 8:
            if abs(at - street.crossing_m - 5) > 13:
                x = street.centre_m + side * (street.road_m - 1.15)
                vehicle(x, at, 0.0, (0.0, float(side)), (0.0, street.end_m))
            at += 6.5 + rng.exponential(80)
    if street.junction:
        for side in (-1, 1):
            x = street.centre_m + rng.uniform(-60, 60)
            vehicle(x, street.side_road_m - side * 1.9, rng.uniform(5, 8), (float(side), 0.0),
                    (street.centre_m - 60, street.centre_m + 60))  # fmt: skip
    walk = (14.0, street.end_m - 3)
    for _ in range(rng.integers(2, 6)):
        x = street.centre_m + rng.choice([-1, 1]) * (street.road_m + rng.uniform(0.7, street.pavement_m - 0.5))
        person(x, rng.uniform(*walk), (0.0, rng.choice([-1.0, 1.0])), walk)
    reach = street.road_m + street.pavement_m - 1
    for _ in range(rng.integers(0, 3)):
        person(street.centre_m + rng.uniform(-reach, reach), street.crossing_m + rng.uniform(-1, 1),
               (rng.choice([-1.0, 1.0]), 0.0), (street.centre_m - reach, street.centre_m + reach))  # fmt: skip
    return movers


class _Still(NamedTuple):
    """A thing that stands: its distance, and where in the frame it covers what is behind it."""

    z: float
    where: tuple[slice, slice]
    cover: np.ndarray  # uint8 [h, w], 0 or 255


class _Drawn(NamedTuple):
    """A mover as it is now."""

    z: float
    label: int
    patch: _Patch


def _near_houses(street: Street, camera: Camera, height_px: int, width_px: int) -> _Still:
    """What the houses before the side road hide of it."""
    cover = np.zeros((height_px, width_px), np.uint8)
    for house in street.houses:
        if house.far_m < street.side_road_m:
            inner, outer = (street.centre_m + house.side * (street.facade_m + out) for out in (0, 14))
            outline = [(inner, house.near_m), (inner, house.far_m), (outer, house.near_m)]
            walls = np.array([(x, y, z) for x, z in outline for y in (0.0, house.height_m)])
            hull = cv2.convexHull(camera.project(walls).astype(np.float32))
            cv2.fillConvexPoly(cover, np.rint(hull).astype(np.int32), 255)
    return _Still(street.crossing_m, (slice(0, height_px), slice(0, width_px)), cover)


def _set_up_clutter(rng: np.random.Generator, street: Street, camera: Camera, frame: np.ndarray) -> list[_Still]:
    """Draw what stands on the pavements into `frame`, far to near, and say what it and the near houses cover."""
    stills = [_near_houses(street, camera, *frame.shape[:2])]
    for z in sorted(rng.uniform(17, street.end_m - 4, 26), reverse=True):
        kind = str(rng.choice(_CLUTTER))
        side = rng.choice([-1, 1])
        kerb = 0.6 if kind in ("tree", "lamp", "sign", "meter", "bollard") else rng.uniform(0.9, street.pavement_m)
        if kind == "skip":
            kerb = -1.3
        x = street.centre_m + side * (street.road_m + kerb)
        if abs(z - street.crossing_m) < 3 or (street.junction and abs(z - street.side_road_m) < 6):
            continue
        light = float(street.shade(np.array(x), np.array(z))) * street.light(np.array([0.0, 0.3, -1.0]))
        faces = _haze(_figure(camera, x, z, _clutter(rng, kind), light), z, street.sky[1])
        _shadow(frame, street, camera, np.array([(x - 0.3, 0, z), (x + 0.3, 0, z), (x + 0.3, 0, z + 0.3)]), 1.2)
        patch = _Patch.of(faces)
        where, rgba = patch.inside(frame)
        patch.draw(frame)
        stills.append(_Still(z, where, np.where(rgba[..., 3] > 127, 255, 0).astype(np.uint8)))
    return stills


def _shadow(frame: np.ndarray, street: Street, camera: Camera, footprint: np.ndarray, height_m: float) -> None:
    """Darken the ground under and beside an object, in place: its footprint swept along the sun's rays."""
    away = np.array([street.sun[0], 0, street.sun[2]]) / street.sun[1] * -height_m * min(street.sun_strength, 0.8)
    swept = np.concatenate([footprint, footprint + away])
    swept[:, 2] = np.maximum(swept[:, 2], 1.0)
    outline = cv2.convexHull(camera.project(swept).astype(np.float32))[:, 0]
    patch = _Patch.of([Face(outline, (0.0, 0.0, 0.0))])
    where, rgba = patch.inside(frame)
    if rgba.size:
        dark = cv2.blur(rgba[..., 3], (3, 3))[..., None] / 255
        frame[where] = frame[where] * (1 - (0.3 + 0.25 * street.sun_strength) * dark)


def render_scene(
    seed: int, frames: int, height_px: int = 540, width_px: int = 960, fps: float = 10
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The frames of the street that `seed` makes, one after the other.

    Yields (frame uint8 [height_px, width_px, 3] RGB, boxes float32 [n, 4] xyxy pixels, labels int64 [n], indices of
    CLASS_NAMES). A box bounds the pixels of an object that are seen; an object with less than MIN_VISIBLE of its
    pixels seen has none. The same seed and size give the same pixels.
    """
    rng = np.random.default_rng(seed)
    street = Street.of(rng)
    wide = max(width_px, height_px * 16 / 9)
    camera = Camera(wide * rng.uniform(0.9, 1.05), rng.uniform(6.5, 8.0), height_px * rng.uniform(0.16, 0.24),
                    width_px * rng.uniform(0.4, 0.6))  # fmt: skip
    background = _paint_street(rng, street, camera, height_px, width_px)
    stills = _set_up_clutter(rng, street, camera, background)
    movers = _traffic(rng, street)
    for index in range(frames):
        yield _frame(street, camera, background, stills, movers, index / fps)


def _frame(street: Street, camera: Camera, background: np.ndarray, stills: list[_Still], movers: list[_Mover],
           seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    frame = background.copy()
    things: list[_Drawn | _Still] = list(stills)
    for mover in movers:
        faces, z = mover.faces(camera, street, seconds), mover.place(seconds)[1]
        if faces:
            _shadow(frame, street, camera, mover.footprint(seconds), mover.height_m)
            things.append(_Drawn(z, mover.label, _Patch.of(_haze(faces, z, street.sky[1]))))
    things.sort(key=lambda thing: -thing.z)
    covered = np.zeros(frame.shape[:2], bool)
    boxes, labels = [], []
    for thing in things:
        if isinstance(thing, _Still):
            cv2.copyTo(background[thing.where], thing.cover, frame[thing.where])
        else:
            thing.patch.draw(frame)
    for thing in reversed(things):
        if isinstance(thing, _Still):
            covered[thing.where] |= thing.cover > 0
            continue
        _, label, patch = thing
        where, rgba = patch.inside(frame)
        solid = rgba[..., 3] > 127
        seen = solid & ~covered[where]
        covered[where] |= solid
        if seen.sum() >= MIN_VISIBLE * (patch.rgba[..., 3] > 127).sum() and seen.any():
            rows, cols = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
            box = (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1)
            if min(box[2] - box[0], box[3] - box[1]) >= MIN_BOX_PX or label == PERSON:
                boxes.append(np.add(box, (where[1].start, where[0].start) * 2))
                labels.append(label)
    return frame, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)
