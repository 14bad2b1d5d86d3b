"""The loop over time of a dilated net on a CPU, compiled by numba: what it says, what is drawn of it, what comes next.

A sample of sound depends on the one before it, sixteen thousand times a second, and torch spends longer on calling the
hundred operations of one place than that leaves for it. Here all places are one call. What is drawn at each place is
the inverse of a distribution function at numbers that were drawn before, so a row is the same whoever stands beside it.

The net's weights do not fit into the cache next to the processor, and reading them is what takes the time. What a layer
of dilation d sees of the past is known d places ahead, so its product with that half of the weights is computed for up
to `AHEAD` places at once. The sums of each place are added in the same order whatever else is computed with it.
"""

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from maquette.core import cancel
from maquette.core.devices import Storage
from maquette.core.types import Condition
from maquette.nets.dilated import Dilated
from maquette.nets.kernels import BLOCK, TILE, aligned, exp, kernel, pack, small_tile, to_numpy

AHEAD = 16
"""Places for which what is seen of the past is computed together, at most."""
STRETCH = 512
"""Places between two looks at whether to go on."""
MAKE = -1
"""What stands where something is to be drawn."""


class _Kept(NamedTuple):
    """Linear layers one after another as `small_tile` takes them: weight [blocks, in, BLOCK], scale and bias
    [blocks x BLOCK]; each layer has whole blocks of outputs."""

    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


class _Weights(NamedTuple):
    """`table` [numbers, width] is what enters at each number; with one row, row + slope * value does.

    Then what a gate makes of each earlier place that it reads, layer by layer and the oldest first (`past`); what it
    makes of its own place, and the mix after it, layer by layer (`now`), so that a place reads memory in one stream.
    """

    table: np.ndarray
    slope: np.ndarray
    past: _Kept
    now: _Kept
    head: _Kept
    out: _Kept


class _Memory(NamedTuple):
    """Of all layers one after another, n rows for each place: their last inputs [places x n, width], place t at t
    modulo the span, and what is known already of what their gates are given at the next places [places x n, 2 width and
    more]; and what they are told [frames, layers, n, 2 width]."""

    rings: np.ndarray
    ahead: np.ndarray
    told: np.ndarray


class _Layout(NamedTuple):
    """The dilation of each layer, how many places are computed together, where its parts of the rings and of `ahead`
    begin; the blocks of a gate and of a mix; and numbers of the whole."""

    dilations: np.ndarray
    together: np.ndarray
    rings: np.ndarray
    ahead: np.ndarray
    gate: int
    mix: int
    kernel: int
    length: int
    levels: int


class Choice(NamedTuple):
    """How a number is drawn from what the net says: logits, or where `mixture`, parameters of logistic distributions.

    Attributes:
        greedy: take the likeliest.
        least: a token less likely than this share of the likeliest is none.
    """

    mixture: bool
    greedy: bool
    temperature: np.float32
    least: np.float32


@kernel(parallel=False)
def _add(kept, first, blocks, x, row, column, rows, y, begin):
    """y <- y + the layer of x that has so many blocks from `first` on, for `rows` rows from `row` on in x.

    What it reads of x begins at `column`; what it adds to in y, at row `begin`.
    """
    for block in range(blocks):
        for part in range(0, rows, TILE):
            small_tile(  # pyright: ignore[reportCallIssue] (numba gives the first)
                kept.weight, kept.scale, kept.bias, first + block, x, (row + part) * x.shape[1] + column,
                min(TILE, rows - part), y, y, (begin + part) * y.shape[1] + block * BLOCK,
            )  # fmt: skip


@kernel(parallel=False)
def _look_back(at, layer, weights, memory, layout):
    """What the gate of a layer is told and sees of the past, at place `at` and as many after it as are known."""
    rings, ahead, told = memory
    frames, n = len(told), told.shape[2]
    begin = layout.ahead[layer] * n
    for s in range(layout.together[layer]):
        spot = min(max((at + s + 0.5) * frames / layout.length - 0.5, 0.0), frames - 1.0)
        frame = int(spot)
        later, share = min(frame + 1, frames - 1), np.float32(spot - frame)
        for r in range(n):
            row = begin + s * n + r
            for c in range(told.shape[3]):
                one = told[frame, layer, r, c]
                ahead[row, c] = one + share * (told[later, layer, r, c] - one)
    dilation, taps = layout.dilations[layer], layout.kernel - 1
    for tap in range(taps):
        slot = layout.rings[layer] + (at + tap * dilation) % (taps * dilation)  # the oldest is one span back
        rows = layout.together[layer] * n
        _add(weights.past, (layer * taps + tap) * layout.gate, layout.gate, rings, slot * n, 0, rows, ahead, begin)


