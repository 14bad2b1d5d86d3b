"""Any causal language model of the library `transformers`, tuned in full or by low-rank changes (LoRA, Hu et al. 2021).

    W x  becomes  W x + (alpha / rank) B A x    (equation 3; B is 0 at first, and A and B alone are learnt)

Loss, likelihood and drawing are those of every model of tokens one after another (`tokenwise.py`); the network is the
library's, built from a config that can name neither code nor files (`architectures.py`). Weights are read here, and the
library is never shown a folder.
"""

import contextlib
import copy
import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from maquette.core import files
from maquette.core.errors import MaquetteError, nearest
from maquette.core.types import Condition, Marks, Space, Tokens
from maquette.media import text
from maquette.media.base import Medium
from maquette.media.tokens import Ready
from maquette.models import architectures, foreign
from maquette.models.base import Adopted, ModelConfig, refuse_space
from maquette.models.tokenwise import Tokenwise
from maquette.nets.conditioning import LabelEmbedder

WINDOW = 1024
"""Tokens that a window predicts at most, unless the medium is told otherwise."""
LINEAR = ("Linear", "Conv1D")
"""Layers that multiply by a matrix; the second is the library's own and keeps it the other way round."""


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """A causal language model of `transformers` (extra `hf`)."""

    architecture: str = ""
    """Its shape in the library's words, as JSON; filled in by the model that training begins from (`--from`)."""
    tune: Literal["full", "lora"] = "full"
    """Whether all weights are learnt, or only a low-rank change of some matrices."""
    rank: int = 8
    """Of that change."""
    alpha: int = 16
    """The change is multiplied by alpha / rank."""
    targets: tuple[str, ...] = ()
    """Last parts of the names of the layers that it changes, such as q_proj; none: every linear layer but the last."""
    label_drop: float = 0.1
    """Share of training samples whose label is withheld, so that guidance has something to compare with."""

    def __post_init__(self) -> None:
        self.check(1 <= self.rank <= 4096, "rank", "a whole number from 1 to 4096")
        self.check(self.alpha > 0, "alpha", "a positive whole number")
        self.check(0 <= self.label_drop < 1, "label_drop", "in [0, 1)")

    @classmethod
    def tiny(cls) -> "Config":
        """Small enough for a test."""
        sizes = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 64}
        layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
        return cls(architecture=json.dumps({"model_type": "llama"} | sizes | layers), rank=4)

    def build(self, space: Space, classes: int = 0) -> "Pretrained":
        if not isinstance(space, Tokens) or len(space.shape) != 1:
            raise refuse_space("pretrained", "sequences of tokens", space, "choose text, with the model's own tokens")
        return Pretrained(self, space, classes)

    def exports(self, medium: Medium, classes: int) -> bool:
        return not classes and isinstance(medium, text.Text) and isinstance(medium.tokenizer, Ready)

    @classmethod
    def adopt(cls, folder: Path) -> Adopted | None:
        """Whatever the library opens as a causal language model; documents share windows where it keeps them apart."""
        tree = foreign.read_config(folder)
        vocabulary, marks = _vocabulary(folder, tree)
        net = _loaded(architectures.opened(architectures.described(tree, marks.end, folder)), folder)
        places = getattr(net.config.get_text_config(), "max_position_embeddings", None) or WINDOW
        medium = text.Config(tokenizer="hf", vocabulary=vocabulary, length=min(places, WINDOW))
        space = medium.build().space
        _grow(net, space.vocab)
        config = cls(architecture=architectures.written(net.config, folder))
        model = Pretrained(config, space, 0, net)
        if fault := model.fault():
            raise foreign.refusal(folder, fault)
        medium = dataclasses.replace(medium, alone=not model.keeps_apart())
        return Adopted(medium, config, model.state_dict())


