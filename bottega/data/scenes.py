"""Scenes of coloured shapes, drawn from a seed: pictures with their boxes and masks.

`sample_scene` draws a `Scene` from a seed and a number, and nothing else: the order in which scenes are asked
for and who asks make no difference. `render` turns scenes into pixels, a whole batch at a time.
`bottega.data.scene_captions.describe` says in words what is on one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bottega.errors import InputError
from bottega.nn.loss import IGNORE

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

COLOURS = {
    "red": (214, 39, 40),
    "orange": (245, 140, 30),
    "yellow": (240, 215, 50),
    "green": (44, 150, 60),
    "cyan": (60, 200, 215),
    "blue": (45, 80, 210),
    "purple": (130, 50, 170),
    "pink": (245, 130, 190),
}
BACKGROUNDS = {"white": (250, 250, 250), "grey": (150, 150, 150), "black": (15, 15, 15)}
# Widths as shares of the picture's; the gaps between keep the words apart.
SIZES = {"small": (0.18, 0.24), "medium": (0.30, 0.38), "large": (0.45, 0.56)}
MOST_OBJECTS = 10
SMALLEST, LARGEST = 8, 2048  # sides of a picture, in pixels
APART = 0.8  # of the sum of their half widths is how near two centres may come, along x or y
VISIBLE = 0.2  # of an object has to show, or it is not drawn
HELD_OUT = 2**63  # added to the numbers of scenes that are never trained on
_TRIES = 12  # to find room for an object
_PIXELS = 2**16  # drawn together: what is worked on stays in the processor's cache


# Shapes: the distance of a point from the outline, negative inside, in half widths of the object. `u` points
# to the right and `v` down from its centre; (m, 1, width) and (m, height, 1), so that much is computed once.


def _circle(u: Floats, v: Floats) -> Floats:
    return np.sqrt(u * u + v * v) - np.float32(1)


def _square(u: Floats, v: Floats) -> Floats:
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(1)


def _triangle(u: Floats, v: Floats) -> Floats:
    slope = np.float32(1 / math.sqrt(5))  # from the apex (0, -1) to (±1, 1)
    return np.maximum((2 * np.abs(u) - 1) * slope - v * slope, v - np.float32(1))


def _star(u: Floats, v: Floats) -> Floats:
    """Inside a star of five points is what lies within four of its five lines: the second farthest counts."""
    first = second = np.full((1, 1, 1), -np.inf, np.float32)
    for turn in range(5):
        angle = math.pi / 2 + 2 * math.pi * turn / 5
        a, b, c = (np.float32(f(angle)) for f in (math.cos, math.sin, lambda _: math.cos(2 * math.pi / 5)))
        line = a * u + (b * v - c)
        second = np.maximum(second, np.minimum(first, line))
        first = np.maximum(first, line)
    return second


def _ring(u: Floats, v: Floats) -> Floats:
    return np.abs(np.sqrt(u * u + v * v) - np.float32(0.75)) - np.float32(0.25)


def _cross(u: Floats, v: Floats) -> Floats:
    u, v = np.abs(u), np.abs(v)
    return np.maximum(np.minimum(u, v) - np.float32(0.32), np.maximum(u, v) - np.float32(1))


_DISTANCES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
}
SHAPES = tuple(_DISTANCES)


@dataclass(frozen=True)
class SceneObject:
    """One shape: its name, its colour's, its width and centre as shares of the picture, y downwards.

    Raises InputError for what nobody can draw.
    """

    shape: str
    colour: str
    size: float
    x: float
    y: float

    def __post_init__(self) -> None:
        if self.shape not in _DISTANCES:
            raise InputError(f"there is no shape {self.shape!r}; the shapes are {', '.join(SHAPES)}")
        if self.colour not in COLOURS:
            raise InputError(f"there is no colour {self.colour!r}; the colours are {', '.join(COLOURS)}")
        if not 0 < self.size <= 1:
            raise InputError(f"size {self.size} of a {self.shape}: expected a share of the picture, up to 1")
        if not (0 <= self.x <= 1 and 0 <= self.y <= 1):
            raise InputError(f"a {self.shape} at ({self.x}, {self.y}) is not in the picture, which is 1 × 1")

    @property
    def size_word(self) -> str:
        """`small`, `medium` or `large`, whichever is nearest."""
        return min(SIZES, key=lambda word: abs(sum(SIZES[word]) / 2 - self.size))


@dataclass(frozen=True)
class Scene:
    """Objects on a plain background; later ones lie over earlier ones. InputError for no background."""

    objects: tuple[SceneObject, ...]
    background: str = "white"

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            names = ", ".join(BACKGROUNDS)
            raise InputError(f"there is no background {self.background!r}; the backgrounds are {names}")


@dataclass(frozen=True)
class SceneConfig:
    """What is drawn: square pictures of `size` pixels with so many objects. Raises InputError for no such."""

    size: int = 64
    min_objects: int = 1
    max_objects: int = 4

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not 0 <= self.min_objects <= self.max_objects:
            raise InputError(f"{self.min_objects} to {self.max_objects} objects: expected 0 or more, upwards")
        if not 1 <= self.max_objects <= MOST_OBJECTS:
            raise InputError(
                f"max_objects {self.max_objects}: expected from 1 to {MOST_OBJECTS}; more do not fit apart"
            )


@dataclass(frozen=True)
class Rendered:
    """Scenes as arrays; object k of a scene stands in place k, and in a place without one stands nothing.

    `pixels` uint8 (n, 3, size, size). `masks` uint8 (n, size, size): 0 where a pixel's centre shows the
    background, else 1 + the number of the shape in `SHAPES`; `instances`, alike: 1 + the place of the object.
    `boxes` float32 (n, places, 4): x0, y0, x1, y1 in pixels around what can be seen of the object in
    `instances`, edges of pixels, so that x1 - x0 is the width; zeros without one. `classes` int64
    (n, places): the number of the shape, IGNORE where there is no object or too little of it shows.
    """

    pixels: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint8]
    boxes: Floats
    classes: Ints


def sample_scene(config: SceneConfig, seed: int, number: int, held_out: bool = False) -> Scene:
    """Scene `number` of the endless row that `seed` begins; held-out ones are a row of their own.

    How many objects, their shapes, colours and size words are drawn evenly; all lie wholly in the picture.
    Where no room is found for one, far enough from those before it, the scene has fewer.
    """
    key = np.array([seed, number + HELD_OUT * held_out], np.uint64)
    rng = np.random.Generator(np.random.Philox(key=key))
    span = config.max_objects - config.min_objects + 1
    first, background, *rest = rng.random(2 + config.max_objects * (4 + 2 * _TRIES)).tolist()
    objects: list[SceneObject] = []
    for place in range(config.min_objects + int(first * span)):
        draws = rest[place * (4 + 2 * _TRIES) : (place + 1) * (4 + 2 * _TRIES)]
        placed = _placed(draws, objects)
        if placed is not None:
            objects.append(placed)
    return Scene(tuple(objects), _one_of(tuple(BACKGROUNDS), background))


def _placed(draws: Sequence[float], others: Sequence[SceneObject]) -> SceneObject | None:
    shape, colour = _one_of(SHAPES, draws[0]), _one_of(tuple(COLOURS), draws[1])
    least, most = SIZES[_one_of(tuple(SIZES), draws[2])]
    size = least + (most - least) * draws[3]
    for x, y in zip(draws[4::2], draws[5::2], strict=True):
        x, y = size / 2 + (1 - size) * x, size / 2 + (1 - size) * y
        if all(max(abs(x - o.x), abs(y - o.y)) >= APART * (size + o.size) / 2 for o in others):
            return SceneObject(shape, colour, size, x, y)
    return None


def _one_of(words: tuple[str, ...], draw: float) -> str:
    return words[int(draw * len(words))]


def render(scenes: Sequence[Scene], size: int, places: int | None = None) -> Rendered:
    """Draw scenes as pictures of `size` × `size` pixels with smooth edges.

    `places` is how many objects the arrays have room for; by default as many as the fullest scene has. An
    object of which less than a fifth shows, because others lie over it, is not drawn. Raises InputError where
    the size is none or a scene has more objects than places.
    """
    _check_size(size)
    most = max((len(scene.objects) for scene in scenes), default=0)
    places = most if places is None else places
    if most > places:
        raise InputError(f"a scene has {most} objects, but there are {places} places; give more places")
    if places > 254:
        raise InputError(f"{places} objects in a scene; expected 254 at most, as masks are bytes")
    step = max(1, _PIXELS // size**2)
    parts = [_render(scenes[i : i + step], size, places) for i in range(0, max(1, len(scenes)), step)]
    names = ("pixels", "masks", "instances", "boxes", "classes")
    return Rendered(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _render(scenes: Sequence[Scene], size: int, places: int) -> Rendered:
    """From the uppermost object down: each shows where nothing above it does."""
    n = len(scenes)
    row, place, kinds, colours, cover = _covers(scenes, size)
    clear = np.ones((n, size, size), np.float32)  # the share of what lies below that shows through
    light = np.zeros((3, n, size, size), np.float32)
    masks, instances = np.zeros((2, n, size, size), np.uint8)
    boxes = np.zeros((n, places, 4), np.float32)
    classes = np.full((n, places), IGNORE, np.int64)
    for k in reversed(range(places)):
        here = np.flatnonzero(place == k)
        shape = cover[here] > 0.5
        shows = shape & (instances[row[here]] == 0)
        area, seen = shape.sum((1, 2)), shows.sum((1, 2))
        drawn = (seen > 0) & (seen >= VISIBLE * area)
        here, shows = here[drawn], shows[drawn]
        rows = row[here]
        masks[rows] += shows * (1 + kinds[here]).astype(np.uint8)[:, None, None]
        instances[rows] += shows * np.uint8(k + 1)
        boxes[rows, k], classes[rows, k] = _boxes(shows), kinds[here]
        share = clear[rows] * cover[here]
        clear[rows] -= share
        for channel in range(3):
            light[channel, rows] += share * colours[here, channel, None, None]
    behind = np.array([BACKGROUNDS[scene.background] for scene in scenes], np.float32).reshape(n, 3)
    light += clear * behind.T[:, :, None, None]
    pixels = (light + np.float32(0.5)).astype(np.uint8)
    return Rendered(np.ascontiguousarray(pixels.swapaxes(0, 1)), masks, instances, boxes, classes)


def _covers(scenes: Sequence[Scene], size: int) -> tuple[Ints, Ints, Ints, Floats, Floats]:
    """All objects of all scenes: scene, place, number of the shape, colour, share of each pixel covered."""
    number = {shape: i for i, shape in enumerate(SHAPES)}
    found = [(row, place, o) for row, scene in enumerate(scenes) for place, o in enumerate(scene.objects)]
    rows, places = (np.array([item[i] for item in found], np.int64) for i in (0, 1))
    kinds = np.array([number[o.shape] for *_, o in found], np.int64)
    colours = np.array([COLOURS[o.colour] for *_, o in found], np.float32).reshape(-1, 3)
    at = np.array([(o.x, o.y, o.size / 2) for *_, o in found], np.float32).reshape(-1, 3) * np.float32(size)
    centres = np.arange(size, dtype=np.float32) + np.float32(0.5)
    cover = np.empty((len(found), size, size), np.float32)
    for kind, distance in enumerate(_DISTANCES.values()):
        here = np.flatnonzero(kinds == kind)
        x, y, half = (at[here, i, None] for i in range(3))
        outside = distance(((centres - x) / half)[:, None, :], ((centres - y) / half)[:, :, None])
        cover[here] = np.clip(np.float32(0.5) - outside * half[:, :, None], 0, 1)
    return rows, places, kinds, colours, cover


def _boxes(shows: npt.NDArray[np.bool_]) -> Floats:
    """The smallest boxes around what is True in each, none of which is empty: (m, 4)."""
    edges = []
    for axis in (1, 2):  # columns with something in them, then rows
        taken = np.asarray(shows.any(axis))
        edges += [taken.argmax(1), taken.shape[1] - taken[:, ::-1].argmax(1)]
    return np.stack([edges[0], edges[2], edges[1], edges[3]], 1).astype(np.float32)


def _check_size(size: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise InputError(f"a picture of {size} pixels: expected a side from {SMALLEST} to {LARGEST}")
