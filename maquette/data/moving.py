"""`moving-digits`: a handwritten digit that flies through a dark square and bounces off its walls.

After Moving MNIST (Srivastava et al. 2015), with scikit-learn's digits. Place and speed are measured in sides of the
square and in seconds, so that a film of another size, length or rate shows the same flight; edges are soft, and places
lie between pixels. The digits of the films that are tested on are by people whose hands no other film shows. In colour
each digit has a hue of its own, all of one brightness: what colour a film has is seen from its shape alone.
"""

import colorsys
import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from maquette.core import seeds
from maquette.core.colour import LUMA
from maquette.data.dataset import TEST, TRAIN, Reading, Row, Source
from maquette.media.base import Medium

NAME = "moving-digits"
LICENCE = "CC BY 4.0 (Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI)"
FLIGHTS = 2
"""Films of each handwritten digit."""
HELD_OUT = 0.2
"""Share of the digits, the last ones, that is tested on: by other writers."""
SIDE = 0.46
"""Of the square that a digit was written in, in sides of the film's."""
SPEED = (0.35, 0.75)
"""Sides a second."""
BRIGHT = 0.5
"""What of the brightness of white the digits of films in colour have."""
STEEP = math.radians(20)
"""No flight is closer than this to one along a wall."""
WHITE = np.ones(1)


def source(medium: Medium, seed: int) -> Source:
    """The set for a medium of square films, drawn at its size, length and rate."""
    return Source(name=NAME, place=NAME, key=[NAME, 2, seed], read=partial(_reading, medium, seed))


def _reading(medium: Medium, seed: int) -> Reading:
    from sklearn.datasets import load_digits

    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    digits = images.reshape(-1, 8, 8) / 16
    rows = _rows(digits, labels, medium, seed)
    return Reading(rows=rows, count=FLIGHTS * len(digits), classes=[str(i) for i in range(10)], licence=LICENCE)


def _rows(digits: np.ndarray, labels: np.ndarray, medium: Medium, seed: int) -> Iterator[Row]:
    last = round((1 - HELD_OUT) * len(digits))
    for flight in range(FLIGHTS):
        for i, (digit, label) in enumerate(zip(digits, labels, strict=True)):
            rng = np.random.default_rng(seeds.mix(seed, seeds.BUILD, i, flight))
            down, right, at = rng.choice([-1, 1]), rng.choice([-1, 1]), rng.uniform(0, 1, 2)
            angle, speed = rng.uniform(STEEP, math.pi / 2 - STEEP), rng.uniform(*SPEED)
            velocity = speed * np.array([down * math.sin(angle), right * math.cos(angle)])
            said = f"a {label} moving {'down' if down > 0 else 'up'} and {'right' if right > 0 else 'left'}"
            load = partial(film, digit, at, velocity, medium, colour(label / 10) if medium.stored[-1] == 3 else WHITE)
            yield Row(f"{i:04}/{flight}", load, TRAIN if i < last else TEST, str(label), said)


def colour(hue: float) -> np.ndarray:
    """Red, green and blue of a hue in [0, 1), as pure as may be where the brightness is `BRIGHT`."""
    pure, shares = np.array(colorsys.hsv_to_rgb(hue, 1, 1)), np.array(LUMA)
    own = pure @ shares
    return pure * BRIGHT / own if own >= BRIGHT else pure + (1 - pure) * (BRIGHT - own) / (1 - own)


def film(
    digit: np.ndarray, at: np.ndarray, velocity: np.ndarray, medium: Medium, ink: np.ndarray = WHITE
) -> np.ndarray:
    """uint8 [frames, size, size, channels] of a digit [8, 8] in [0, 1] that flies.

    Args:
        at: where it is first, down and to the right, as shares of the way from wall to wall.
        velocity: down and to the right, in sides a second.
        ink: how bright it is in each channel.
    """
    frames, size, *_ = medium.stored
    seconds = np.arange(frames) / medium.rate
    down, right = (
        _drawn(digit.max(1 - axis) > 0, at[axis], velocity[axis] * seconds, size) for axis in (0, 1)
    )  # [frames, size, 8] each
    grey = down @ digit @ right.transpose(0, 2, 1)
    return np.rint(255 * grey.clip(0, 1)[..., None] * ink).astype(np.uint8)


def _drawn(ink: np.ndarray, at: float, moved: np.ndarray, size: int) -> np.ndarray:
    """How much of each row of a digit is seen in each row of pixels of each frame: [frames, size, 8].

    Args:
        ink: which rows of the digit have any, bool [8]: these are what bounces.
        at: where it begins, as a share of the way.
        moved: how far it has flown by each frame, were there no walls, in sides.
    """
    first, past = np.flatnonzero(ink)[[0, -1]] + (0, 1)
    pixel = SIDE / 8  # of the digit, in sides
    way = 1 - (past - first) * pixel
    begins = way - np.abs((at * way + moved) % (2 * way) - way) - first * pixel
    centres = (np.arange(size) + 0.5) / size
    apart = (centres[None, :, None] - begins[:, None, None]) / pixel - (np.arange(8) + 0.5)
    fine = max(1.0, 1 / (pixel * size))  # in a small film a pixel sees several of the digit's
    weights = _cubic(np.abs(apart) / fine)
    return weights / fine


def _cubic(x: np.ndarray) -> np.ndarray:
    """The kernel of cubic convolution, a = -1/2, at distances x >= 0 (Keys 1981, equation 15)."""
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
