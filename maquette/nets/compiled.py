"""The next place of a causal Transformer on a CPU, compiled by numba: for one row or a few dozen (extra `fast`).

One row uses every weight once, so a place takes as long as reading the weights from memory does, if nothing else takes
longer; torch moves them at a fraction of that pace and spends microseconds on each of hundreds of calls. Here a place
is one call, and what is read serves several rows. Weights are kept as fp32, as bf16, or as int8 with a scale for each
row (`devices.int8`), and become fp32 in registers; all sums are fp32. A processor that multiplies bf16 gets the inputs
of bf16 weights in bf16 too. The first call of a process compiles, or finds what an earlier one has compiled.
"""

import math
import threading
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from numba import prange
from torch import Tensor

from maquette.core.devices import Storage
from maquette.core.types import Condition
from maquette.nets.attention import EPS
from maquette.nets.kernels import BLOCK, PAIRS, TILE, Weight, exp, kernel, pack, suited, tile, to_numpy
from maquette.nets.transformer import Cache, Transformer

SET, ADD, RELU2, GELU = range(4)
"""What is done with a product: put down, added to what is there, or put through an activation."""
_ACTIVATION = {"relu2": RELU2, "gelu": GELU, "swiglu": SET}
_LOCK = threading.Lock()
"""numba's plainest thread pool takes one caller at a time."""


@kernel(parallel=False)
def _finish(sums, scale, bias, how, y):
    for i in range(len(y)):
        value = scale[i] * sums[i] + bias[i]
        if how == ADD:
            value += y[i]
        elif how == RELU2:
            value = max(value, np.float32(0)) ** 2
        elif how == GELU:
            twice = np.float32(1.5957691216) * (value + np.float32(0.044715) * value * value * value)
            value /= np.float32(1) + exp(-twice)  # (1 + tanh u) / 2 is the logistic function of 2u
        y[i] = value


@kernel(parallel=True)
def _blocks(w, scale, bias, x, y, how):
    for block in prange(len(w)):
        sums = np.empty((TILE, BLOCK), np.float32)
        begin, end = block * BLOCK, min(block * BLOCK + BLOCK, len(scale))
        for first in range(0, len(x), TILE):
            rows = x[first : first + TILE]
            tile(w[block], rows, sums)  # pyright: ignore[reportCallIssue]
            for r in range(len(rows)):
                _finish(sums[r], scale[begin:end], bias[begin:end], how, y[first + r, begin:end])


@kernel(parallel=False)
def _product(w, scale, bias, x, y, how):
    """y[r, i] <- scale[i] * sum_j w[i, j] x[r, j] + bias[i], for the rows r of x.

    Args:
        w: [blocks, width, BLOCK]: outputs side by side, so that memory is read in one stream and nothing is summed
            across a register; pairs of bf16 in uint32 are [blocks, width / 2, BLOCK].
    """
    _blocks(w, scale, bias, suited(x, w), y, how)


@kernel(parallel=False)
def _norm(h, weight, bias, centred, eps, out):
    """Layer norm (`centred`) or RMS norm of each row."""
    width = np.float32(h.shape[1])
    for r in range(len(h)):
        mean = square = np.float32(0)
        if centred:
            for j in range(h.shape[1]):
                mean += h[r, j]
            mean /= width
        for j in range(h.shape[1]):
            square += (h[r, j] - mean) ** 2
        factor = np.float32(1) / math.sqrt(square / width + eps)
        for j in range(h.shape[1]):
            out[r, j] = (h[r, j] - mean) * factor * weight[j] + bias[j]


@kernel(parallel=False)
def _unit(x):
    """One vector divided by its root mean square, in place: `attention.unit_size`."""
    square = np.float32(0)
    for i in range(len(x)):
        square += x[i] ** 2
    factor = np.float32(1) / math.sqrt(square / np.float32(len(x)) + np.float32(EPS))
    for i in range(len(x)):
        x[i] *= factor


@kernel(parallel=False)
def _turn(x, cos, sin):
    """`attention.rotate` of one vector, in place."""
    half = len(cos)
    for i in range(half):
        a, b = x[i], x[half + i]
        x[i] = a * cos[i] - b * sin[i]
        x[half + i] = b * cos[i] + a * sin[i]


