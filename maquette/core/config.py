"""Strict configuration: frozen dataclasses read from YAML, JSON, `key=value` overrides or keyword arguments.

One reader serves all four. Unknown keys are refused with the nearest valid name, wrong types with the path, the wanted
type and the value. Under a slot such as `model`, `kind: vae` names the file `maquette/models/vae.py`, whose `Config` is
then read: there is no registry, and no path outside the folder can be named. Nothing that a file says is executed.
"""

import dataclasses
import functools
import importlib
import json
import math
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin

import yaml

from maquette.core.errors import MaquetteError, Phrase, nearest

MAX_DEPTH = 32
"""Recipes and bundles nest a few levels; deeper input is refused before it can exhaust the stack."""
MAX_BYTES = 1 << 20

Tree = dict[str, Any]
Some = TypeVar("Some", bound="Config")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every configuration. A subclass with a `home` is a slot: its subclasses are named by `kind`."""

    home: ClassVar[str] = ""
    whole: ClassVar[Phrase] = Phrase("the recipe", "配方")
    """What a person calls a tree of it that is no part of another."""

    @classmethod
    def kind(cls) -> str:
        """The name of the file that holds this class: what `kind:` says in a recipe."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def from_tree(cls: type[Some], tree: Any, path: str = "", lines: "Lines | None" = None) -> Some:
        """Read plain data (dicts, lists, scalars); raises `MaquetteError` naming the field at fault."""
        return _read_config(cls, tree, path, lines or Lines())

    def to_tree(self) -> Tree:
        """Plain data that `from_tree` reads back to an equal object."""
        return _plain(self)

    def check(self, good: bool, name: str, wanted: str) -> None:
        """For `__post_init__`: refuse the value of field `name` unless `good`."""
        if not good:
            raise MaquetteError("MQ-2002", path=name, wanted=wanted, value=repr(getattr(self, name)))


@dataclass
class Lines:
    """Where each key of a YAML file stands, so that a mistake can be shown as `file:line`, or as the `key=value` that
    was put over it."""

    file: str = ""
    of: dict[str, int] = field(default_factory=dict)
    over: dict[str, str] = field(default_factory=dict)

    def at(self, path: str) -> str:
        if path in self.over:
            return self.over[path]
        while path and path not in self.of:
            if inside := next((text for key, text in self.over.items() if key.startswith(f"{path}.")), ""):
                return inside
            path = path.rpartition(".")[0]
        return f"{self.file}:{self.of[path]}" if path in self.of else self.file


# -- dataclass <- tree ------------------------------------------------------------------------------------------------


@functools.cache
def kinds(home: str) -> tuple[str, ...]:
    """The names that `kind` may take under a slot: the files of `maquette/<home>/` that hold a `Config`."""
    folder = Path(__file__).parent.parent / home
    return tuple(sorted(f.stem for f in folder.glob("*.py") if "\nclass Config(" in f.read_text(encoding="utf-8")))


def choose(kind: Any, base: type[Config], path: str, where: str = "") -> type[Config]:
    """The `Config` of the file named `kind`, which must be `base` or a subclass: a slot may be typed with one kind."""
    names = kinds(base.home) if base is _slot(base) else (base.kind(),)
    if not isinstance(kind, str) or kind not in names:
        raise MaquetteError("MQ-2003", where, path=path, kind=kind, near=nearest(str(kind), names))
    found = importlib.import_module(f"maquette.{base.home}.{kind}").Config
    if not issubclass(found, base):
        raise MaquetteError("MQ-2003", where, path=path, kind=kind, near=nearest("", set(names) - {kind}))
    return found