@kernel(parallel=False)
def _gate(y, first, z):
    """z <- tanh(a) sigmoid(b), where a and b stand side by side in the rows of y from `first` on."""
    width, one = np.uint64(z.shape[1]), np.float32(1)  # unsigned: no index is negative, so loops become vectors
    for r in range(len(z)):
        for c in range(width):
            a, b = y[first + r, c], y[first + r, width + c]
            double = exp(np.float32(2) * min(max(a, np.float32(-20)), np.float32(20)))
            z[r, c] = (double - one) / ((double + one) * (one + exp(-b)))


@kernel(parallel=False)
def _place(at, h, z, inner, weights, memory, layout):
    """One place through all layers: what enters is in the first columns of `h`, and what the net says comes there.

    The columns after those are what layers skip to, and `inner` is where the head works.
    """
    rings, ahead, _ = memory
    n, width = z.shape
    for layer in range(len(layout.dilations)):
        done = at % layout.together[layer]
        if done == 0:
            _look_back(at, layer, weights, memory, layout)
        slot = layout.rings[layer] + at % ((layout.kernel - 1) * layout.dilations[layer])
        for r in range(n):
            for c in range(width):
                rings[slot * n + r, c] = h[r, c]
        first = (layout.ahead[layer] + done) * n
        block = layer * (layout.gate + layout.mix)
        _add(weights.now, block, layout.gate, h, 0, 0, n, ahead, first)
        _gate(ahead, first, z)
        _add(weights.now, block + layout.gate, layout.mix, z, 0, 0, n, h, 0)
    _relu(h)
    inner[:] = 0
    _add(weights.head, 0, len(weights.head.weight), h, 0, width, n, inner, 0)
    _relu(inner)
    h[:] = 0
    _add(weights.out, 0, len(weights.out.weight), inner, 0, 0, n, h, 0)


@kernel(parallel=False)
def _relu(x):
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            x[r, c] = max(x[r, c], np.float32(0))


@kernel(parallel=False)
def _token(logits, u, choice, shares):
    """The number at which the distribution function first exceeds u, as `decoding.draw` has it."""
    top = logits[0]
    for i in range(len(logits)):
        top = max(top, logits[i])
    if choice.greedy:
        for i in range(len(logits)):
            if logits[i] == top:
                return i
    sharp = np.float32(1) / choice.temperature
    for i in range(len(logits)):
        share = exp((logits[i] - top) * sharp)
        shares[i] = share if share >= choice.least else np.float32(0)
    total = 0.0
    for i in range(len(logits)):
        total += np.float64(shares[i])
    below, last = 0.0, 0
    for i in range(len(logits)):
        below += np.float64(shares[i])
        if below > u * total:
            return i
        last = i if shares[i] > 0 else last
    return last


@kernel(parallel=False)
def _level(said, u, v, choice, levels, shares):
    """The nearest of `levels` to a number from the logistic distribution that u picks, v saying where in it."""
    count = len(said) // 3
    for i in range(count):
        shares[i] = said[3 * i]
    which = _token(shares[:count], u, choice, shares[count:])
    mean, log_scale = said[3 * which + 1], said[3 * which + 2]
    log_scale = min(max(log_scale, np.float32(-math.log(10.0 * (levels - 1)))), np.float32(8))
    odds = math.log(np.float64(v)) - math.log1p(-np.float64(v))
    value = mean + math.exp(log_scale) * choice.temperature * odds
    return int(min(max(np.rint((value + 1) * ((levels - 1) / 2)), 0), levels - 1))


