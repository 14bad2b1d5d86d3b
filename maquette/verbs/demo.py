"""Families of generative model compared within minutes, on data that come along: what Maquette does, at a glance."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from maquette.core.config import Config, parse_yaml
from maquette.verbs import study
from maquette.verbs.compare import Terms, heading, lede, meet
from maquette.verbs.study import Shown

PROGRAMME = Path(__file__).with_name("demo.yaml")


@dataclass(frozen=True, kw_only=True)
class Act(Config):
    """One comparison of the demonstration."""

    recipes: tuple[str, ...]
    data: str
    budget: str
    n: int
    overrides: tuple[str, ...] = ()


def demo(out: Path | str = "demo", budget: str | None = None, quiet: bool = False) -> Shown:
    """Run every comparison of `demo.yaml` and put them on one page, `out/report.html`.

    Args:
        budget: for each recipe of the first comparison, instead of what fits into a few minutes.
    """
    first, *others = programme()
    acts = [dataclasses.replace(first, budget=budget) if budget else first, *others]
    met = [
        meet(
            act.recipes,
            Path(out) / act.data,
            Terms(data=act.data, budget=act.budget, n=act.n, overrides=act.overrides, quiet=quiet),
        )
        for act in acts
    ]
    return study.show(Path(out), heading(len(first.recipes)), lede(met[0]), met)


def programme() -> list[Act]:
    """The comparisons of the demonstration, in order."""
    tree, lines = parse_yaml(PROGRAMME.read_text(encoding="utf-8"), PROGRAMME.name)
    return [Act.from_tree(act, f"[{i}]", lines) for i, act in enumerate(tree)]
