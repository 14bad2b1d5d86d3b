"""The strict reader: what it accepts it reads as a person means it, and everything else is one clear sentence."""

import contextlib
import dataclasses
import importlib
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maquette.core import config
from maquette.core.config import Config, kinds, override, parse_json, parse_yaml, read_yaml
from maquette.core.errors import MaquetteError
from maquette.train.recipe import Recipe


@pytest.fixture(autouse=True, scope="module")
def all_floats() -> None:
    """Numbers below 1e-38 are not counted as 0, as they are wherever a test has trained before in this process."""
    torch.set_flush_denormal(False)


GOOD = """
# a recipe
data: {source: ring8}
medium: points
model:
  kind: gan
  generator: {kind: mlp, width: 16}
  critic: mlp
  latent: 2
train:
  budget: 20steps
  batch: 8
  optimizers:
    generator: {lr: 1e-4, betas: [0.5, 0.99]}
"""


def read(text: str | bytes, folder: Path) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    tree, lines = read_yaml(path)
    return Recipe.from_tree(tree, lines=lines)


def swapped(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_recipe_is_read(tmp_path: Path) -> None:
    recipe = read(GOOD, tmp_path)
    assert recipe.model.kind() == "gan" and recipe.medium.kind() == "points"
    assert recipe.train.optimizers["generator"].lr == 1e-4 and recipe.train.optimizers["generator"].betas == (0.5, 0.99)
    assert read(b"\xef\xbb\xbf" + GOOD.encode(), tmp_path) == recipe, "a byte order mark is no mistake"
    assert read(GOOD.replace("\n", "\r\n"), tmp_path) == recipe
    for nothing in ("codec:", "codec: null", "codec: ~", 'codec: ""'):
        assert read(f"{GOOD}{nothing}\n", tmp_path) == recipe


MALFORMED: dict[str, tuple[str | bytes, str, list[str]]] = {
    # name: (text, code, what the message must say)
    "unknown key": (swapped("batch: 8", "bacth: 8"), "MQ-2001", ["train has no 'bacth'", "nearest: 'batch'", ":12"]),
    "unknown key on top": (GOOD + "trian: {}\n", "MQ-2001", ["the recipe has no 'trian'", "nearest: 'train'"]),
    "unknown kind": (swapped("kind: gan", "kind: gna"), "MQ-2003", ["model: no kind 'gna'", "nearest: 'gan'", ":6"]),
    "kind that is a path": (swapped("kind: gan", "kind: ../os"), "MQ-2003", ["no kind '../os'"]),
    "kind of another slot": (swapped("kind: gan", "kind: mlp"), "MQ-2003", ["no kind 'mlp'"]),
    "kind that is base": (swapped("kind: gan", "kind: base"), "MQ-2003", ["no kind 'base'"]),
    "wrong type": (swapped("batch: 8", "batch: many"), "MQ-2002", ["train.batch", "a whole number", "'many'", ":12"]),
    "half a batch": (swapped("batch: 8", "batch: 8.5"), "MQ-2002", ["train.batch", "8.5"]),
    "text for a set of fields": (swapped("width: 16", "width: [16]"), "MQ-2002", ["model.generator.width", "[16]"]),
    "a list for a recipe": ("- a\n- b\n", "MQ-2005", ["a set of `key: value` lines"]),
    "nothing": ("", "MQ-2005", ["a set of `key: value` lines"]),
    "out of range": (swapped("batch: 8", "batch: -8"), "MQ-2002", ["train.batch", "positive", ":12"]),
    "missing": (swapped("data: {source: ring8}", "data: {}"), "MQ-2004", ["data needs 'source'", ":3"]),
    "missing part": (swapped("medium: points\n", ""), "MQ-2004", ["the recipe needs 'medium'"]),
    "twice": (swapped("batch: 8", "batch: 8\n  batch: 9"), "MQ-2005", ["'batch' stands here twice", ":13"]),
    "alias": (swapped("source: ring8", "source: &a ring8") + "x: *a\n", "MQ-2005", ["anchors and aliases"]),
    "bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "MQ-2005", ["anchors and aliases"]),
    "merge": ("a: {x: 1}\nb: {<<: {y: 2}}\n", "MQ-2005", ["a key must be plain text"]),
    "tag that builds an object": ("a: !!python/object/apply:os.system [ls]\n", "MQ-2005", ["the tag", ":1"]),
    "tag on a mapping": ("a: !!python/dict {b: 1}\n", "MQ-2005", ["the tag"]),
    "tag that changes a type": ("a: !!str 5\n", "MQ-2005", ["the tag"]),
    "tag of one's own": ("a: !mine 5\n", "MQ-2005", ["the tag '!mine'"]),
    "key that is a list": ("[a, b]: 1\n", "MQ-2005", ["a key must be plain text"]),
    "tabs": (swapped("  batch: 8", "\tbatch: 8"), "MQ-2005", ["'\\t'", ":12"]),
    "not closed": ("a: [1, 2\nb: 3\n", "MQ-2005", ["expected ',' or ']'", ":2"]),
    "two documents": (GOOD + "---\na: 1\n", "MQ-2005", ["another document"]),
    "too deep": ("a: " + "[" * 40 + "]" * 40, "MQ-2005", ["deeper than 32 levels"]),
    "far too deep": ("a: " + "[" * 5000 + "]" * 5000, "MQ-2005", ["deeper than 32 levels"]),
    "too large": ("# " + "x" * config.MAX_BYTES, "MQ-2005", ["larger than"]),
    "not text": (b"data: \xff\xfe\n", "MQ-2005", ["not UTF-8 at byte 6"]),
    "control character": ("a: \x07\n", "MQ-2005", ["special characters"]),
    "half a character": ('a: "\\ud800"\n', "MQ-2005", ["half a character"]),
    "not a number": (swapped("lr: 1e-4", "lr: .nan"), "MQ-2002", ["generator.lr", "a number", "'.nan'"]),
    "infinite": (swapped("lr: 1e-4", "lr: 1e999"), "MQ-2002", ["generator.lr", "inf"]),
    "too many digits": (swapped("batch: 8", "batch: " + "9" * 5000), "MQ-2002", ["train.batch"]),
    "no is text": (swapped("source: ring8", "source: ring8, conditional: no"), "MQ-2002", ["data.conditional", "'no'"]),
    "a time of day": (swapped("batch: 8", "batch: 1:30"), "MQ-2002", ["train.batch", "'1:30'"]),
    "null": (swapped("batch: 8", "batch:"), "MQ-2002", ["train.batch", "None"]),
    "null for what is needed": (swapped("source: ring8", "source:"), "MQ-2002", ["data.source", "None"]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_recipe_is_one_clear_sentence(name: str, tmp_path: Path) -> None:
    text, code, says = MALFORMED[name]
    with pytest.raises(MaquetteError) as refused:
        read(text, tmp_path)
    message = str(refused.value)
    assert refused.value.code == code, message
    for part in says:
        assert part in message
    assert "recipe.yaml" in message and len(message) < 600 and message.isprintable() is False
    assert refused.value.exit_code == 2


def test_a_file_that_is_not_there_or_not_a_file(tmp_path: Path) -> None:
    for path, code in [(tmp_path / "none.yaml", "MQ-5004"), (tmp_path, "MQ-2005"), (Path("a\0b"), "MQ-2005")]:
        with pytest.raises(MaquetteError, match=code):
            read_yaml(path)
    with pytest.raises(MaquetteError, match="larger than"):
        read_yaml(Path("/dev/zero"))  # says its size is 0 and never ends


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1e5", 1e5), (".5", 0.5), ("5.", 5.0), ("+3", 3), ("-0", 0), ("010", 10.0), ("0x10", "0x10"),
        ("1:30", "1:30"), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"), ("1_000", "1_000"),
        ("no", "no"), ("off", "off"), ("y", "y"), ("yes", "yes"), ("true", True), ("false", False), ("True", "True"),
        ("null", None), ("~", None), ("", None), ("'5'", "5"), ('"1e-4"', "1e-4"), (".inf", ".inf"), ("nan", "nan"),
        ("[1, a, ~]", [1, "a", None]), ("{a: {b: 2}}", {"a": {"b": 2}}), ("1e-4 # why", 1e-4), ("=", "="),
    ],
)  # fmt: skip
def test_a_value_means_what_it_says(text: str, value: object) -> None:
    read = parse_yaml(text, "x")[0]
    assert read == value and type(read) is type(value)


# -- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b"-1e999", b'{"a": 1, "a": 2}', b"9" * 5000, b"[" * 100_000,
        b"[" * 33 + b"]" * 33, b'"\\ud800"', b'{"\\udfff": 1}', b'"\xed\xa0\x80"', b"\xff", b"", b"{", b"{'a': 1}",
        b"[1,]", b"01", b'"\x01"', b"{} {}", b"/* x */ 1", b"None",
    ],
)  # fmt: skip
def test_json_that_is_not_strict_is_refused(text: bytes) -> None:
    with pytest.raises(MaquetteError, match="MQ-2005"):
        parse_json(text, "x.json")


