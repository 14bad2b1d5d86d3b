"""Maquette: every family of generative model makes every medium from your own files.

The verbs are `advise`, `plan`, `check_data`, `lr_find`, `train`, `resume`, `sample`, `evaluate`, `compare`, `tune`,
`cooperate`, `demo`, `attention`, `average`, `caption`, `style`, `import_model`, `export_model`, `recipes`, `show`,
`env`, `serve`, `create_key`, `list_keys` and `revoke_key`; `load` opens a run or a bundle as a `Pipeline`, which
answers a `Request`, and a `Conversation` talks with one that answers. They are imported when first used, so that
`import maquette` and `maquette --help` do not wait for torch.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Conversation": "verbs.chat",
    "MaquetteError": "core.errors",
    "Pipeline": "pipeline",
    "Request": "pipeline",
    "advise": "verbs.advise",
    "attention": "verbs.attention",
    "average": "verbs.average",
    "caption": "verbs.caption",
    "check_data": "verbs.data",
    "compare": "verbs.compare",
    "cooperate": "verbs.cooperation",
    "create_key": "verbs.keys",
    "demo": "verbs.demo",
    "env": "verbs.env",
    "evaluate": "verbs.evaluate",
    "export_model": "verbs.exchange",
    "import_model": "verbs.exchange",
    "list_keys": "verbs.keys",
    "load": "pipeline",
    "lr_find": "verbs.lr_find",
    "plan": "verbs.plan",
    "recipes": "verbs.recipes",
    "resume": "verbs.train",
    "revoke_key": "verbs.keys",
    "sample": "verbs.sample",
    "serve": "verbs.serve",
    "show": "verbs.recipes",
    "style": "verbs.style",
    "train": "verbs.train",
    "tune": "verbs.tune",
}
"""Public name -> the module it lives in."""

__all__ = [
    "Conversation",
    "MaquetteError",
    "Pipeline",
    "Request",
    "__version__",
    "advise",
    "attention",
    "average",
    "caption",
    "check_data",
    "compare",
    "cooperate",
    "create_key",
    "demo",
    "env",
    "evaluate",
    "export_model",
    "import_model",
    "list_keys",
    "load",
    "lr_find",
    "plan",
    "recipes",
    "resume",
    "revoke_key",
    "sample",
    "serve",
    "show",
    "style",
    "train",
    "tune",
]

if TYPE_CHECKING:
    from maquette.core.errors import MaquetteError
    from maquette.pipeline import Pipeline, Request, load
    from maquette.verbs.advise import advise
    from maquette.verbs.attention import attention
    from maquette.verbs.average import average
    from maquette.verbs.caption import caption
    from maquette.verbs.chat import Conversation
    from maquette.verbs.compare import compare
    from maquette.verbs.cooperation import cooperate
    from maquette.verbs.data import check_data
    from maquette.verbs.demo import demo
    from maquette.verbs.env import env
    from maquette.verbs.evaluate import evaluate
    from maquette.verbs.exchange import export_model, import_model
    from maquette.verbs.keys import create_key, list_keys, revoke_key
    from maquette.verbs.lr_find import lr_find
    from maquette.verbs.plan import plan
    from maquette.verbs.recipes import recipes, show
    from maquette.verbs.sample import sample
    from maquette.verbs.serve import serve
    from maquette.verbs.style import style
    from maquette.verbs.train import resume, train
    from maquette.verbs.tune import tune


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'maquette' has no attribute {name!r}")
    return getattr(import_module(f"maquette.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _VerbPackage(ModuleType):
    """A package with a verb's name: `maquette.train.loop` is a module of it, `maquette.train(…)` is the verb."""

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return __getattr__(self.__name__.rpartition(".")[2])(*args, **keywords)


for _name in ("train", "evaluate"):
    import_module(f"maquette.{_name}").__class__ = _VerbPackage
