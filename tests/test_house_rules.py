"""Rules that reading alone would not keep: nothing unpickles or executes, one module writes, no file names a family."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

import maquette
from maquette.core.config import kinds

ROOT = Path(maquette.__file__).parent
SOURCES = sorted(p.relative_to(ROOT) for p in ROOT.rglob("*.py"))

FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "torch.load", "os.system", "os.popen", "yaml.load", "yaml.load_all",
    "yaml.unsafe_load", "yaml.full_load", "tempfile.mktemp", "pandas.read_pickle", "pd.read_pickle",
}  # fmt: skip
FORBIDDEN_METHODS = {"extractall"}
FORBIDDEN_KEYWORDS: dict[str | None, bool] = {
    "shell": True,
    "allow_pickle": True,
    "trust_remote_code": True,
    "weights_only": False,
    "verify": False,
}

WRITING_CALLS = {
    "np.save", "np.savez", "np.savez_compressed", "np.savetxt", "torch.save", "save_file",
    "safetensors.torch.save_file", "os.rename", "os.replace", "os.remove", "os.unlink", "os.mkdir", "os.makedirs",
    "os.rmdir", "os.truncate", "shutil.rmtree", "shutil.move", "shutil.copy", "shutil.copy2", "shutil.copyfile",
    "shutil.copytree",
}  # fmt: skip
WRITING_METHODS = {
    "write_text", "write_bytes", "tofile", "to_csv", "to_parquet", "to_json", "mkdir", "touch", "unlink", "rmdir",
    "rename", "symlink_to", "hardlink_to",
}  # fmt: skip
WRITERS = {Path("core/files.py")}
ALLOWED = {Path("evaluate/importer.py"): {"torch.load"}}
"""The converter of foreign weights: in a child process that may open nothing else, with `weights_only=True`."""


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def in_sources(rule: Callable[[Path, str], Iterable[str]]) -> dict[Path, list[str]]:
    """What `rule` finds in the files of the package: the names of those where it finds anything, and what."""
    found = {path: list(rule(path, (ROOT / path).read_text(encoding="utf-8"))) for path in SOURCES}
    return {path: told for path, told in found.items() if told}


def literal(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def argument(node: ast.Call, position: int, name: str) -> ast.expr | None:
    """What a call passes as its argument `name`, by position or by keyword."""
    given = [k.value for k in node.keywords if k.arg == name]
    return given[0] if given else node.args[position] if len(node.args) > position else None


def dangers(source: str) -> Iterator[str]:
    """Whatever in `source` could execute what a file says."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.Call):
            if called(node) in FORBIDDEN_CALLS or called(node).rpartition(".")[2] in FORBIDDEN_METHODS:
                yield f"line {node.lineno}: calls {called(node)}"
            for keyword in node.keywords:
                if keyword.arg in FORBIDDEN_KEYWORDS and literal(keyword.value) is FORBIDDEN_KEYWORDS[keyword.arg]:
                    yield f"line {node.lineno}: says {ast.unparse(keyword)}"


def writes(source: str) -> Iterator[str]:
    """Whatever in `source` opens a file for writing, or makes, moves or removes one."""
    tree = ast.parse(source)
    buffers = {
        ast.unparse(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and called(node.value).endswith("BytesIO")
        for target in node.targets
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, method = called(node), called(node).rpartition(".")[2]
        if name == "open" or method in ("memmap", "open_memmap", "ZipFile") or (method == "open" and name != "os.open"):
            mode = literal(argument(node, 0 if method == "open" and name != "open" else 1, "mode"))
            wrote = isinstance(mode, str) and re.search(r"[wax+]", mode) is not None
        elif name == "os.open":
            wrote = re.search(r"O_(WRONLY|RDWR|CREAT|APPEND|TRUNC)", ast.unparse(node)) is not None
        elif method in ("save", "savefig"):  # of a picture or figure: into memory only
            target = argument(node, 0, "fp")
            wrote = target is not None and ast.unparse(target) not in buffers and "." in name
        else:
            wrote = name in WRITING_CALLS or (method in WRITING_METHODS and name != "os." + method)
        if wrote:
            yield f"line {node.lineno}: {ast.unparse(node)[:80]}"


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def families(source: str, names: set[str]) -> Iterator[str]:
    """Every identifier and string of `source` (docstrings apart) with one of `names` among its words."""
    tree = ast.parse(source)
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in documented:
            continue
        texts = [value for value in vars(node).values() if isinstance(value, str)]
        if isinstance(node, ast.Import | ast.ImportFrom):
            texts += [alias.name for alias in node.names]
        for text in texts:
            if found := words(text) & names:
                yield f"line {getattr(node, 'lineno', 0)}: {text[:60]!r} names {', '.join(sorted(found))}"


def test_nothing_executes_what_a_file_says() -> None:
    def rule(path: Path, source: str) -> list[str]:
        return [danger for danger in dangers(source) if danger.rpartition(" ")[2] not in ALLOWED.get(path, set())]

    assert in_sources(rule) == {}


def test_foreign_weights_are_read_as_weights_only() -> None:
    for path, calls in ALLOWED.items():
        source = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        for node in ast.walk(source):
            if isinstance(node, ast.Call) and called(node) in calls:
                assert literal(argument(node, 99, "weights_only")) is True


def test_one_module_writes() -> None:
    assert in_sources(lambda path, source: () if path in WRITERS else writes(source)) == {}


def test_no_file_names_a_family() -> None:
    """A model's own files may name it (gpt.py, gpt2.py); nobody else may know which families there are."""

    def rule(path: Path, source: str) -> Iterator[str]:
        own = words(path.stem) if path.parts[0] == "models" else set()
        return families(source, set(kinds("models")) - own)

    assert in_sources(rule) == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('weights.pt')",
        "eval('1 + 1')",
        "import yaml\nyaml.load(text)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "archive.extractall('there')",
        "import numpy as np\nnp.load('a.npy', allow_pickle=True)",
    ],
)
def test_a_danger_is_found(source: str) -> None:
    assert len(list(dangers(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "open('a', 'w')",
        "open('a', mode='ab')",
        "path.open('w')",
        "path.write_text('a')",
        "import os\nos.open('a', os.O_WRONLY)",
        "import numpy as np\nnp.save('a', x)",
        "np.memmap(path, mode='w+')",
        "picture.save('a.png')",
        "from shutil import rmtree\nimport shutil\nshutil.rmtree('a')",
        "path.unlink()",
    ],
)
def test_a_writer_is_found(source: str) -> None:
    assert len(list(writes(source))) == 1


def test_reading_and_writing_to_memory_pass() -> None:
    source = "open('a', 'rb')\npath.open()\nbuffer = io.BytesIO()\npicture.save(buffer, 'PNG')\nos.open(p, os.O_RDONLY)"
    assert list(writes(source)) == []


def test_a_named_family_is_found() -> None:
    source = '"""Docstrings may speak of a gan."""\nif kind == "gan":\n    vae_loss = image/gan\nvague = organ'
    assert len(list(families(source, {"gan", "vae"}))) == 3