@kernel(parallel=True)
def _attend(qkv, keys, values, seats, places, cos, sin, unit, out):
    """Each row looks at its place and all before it, each head by itself; an empty `cos` does not rotate.

    Several rows may be places of one text: all are put down before any looks.
    """
    _, heads, _, d = keys.shape
    width, share = heads * d, np.float32(1 / math.sqrt(d))
    for job in prange(len(seats) * heads):
        r, h = job // heads, job % heads
        at, seat = places[r], seats[r]
        q, k = qkv[r, h * d : (h + 1) * d], qkv[r, width + h * d : width + (h + 1) * d]
        if unit:
            _unit(q)
            _unit(k)
        if len(cos):
            _turn(q, cos[at], sin[at])
            _turn(k, cos[at], sin[at])
        for i in range(d):
            keys[seat, h, at, i] = k[i]
            values[seat, h, at, i] = qkv[r, 2 * width + h * d + i]
    for job in prange(len(seats) * heads):
        r, h = job // heads, job % heads
        at, q = places[r], qkv[r, h * d : (h + 1) * d]
        known, said = keys[seats[r], h], values[seats[r], h]
        weights = np.empty(at + 1, np.float32)
        top = np.float32(-np.inf)
        for t in range(at + 1):
            score = np.float32(0)
            for i in range(d):
                score += q[i] * known[t, i]
            weights[t] = score * share
            top = max(top, weights[t])
        total = np.float32(0)
        for t in range(at + 1):
            weights[t] = exp(weights[t] - top)
            total += weights[t]
        mixed = np.zeros(d, np.float32)
        for t in range(at + 1):
            weight = weights[t] / total
            for i in range(d):
                mixed[i] += weight * said[t, i]
        for i in range(d):
            out[r, h * d + i] = mixed[i]


@kernel(parallel=False)
def _enter(tokens, entrance, told, places, h):
    """h <- what goes into the first block: tokens, learnt vectors of their places (if any), what is told, added."""
    table, learnt = entrance
    for r in range(len(tokens)):
        for i in range(h.shape[1]):
            h[r, i] = table[tokens[r], i] + told[r, i] + (learnt[places[r], i] if len(learnt) else np.float32(0))


@kernel(parallel=True)
def _gate(x, out):
    """silu(first half) x second half."""
    n, hidden = out.shape
    for job in prange(n * hidden):
        r, i = job // hidden, job % hidden
        out[r, i] = x[r, i] / (np.float32(1) + exp(-x[r, i])) * x[r, hidden + i]


class _Norms(NamedTuple):
    """Before attention, before the MLP, of each block in turn, and the last one: [2 depth + 1, width]."""

    weight: np.ndarray
    bias: np.ndarray


