"""`streets`: a road ahead, drawn in every weather, at every hour, in any traffic; `streets-layout`: what is where.

Each picture is labelled with its three attributes ("snowy night heavy") and says them in its caption. The layout of a
picture has its name, and each kind of thing in one flat colour. They stand in for the pictures of a driver's camera,
and are far simpler than these.
"""

import numpy as np

from maquette.data.dataset import TEST, TRAIN
from maquette.data.drawing import Canvas, Series, to_bytes

WEATHER = ("clear", "rainy", "foggy", "snowy")
TIMES = ("day", "dusk", "night")
TRAFFIC = {"empty": (0, 0), "light": (1, 2), "heavy": (4, 6)}
"""Fewest and most vehicles."""
CAPTIONS = {
    f"{weather} {time} {traffic}": f"a {weather} {time}, "
    + ("an empty road" if traffic == "empty" else f"{traffic} traffic")
    for weather in WEATHER
    for time in TIMES
    for traffic in TRAFFIC
}
COPIES = {TRAIN: 150, TEST: 25}

SKY, BUILDING, VERGE, ROAD, LINE, TREE, POST, CAR = range(8)
COLOURS = np.array(
    [(112, 176, 232), (150, 108, 92), (112, 168, 88), (84, 80, 100), (236, 232, 220), (36, 104, 60), (208, 168, 48),
     (216, 60, 72)],
    np.uint8,
)  # fmt: skip
"""Of the kinds of things in a layout."""

ZENITH = {"day": (0.30, 0.55, 0.90), "dusk": (0.32, 0.27, 0.52), "night": (0.03, 0.05, 0.14)}
HORIZON = {"day": (0.74, 0.87, 0.97), "dusk": (0.98, 0.62, 0.38), "night": (0.10, 0.13, 0.27)}
LIGHT = {"day": (1.0, 1.0, 1.0), "dusk": (0.78, 0.68, 0.70), "night": (0.27, 0.30, 0.44)}
"""What falls on things, and colours them."""
HAZE = {"day": (0.82, 0.85, 0.88), "dusk": (0.66, 0.60, 0.64), "night": (0.20, 0.22, 0.29)}
PAINTS = ((0.80, 0.15, 0.14), (0.14, 0.32, 0.72), (0.88, 0.88, 0.90), (0.95, 0.72, 0.12), (0.16, 0.17, 0.19),
          (0.12, 0.50, 0.36), (0.55, 0.58, 0.62))  # fmt: skip
WALLS = ((0.72, 0.58, 0.48), (0.60, 0.62, 0.68), (0.80, 0.74, 0.62), (0.62, 0.42, 0.38), (0.50, 0.55, 0.60))
HALF_ROAD = 0.62
"""Half the road's width where it leaves the picture, in shares of the picture's side."""


