"""What the compiled loops of nets share: matrices as they are kept, and their products with a few vectors (numba).

Weights are kept as fp32, as bf16, or as int8 with a scale for each row (`devices.int8`), and become fp32 in registers;
all sums are fp32. A processor that multiplies bf16 gets the inputs of bf16 weights in bf16 too. What numba has compiled
is kept on disk by the file that asked for it: after a change here delete those of the files that use it.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, overload
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.devices import Storage, int8

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


def _launch() -> None:
    """Start numba's threads now. Those of OpenMP would otherwise have torch take all cores too, from then on."""
    threads = torch.get_num_threads()
    numba.get_num_threads()
    torch.set_num_threads(threads)


_launch()


def kernel(parallel: bool) -> Callable[[Callable], Any]:
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


def _half(builder, pair, half: int):
    """The first or the second bf16 of each uint32, as fp32."""
    bits = (
        builder.and_(pair, ir.Constant(_INTS, [0xFFFF0000] * LANES))
        if half
        else builder.shl(pair, ir.Constant(_INTS, [16] * LANES))
    )
    return builder.bitcast(bits, _FLOATS)


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


def _products(builder, weights, inputs, stride, width, rows, put, ahead=0, unrolled=1):
    """Sums over j of inputs[r, j] weights[j, :BLOCK] for `rows` rows r, at most `TILE`, of two pointers.

    Written as LLVM's code so that all sums stay in registers. Weights of uint32 are pairs of bf16, those of two inputs
    side by side, which may be fp32.

    Args:
        stride: numbers from one row of `inputs` to the next.
        put: takes (r, first output, LANES sums) and puts them where they belong.
        ahead: bytes between a weight that is used and one that is fetched for a row that is alone; 0 fetches none.
        width: of `weights`: as many numbers j, or half as many.
        unrolled: numbers j in one turn of the loop, by which they divide.
    """
    size = {ir.IntType(8): 1, ir.IntType(16): 2}.get(weights.type.pointee, 4)
    parts = range(0, BLOCK, LANES)
    halves = 2 if weights.type.pointee == _INT and inputs.type.pointee == _FLOAT else 1
    unrolled = max(1, unrolled // halves)

    def whole(number: int):
        return ir.Constant(width.type, number)

    after = builder.append_basic_block()
    choice = builder.switch(rows, after)
    for count in range(1, TILE + 1):
        choice.add_case(whole(count), case := builder.append_basic_block())
        builder.position_at_end(case)
        totals = {(r, part): cgutils.alloca_once(builder, _FLOATS) for r in range(count) for part in parts}
        for total in totals.values():
            builder.store(ir.Constant(_FLOATS, [0.0] * LANES), total)
        begins = [builder.mul(stride, whole(r)) for r in range(count)]
        with cgutils.for_range(builder, builder.udiv(width, whole(unrolled))) as loop:
            for number in range(unrolled):
                j = builder.add(builder.mul(loop.index, whole(unrolled)), whole(number))
                begin = builder.mul(j, whole(BLOCK))
                here = [_vector(builder, weights, builder.add(begin, whole(part)), size) for part in parts]
                for far in range(ahead, ahead + BLOCK * size, 64) if count == 1 and ahead else ():
                    _fetch(builder, builder.gep(weights, [builder.add(begin, whole(far // size))]))
                for half in range(halves):
                    ready = here if halves == 1 else [_half(builder, weight, half) for weight in here]
                    k = builder.add(builder.mul(j, whole(halves)), whole(half))
                    for r in range(count):
                        one = builder.load(builder.gep(inputs, [builder.add(begins[r], k)]))
                        for part, weight in zip(parts, ready, strict=True):
                            total = totals[r, part]
                            builder.store(_added(builder, builder.load(total), weight, one), total)
        for (r, part), total in totals.items():
            put(r, part, builder.load(total))
        builder.branch(after)
    builder.position_at_end(after)


def _pointer(builder, data, index):
    """To `LANES` numbers from `index` on."""
    pointer = builder.gep(data, [index])
    return builder.bitcast(pointer, ir.VectorType(pointer.type.pointee, LANES).as_pointer())


def _vector(builder, data, index, align: int = 4):
    return builder.load(_pointer(builder, data, index), align=align)


def _opened(context, builder, signature, args, *which: int):
    """The arrays among some arguments, and their shapes."""
    arrays = [context.make_array(signature.args[i])(context, builder, args[i]) for i in which]
    return arrays, [cgutils.unpack_tuple(builder, array.shape) for array in arrays]


@intrinsic
def tile(typingctx, w, x, sums):
    """sums[r] <- sum_j x[r, j] w[j], for up to `TILE` rows r; w [width, BLOCK], x [rows, width], all contiguous."""

    def generate(context, builder, signature, args):
        (weights, inputs, outputs), ((width, _), (rows, stride), _) = _opened(
            context, builder, signature, args, 0, 1, 2
        )

        def put(r, part, total):
            builder.store(total, _pointer(builder, outputs.data, ir.Constant(width.type, r * BLOCK + part)), align=4)

        _products(builder, weights.data, inputs.data, stride, width, rows, put, AHEAD)
        return context.get_dummy_value()

    return types.none(w, x, sums), generate


@intrinsic
def small_tile(typingctx, w, scale, bias, block, x, inward, rows, base, y, outward):
    """y[r] <- base[r] + scale sum_j x[r, j] w[block, j] + bias, `BLOCK` outputs of up to `TILE` rows r.

    For products that are so small that views of arrays would cost as much as the sums do; nothing is fetched ahead. x
    is fp32 whatever the weights are.

    Args:
        w: [blocks, width, BLOCK] of any more axes in front; `scale` and `bias` have `BLOCK` numbers for each of all
            blocks, of which number `block` counts.
        x: [n, columns]; the first row begins `inward` numbers after the beginning.
        base, y: [n, columns] alike; the first row begins `outward` numbers after the beginning. They may be the same.
    """

    def generate(context, builder, signature, args):
        (weights, scales, biases, inputs, bases, outputs), shapes = _opened(
            context, builder, signature, args, 0, 1, 2, 4, 7, 8
        )
        _, _, _, block, _, inward, rows, _, _, outward = args
        width, (stride, out_stride) = shapes[0][-2], (shapes[3][-1], shapes[5][-1])

        def whole(number: int):
            return ir.Constant(width.type, number)

        begin = builder.mul(block, whole(BLOCK))

        def put(r, part, total):
            one = builder.add(begin, whole(part))
            to = builder.add(builder.add(outward, builder.mul(out_stride, whole(r))), whole(part))
            value = builder.fmul(total, _vector(builder, scales.data, one), flags=["contract"])
            value = builder.fadd(value, _vector(builder, biases.data, one), flags=["contract"])
            value = builder.fadd(_vector(builder, bases.data, to), value)
            builder.store(value, _pointer(builder, outputs.data, to), align=4)

        first = builder.gep(weights.data, [builder.mul(begin, width)])
        _products(builder, first, builder.gep(inputs.data, [inward]), stride, width, rows, put, unrolled=2)
        return context.get_dummy_value()

    kind = types.int64
    return types.none(w, scale, bias, kind, x, kind, kind, base, y, kind), generate


@intrinsic
def _rounded(typingctx, x):
    """An fp32 in bf16, to nearest, ties to even; as uint16."""

    def generate(context, builder, signature, args):
        bits, half = builder.bitcast(args[0], _INT), ir.Constant(_INT, 16)
        odd = builder.and_(builder.lshr(bits, half), ir.Constant(_INT, 1))
        bits = builder.add(builder.add(bits, odd), ir.Constant(_INT, 0x7FFF))
        return builder.trunc(builder.lshr(bits, half), ir.IntType(16))

    return types.uint16(types.float32), generate


@kernel(parallel=False)
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


@kernel(parallel=False)
def exp(x):
    """exp(x) = 2^k exp(x - k log 2), almost to the last place: a loop of it is vectorised, one of math.exp is not."""
    x = min(max(x, np.float32(-87)), np.float32(88))
    k = np.int32(x * np.float32(1 / math.log(2)) + (np.float32(0.5) if x > 0 else np.float32(-0.5)))
    r = x - np.float32(k) * np.float32(math.log(2))
    series = np.float32(1 / 5040)
    for factorial in (720, 120, 24, 6, 2, 1, 1):
        series = series * r + np.float32(1 / factorial)
    return _power(k) * series  # pyright: ignore[reportCallIssue] (numba gives the first)


def suited(x, w):
    """x as it is multiplied with w."""


@overload(suited)
def _suited_by_type(x, w):
    return (lambda x, w: _pairs(x)) if w.dtype == types.uint32 else (lambda x, w: x)


class Matrices(NamedTuple):
    """Linear layers of one kind: weights [depth, blocks, in, BLOCK] as they are kept, scales and biases fp32
    [depth, out]; the last block's outputs beyond those are zero."""

    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


class Weight(nn.Module):
    """A weight that is used as a linear layer's."""

    bias = None

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = weight


def pack(layers: list[Any], storage: Storage, pairs: bool = False) -> Matrices:
    """`pairs`: of bf16 two in one uint32, for inputs in bf16."""
    outputs = layers[0].weight.shape[0]
    weights, scales, biases = [], [], []
    for layer in layers:
        kept, scale = layer.weight.detach().float(), torch.ones(outputs)
        if storage == "int8":
            kept, scale = int8(layer.weight.detach())
        elif storage == "bf16":
            kept = kept.bfloat16().view(torch.int16)
            if pairs:
                kept = F.pad(kept, (0, kept.shape[1] % 2)).view(torch.int32)
        blocks = F.pad(kept, (0, 0, 0, -outputs % BLOCK)).view(-1, BLOCK, kept.shape[1])
        whole = blocks.transpose(1, 2).cpu().contiguous().numpy()
        weights.append(whole.view(f"u{whole.itemsize}") if storage == "bf16" else whole)
        scales.append(to_numpy(scale))
        biases.append(np.zeros(outputs, np.float32) if layer.bias is None else to_numpy(layer.bias))
    return Matrices(aligned(np.stack(weights)), np.stack(scales), np.stack(biases))


def aligned(x: np.ndarray) -> np.ndarray:
    """A copy that begins with a cache line: a vector that lies in two of them takes two reads."""
    line = 64
    room = np.empty(x.nbytes + line, np.uint8)
    start = -room.ctypes.data % line
    copy = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[:] = x
    return copy


def to_numpy(x: Tensor) -> np.ndarray:
    return x.detach().float().cpu().contiguous().numpy()