def test_json_that_is_strict_is_read() -> None:
    tree = {"a": [1, -2.5e-7, True, None, "é \U0001f600"], "b": {"c": 2**62}}
    assert parse_json(json.dumps(tree), "x") == tree == parse_json(json.dumps(tree, ensure_ascii=False).encode(), "x")
    assert parse_json("[" * 32 + "]" * 32, "x")


# -- overrides --------------------------------------------------------------------------------------------------------


def test_overrides_set_fields_and_swap_components() -> None:
    tree = {"model": {"kind": "gan", "critic": "mlp"}, "train": {"batch": 8}}
    new = override(tree, ["train.batch=16", "model.critic.width=96", "model.generator=mlp", "train.seed=1"])
    assert new["train"] == {"batch": 16, "seed": 1} and tree["train"] == {"batch": 8}
    assert new["model"] == {"kind": "gan", "critic": {"kind": "mlp", "width": 96}, "generator": "mlp"}


@pytest.mark.parametrize("text", ["", "batch", "=3", "a..b=1", "a.b", "1a=2", "a b=1", "a.=1"])
def test_an_override_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(MaquetteError, match="MQ-2007"):
        override({}, [text])


def test_an_override_of_what_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    tree, lines = parse_yaml(GOOD, "x.yaml")
    with pytest.raises(MaquetteError, match="train.optimizers.generator has no 'rate'"):
        Recipe.from_tree(override(tree, ["train.optimizers.generator.rate=1"]), lines=lines)
    with pytest.raises(MaquetteError, match="train.batch should be a whole number"):
        Recipe.from_tree(override(tree, ["train.batch.x=1"]), lines=lines)