class Pretrained(Tokenwise):
    """A label is a vector that is added to that of every token.

    Its state_dict names tensors as the library does, whatever `tune` says: of tied weights one, adapters beside the
    layer that they change.
    """

    net: Any

    def __init__(self, config: Config, space: Tokens, classes: int, net: nn.Module | None = None):
        super().__init__()
        self.config: Config = config  # pyright: ignore[reportIncompatibleVariableOverride]
        self.space, self.classes = space, classes
        self.net = _built(architectures.opened(config.architecture)) if net is None else net
        self._refuse_larger(space)
        self.embed = LabelEmbedder(classes, self.net.get_input_embeddings().weight.shape[1], config.label_drop)
        if self.embed.table is not None:
            nn.init.normal_(self.embed.table.weight, 0.0, 0.02)
        if config.tune == "lora":
            self.net = _adapted(self.net, config)
        self._apart: bool | None = None

    def _refuse_larger(self, space: Tokens) -> None:
        shape = self.net.config.get_text_config()
        rows, needed = shape.vocab_size, space.vocab + (space.marks is None)
        if needed > rows:
            reason = f"the model knows {rows} tokens"
            todo = "leave medium.tokenizer and medium.vocabulary as they come with the model"
            raise MaquetteError("MQ-2009", path="medium.vocabulary", value=f"{needed} tokens", reason=reason, todo=todo)
        places, length = getattr(shape, "max_position_embeddings", None), space.shape[0] - bool(space.marks)
        if places and length > places:
            reason, todo = f"the model has {places} places", f"use at most {places}"
            raise MaquetteError("MQ-2009", path="medium.length", value=length, reason=reason, todo=todo)

    @property
    def _library_model(self) -> Any:
        return self.net.get_base_model() if self.config.tune == "lora" else self.net

    def read(
        self,
        tokens: Int[Tensor, "b l"],
        condition: Condition,
        state: Any = None,
        keep: bool = False,
        allowed: Bool[Tensor, "b 1 l l"] | None = None,
    ) -> tuple[Float[Tensor, "b l vocab"], Any]:
        """As every such model; `allowed` is told to the library as places that begin anew with every document."""
        told: dict[str, Any] = {"input_ids": tokens}
        if condition.vector is not None:
            told = {"inputs_embeds": self.net.get_input_embeddings()(tokens) + condition.vector[:, None]}
        if allowed is not None:
            if not self.keeps_apart():
                reason = "documents that share a window would see each other in this model"
                raise MaquetteError(
                    "MQ-2009", path="medium.alone", value="false", reason=reason, todo="set medium.alone=true"
                )
            told["position_ids"] = self._places(tokens)
        out = self._library_model(**told, past_key_values=state, use_cache=keep)
        return out.logits[..., : self.space.vocab], out.past_key_values if keep else None

    def _places(self, tokens: Int[Tensor, "b l"]) -> Int[Tensor, "b l"]:
        """The place of each token in its own document, by which the library knows documents in one row apart."""
        assert self.space.marks is not None
        place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        return place - torch.where(tokens == self.space.marks.end, place, 0).cummax(1).values

    # -- what the library's model does ------------------------------------------------------------------------------

    def fault(self) -> str:
        """Why this is no model of tokens one after another whose past can be kept; "" when it is one."""
        a, b, c, d = self._some(4)
        one, other = torch.tensor([[a, b, c, d]]), torch.tensor([[a, b, c, a]])
        whole = self._logits(input_ids=one)
        if not _alike(whole[:, :3], self._logits(input_ids=other)[:, :3]):
            return "it sees tokens that are still to come"
        with self._still():
            begun = self._library_model(input_ids=one[:, :2], use_cache=True)
            kept = getattr(begun, "past_key_values", None)
            if kept is None:
                return "what it has read cannot be kept"
            then = self._library_model(input_ids=one[:, 2:], past_key_values=kept, use_cache=True)
        return "" if _alike(whole[:, 2:], then.logits) else "it reads otherwise in steps than at once"

    def keeps_apart(self) -> bool:
        """Whether documents in one row can be kept from seeing each other; tried once, on six tokens."""
        if self._apart is None:
            a, b, c = self._some(3)
            assert self.space.marks is not None
            end = self.space.marks.end
            device = self.net.get_input_embeddings().weight.device
            one, other = (torch.tensor([[*first, end, a, b]], device=device) for first in ((a, b, c), (c, a, a)))
            parted = [self._logits(input_ids=x, position_ids=self._places(x))[:, 3:] for x in (one, other)]
            joined = [self._logits(input_ids=x)[:, 3:] for x in (one, other)]
            seen = float((joined[0] - joined[1]).abs().max())
            self._apart = float((parted[0] - parted[1]).abs().max()) <= 1e-3 * seen
        return self._apart

    def _some(self, n: int) -> list[int]:
        """The first `n` tokens that are no marks."""
        return [number for number in range(self.space.vocab) if number not in (self.space.marks or ())][:n]

    def _logits(self, **told: Tensor) -> Tensor:
        with self._still():
            return self._library_model(**told, use_cache=False).logits

    @contextlib.contextmanager
    def _still(self) -> Iterator[None]:
        """Without dropout and gradients."""
        learning = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(learning)

    # -- weights ----------------------------------------------------------------------------------------------------

    def state_dict(self, *args: Any, **keywords: Any) -> dict[str, Tensor]:  # type: ignore[override]
        again = self._tied()
        found = super().state_dict(*args, **keywords)
        return {_plain_name(name): tensor for name, tensor in found.items() if name not in again}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        own = {_plain_name(name): name for name in super().state_dict()}
        named = {own.get(name, name): tensor for name, tensor in state_dict.items()}
        named |= {name: named[first] for name, first in self._tied().items() if first in named}
        return super().load_state_dict(named, strict, assign)

    def begin(self, weights: dict[str, Tensor]) -> None:
        """Adapters and labels that the earlier model did not have stay as they are."""
        fresh = {name: t for name, t in self.state_dict().items() if ".lora_" in name or name.startswith("embed.")}
        super().begin(fresh | weights)

    def _tied(self) -> dict[str, str]:
        """Second names of parameters -> the first."""
        first: dict[int, str] = {}
        named = self.named_parameters(remove_duplicate=False)
        return {name: known for name, p in named if (known := first.setdefault(id(p), name)) != name}

    def export(self, folder: Path, medium: Medium) -> None:
        """The library's own format; low-rank changes are added to what they change."""
        if not self.config.exports(medium, self.classes):
            reason = "it has labels" if self.classes else "its tokens are not those of its library"
            raise MaquetteError("MQ-7041", reason=reason, todo="use its bundle, which is safetensors and JSON")
        lora = self.config.tune == "lora"
        net = copy.deepcopy(self.net).merge_and_unload() if lora else self.net
        net.save_pretrained(folder)
        assert isinstance(medium, text.Text) and isinstance(medium.tokenizer, Ready), "refused before"
        end, prompt, answer = map(medium.tokenizer.piece, medium.marks)
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end}
        files.put(folder / foreign.TOKENIZER, medium.tokenizer.text.encode())
        files.put_json(folder / foreign.SETTINGS, settings | {"additional_special_tokens": [prompt, answer]})

    def companions(self) -> dict[str, Callable[[Path], None]]:
        """With `tune: lora` the change alone, in the format of the library `peft`."""
        if self.config.tune != "lora":
            return {}
        return {"adapter": lambda folder: self.net.save_pretrained(str(folder), save_embedding_layers=False)}