@kernel(parallel=False)
def _run(x, first, last, all_said, u, choice, weights, memory, layout):
    """Places `first` to `last`: each reads its number in x [n, places + 1] and, where the next one is `MAKE`, draws it.

    Args:
        all_said: [n, last - first, out] receives what the net says; none of it when it has no places.
        u: [1, n, places] in [0, 1), of mixtures [2, n, places] in (0, 1).
    """
    n, width, outputs = len(x), memory.rings.shape[1], all_said.shape[2]
    wide = BLOCK * max(layout.mix, len(weights.out.weight))
    h, z = np.empty((n, wide), np.float32), np.empty((n, width), np.float32)
    inner, shares = np.empty((n, len(weights.head.bias)), np.float32), np.empty(2 * outputs, np.float32)
    valued = len(weights.table) == 1
    for at in range(first, last):
        for r in range(n):
            number = x[r, at]
            row = weights.table[0 if valued else number]
            value = np.float32(number) * np.float32(2 / (layout.levels - 1)) - np.float32(1)
            value = np.float32(0) if number == layout.levels or not valued else value
            for c in range(width):
                h[r, c] = row[c] + weights.slope[c] * value
            for c in range(width, wide):
                h[r, c] = 0
        _place(at, h, z, inner, weights, memory, layout)
        for r in range(n):
            said = h[r, :outputs]
            if all_said.shape[1]:
                all_said[r, at - first] = said
            if x[r, at + 1] == MAKE:
                if choice.mixture:
                    x[r, at + 1] = _level(said, u[0, r, at], u[1, r, at], choice, layout.levels, shares)
                else:
                    x[r, at + 1] = _token(said, u[0, r, at], choice, shares)


@dataclass
class Memory:
    """What a loop needs of earlier places to go on.

    Attributes:
        at: how many places there were.
    """

    at: int
    arrays: _Memory

    def picked(self, rows: Int[Tensor, " b"]) -> "Memory":
        """With row i that of row `rows[i]`."""
        rings, ahead, told = self.arrays
        n, index = told.shape[2], rows.cpu().numpy()
        rings, ahead = (
            part.reshape(-1, n, part.shape[1]).take(index, 1).reshape(-1, part.shape[1]) for part in (rings, ahead)
        )
        return Memory(self.at, _Memory(rings, ahead, told.take(index, 2)))