# -- every Config -----------------------------------------------------------------------------------------------------

SLOTS = ["media", "nets", "models"]
EVERY = [(home, kind) for home in SLOTS for kind in kinds(home)]


def class_of(home: str, kind: str) -> type[Config]:
    return importlib.import_module(f"maquette.{home}.{kind}").Config


def by_hint(hint: Any) -> st.SearchStrategy:
    """Values of a field's type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return st.sampled_from(args)
    simple = {
        int: st.integers(-3, 300),
        float: st.floats(-2, 300, allow_nan=False),
        bool: st.booleans(),
        str: st.text(max_size=5),
    }
    return simple.get(hint, st.nothing())


def changed(cls: type[Config], data: st.DataObject) -> Config:
    """A config with some scalar fields changed, to values that the class accepts."""
    hints, it = typing.get_type_hints(cls), cls()
    for f in dataclasses.fields(cls):
        if not (values := by_hint(hints[f.name])).is_empty:
            with contextlib.suppress(MaquetteError):
                it = dataclasses.replace(it, **{f.name: data.draw(values)})
    return it


@pytest.mark.parametrize(("home", "kind"), EVERY, ids=[f"{h}.{k}" for h, k in EVERY])
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_config_survives_json_and_yaml(home: str, kind: str, data: st.DataObject) -> None:
    slot = config._slot(class_of(home, kind))
    it = changed(class_of(home, kind), data)
    text = json.dumps(it.to_tree(), ensure_ascii=False, allow_nan=False)
    assert slot.from_tree(parse_json(text, "x")) == it
    assert slot.from_tree(it.to_tree()) == it
    assert slot.from_tree(kind) == class_of(home, kind)(), "a kind alone is the kind with its defaults"
    assert config.describe(it).startswith(f"kind: {kind}")


@pytest.mark.parametrize(("home", "kind"), EVERY, ids=[f"{h}.{k}" for h, k in EVERY])
def test_every_config_is_frozen_and_names_the_nearest_of_its_fields(home: str, kind: str) -> None:
    cls = class_of(home, kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cls().anything = 1  # type: ignore[attr-defined]
    name = next(f.name for f in dataclasses.fields(cls) if f.init)
    with pytest.raises(MaquetteError, match=f"no '{name}x'.*\n.*nearest: '{name}'"):
        config._slot(cls).from_tree({"kind": kind, f"{name}x": 1})


def test_a_slot_typed_with_one_kind_takes_no_other() -> None:
    """pixelcnn's net must be causal: an mlp there would be read, built and wrong."""
    cls = class_of("models", "pixelcnn")
    assert cls.from_tree({"net": {"width": 16}}).net.width == 16  # type: ignore[attr-defined]
    assert cls.from_tree({"net": {"kind": "gated"}}) == cls.from_tree({"net": "gated"}) == cls()
    with pytest.raises(MaquetteError, match="net: no kind 'mlp'"):
        cls.from_tree({"net": {"kind": "mlp"}})


@dataclass(frozen=True, kw_only=True)
class Inner(Config):
    size: int = 1

    def __post_init__(self) -> None:
        self.check(self.size > 0, "size", "positive")


