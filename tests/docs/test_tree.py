"""The file tree of README.md: every file of the package is there with a comment, and nothing else is."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def listed(readme: str) -> dict[str, str]:
    """Path -> comment, from the code block that begins with `maquette/`."""
    block = re.search(r"```\n(maquette/\n.*?)```", readme, re.DOTALL)
    assert block is not None
    found, parents = {}, [""]
    for line in block[1].splitlines():
        name, _, comment = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        path = "".join(parents[: depth + 1]) + name
        parents[depth + 1 :] = [name]
        found[path] = comment.strip()
    return found


def real() -> set[str]:
    package = ROOT / "maquette"
    modules = {p.relative_to(ROOT) for p in package.rglob("*.py")}
    inner = {p for p in modules if p.name == "__init__.py" and p.parent != Path("maquette")}
    folders = {f"{p.parent.as_posix()}/" for p in modules}
    recipes = {f"{p.parent.relative_to(ROOT).as_posix()}/" for p in (package / "recipes").rglob("*.yaml")}
    return {p.as_posix() for p in modules - inner} | folders | recipes | {"maquette/recipes/"}


def test_the_tree_is_the_tree() -> None:
    said = listed((ROOT / "README.md").read_text(encoding="utf-8"))
    assert real() - said.keys() == set(), "these are missing from the tree in README.md"
    assert said.keys() - real() == set(), "these are in the tree of README.md and nowhere else"


def test_every_entry_has_a_comment() -> None:
    said = listed((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [path for path, comment in said.items() if not comment] == ["maquette/"]


def test_a_missing_file_would_be_found() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shorter = "\n".join(line for line in readme.splitlines() if "quantise.py" not in line)
    assert "maquette/codecs/quantise.py" in real() - listed(shorter).keys()