@kernel(parallel=False)
def _advance(
    tokens, entrance, told, seats, places, keys, values, qkv, mix, up, down, head, norms, cos, sin, settings, logits
):
    """One place of each row through all blocks and the head.

    Args:
        seats: which row of `keys` and `values` [depth, rows, heads, l, d] each row of `tokens` is.
        places: where each row is.
    """
    centred, eps, unit, activation, gated = settings
    n, width = len(tokens), norms.weight.shape[1]
    h = np.empty((n, width), np.float32)
    _enter(tokens, entrance, told, places, h)
    x, looked = np.empty((n, width), np.float32), np.empty((n, width), np.float32)
    three = np.empty((n, 3 * width), np.float32)
    wide = np.empty((n, up.scale.shape[1]), np.float32)
    hidden = np.empty((n, up.scale.shape[1] // 2), np.float32) if gated else wide
    depth = len(qkv.weight)
    for i in range(depth):
        _norm(h, norms.weight[2 * i], norms.bias[2 * i], centred, eps, x)
        _product(qkv.weight[i], qkv.scale[i], qkv.bias[i], x, three, SET)
        _attend(three, keys[i], values[i], seats, places, cos, sin, unit, looked)
        _product(mix.weight[i], mix.scale[i], mix.bias[i], looked, h, ADD)
        _norm(h, norms.weight[2 * i + 1], norms.bias[2 * i + 1], centred, eps, x)
        _product(up.weight[i], up.scale[i], up.bias[i], x, wide, activation)
        if gated:
            _gate(wide, hidden)
        _product(down.weight[i], down.scale[i], down.bias[i], hidden, h, ADD)
    _norm(h, norms.weight[2 * depth], norms.bias[2 * depth], centred, eps, x)
    _product(head.weight[0], head.scale[0], head.bias[0], x, logits, SET)


class Kept(Cache):
    """A `Cache` in fp32 whose memory torch and the compiled code share."""

    def __init__(self, net: Transformer, n: int):
        shape = (len(net.blocks), n, net.config.heads, net.source[0], net.config.width // net.config.heads)
        self.length = 0
        self.all_keys, self.all_values = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.keys = [torch.from_numpy(block) for block in self.all_keys]
        self.values = [torch.from_numpy(block) for block in self.all_values]


class Compiled:
    """What `net`, then a product with `head`, makes of one further token.

    Attributes:
        most: rows up to which this is the faster way.

    Args:
        net: causal, its width that of what goes in and out.
        table: the vector of each token as it goes in; its memory is shared.
        head: [vocab, width].
        storage: how weights are kept; what int8 loses can be seen by `devices.round_weights`.
    """

    most = 32

    def __init__(
        self,
        net: Transformer,
        table: Float[Tensor, "tokens d"],
        head: Float[Tensor, "vocab d"],
        storage: Storage,
    ):
        self.net, config, blocks = net, net.config, list(net.blocks)
        self._matrices = [
            pack([getattr(block, name) for block in blocks], storage, PAIRS) for name in ("qkv", "mix", "up", "down")
        ]
        self._matrices.append(pack([Weight(head)], storage, PAIRS))
        layers: list[Any] = [norm for block in blocks for norm in (block.before_attention, block.before_mlp)] + [
            net.norm
        ]
        weight = np.stack([to_numpy(layer.weight) for layer in layers])
        biases = [getattr(layer, "bias", None) for layer in layers]
        bias = np.stack([np.zeros(config.width, np.float32) if b is None else to_numpy(b) for b in biases])
        self._norms = _Norms(weight, bias)
        empty = torch.empty(0, 0)
        self._turns = [to_numpy(t) for t in ((net.cos, net.sin) if net.places is None else (empty, empty))]
        centred, gated = config.norm == "layer", config.mlp == "swiglu"
        eps = np.float32(1e-5 if centred else torch.finfo(torch.float32).eps)
        self._settings = (centred, eps, config.qk_norm, _ACTIVATION[config.mlp], gated)
        self._entrance = (to_numpy(table), to_numpy(empty if net.places is None else net.places))

    def cache(self, n: int) -> Kept:
        return Kept(self.net, n)

    def advance(self, tokens: Int[Tensor, "n 1"], condition: Condition, cache: Kept) -> Float[Tensor, "n 1 vocab"]:
        """Logits after `tokens`, which `cache` then holds as well."""
        rows = np.arange(len(tokens))
        logits = self.step(tokens[:, 0], condition, cache, rows, np.full_like(rows, cache.length))
        cache.length += 1
        return logits[:, None]

    def step(
        self, tokens: Int[Tensor, " n"], condition: Condition, cache: Kept, rows: np.ndarray, places: np.ndarray
    ) -> Float[Tensor, "n vocab"]:
        """Logits after `tokens` at these places of these rows of `cache`, which then holds them as well.

        Those of a row do not depend on the others, nor on how many there are.
        """
        told = np.zeros((len(tokens), self.net.config.width), np.float32)
        if self.net.tell is not None:
            told += to_numpy(self.net.tell(condition.vector))
        logits = np.empty((len(tokens), self._matrices[-1].scale.shape[1]), np.float32)
        with _LOCK:
            numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore
            _advance(
                np.ascontiguousarray(tokens.numpy()), self._entrance, told, rows, places, cache.all_keys,
                cache.all_values, *self._matrices, self._norms, *self._turns, self._settings, logits,
            )  # fmt: skip
        return torch.from_numpy(logits)