def _read_config(cls: type[Config], tree: Any, path: str, lines: Lines) -> Any:
    if isinstance(tree, cls):
        return tree
    if not isinstance(tree, dict):
        tree = {"kind": tree} if cls.home and isinstance(tree, str) else tree
    if not isinstance(tree, dict):
        raise _mistyped(path or cls.whole, Phrase("a set of fields", "一组字段"), tree, lines)
    if path.count(".") > MAX_DEPTH:
        raise MaquetteError("MQ-2005", lines.at(path), format="config", reason=f"deeper than {MAX_DEPTH} levels")
    tree = dict(tree)
    if cls.home:
        kind = tree.pop("kind", None)
        if kind is None and cls is not _slot(cls):  # the field's type already names one kind
            kind = cls.kind()
        if kind is None:
            raise MaquetteError("MQ-2004", lines.at(path), path=path, key="kind")
        cls = choose(kind, cls, path, lines.at(f"{path}.kind" if path else "kind"))
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in fields(cls) if f.init}
    for key in tree:
        if key not in known:
            at = lines.at(_join(path, str(key)))
            raise MaquetteError("MQ-2001", at, path=path or cls.whole, key=key, near=nearest(str(key), known))
    tree = {key: _over_default(known[key], value) for key, value in tree.items()}
    values = {key: _read(hints[key], value, _join(path, key), lines) for key, value in tree.items()}
    for name, f in known.items():
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise MaquetteError("MQ-2004", lines.at(path), path=path or cls.whole, key=name)
    try:
        return cls(**values)
    except MaquetteError as mistake:
        if mistake.where or "path" not in mistake.values:  # a nested config has already said where
            raise
        full = _join(path, str(mistake.values["path"]))
        raise MaquetteError(mistake.code, lines.at(full) or full, **{**mistake.values, "path": full}) from None


def _over_default(slot: dataclasses.Field, value: Any) -> Any:
    """`value` laid over the slot's default component when it names no kind of its own, as `net.width=128` does; and
    the empty text where null says that a field which may be left empty names nothing, as `codec=null` does."""
    if value is None and slot.default == "":
        return ""
    if not isinstance(value, dict) or "kind" in value or slot.default_factory is dataclasses.MISSING:
        return value
    default = slot.default_factory()
    return default.to_tree() | value if isinstance(default, Config) and type(default).home else value


def _slot(cls: type[Config]) -> type[Config]:
    """The class of `cls`'s ancestry that declares the `home`: what a slot is typed with."""
    return next(c for c in reversed(cls.__mro__) if "home" in vars(c) and vars(c)["home"])


