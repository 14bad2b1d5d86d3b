"""The next place of a causal Transformer on a CPU, compiled by numba: for one row or a few dozen (extra `fast`).

One row uses every weight once, so a place takes as long as reading the weights from memory does, if nothing else takes
longer; torch moves them at a fraction of that pace and spends microseconds on each of hundreds of calls. Here a place
is one call, and what is read serves several rows. Weights are kept as fp32, as bf16, or as int8 with a scale for each
row (`devices.int8`), and become fp32 in registers; all sums are fp32. A processor that multiplies bf16 gets the inputs
of bf16 weights in bf16 too. The first call of a process compiles, or finds what an earlier one has compiled.
"""

import inspect
import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, overload
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.devices import Storage, int8
from maquette.core.types import Condition
from maquette.nets.attention import EPS
from maquette.nets.transformer import Cache, Transformer

SET, ADD, RELU2, GELU = range(4)
"""What is done with a product: put down, added to what is there, or put through an activation."""
_ASKED = numba.config.CPU_FEATURES  # type: ignore
_FEATURES = (get_host_cpu_features() if _ASKED is None else _ASKED).split(",")
LANES = 16
"""Numbers of a vector in registers; narrower processors split it."""
BLOCK = 4 * LANES if "+avx512f" in _FEATURES else LANES
"""Outputs that are computed together: with those of `TILE` rows they fill most of a processor's vector registers."""
TILE = 6
"""Rows that a weight is used for when it has been read."""
PAIRS = "+avx512bf16" in _FEATURES
"""Whether bf16 weights are multiplied by bf16 inputs: two products in one instruction, and nothing to make fp32 of."""
AHEAD = 4096
"""Bytes between a weight that is used and one that is fetched, when one row alone waits for memory."""
_ACTIVATION = {"relu2": RELU2, "gelu": GELU, "swiglu": SET}
_LOCK = threading.Lock()
"""numba's plainest thread pool takes one caller at a time."""


def _compile(parallel: bool) -> Callable[[Callable], Any]:
    """numba's decorator, on the function itself: tests wrap functions to check shapes, which numba cannot read."""
    fast = {"reassoc", "contract", "nsz"}
    # numpy's model of errors: a division that could raise is not vectorised
    options = {"parallel": parallel, "fastmath": fast, "error_model": "numpy", "cache": True, "nogil": True}
    return lambda function: numba.njit(**options)(inspect.unwrap(function))