def _plain_name(name: str) -> str:
    """The name of a tensor without what `peft` wraps around it."""
    return name.replace("net.base_model.model.", "net.", 1).replace(".base_layer.", ".")


def _alike(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-3 * one.abs().max())


# -- the library ------------------------------------------------------------------------------------------------------


def _built(shape: Any) -> Any:
    """A fresh network of that shape, in float32."""
    try:
        return architectures.library().AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
    except MaquetteError:
        raise
    except Exception as bad:  # whatever its classes think of their numbers
        raise architectures.impossible(bad) from None


def _adapted(net: Any, config: Config) -> Any:
    """`net` with low-rank changes of some layers, and everything else frozen."""
    try:
        import peft
    except ImportError:
        raise MaquetteError("MQ-3010", "model.tune", package="peft", extra="hf") from None
    last = net.get_output_embeddings()
    linear = {name: part for name, part in net.named_modules() if type(part).__name__ in LINEAR and part is not last}
    ends = {name.rpartition(".")[2] for name in linear}
    for target in config.targets:
        if target not in ends:
            reason, todo = "it is the last part of no linear layer's name", nearest(target, ends)
            raise MaquetteError("MQ-2009", path="model.targets", value=target, reason=reason, todo=todo)
    how = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=list(config.targets) or "all-linear",
        fan_in_fan_out=any(type(part).__name__ == "Conv1D" for part in linear.values()),
    )
    with warnings.catch_warnings():  # peft asks transformers for an attribute by its old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return peft.get_peft_model(net, how)


def _loaded(shape: Any, folder: Path) -> Any:
    """A network of that shape with the weights in `folder`; raises MQ-7040 when one is missing or of another shape."""
    try:
        with torch.device("meta"):
            kind = type(blank := _built(shape))
        net, report = kind.from_pretrained(
            None,
            config=blank.config,
            state_dict=foreign.read_weights(folder),
            dtype=torch.float32,
            output_loading_info=True,
        )
    except MaquetteError as bad:
        raise foreign.refusal(folder, bad.values["reason"]) if bad.code == "MQ-2009" else bad from None
    except Exception as bad:
        raise foreign.refusal(folder, str(bad).partition("\n")[0]) from None
    lacking = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lacking:
        raise foreign.refusal(folder, f"{lacking[0]} is missing or of another shape ({len(lacking)} such)")
    return net


@torch.no_grad()
def _grow(net: Any, rows: int) -> None:
    """Rows for the marks that the model does not have, where it has none to spare."""
    tables = [part for part in (net.get_input_embeddings(), net.get_output_embeddings()) if part is not None]
    before = [table.weight.clone() for table in tables]
    if len(before[0]) >= rows:
        return
    net.resize_token_embeddings(rows, mean_resizing=False)
    for table, old in zip((net.get_input_embeddings(), net.get_output_embeddings()), before, strict=False):
        table.weight.copy_(foreign.grown(old, rows - len(old)))


def _vocabulary(folder: Path, tree: dict[str, Any]) -> tuple[str, Marks]:
    """The vocabulary string of the model's tokenizer (see `media.tokens.Ready`): its eos is END, two marks are new."""
    made = foreign.read_tokenizer(folder)
    end = tree.get("eos_token_id")
    end = end[0] if isinstance(end, list) and end else end
    if type(end) is not int:
        named = foreign.read_json(folder, foreign.SETTINGS).get("eos_token")
        named = named.get("content") if isinstance(named, dict) else named
        end = made.token_to_id(named) if isinstance(named, str) else None
    piece = made.id_to_token(end) if type(end) is int and end >= 0 else None
    if piece is None:
        raise foreign.refusal(folder, "it has no eos_token to end a text with")
    made.add_special_tokens([piece, foreign.PROMPT, foreign.ANSWER])
    marks = Marks(*map(made.token_to_id, (piece, foreign.PROMPT, foreign.ANSWER)))
    return f"{' '.join(map(str, marks))}\n{made.to_str()}", marks
