"""The next place of a causal Transformer on a CPU, compiled by numba: for one row or a few (extra `fast`).

One row uses every weight once, so a place takes as long as reading the weights from memory does, if nothing else takes
longer; torch moves them at a fraction of that pace and spends microseconds on each of hundreds of calls. Here a place
is one call. Weights are kept as fp32, as bf16, or as int8 with a scale for each row (`devices.int8`), and become
fp32 in registers; all sums are fp32. The first call of a process compiles, or finds what an earlier one has compiled.
"""

import inspect
import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from jaxtyping import Float
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic
from torch import Tensor, nn

from maquette.core.devices import Storage, int8
from maquette.nets.attention import EPS
from maquette.nets.transformer import Cache, Transformer

SET, ADD, RELU2, GELU = range(4)
"""What is done with a product: put down, added to what is there, or put through an activation."""
AHEAD = 4096
"""Bytes between what is read and what is fetched."""
_ACTIVATION = {"relu2": RELU2, "gelu": GELU, "swiglu": SET}
_LOCK = threading.Lock()
"""numba's plainest thread pool takes one caller at a time."""


def _compile(parallel: bool) -> Callable[[Callable], Any]:
    """numba's decorator, on the function itself: tests wrap functions to check shapes, which numba cannot read."""
    options = {"parallel": parallel, "fastmath": {"reassoc", "contract", "nsz"}, "cache": True, "nogil": True}
    return lambda function: numba.njit(**options)(inspect.unwrap(function))


@intrinsic
def _lift(typingctx, w):
    """A stored weight as fp32: itself, the upper half of its bits (bf16 in uint16), or an int8 as a number."""

    def generate(context, builder, signature, args):
        (value,) = args
        if w == types.uint16:
            wide = builder.shl(builder.zext(value, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
            return builder.bitcast(wide, ir.FloatType())
        return builder.sitofp(value, ir.FloatType()) if w == types.int8 else value

    return types.float32(w), generate


@intrinsic
def _fetch(typingctx, address):
    """Begin to read the cache line at `address`, which may lie beyond the end."""

    def generate(context, builder, signature, args):
        byte, whole = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, whole, whole, whole])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        reading, once, data = (ir.Constant(whole, n) for n in (0, 0, 1))
        builder.call(fetch, [builder.inttoptr(args[0], byte), reading, once, data])
        return context.get_dummy_value()

    return types.none(types.intp), generate


@_compile(parallel=False)
def _finish(before, value, how):
    if how == ADD:
        return before + value
    if how == RELU2:
        return max(value, np.float32(0)) ** 2
    if how == GELU:
        twice = np.float32(1.5957691216) * (value + np.float32(0.044715) * value * value * value)
        return value / (np.float32(1) + math.exp(-twice))  # (1 + tanh u) / 2 is the logistic function of 2u
    return value


@_compile(parallel=True)
def _product(w, scale, bias, x, y, how):
    """y[r, i] <- scale[i] * sum_j w[i, j] x[r, j] + bias[i], for the rows r of x.

    One i after another reads memory in one stream, twice as fast as several rows of w at a time. Of int8, whose rows
    are short, the processor is told what it will need.
    """
    outputs, width = w.shape
    start, row = w.ctypes.data, width * w.itemsize
    for i in prange(outputs):
        if w.itemsize == 1:
            for ahead in range(AHEAD, AHEAD + row, 64):
                _fetch(start + i * row + ahead)  # pyright: ignore[reportCallIssue] (numba gives the first)
        for r in range(len(x)):
            total = np.float32(0)
            for j in range(width):
                total += _lift(w[i, j]) * x[r, j]  # pyright: ignore[reportCallIssue]
            y[r, i] = _finish(y[r, i], scale[i] * total + bias[i], how)


@_compile(parallel=False)
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


@_compile(parallel=False)
def _unit(x):
    """One vector divided by its root mean square, in place: `attention.unit_size`."""
    square = np.float32(0)
    for i in range(len(x)):
        square += x[i] ** 2
    factor = np.float32(1) / math.sqrt(square / np.float32(len(x)) + np.float32(EPS))
    for i in range(len(x)):
        x[i] *= factor


@_compile(parallel=False)
def _turn(x, cos, sin):
    """`attention.rotate` of one vector, in place."""
    half = len(cos)
    for i in range(half):
        a, b = x[i], x[half + i]
        x[i] = a * cos[i] - b * sin[i]
        x[half + i] = b * cos[i] + a * sin[i]


@_compile(parallel=True)
def _attend(qkv, keys, values, at, cos, sin, unit, out):
    """Place `at` looks at all up to itself, each head of each row by itself; an empty `cos` does not rotate."""
    n, heads, _, d = keys.shape
    width, share = heads * d, np.float32(1 / math.sqrt(d))
    for job in prange(n * heads):
        r, h = job // heads, job % heads
        q, k = qkv[r, h * d : (h + 1) * d], qkv[r, width + h * d : width + (h + 1) * d]
        if unit:
            _unit(q)
            _unit(k)
        if len(cos):
            _turn(q, cos[at], sin[at])
            _turn(k, cos[at], sin[at])
        known, said = keys[r, h], values[r, h]
        for i in range(d):
            known[at, i] = k[i]
            said[at, i] = qkv[r, 2 * width + h * d + i]
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
            weights[t] = math.exp(weights[t] - top)
            total += weights[t]
        mixed = np.zeros(d, np.float32)
        for t in range(at + 1):
            weight = weights[t] / total
            for i in range(d):
                mixed[i] += weight * said[t, i]
        for i in range(d):
            out[r, h * d + i] = mixed[i]


