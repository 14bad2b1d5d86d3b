"""The Transformer (Vaswani et al. 2017) on sequences of vectors, normalised before each part (Xiong et al. 2020).

    h <- h + attention(norm(h)),    h <- h + mlp(norm(h))

By default in the form that small language models learn fastest in: rotary positions (Su et al. 2021), RMS norms (Zhang
and Sennrich 2019), normalised queries and keys (Henry et al. 2020), squared ReLU (So et al. 2021), no biases, and parts
that begin as zero. Each choice can be turned back to that of 2017 or of GPT-2 (Radford et al. 2019).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.nets.attention import attend, rotate, turns, unit_size
from maquette.nets.base import Net, NetConfig, Shape, refuse_sequence
from maquette.nets.conditioning import TimeEmbedder


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    """A Transformer."""

    width: int = 128
    """Of the residual stream."""
    depth: int = 4
    """Blocks of attention and MLP."""
    heads: int = 4
    expand: float = 4.0
    """Hidden units of an MLP, in widths; swiglu has two thirds of it, which costs as much."""
    mlp: Literal["relu2", "swiglu", "gelu"] = "relu2"
    norm: Literal["rms", "layer"] = "rms"
    """On a CPU torch has a fast kernel for layer norms alone."""
    positions: Literal["rotary", "learned"] = "rotary"
    qk_norm: bool = True
    """Whether queries and keys are divided by their root mean squares, so that attention cannot saturate."""
    bias: bool = False
    dropout: float = 0.0
    """Share of what each part adds that is dropped in training."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads"):
            self.check(getattr(self, name) > 0, name, "a positive whole number")
        self.check(self.width % (2 * self.heads) == 0, "width", f"a multiple of twice the {self.heads} heads")
        self.check(self.expand > 0, "expand", "a positive number")
        self.check(0 <= self.dropout < 1, "dropout", "a share in [0, 1)")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        return cls(width=16, depth=2, heads=2)

    def unit(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Vectors brought to the length sqrt(d) by the `norm`, which has nothing to learn here."""
        return F.rms_norm(x, x.shape[-1:]) if self.norm == "rms" else F.layer_norm(x, x.shape[-1:])

    def build(
        self,
        source: Shape,
        target: Shape,
        vector: int = 0,
        timed: bool = False,
        sequence: int = 0,
        causal: bool = False,
    ) -> "Transformer":
        """Sequences (l, c) to (l, d); with `causal` no place sees those after it."""
        if sequence:
            raise refuse_sequence("transformer")
        if len(source) != 2 or len(target) != 2 or source[0] != target[0]:
            reason = f"it maps sequences (l, c) to (l, d), not {source} to {target}"
            todo = "choose another kind of net"
            raise MaquetteError("MQ-2009", path="net", value="transformer", reason=reason, todo=todo)
        return Transformer(self, source, target, vector, timed, causal)


class Cache:
    """Keys and values of the places read so far, in memory that is taken once."""

    def __init__(self, net: "Transformer", n: int, like: Tensor):
        shape = (n, net.config.heads, net.source[0], net.config.width // net.config.heads)
        low = torch.is_autocast_enabled(like.device.type)
        dtype = torch.get_autocast_dtype(like.device.type) if low else like.dtype  # what attention would make of them
        self.keys, self.values = ([like.new_empty(shape, dtype=dtype) for _ in net.blocks] for _ in range(2))
        self.length = 0

    def places(self, length: int) -> slice | Int[Tensor, "b l"]:
        """Where the next `length` places of each row are."""
        return slice(self.length, self.length + length)

    def seen(self) -> Bool[Tensor, "b 1 1 m"] | None:
        """Which of the places that `extend` gives the next one of each row sees; None: all up to itself."""
        return None

    def advance(self, length: int) -> None:
        """So many places have been read."""
        self.length += length

    def extend(
        self, number: int, k: Float[Tensor, "b heads l d"], v: Float[Tensor, "b heads l d"]
    ) -> tuple[Float[Tensor, "b heads m d"], Float[Tensor, "b heads m d"]]:
        """Those of block `number` with `k` and `v` put behind them."""
        end = self.length + k.shape[2]
        self.keys[number][:, :, self.length : end] = k
        self.values[number][:, :, self.length : end] = v
        return self.keys[number][:, :, :end], self.values[number][:, :, :end]

    def sit(self, row: int, before: "Cache") -> None:
        """Row `row` becomes what the only row of `before` is."""
        for ours, theirs in zip((*self.keys, *self.values), (*before.keys, *before.values), strict=True):
            ours[row, :, : before.length] = theirs[0, :, : before.length]

    def reorder(self, rows: Int[Tensor, " b"]) -> None:
        """Row i becomes what row `rows[i]` was; several may come from one."""
        for kept in (*self.keys, *self.values):
            kept[:, :, : self.length] = kept[rows, :, : self.length]


class Seats(Cache):
    """A `Cache` whose rows are at different places, each of which goes on by one place at a time.

    All of it is looked at in each step, so that nothing a row sees depends on where others are.

    Attributes:
        lengths: [n], places read so far, which the caller counts; of a row that nobody sits in any number.
    """

    def __init__(self, net: "Transformer", n: int, like: Tensor):
        super().__init__(net, n, like)
        for kept in (*self.keys, *self.values):
            kept.zero_()  # what is not seen counts nothing, unless it is no number
        self.lengths = torch.zeros(n, dtype=torch.int64, device=like.device)

    def places(self, length: int) -> Int[Tensor, "b l"]:
        assert length == 1, "one place at a time"
        return self.lengths[:, None]

    def seen(self) -> Bool[Tensor, "b 1 1 m"]:
        places = torch.arange(self.keys[0].shape[2], device=self.lengths.device)
        return (places <= self.lengths[:, None])[:, None, None]

    def advance(self, length: int) -> None:
        """The caller knows which rows went on."""

    def extend(
        self, number: int, k: Float[Tensor, "b heads l d"], v: Float[Tensor, "b heads l d"]
    ) -> tuple[Float[Tensor, "b heads m d"], Float[Tensor, "b heads m d"]]:
        rows = torch.arange(len(k), device=k.device)
        self.keys[number][rows, :, self.lengths] = k[:, :, 0].to(self.keys[number].dtype)
        self.values[number][rows, :, self.lengths] = v[:, :, 0].to(self.values[number].dtype)
        return self.keys[number], self.values[number]


class Transformer(Net):
    """(x, t, condition) -> one vector a place. A condition's vector and the time are added to every place."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: Config, source: Shape, target: Shape, vector: int, timed: bool, causal: bool):
        super().__init__()
        self.config, self.source, self.target, self.vector, self.causal = config, source, target, vector, causal
        width = config.width
        self.enter = nn.Linear(source[1], width, bias=config.bias) if source[1] != width else None
        self.tell = nn.Linear(vector, width, bias=False) if vector else None
        self.time = TimeEmbedder(width) if timed else None
        self.places = nn.Parameter(torch.randn(source[0], width) * 0.02) if config.positions == "learned" else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = _norm(config, width)
        self.leave = nn.Linear(width, target[1], bias=config.bias) if target[1] != width else None
        cos, sin = turns(source[0], width // config.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(
        self,
        x: Float[Tensor, "b l c"],
        t: Float[Tensor, " b"] | None = None,
        condition: Condition = Condition(),
        allowed: Bool[Tensor, "#b #heads l m"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "b l d"]:
        """As every net; with `cache`, `x` are the places that follow those it holds, which they see as well.

        Args:
            allowed: which places each place sees, instead of all (or, if causal, all up to itself). Learned places of a
                causal net are counted among those, so that a document is read alike wherever it stands.
        """
        here = slice(0, x.shape[1]) if cache is None else cache.places(x.shape[1])
        h = self.begin(x, t, condition, here if allowed is None or not self.causal else allowed[:, 0].sum(-1) - 1)
        turn = tuple(part[here][..., None, None, :] for part in (self.cos, self.sin)) if self.places is None else None
        allowed = cache.seen() if cache is not None and allowed is None else allowed
        for number, block in enumerate(self.blocks):
            h = block(h, turn, self.causal, allowed, cache, number)
        if cache is not None:
            cache.advance(x.shape[1])
        h = self.norm(h)
        return h if self.leave is None else self.leave(h)

    def begin(
        self,
        x: Float[Tensor, "b l c"],
        t: Float[Tensor, " b"] | None,
        condition: Condition,
        places: slice | Int[Tensor, "#b l"],
    ) -> Float[Tensor, "b l w"]:
        """What goes into the first block at these places."""
        h = x if self.enter is None else self.enter(x)
        if self.places is not None:
            h = h + self.places[places]
        if self.tell is not None:
            h = h + self.tell(condition.vector)[:, None]
        if self.time is not None:
            assert t is not None, "this net is told a time"
            h = h + self.time(t)[:, None]
        return h


class Block(nn.Module):
    """Attention, then an MLP."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, width = config, config.width
        hidden = round(config.expand * width * (2 / 3 if config.mlp == "swiglu" else 1))
        self.before_attention, self.before_mlp = _norm(config, width), _norm(config, width)
        self.qkv = nn.Linear(width, 3 * width, bias=config.bias)
        self.mix = nn.Linear(width, width, bias=config.bias)
        self.up = nn.Linear(width, hidden * (2 if config.mlp == "swiglu" else 1), bias=config.bias)
        self.down = nn.Linear(hidden, width, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)
        for layer in (self.qkv, self.up):
            nn.init.normal_(layer.weight, 0.0, 0.5 / math.sqrt(width))
        for layer in (self.mix, self.down):  # a block begins as the identity
            nn.init.zeros_(layer.weight)
        for layer in (self.qkv, self.mix, self.up, self.down):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, h: Tensor, turn, causal: bool, allowed, cache: Cache | None, number: int) -> Tensor:
        h = h + self.dropout(self._attend(self.before_attention(h), turn, causal, allowed, cache, number))
        return h + self.dropout(self.down(self._hidden(self.up(self.before_mlp(h)))))

    def _attend(self, h: Tensor, turn, causal: bool, allowed, cache: Cache | None, number: int) -> Tensor:
        b, length, width = h.shape
        qk, v = self.qkv(h).split([2 * width, width], -1)
        qk = self._turned(qk.view(b, length, 2, self.config.heads, -1), turn).to(v.dtype)
        q, k = (x.transpose(1, 2) for x in qk.unbind(2))
        v = v.view(b, length, self.config.heads, -1).transpose(1, 2)
        if cache is not None:
            k, v = cache.extend(number, k, v)
        out = attend(q, k, v, causal and allowed is None, allowed)
        return self.mix(out.transpose(1, 2).reshape(b, length, width))

    def _turned(self, qk: Tensor, turn) -> Tensor:
        """Queries and keys brought to one size and turned by their places, in fp32 or better."""
        if self.config.qk_norm:
            qk = qk.to(torch.promote_types(qk.dtype, torch.float32))
        if turn is None:
            return unit_size(qk) if self.config.qk_norm else qk
        return rotate(qk, *turn, unit=self.config.qk_norm)

    def _hidden(self, h: Tensor) -> Tensor:
        if self.config.mlp == "swiglu":
            gate, value = h.chunk(2, dim=-1)
            return F.silu(gate) * value
        # GPT-2's activation is the tanh form
        return F.relu(h).square() if self.config.mlp == "relu2" else F.gelu(h, approximate="tanh")


def _norm(config: Config, width: int) -> nn.Module:
    return nn.RMSNorm(width) if config.norm == "rms" else nn.LayerNorm(width, bias=config.bias)