@dataclass(frozen=True, kw_only=True)
class Outer(Config):
    """For types that no shipped Config happens to have all of."""

    maybe: int | None = None
    number_or_text: int | str = 0
    pair: tuple[int, float] = (1, 2.0)
    many: tuple[int, ...] = ()
    inner: dict[str, Inner] = field(default_factory=dict)
    word: Literal["a", "b", 1] = "a"
    any: Any = None
    flag: bool = False


@pytest.mark.parametrize(
    "tree",
    [
        {"maybe": 3}, {"maybe": None}, {"number_or_text": "x"}, {"number_or_text": 7}, {"pair": [1, 3]},
        {"many": [1, 2]}, {"inner": {"x": {"size": 2}}}, {"word": "b"}, {"word": 1}, {"any": {"deep": [1]}},
        {"flag": True},
    ],
)  # fmt: skip
def test_types_are_read_and_come_back(tree: dict) -> None:
    it = Outer.from_tree(tree)
    assert Outer.from_tree(json.loads(json.dumps(it.to_tree()))) == it != Outer() or tree == {"maybe": None}


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"maybe": "3"}, "maybe should be a whole number"),
        ({"number_or_text": None}, "a whole number or text"),
        ({"number_or_text": [1]}, "a whole number or text"),
        ({"pair": [1]}, "pair should be a list of 2"),
        ({"pair": "12"}, "pair should be a list"),
        ({"pair": [1.5, 2]}, "pair[0] should be a whole number"),
        ({"many": [1, True]}, "many[1] should be a whole number"),
        ({"inner": [1]}, "inner should be a set of fields"),
        ({"inner": {"x": {"size": 0}}}, "inner.x.size should be positive"),
        ({"inner": {"x": {"sice": 0}}}, "inner.x has no 'sice'"),
        ({"word": True}, "one of a, b, 1"),
        ({"word": "c"}, "one of a, b, 1"),
        ({"flag": 1}, "true or false"),
        ({"flag": "true"}, "true or false"),
        ({"maybe": 10**400}, "maybe should be a whole number"),
        ({"pair": [1, 10**400]}, "pair[1] should be a number"),
        ({3: 4}, "the recipe has no '3'"),
        ([], "a set of fields"),
        (None, "a set of fields"),
    ],
)
def test_wrong_types_are_named_with_their_path(tree: Any, says: str) -> None:
    with pytest.raises(MaquetteError) as refused:
        Outer.from_tree(tree)
    assert says in str(refused.value)


def test_field_docs_are_shown() -> None:
    shown = config.describe(class_of("nets", "gated")())
    assert "width: 24  # Channels of each stack." in shown


# -- whatever a file says ---------------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
trees = st.recursive(
    scalars, lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(max_size=6), t, max_size=3), max_leaves=8
)
WORDS = """data: medium: model: train: kind: gan mlp points image source ring8 budget 20steps optimizers lr 1e-4 { } [ ]
 , - & * ! !! | > # % @ ` " ' : ? ~ \\ << .nan 1e999 é 😀"""
words = st.sampled_from([*WORDS.split(), "\t", "\n", "\r", "\x00", "\x85", "\ufeff"])


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(words | st.text(max_size=3), max_size=30).map(" ".join), st.integers(0, 400))
def test_no_text_escapes_the_reader(text: str, cut: int) -> None:
    """Random words, and the good recipe with them put in somewhere: a recipe or a MaquetteError."""
    for whole in text, GOOD[:cut] + text + GOOD[cut:]:
        try:
            tree, lines = parse_yaml(whole, "x.yaml")
            Recipe.from_tree(tree, lines=lines)
        except MaquetteError as refused:
            assert refused.render("zh") and refused.render("en")


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(trees, st.sampled_from(["", "data", "medium", "model", "model.generator", "train", "train.optimizers"]))
def test_no_tree_escapes_the_reader(tree: Any, where: str) -> None:
    whole: Any = parse_yaml(GOOD, "x")[0]
    *parents, last = where.split(".") if where else [""]
    here = whole
    for name in parents:
        here = here[name]
    if last:
        here[last] = tree
    else:
        whole = tree
    try:
        Recipe.from_tree(whole)
    except MaquetteError as refused:
        assert refused.code.startswith("MQ-2")


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.binary(max_size=60) | trees.map(lambda t: json.dumps(t).encode()))
def test_no_bytes_escape_the_json_reader(data: bytes) -> None:
    try:
        json.dumps(parse_json(data, "x"), allow_nan=False).encode()
    except MaquetteError as refused:
        assert refused.code == "MQ-2005"


def test_a_field_of_a_default_component_can_be_set_without_naming_its_kind():
    from maquette.models import gan

    changed = gan.Config.from_tree({"kind": "gan", "generator": {"width": 16}})
    assert changed.generator == dataclasses.replace(gan.Config().generator, width=16)