class Street(Canvas):
    """One scene: what is far first, then what is near, then the weather before it all."""

    def __init__(self, rng: np.random.Generator, label: str, side: int):
        super().__init__(side)
        self.rng, (self.weather, self.time, self.traffic) = rng, label.split()
        self.horizon, self.vanish = rng.uniform(0.40, 0.48), rng.uniform(0.42, 0.58)
        self.light = np.array(LIGHT[self.time]) * (1.0 if self.weather == "clear" else 0.85)
        self.lamps: list[tuple[float, float, float, tuple[float, float, float]]] = []
        """Lights that are seen when it is dark: x, y, reach and colour."""
        self.sky()
        self.ground()
        self.houses()
        for depth in sorted(rng.uniform(0.1, 0.75, rng.integers(2, 6))):
            self.beside(depth)
        for depth, lane in self.vehicles():
            self.car(depth, lane)
        self.air()

    def at(self, depth: float) -> float:
        """The y of the ground at a nearness from 0 (the horizon) to 1 (the lower edge)."""
        return self.horizon + depth * (1 - self.horizon)

    def lit(self, colour: object) -> np.ndarray:
        return np.asarray(colour) * self.light

    def sky(self) -> None:
        height = np.clip(self.y / self.horizon, 0, 1)[..., None]
        zenith, horizon = np.array(ZENITH[self.time]), np.array(HORIZON[self.time])
        self.pixels[:] = zenith + (horizon - zenith) * height**1.5
        x, y = self.rng.uniform(0.1, 0.9), self.rng.uniform(0.08, 0.22)
        stars = self.rng.uniform(0, 1, (14, 2))
        clouds = self.rng.uniform(0, 1, (3, 3))
        if self.weather != "clear":
            self.veil(0.75, HAZE[self.time])
            return
        if self.time == "night":
            for star in stars:
                self.put(self.disc(star[0], star[1] * self.horizon, 0.007), (0.95, 0.95, 0.85), opacity=0.9)
            self.put(self.disc(x, y, 0.055), (0.96, 0.94, 0.82))
            self.put(self.disc(x + 0.028, y - 0.012, 0.046), zenith)
            return
        low = self.horizon - 0.05 if self.time == "dusk" else y
        self.shine(x, low, 0.20, (0.30, 0.20, 0.05))
        self.put(self.disc(x, low, 0.06), (1.0, 0.80, 0.45) if self.time == "dusk" else (1.0, 0.97, 0.75))
        for left, down, size in clouds:
            top, reach = 0.06 + 0.22 * down, 0.06 + 0.05 * size
            for shift, share in ((-0.7, 0.6), (0.0, 1.0), (0.7, 0.65)):
                self.put(
                    self.disc(left + shift * reach, top, reach * share, reach * share * 0.5),
                    self.lit((1, 1, 1)) * 0.95,
                    opacity=0.8,
                )

    def ground(self) -> None:
        white = self.weather == "snowy"
        grass = (0.88, 0.91, 0.95) if white else (0.36, 0.55, 0.27)
        tar = (0.55, 0.56, 0.60) if white else (0.34, 0.34, 0.37)
        near = np.clip((self.y - self.horizon) / (1 - self.horizon), 0, 1)
        self.put(self.horizon - self.y, self.lit(grass) * (0.8 + 0.2 * near[..., None]), VERGE)
        self.put(self.wedge(-HALF_ROAD, HALF_ROAD), self.lit(tar) * (0.85 + 0.15 * near[..., None]), ROAD)
        paint = self.lit((0.95, 0.95, 0.92))
        for edge in (-0.92, 0.92):
            self.put(self.wedge((edge - 0.025) * HALF_ROAD, (edge + 0.025) * HALF_ROAD), paint, LINE, 0.9)
        dash = np.sin(9 / (near + 0.12) + self.rng.uniform(0, 6)) > 0  # of equal length on the ground
        self.put(np.where(dash, self.wedge(-0.028 * HALF_ROAD, 0.028 * HALF_ROAD), 1.0), paint, LINE, 0.9)
        if self.weather == "rainy":  # the sky in a wet road
            sheen = 0.28 * (self.kinds == ROAD) * (1 - near)
            self.veil(sheen, HORIZON[self.time])

    def wedge(self, left: float, right: float) -> np.ndarray:
        """The ground between two lines from the vanishing point to the lower edge, `left` and `right` of the middle."""
        near = np.clip((self.y - self.horizon) / (1 - self.horizon), 0, None)
        middle = self.vanish + (0.5 - self.vanish) * near
        across = np.maximum(middle + left * near - self.x, self.x - middle - right * near)
        return np.maximum(across, self.horizon - self.y)

    def houses(self) -> None:
        """Two rows of fronts that grow shorter towards the vanishing point."""
        for side in (-1, 1):
            x = -0.05 if side < 0 else 1.05
            while (left := (self.vanish - x) * -side) > 0.10:
                width = min(self.rng.uniform(0.09, 0.20), left - 0.04)
                wall, height = WALLS[self.rng.integers(len(WALLS))], self.rng.uniform(0.5, 1.1)
                top = self.horizon - height * (0.06 + 0.62 * left * left + 0.10 * left)
                near, far = (x, x - side * width) if side > 0 else (x + width, x)
                self.front(min(near, far), top, max(near, far), self.lit(wall))
                x -= side * width

    def front(self, left: float, top: float, right: float, wall: np.ndarray) -> None:
        base = self.horizon + 0.02
        self.put(self.box(left, top, right, base), wall, BUILDING)
        rows, columns = max(2, int((base - top) / 0.075)), max(2, int((right - left) / 0.055))
        u, v = (self.x - left) / (right - left) * columns, (self.y - top) / (base - top) * rows
        glass = (np.abs(u % 1 - 0.5) < 0.27) & (np.abs(v % 1 - 0.5) < 0.27) & (self.kinds == BUILDING)
        inside = (u > 0) & (u < columns) & (v > 0) & (v < rows) & glass
        bright = self.rng.random((rows, columns)) < (0.12, 0.40, 0.55)[TIMES.index(self.time)]
        glow = bright[v.astype(int).clip(0, rows - 1), u.astype(int).clip(0, columns - 1)]
        dark = wall * 0.55 if self.time != "day" else wall * 0.5 + np.array((0.10, 0.16, 0.24))
        self.veil(inside * 0.9, np.where(glow[..., None], (1.0, 0.86, 0.50), dark))

    def beside(self, depth: float) -> None:
        """A tree or a lamp on the verge."""
        side, tree = self.rng.choice((-1, 1)), self.rng.random() < 0.55
        foot, size = self.at(depth), 0.10 + 0.55 * depth
        x = self.vanish + (0.5 - self.vanish) * depth + side * (HALF_ROAD * 1.18 * depth + 0.02)
        shade = self.rng.uniform(0.8, 1.2)
        if not tree:
            top, reach = foot - size * 0.95, -side * size * 0.20
            self.put(self.box(x - 0.02 * size, top, x + 0.02 * size, foot), self.lit((0.30, 0.31, 0.34)), POST)
            self.put(
                self.box(min(x, x + reach), top, max(x, x + reach), top + 0.04 * size),
                self.lit((0.30, 0.31, 0.34)),
                POST,
            )
            self.lamps.append((x + reach, top + 0.05 * size, 0.16 * size + 0.02, (0.95, 0.78, 0.45)))
            return
        leaves = self.lit((0.16, 0.42, 0.18)) * shade
        self.put(
            self.box(x - 0.04 * size, foot - 0.5 * size, x + 0.04 * size, foot), self.lit((0.36, 0.24, 0.15)), TREE
        )
        for right, up, radius in ((-0.13, 0.52, 0.17), (0.13, 0.54, 0.17), (0.0, 0.70, 0.20)):
            self.put(
                self.disc(x + right * size, foot - up * size, radius * size), leaves * (0.85 + 0.4 * (up - 0.5)), TREE
            )
        if self.weather == "snowy":
            self.put(self.disc(x, foot - 0.82 * size, 0.14 * size, 0.08 * size), self.lit((0.95, 0.96, 0.98)), TREE)

    def vehicles(self) -> list[tuple[float, int]]:
        """Nearness and lane (-1 comes towards us, 1 goes with us), the farthest first and none upon another."""
        low, high = TRAFFIC[self.traffic]
        wanted, found = self.rng.integers(low, high + 1), []  # three fit into a lane however they come to stand
        while len(found) < wanted:
            depth, lane = self.rng.uniform(0.16, 0.80), int(self.rng.choice((-1, 1)))
            if all(lane != other or abs(np.log(depth / nearness)) > 0.28 for nearness, other in found):
                found.append((depth, lane))
        return sorted(found)

    def car(self, depth: float, lane: int) -> None:
        """From behind in our lane, from the front in the other."""
        half, foot = 0.235 * HALF_ROAD * depth * 1.35, self.at(depth)
        x = self.vanish + (0.5 - self.vanish) * depth + lane * 0.47 * HALF_ROAD * depth
        colour, tall = self.lit(PAINTS[self.rng.integers(len(PAINTS))]), self.rng.uniform(1.15, 1.7)
        top, waist = foot - tall * half, foot - 0.75 * half
        self.put(self.disc(x, foot, half * 1.1, half * 0.16), (0.03, 0.03, 0.05), opacity=0.5)
        for wheel in (-0.68, 0.68):
            left, right = x + (wheel - 0.16) * half, x + (wheel + 0.16) * half
            self.put(self.box(left, foot - 0.35 * half, right, foot + 0.06 * half), (0.05, 0.05, 0.06), CAR)
        self.put(self.box(x - 0.74 * half, top, x + 0.74 * half, foot - 0.3 * half, 0.22 * half), colour * 0.92, CAR)
        self.put(self.box(x - half, waist, x + half, foot - 0.14 * half, 0.16 * half), colour, CAR)
        glass = self.lit((0.55, 0.68, 0.78)) * 0.75
        self.put(
            self.box(x - 0.58 * half, top + 0.14 * half, x + 0.58 * half, waist - 0.04 * half, 0.1 * half), glass, CAR
        )
        tail = (0.95, 0.10, 0.08) if lane > 0 else (1.0, 0.96, 0.80)
        for lamp in (-0.72, 0.72):
            spot = (x + lamp * half, waist + 0.24 * half)
            self.put(self.disc(*spot, 0.15 * half), tail, CAR, 1.0 if self.time != "day" else 0.75)
            self.lamps.append((*spot, 0.36 * half, tail))

    def air(self) -> None:
        """Lights, then what falls, and mist that hides what is far."""
        far = np.exp(-np.clip(self.y - self.horizon, 0, 1) * (2.2 if self.weather == "foggy" else 7))
        above = np.exp(-np.clip(self.horizon - self.y, 0, 1) * 1.5)
        haze = {"clear": 0.06, "rainy": 0.30, "foggy": 0.92, "snowy": 0.30}[self.weather]
        self.veil(haze * np.where(self.y > self.horizon, far, above), HAZE[self.time])
        strength = {"day": 0.0, "dusk": 0.4, "night": 0.75}[self.time] * (0.6 if self.weather == "foggy" else 1.0)
        for x, y, reach, colour in self.lamps if strength else ():
            self.shine(x, y, reach * (1.5 if self.weather == "foggy" else 1.0), np.array(colour) * strength)
            if self.weather == "rainy" and y > self.horizon:
                self.put(self.box(x - reach * 0.4, y, x + reach * 0.4, y + 0.16), colour, opacity=0.22)
        if self.weather == "rainy":
            lean, columns = self.rng.uniform(0.1, 0.35), 22
            u = (self.x + lean * self.y) * columns
            phase = self.rng.random(2 * columns)[u.astype(int).clip(0, 2 * columns - 1)]
            streak = (np.abs(u % 1 - 0.5) < 0.16) & ((self.y * 3.2 + phase * 7) % 1 < 0.22)
            self.veil(streak * 0.34, np.array(HAZE[self.time]) * 1.15)
        if self.weather == "snowy":
            flakes = self.rng.uniform(0, 1, (45, 3))
            for x, y, size in flakes:
                self.put(self.disc(x, y, 0.008 + 0.010 * size), (0.97, 0.98, 1.0), opacity=0.85)


def _picture(rng: np.random.Generator, label: str, side: int) -> np.ndarray:
    return to_bytes(Street(rng, label, side).pixels)


def _layout(rng: np.random.Generator, label: str, side: int) -> np.ndarray:
    return COLOURS[Street(rng, label, side).kinds]


PICTURES = Series("streets", 1, CAPTIONS, COPIES, _picture)
LAYOUTS = Series("streets-layout", 1, CAPTIONS, COPIES, _layout)