@_compile(parallel=True)
def _gate(x, out):
    """silu(first half) x second half."""
    n, hidden = out.shape
    for job in prange(n * hidden):
        r, i = job // hidden, job % hidden
        out[r, i] = x[r, i] / (np.float32(1) + math.exp(-x[r, i])) * x[r, hidden + i]


class _Matrices(NamedTuple):
    """Linear layers of one kind, one a block: weights [depth, out, in] as they are kept, scales and biases fp32."""

    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


class _Norms(NamedTuple):
    """Before attention, before the MLP, of each block in turn, and the last one: [2 depth + 1, width]."""

    weight: np.ndarray
    bias: np.ndarray


@_compile(parallel=False)
def _advance(h, at, keys, values, qkv, mix, up, down, head, norms, cos, sin, settings, logits):
    """One place through all blocks and the head; h [n, width] is used up."""
    centred, eps, unit, activation, gated = settings
    n, width = h.shape
    x, looked = np.empty((n, width), np.float32), np.empty((n, width), np.float32)
    three = np.empty((n, 3 * width), np.float32)
    wide = np.empty((n, up.weight.shape[1]), np.float32)
    hidden = np.empty((n, down.weight.shape[2]), np.float32) if gated else wide
    depth = len(qkv.weight)
    for i in range(depth):
        _norm(h, norms.weight[2 * i], norms.bias[2 * i], centred, eps, x)
        _product(qkv.weight[i], qkv.scale[i], qkv.bias[i], x, three, SET)
        _attend(three, keys[i], values[i], at, cos, sin, unit, looked)
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
        self.all_keys, self.all_values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.keys = [torch.from_numpy(block) for block in self.all_keys]
        self.values = [torch.from_numpy(block) for block in self.all_values]


class Compiled:
    """What `net`, then a product with `head`, makes of one further place.

    Attributes:
        most: rows up to which this is the faster way.

    Args:
        net: causal, its width that of what goes in and out.
        head: [vocab, width].
        storage: how weights are kept; what int8 loses can be seen by `devices.round_weights`.
    """

    most = 8

    def __init__(self, net: Transformer, head: Float[Tensor, "vocab d"], storage: Storage):
        self.net, config, blocks = net, net.config, list(net.blocks)
        self._matrices = [
            _pack([getattr(block, name) for block in blocks], storage) for name in ("qkv", "mix", "up", "down")
        ]
        self._matrices.append(_pack([_Head(head)], storage))
        layers: list[Any] = [norm for block in blocks for norm in (block.before_attention, block.before_mlp)] + [
            net.norm
        ]
        weight = np.stack([_numpy(layer.weight) for layer in layers])
        biases = [getattr(layer, "bias", None) for layer in layers]
        bias = np.stack([np.zeros(config.width, np.float32) if b is None else _numpy(b) for b in biases])
        self._norms = _Norms(weight, bias)
        empty = torch.empty(0, 0)
        self._turns = [_numpy(t) for t in ((net.cos, net.sin) if net.places is None else (empty, empty))]
        centred, gated = config.norm == "layer", config.mlp == "swiglu"
        eps = np.float32(1e-5 if centred else torch.finfo(torch.float32).eps)
        self._settings = (centred, eps, config.qk_norm, _ACTIVATION[config.mlp], gated)

    def cache(self, n: int) -> Kept:
        return Kept(self.net, n)

    def advance(self, h: Float[Tensor, "n 1 d"], cache: Kept) -> Float[Tensor, "n 1 vocab"]:
        """Logits after the place that `h` stands at, which `cache` then holds as well.

        Args:
            h: what goes into the first block: tokens, learnt places and conditions added.
        """
        row = np.array(h[:, 0].float().numpy(), order="C")
        logits = np.empty((len(row), self._matrices[-1].weight.shape[1]), np.float32)
        with _LOCK:
            numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore
            _advance(
                row, cache.length, cache.all_keys, cache.all_values, *self._matrices, self._norms, *self._turns,
                self._settings, logits,
            )  # fmt: skip
        cache.length += 1
        return torch.from_numpy(logits)[:, None]


class _Head(nn.Module):
    """A weight that is used as a linear layer's."""

    bias = None

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = weight


def _pack(layers: list[Any], storage: Storage) -> _Matrices:
    weights = [layer.weight.detach() for layer in layers]
    outputs = weights[0].shape[0]
    scale = np.ones((len(layers), outputs), np.float32)
    if storage == "int8":
        whole = [int8(weight) for weight in weights]
        weight = np.stack([numbers.cpu().numpy() for numbers, _ in whole])
        scale = np.stack([_numpy(s) for _, s in whole])
    elif storage == "bf16":
        weight = np.stack([w.bfloat16().view(torch.uint16).cpu().numpy() for w in weights])
    else:
        weight = np.stack([_numpy(w) for w in weights])
    biases = [np.zeros(outputs, np.float32) if layer.bias is None else _numpy(layer.bias) for layer in layers]
    return _Matrices(weight, scale, np.stack(biases))


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().float().cpu().contiguous().numpy()