class _BFloat(ir.Type):
    """LLVM's bf16, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"


_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_FLOATS, _INTS, _BFLOATS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES), ir.VectorType(_BFloat(), 2 * LANES)


def _lifted(builder, stored):
    """Stored weights as fp32: themselves, the upper halves of their bits (bf16 in uint16), or an int8 as a number."""
    if stored.type.element == ir.IntType(16):
        bits = builder.shl(builder.zext(stored, _INTS), ir.Constant(_INTS, [16] * LANES))
        return builder.bitcast(bits, _FLOATS)
    return builder.sitofp(stored, _FLOATS) if stored.type.element == ir.IntType(8) else stored


def _fetch(builder, address):
    """Begin to read the cache line at `address`, which may lie beyond the end."""
    byte = ir.IntType(8).as_pointer()
    fetch = builder.module.declare_intrinsic(
        "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT])
    )
    reading, kept, data = (ir.Constant(_INT, n) for n in (0, 3, 1))
    builder.call(fetch, [builder.bitcast(address, byte), reading, kept, data])


def _added(builder, total, weight, one):
    """total + weight x one, where `one` is what all lanes of `weight` are multiplied with."""
    spread = builder.insert_element(
        ir.Constant(ir.VectorType(one.type, LANES), ir.Undefined), one, ir.Constant(_INT, 0)
    )
    spread = builder.shuffle_vector(spread, spread, ir.Constant(_INTS, [0] * LANES))
    if one.type == _FLOAT:
        product = builder.fmul(_lifted(builder, weight), spread, flags=["contract"])
        return builder.fadd(total, product, flags=["contract"])
    kind = ir.FunctionType(_FLOATS, [_FLOATS, _BFLOATS, _BFLOATS])
    dot = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")
    return builder.call(dot, [total, builder.bitcast(weight, _BFLOATS), builder.bitcast(spread, _BFLOATS)])


@intrinsic
def _tile(typingctx, w, x, sums):
    """sums[r] <- sum_j x[r, j] w[j], for up to `TILE` rows r; w [width, BLOCK], x [rows, width], all contiguous.

    Written as LLVM's code so that all sums stay in registers. Of uint32 each is a pair of bf16.
    """

    def generate(context, builder, signature, args):
        weights, inputs, outputs = (
            context.make_array(kind)(context, builder, value) for kind, value in zip(signature.args, args, strict=True)
        )
        width, rows = (cgutils.unpack_tuple(builder, array.shape)[0] for array in (weights, inputs))
        parts = range(0, BLOCK, LANES)

        def whole(number: int):
            return ir.Constant(width.type, number)

        def vector(array, index):
            pointer = builder.gep(array.data, [index])
            return builder.bitcast(pointer, ir.VectorType(pointer.type.pointee, LANES).as_pointer())

        after = builder.append_basic_block()
        choice = builder.switch(rows, after)
        for count in range(1, TILE + 1):
            choice.add_case(whole(count), case := builder.append_basic_block())
            builder.position_at_end(case)
            totals = {(r, part): cgutils.alloca_once(builder, _FLOATS) for r in range(count) for part in parts}
            for total in totals.values():
                builder.store(ir.Constant(_FLOATS, [0.0] * LANES), total)
            with cgutils.for_range(builder, width) as loop:
                begin, size = builder.mul(loop.index, whole(BLOCK)), w.dtype.bitwidth // 8
                here = [builder.load(vector(weights, builder.add(begin, whole(part))), align=size) for part in parts]
                for far in range(AHEAD, AHEAD + BLOCK * size, 64) if count == 1 else ():
                    _fetch(builder, builder.gep(weights.data, [builder.add(begin, whole(far // size))]))
                for r in range(count):
                    one = builder.load(
                        builder.gep(inputs.data, [builder.add(builder.mul(width, whole(r)), loop.index)])
                    )
                    for part, weight in zip(parts, here, strict=True):
                        total = totals[r, part]
                        builder.store(_added(builder, builder.load(total), weight, one), total)
            for (r, part), total in totals.items():
                builder.store(builder.load(total), vector(outputs, whole(r * BLOCK + part)), align=4)
            builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.none(w, x, sums), generate


@intrinsic
def _rounded(typingctx, x):
    """An fp32 in bf16, to nearest, ties to even; as uint16."""

    def generate(context, builder, signature, args):
        bits, half = builder.bitcast(args[0], _INT), ir.Constant(_INT, 16)
        odd = builder.and_(builder.lshr(bits, half), ir.Constant(_INT, 1))
        bits = builder.add(builder.add(bits, odd), ir.Constant(_INT, 0x7FFF))
        return builder.trunc(builder.lshr(bits, half), ir.IntType(16))

    return types.uint16(types.float32), generate


@_compile(parallel=False)
def _pairs(x):
    """The rows of x in bf16: uint32 of two each, the first in the lower half."""
    n, width = x.shape
    single = np.zeros((n, width + width % 2), np.uint16)
    for r in range(n):
        for j in range(width):
            single[r, j] = _rounded(x[r, j])  # pyright: ignore[reportCallIssue] (numba gives the first)
    return single.view(np.uint32)


@intrinsic
def _power(typingctx, k):
    """2^k in fp32, of an int32 in [-126, 127]."""

    def generate(context, builder, signature, args):
        exponent = builder.add(args[0], ir.Constant(args[0].type, 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(exponent.type, 23)), ir.FloatType())

    return types.float32(types.int32), generate


@_compile(parallel=False)
def _exp(x):
    """exp(x) = 2^k exp(x - k log 2), almost to the last place: a loop of it is vectorised, one of math.exp is not."""
    x = min(max(x, np.float32(-87)), np.float32(88))
    k = np.int32(x * np.float32(1 / math.log(2)) + (np.float32(0.5) if x > 0 else np.float32(-0.5)))
    r = x - np.float32(k) * np.float32(math.log(2))
    series = np.float32(1 / 5040)
    for factorial in (720, 120, 24, 6, 2, 1, 1):
        series = series * r + np.float32(1 / factorial)
    return _power(k) * series  # pyright: ignore[reportCallIssue] (numba gives the first)


@_compile(parallel=False)
def _finish(sums, scale, bias, how, y):
    for i in range(len(y)):
        value = scale[i] * sums[i] + bias[i]
        if how == ADD:
            value += y[i]
        elif how == RELU2:
            value = max(value, np.float32(0)) ** 2
        elif how == GELU:
            twice = np.float32(1.5957691216) * (value + np.float32(0.044715) * value * value * value)
            value /= np.float32(1) + _exp(-twice)  # (1 + tanh u) / 2 is the logistic function of 2u
        y[i] = value


def _suited(x, w):
    """x as it is multiplied with w."""


@overload(_suited)
def _suited_by_type(x, w):
    return (lambda x, w: _pairs(x)) if w.dtype == types.uint32 else (lambda x, w: x)


@_compile(parallel=True)
def _blocks(w, scale, bias, x, y, how):
    for block in prange(len(w)):
        sums = np.empty((TILE, BLOCK), np.float32)
        begin, end = block * BLOCK, min(block * BLOCK + BLOCK, len(scale))
        for first in range(0, len(x), TILE):
            rows = x[first : first + TILE]
            _tile(w[block], rows, sums)  # pyright: ignore[reportCallIssue]
            for r in range(len(rows)):
                _finish(sums[r], scale[begin:end], bias[begin:end], how, y[first + r, begin:end])


@_compile(parallel=False)
def _product(w, scale, bias, x, y, how):
    """y[r, i] <- scale[i] * sum_j w[i, j] x[r, j] + bias[i], for the rows r of x.

    Args:
        w: [blocks, width, BLOCK]: outputs side by side, so that memory is read in one stream and nothing is summed
            across a register; pairs of bf16 in uint32 are [blocks, width / 2, BLOCK].
    """
    _blocks(w, scale, bias, _suited(x, w), y, how)


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
            weights[t] = _exp(weights[t] - top)
            total += weights[t]
        mixed = np.zeros(d, np.float32)
        for t in range(at + 1):
            weight = weights[t] / total
            for i in range(d):
                mixed[i] += weight * said[t, i]
        for i in range(d):
            out[r, h * d + i] = mixed[i]


@_compile(parallel=False)
def _enter(tokens, entrance, told, at, h):
    """h <- what goes into the first block at place `at`: tokens, learnt places (if any) and what is told, added."""
    table, places = entrance
    for r in range(len(tokens)):
        for i in range(h.shape[1]):
            h[r, i] = table[tokens[r], i] + told[r, i] + (places[at, i] if len(places) else np.float32(0))


@_compile(parallel=True)
def _gate(x, out):
    """silu(first half) x second half."""
    n, hidden = out.shape
    for job in prange(n * hidden):
        r, i = job // hidden, job % hidden
        out[r, i] = x[r, i] / (np.float32(1) + _exp(-x[r, i])) * x[r, hidden + i]


class _Matrices(NamedTuple):
    """Linear layers of one kind: weights [depth, blocks, in, BLOCK] as they are kept, scales and biases fp32
    [depth, out]; the last block's outputs beyond those are zero."""

    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