class Loop:
    """What `net` says of numbers one after another, and what follows them when drawn from that.

    Args:
        table: the vector of each number as it goes into the net's first layer, the last one for what stands before the
            first number. None: numbers are `levels` values from -1 to 1, the number `levels` stands for 0, and the net
            has a layer that they enter by.
        storage: how weights are kept; what int8 loses can be seen by `devices.round_weights`.
    """

    def __init__(self, net: Dilated, table: Float[Tensor, "numbers width"] | None, levels: int, storage: Storage):
        config, dilations = net.config, np.array(net.config.chosen)
        self.net = net
        if net.enter is None:
            assert table is not None, "numbers become vectors"
            entrance, slope = to_numpy(table), np.zeros(config.width, np.float32)
        else:
            entrance, slope = to_numpy(net.enter.bias)[None], to_numpy(net.enter.weight[:, 0])
        past, now = _split(_kept(net.gates, storage), config.kernel)
        mixes = _kept([*net.mixes[:-1], _Padded(net.mixes[-1], config.width)], storage)
        layers = _Kept(*(np.concatenate(both, 1) for both in zip(now, mixes, strict=True)))
        ends = (_kept([layer], storage) for layer in (net.head, net.out))
        self._weights = _Weights(entrance, slope, *(_flat(part) for part in (past, layers, *ends)))
        spans, together = (config.kernel - 1) * dilations, np.gcd(dilations, AHEAD)
        rings, ahead = (np.cumsum(sizes) - sizes for sizes in (spans, together))
        self._layout = _Layout(
            dilations, together, rings, ahead, now.weight.shape[1], mixes.weight.shape[1], config.kernel,
            net.source[1], levels,
        )  # fmt: skip

    @torch.no_grad()
    def begin(self, n: int, condition: Condition) -> Memory:
        """Nothing yet, for `n` rows."""
        config = self.net.config
        with torch.autocast("cpu", enabled=False):  # row by row, as torch rounds otherwise among others
            each = [self.net.told(condition.rows(slice(row, row + 1)), 1) for row in range(n)]
        rows = [torch.zeros(1, 1, config.layers, 2 * config.width) if row is None else row.float() for row in each]
        told = torch.cat(rows)
        layout = self._layout
        rings = np.zeros((layout.dilations.sum() * (config.kernel - 1) * n, config.width), np.float32)
        ahead = np.zeros((layout.together.sum() * n, layout.gate * BLOCK), np.float32)
        return Memory(0, _Memory(rings, ahead, to_numpy(told.permute(1, 2, 0, 3))))

    def read(self, x: Int[Tensor, "n m"], memory: Memory) -> Float[Tensor, "n m out"]:
        """What the net says after each of some numbers, which `memory` then holds as well."""
        n, length = x.shape
        last = memory.at + length
        columns = np.zeros((n, last + 1), np.int64)
        columns[:, memory.at : last] = x.numpy()
        said = np.empty((n, length, self.net.target[0]), np.float32)
        nothing = Choice(False, True, np.float32(1), np.float32(0))
        _run(columns, memory.at, last, said, _NO_NUMBERS, nothing, self._weights, memory.arrays, self._layout)
        memory.at = last
        return torch.from_numpy(said)

    def draw(
        self,
        x: Int[Tensor, "n places_and_1"],
        u: Float[Tensor, "k n places"],
        choice: Choice,
        condition: Condition,
    ) -> Iterator[int]:
        """Fill in `x` where it says `MAKE`, from the second column on; yields after each stretch how many are known.

        Rows are shared out among as many threads as torch has.
        """
        n, columns = x.shape
        parts = min(torch.get_num_threads(), -(-n // TILE))
        rows = np.array_split(np.arange(n), parts)
        memory = self.begin(n, condition)
        jobs = [(x[part].numpy(), u[:, part].numpy(), memory.picked(part)) for part in map(torch.from_numpy, rows)]
        silent = np.empty((0, 0, self.net.target[0]), np.float32)
        with ThreadPoolExecutor(parts) as pool:
            for first in range(0, columns - 1, STRETCH):
                cancel.check()
                last = min(first + STRETCH, columns - 1)

                def run(job, first: int = first, last: int = last) -> None:
                    part, chance, own = job
                    _run(part, first, last, silent, chance, choice, self._weights, own.arrays, self._layout)

                list(pool.map(run, jobs))
                for part, (numbers, _, _) in zip(rows, jobs, strict=True):
                    x[part, first + 1 : last + 1] = torch.from_numpy(numbers[:, first + 1 : last + 1])
                yield last + 1


_NO_NUMBERS = np.empty((2, 0, 0), np.float32)


def _kept(layers: Iterable[Any], storage: Storage) -> _Kept:
    """[layers, blocks, in, BLOCK] and [layers, blocks x BLOCK]."""
    weight, scale, bias = pack(list(layers), storage, pairs=True)
    room = (0, 0), (0, weight.shape[1] * BLOCK - scale.shape[1])
    return _Kept(weight, np.pad(scale, room), np.pad(bias, room))


def _split(gates: _Kept, kernel: int) -> tuple[_Kept, _Kept]:
    """The layers of earlier places, [layers x (kernel - 1)] of them, with the biases, and those of the place itself."""
    depth, blocks, inputs, _ = gates.weight.shape
    taps = gates.weight.reshape(depth, blocks, kernel, inputs // kernel, BLOCK).swapaxes(1, 2)
    past, now = taps[:, :-1].reshape(-1, *taps.shape[2:]), taps[:, -1]
    scale, bias = gates.scale.repeat(kernel - 1, 0), np.zeros((len(past), gates.bias.shape[1]), np.float32)
    bias[:: kernel - 1] = gates.bias
    return _Kept(past, scale, bias), _Kept(now, gates.scale, np.zeros_like(gates.bias))


def _flat(layers: _Kept) -> _Kept:
    """All blocks of all layers one after another."""
    weight, scale, bias = layers
    return _Kept(aligned(weight.reshape(-1, *weight.shape[2:])), scale.reshape(-1), bias.reshape(-1))


class _Padded(nn.Module):
    """A layer with outputs of zero before its own, so that it is as large as its fellows."""

    def __init__(self, layer: Any, before: int):
        super().__init__()
        self.weight = nn.Parameter(torch.cat([layer.weight.new_zeros(before, layer.in_features), layer.weight]))
        self.bias = nn.Parameter(torch.cat([layer.bias.new_zeros(before), layer.bias]))