def _read(hint: Any, value: Any, path: str, lines: Lines) -> Any:
    """`value` as the type `hint`, or an error that names `path`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _read_union(args, value, path, lines)
    if origin is Literal:
        if value in args and type(value) in {type(a) for a in args}:
            return value
        raise _mistyped(path, _title(hint), value, lines)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _mistyped(path, Phrase("a list", "一个列表"), value, lines)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_read(args[0], v, f"{path}[{i}]", lines) for i, v in enumerate(value))
        if len(value) != len(args):
            raise _mistyped(path, Phrase(f"a list of {len(args)}", f"含 {len(args)} 项的列表"), value, lines)
        return tuple(_read(a, v, f"{path}[{i}]", lines) for i, (a, v) in enumerate(zip(args, value, strict=True)))
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise _mistyped(path, Phrase("a set of fields", "一组字段"), value, lines)
        return {key: _read(args[1], v, _join(path, key), lines) for key, v in value.items()}
    if is_dataclass(hint) and isinstance(hint, type) and issubclass(hint, Config):
        return _read_config(hint, value, path, lines)
    return _read_scalar(hint, value, path, lines)


def _read_union(options: tuple, value: Any, path: str, lines: Lines) -> Any:
    if value is None:
        if type(None) in options:
            return None
        raise _mistyped(path, _either(options), value, lines)
    options = tuple(o for o in options if o is not type(None))
    if len(options) == 1:
        return _read(options[0], value, path, lines)
    for option in sorted(options, key=lambda o: o is str):
        try:
            return _read(option, value, path, lines)
        except MaquetteError:
            continue
    raise _mistyped(path, _either(options), value, lines)


def _read_scalar(hint: Any, value: Any, path: str, lines: Lines) -> Any:
    if hint is Any:
        return value
    if hint in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if hint is float and abs(value) <= sys.float_info.max:
            return float(value)
        if hint is int and abs(value) < 2**63 and value == int(value):
            return int(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise _mistyped(path, _title(hint), value, lines)


def _mistyped(path: str, wanted: str, value: Any, lines: Lines) -> MaquetteError:
    return MaquetteError("MQ-2002", lines.at(path) or path, path=path, wanted=wanted, value=repr(value))


TITLES = {
    int: Phrase("a whole number", "整数"),
    float: Phrase("a number", "数"),
    str: Phrase("text", "文字"),
    bool: Phrase("true or false", "true 或 false"),
    type(None): Phrase("null", "null"),
}


def _title(hint: Any) -> Phrase:
    if get_origin(hint) is Literal:
        names = ", ".join(map(str, get_args(hint)))
        return Phrase(f"one of {names}", f"{names} 之一")
    name = getattr(hint, "__name__", str(hint))
    return TITLES.get(hint) or Phrase(name, name)


def _either(hints: Iterable[Any]) -> Phrase:
    titles = [_title(hint) for hint in hints]
    return Phrase(" or ".join(titles), " 或 ".join(title.zh for title in titles))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        tree = {"kind": value.kind()} if type(value).home else {}
        return tree | {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.init}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return str(value) if isinstance(value, str) else value  # a sentence is plain text there


# -- tree <- text -----------------------------------------------------------------------------------------------------


def override(tree: Tree, texts: list[str]) -> Tree:
    """`tree` with each `a.b=value` put in; `model.net=mlp` swaps a component for another kind with its defaults."""
    tree = json.loads(json.dumps(tree))
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*", key):
            raise MaquetteError("MQ-2007", text=text)
        *parents, last = key.split(".")
        here: Tree = tree
        for name in parents:
            inner: Any = here.get(name)
            if isinstance(inner, str):  # `net: mlp` is short for `net: {kind: mlp}`
                inner = {"kind": inner}
            here[name] = inner = inner if isinstance(inner, dict) else {}
            here = inner
        here[last] = parse_yaml(value, f"{key}=")[0]
    return tree


def at(tree: Any, path: str) -> Any:
    """The value at a dotted path of `tree`, None where there is none."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def read_yaml(path: Path) -> tuple[Tree, Lines]:
    """The tree of a recipe file, and where its keys stand."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise MaquetteError("MQ-2005", str(path), format="YAML", reason=f"larger than {MAX_BYTES} bytes")
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise MaquetteError("MQ-5004", str(path)) from None
    except UnicodeDecodeError as bad:
        raise MaquetteError("MQ-2005", str(path), format="YAML", reason=f"not UTF-8 at byte {bad.start}") from None
    except (OSError, ValueError) as bad:
        raise MaquetteError("MQ-2005", str(path), format="YAML", reason=getattr(bad, "strerror", bad)) from None
    tree, lines = parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        raise MaquetteError("MQ-2005", str(path), format="YAML", reason="a recipe is a set of `key: value` lines")
    return tree, lines


def parse_yaml(text: str, name: str) -> tuple[Any, Lines]:
    """YAML's core without its traps: no anchors, tags or duplicate keys; `1e-4` is a number, `no` and `1:30` text."""
    lines = Lines(name)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return (None if node is None else _from_node(node, "", lines, 0)), lines
    except yaml.YAMLError as bad:
        mark = getattr(bad, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise MaquetteError("MQ-2005", where, format="YAML", reason=getattr(bad, "problem", None) or bad) from None
    except RecursionError:
        raise MaquetteError("MQ-2005", name, format="YAML", reason=f"deeper than {MAX_DEPTH} levels") from None


_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_RESOLVER = yaml.resolver.Resolver()
"""Says which tag a value has that nobody wrote a tag for."""
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def _from_node(node: yaml.Node, path: str, lines: Lines, depth: int) -> Any:
    line = node.start_mark.line + 1
    lines.of.setdefault(path, line)

    def refuse(reason: str) -> MaquetteError:
        return MaquetteError("MQ-2005", f"{lines.file}:{line}", format="YAML", reason=reason)

    if depth > MAX_DEPTH:
        raise refuse(f"deeper than {MAX_DEPTH} levels")
    # compose() resolves an alias to the very node it names: each node may be reached by one path only
    if getattr(node, "seen", False):
        raise refuse("anchors and aliases are not allowed")
    node.seen = True  # type: ignore[attr-defined]
    plain = getattr(node, "style", None) is None
    if node.tag != _RESOLVER.resolve(type(node), node.value, (plain, not plain)):
        raise refuse(f"the tag {node.tag!r} is not allowed")
    if isinstance(node, yaml.MappingNode):
        tree: Tree = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                raise refuse("a key must be plain text")
            if key_node.value in tree:
                line = key_node.start_mark.line + 1
                raise refuse(f"{key_node.value!r} stands here twice")
            lines.of[_join(path, key_node.value)] = key_node.start_mark.line + 1
            tree[key_node.value] = _from_node(value_node, _join(path, key_node.value), lines, depth + 1)
        return tree
    if isinstance(node, yaml.SequenceNode):
        return [_from_node(v, f"{path}[{i}]", lines, depth + 1) for i, v in enumerate(node.value)]
    if _has_surrogates(node.value):
        raise refuse("text with half a character")
    return _scalar(node.value) if plain else node.value


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return int(text) if re.fullmatch(r"[-+]?(0|[1-9]\d{0,18})", text) else float(text)
    return text


def parse_json(text: str | bytes, name: str) -> Any:
    """Strict JSON: no NaN, no duplicate keys, no huge numbers, no half characters, at most `MAX_DEPTH` levels."""
    try:
        tree = json.loads(
            text, object_pairs_hook=_pairs, parse_constant=_refused, parse_float=_number, parse_int=_whole
        )
    except (ValueError, RecursionError, UnicodeDecodeError) as bad:
        raise MaquetteError("MQ-2005", name, format="JSON", reason=bad) from None
    for node, depth in _nodes(tree):
        if depth > MAX_DEPTH:
            raise MaquetteError("MQ-2005", name, format="JSON", reason=f"deeper than {MAX_DEPTH} levels")
        if isinstance(node, str) and _has_surrogates(node):
            raise MaquetteError("MQ-2005", name, format="JSON", reason="text with half a character")
    return tree


def _pairs(items: list[tuple[str, Any]]) -> Tree:
    tree = dict(items)
    if len(tree) != len(items):
        raise ValueError("a key stands there twice")
    return tree


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number")


def _number(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refused(digits)


def _whole(digits: str) -> int:
    return int(digits) if len(digits) < 20 else _refused(digits[:20] + "…")


def _nodes(tree: Any) -> Iterator[tuple[Any, int]]:
    """Everything in `tree`, keys too, with how deep it lies."""
    stack = [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        yield node, depth
        inner = [*node, *node.values()] if isinstance(node, dict) else node if isinstance(node, list) else ()
        stack.extend((v, depth + 1) for v in inner)


def _has_surrogates(text: str) -> bool:
    """Whether `text` cannot be written as UTF-8: an escape such as \\ud800 names half a character."""
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)


def describe(config: Config, indent: str = "") -> str:
    """The resolved tree as YAML, each field with the sentence documented under it."""
    out = []
    docs = _field_docs(type(config))
    if type(config).home:
        out.append(f"{indent}kind: {config.kind()}")
    for f in fields(config):
        value = getattr(config, f.name)
        note = f"  # {docs[f.name]}" if f.name in docs else ""
        if isinstance(value, Config):
            out += [f"{indent}{f.name}:{note}", describe(value, indent + "  ")]
        elif isinstance(value, dict) and value and all(isinstance(v, Config) for v in value.values()):
            out.append(f"{indent}{f.name}:{note}")
            for key, inner in value.items():
                out += [f"{indent}  {key}:", describe(inner, indent + "    ")]
        else:
            out.append(f"{indent}{f.name}: {json.dumps(_plain(value))}{note}")
    return "\n".join(out)


@functools.cache
def _field_docs(cls: type[Config]) -> dict[str, str]:
    """The docstring written under each field (the classes nearest to `cls` win)."""
    import ast
    import inspect
    import textwrap

    docs: dict[str, str] = {}
    for owner in reversed(cls.__mro__[:-1]):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body  # type: ignore[attr-defined]
        except (OSError, TypeError):
            continue
        for entry, after in zip(body, body[1:], strict=False):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
            if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name) and isinstance(text, str):
                docs[entry.target.id] = " ".join(text.split())
    return docs