class _Norms(NamedTuple):
    """Before attention, before the MLP, of each block in turn, and the last one: [2 depth + 1, width]."""

    weight: np.ndarray
    bias: np.ndarray


@_compile(parallel=False)
def _advance(tokens, entrance, told, at, keys, values, qkv, mix, up, down, head, norms, cos, sin, settings, logits):
    """One place through all blocks and the head."""
    centred, eps, unit, activation, gated = settings
    n, width = len(tokens), norms.weight.shape[1]
    h = np.empty((n, width), np.float32)
    _enter(tokens, entrance, told, at, h)
    x, looked = np.empty((n, width), np.float32), np.empty((n, width), np.float32)
    three = np.empty((n, 3 * width), np.float32)
    wide = np.empty((n, up.scale.shape[1]), np.float32)
    hidden = np.empty((n, up.scale.shape[1] // 2), np.float32) if gated else wide
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
        self._entrance = (_numpy(table), _numpy(empty if net.places is None else net.places))

    def cache(self, n: int) -> Kept:
        return Kept(self.net, n)

    def advance(self, tokens: Int[Tensor, "n 1"], condition: Condition, cache: Kept) -> Float[Tensor, "n 1 vocab"]:
        """Logits after `tokens`, which `cache` then holds as well."""
        told = np.zeros((len(tokens), self.net.config.width), np.float32)
        if self.net.tell is not None:
            told += _numpy(self.net.tell(condition.vector))
        logits = np.empty((len(tokens), self._matrices[-1].scale.shape[1]), np.float32)
        with _LOCK:
            numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore
            _advance(
                np.ascontiguousarray(tokens[:, 0].numpy()), self._entrance, told, cache.length, cache.all_keys,
                cache.all_values, *self._matrices, self._norms, *self._turns, self._settings, logits,
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
    outputs = layers[0].weight.shape[0]
    weights, scales, biases = [], [], []
    for layer in layers:
        kept, scale = layer.weight.detach().float(), torch.ones(outputs)
        if storage == "int8":
            kept, scale = int8(layer.weight.detach())
        elif storage == "bf16":
            kept = kept.bfloat16().view(torch.int16)
            if PAIRS:
                kept = F.pad(kept, (0, kept.shape[1] % 2)).view(torch.int32)
        blocks = F.pad(kept, (0, 0, 0, -outputs % BLOCK)).view(-1, BLOCK, kept.shape[1])
        whole = blocks.transpose(1, 2).cpu().contiguous().numpy()
        weights.append(whole.view(f"u{whole.itemsize}") if storage == "bf16" else whole)
        scales.append(_numpy(scale))
        biases.append(np.zeros(outputs, np.float32) if layer.bias is None else _numpy(layer.bias))
    return _Matrices(np.stack(weights), np.stack(scales), np.stack(biases))


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().float().cpu().contiguous().numpy()
