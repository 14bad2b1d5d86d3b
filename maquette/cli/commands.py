"""One function per verb: its words to a verb's arguments, and what the verb made to stdout."""

import json
import os
import sys
import unicodedata
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maquette.core.config import parse_yaml
from maquette.core.errors import MaquetteError, Phrase, Sentence, told

if TYPE_CHECKING:
    from maquette.verbs.chat import Conversation
    from maquette.verbs.remote import Talk


def advise(asked: Namespace) -> None:
    examples = _number(asked.examples, "--examples")
    from maquette.verbs.advise import advise

    found = advise(asked.medium, examples, asked.time, asked.device, asked.data, asked.given)
    print("\n".join(map(told, found.lines())))


def plan(asked: Namespace) -> None:
    from maquette.verbs.plan import plan

    found = plan(asked.RECIPE, asked.data, asked.budget, asked.overrides, asked.device)
    print("\n".join(map(told, found.lines())))


def train(asked: Namespace) -> None:
    seed = _number(asked.seed, "--seed")  # before torch is imported: a mistake is told at once
    from maquette.verbs.train import train

    run = train(
        asked.RECIPE, asked.data, asked.budget, asked.out, asked.overrides, seed, asked.device, asked.quiet,
        getattr(asked, "from"),
    )  # fmt: skip
    _print_all([run.path])


def resume(asked: Namespace) -> None:
    from maquette.verbs.train import resume

    _print_all([resume(asked.RUN, asked.budget, asked.quiet).path])


def sample(asked: Namespace) -> None:
    if _elsewhere(asked):
        return _sample_elsewhere(asked)
    if asked.like is not None:  # what is not said is as that file says
        usual = _usual("sample")
        asked = Namespace(**{name: None if text == usual.get(name) else text for name, text in vars(asked).items()})
        asked.device, asked.precision = asked.device or usual["device"], asked.precision or usual["precision"]
    from maquette.media.base import foretells
    from maquette.pipeline import load
    from maquette.verbs.sample import sample

    how = _chosen(asked, "steps", "temperature", "eta", "strength", "top_k", "top_p", "min_p", "repetition", "beams")
    pipeline = load(getattr(asked, "RUN|BUNDLE"), asked.device, asked.precision, asked.compiled)
    spoken = pipeline.medium.talks and not (asked.out or asked.grid)
    between_texts = pipeline.medium.talks and asked.interpolate is not None
    if between_texts and "top_k" not in how:
        how["top_k"] = 1  # so that nothing but their codes changes on the way
    begun = asked.image and (pipeline.model.beside.image or foretells(pipeline.medium))
    usual = 2 if between_texts else 1 if spoken else None if begun or asked.like else 16
    label = asked.label.split(",") if asked.label and "," in asked.label else asked.label
    made = sample(
        pipeline,
        out=asked.out or (None if asked.grid or asked.clip or spoken else "samples"),
        grid=asked.grid,
        visible=asked.visible or "",
        clip=asked.clip,
        transpose=_value(asked.transpose) or 0,
        quiet=asked.quiet,
        overwrite=asked.overwrite,
        numbered=not asked.out,
        n=_value(asked.n) if asked.n is not None else usual,
        seed=_value(asked.seed),
        label=label,
        guidance=_value(asked.guidance),
        guidance_interval=[_value(word) for word in asked.guidance_interval.split(",")]
        if asked.guidance_interval
        else None,
        sampling=how | ({"solver": asked.solver} if asked.solver else {}),
        between=_value(asked.interpolate),
        mix=_value(asked.mix),
        prompt=asked.prompt,
        max_tokens=_value(asked.max_tokens),
        stop=asked.stop,
        template=asked.template,
        form=asked.form,
        likeliest=_value(asked.logprobs),
        image=asked.image or None,
        manner=asked.manner or None,
        mask=asked.mask,
        gap=asked.gap,
        factor=_value(asked.factor),
        derive=asked.derive,
        back=asked.back,
        blur=_value(asked.blur),
        colour=asked.colour,
        opening=asked.opening,
        quarters=_value(asked.quarters),
        voice=asked.voice or None,
        keep_prompt=asked.keep_prompt,
        like=asked.like,
    )
    for warning in made.warnings:
        _say(warning.render().replace("error[", "warning[", 1))
    if asked.logprobs is not None and made.said:
        for number, said in enumerate(made.said):
            print(json.dumps({"sample": number} | said.tree(), ensure_ascii=False, allow_nan=False))
    elif spoken:
        print(f"\n\n{'-' * 40}\n\n".join(said.text for said in made.said))
    else:
        _print_all(made.paths)
    if asked.like and asked.out:
        same = made.paths[0].read_bytes() == Path(asked.like).read_bytes()
        _say(f"{made.paths[0]} is {'the same file, byte for byte' if same else 'not the same file'}")
    if asked.form is not None:
        from maquette.verbs.verse import verse

        poems = [said.text.removeprefix(asked.prompt or "") for said in made.said]
        _say(verse(getattr(asked, "RUN|BUNDLE"), poems, asked.form))


def _elsewhere(asked: Namespace) -> bool:
    """Whether a server is asked, and no run here; raises MQ-2105 when it is both or neither.

    MAQUETTE_SERVER and MAQUETTE_MODEL stand for `--server` and `--model` where neither a run nor a server is named.
    """
    if getattr(asked, "RUN|BUNDLE") is None:
        asked.server = asked.server or os.environ.get("MAQUETTE_SERVER") or None
        asked.model = asked.model or (asked.server and os.environ.get("MAQUETTE_MODEL")) or None
    if (asked.server is None) == (getattr(asked, "RUN|BUNDLE") is None):
        raise MaquetteError("MQ-2105", first=asked.verb, second="either RUN|BUNDLE or --server URL")
    if asked.model is not None and asked.server is None:
        raise MaquetteError("MQ-2105", first="--model", second="--server URL")
    return asked.server is not None


SENT = {
    "sample": "n prompt seed label guidance solver steps temperature eta top_k top_p min_p repetition max_tokens stop "
    "out overwrite keep_prompt",
    "chat": "seed temperature top_k top_p min_p repetition max_tokens stop",
}
"""The options that a server is told, or that say what becomes of its answer."""


def _sent(asked: Namespace) -> dict[str, Any]:
    """The fields of a request to a server; an option that no server is told is refused."""
    from maquette.cli.parser import VERBS

    known = {*SENT[asked.verb].split(), "server", "model", "precision", "device", "quiet"}
    for option in VERBS[asked.verb].options:
        name = option.flag.strip("-").replace("-", "_")
        if name not in known and getattr(asked, name) not in (option.default, None, False, []):
            raise MaquetteError("MQ-2105", option.flag, first=option.flag, second="a run on this machine")
    plain = {"n", "seed", "label", "max_tokens", "guidance", "steps", "temperature", "eta", *SENT["chat"].split()}
    usual = _usual(asked.verb)
    told = {name: getattr(asked, name, None) for name in sorted(plain | {"solver", "keep_prompt"}) if name in usual}
    kept = {name: text for name, text in told.items() if text not in (None, [], False) and text != usual[name]}
    words = ("label", "solver", "stop", "keep_prompt")
    return {name: text if name in words else _value(text) for name, text in kept.items()}


def _usual(verb: str) -> dict[str, Any]:
    """What the options of a verb are where nothing is said."""
    from maquette.cli.parser import VERBS

    return {option.flag.strip("-").replace("-", "_"): option.default for option in VERBS[verb].options}


def _sample_elsewhere(asked: Namespace) -> None:
    more = _sent(asked) | {"seed": _number(asked.seed, "--seed") or 0}
    more |= {"n": _number(asked.n, "-n")} if asked.n is not None else {}
    from maquette.verbs.remote import Remote, write

    remote = Remote(asked.server, asked.model or "")
    more["seed"] = _value(asked.seed)
    if (medium := remote.about().get("medium", "text")) != "text":
        made = remote.files(medium, asked.prompt or "", **more)
        _print_all(write(made, asked.out or "samples", more["seed"], asked.overwrite, not asked.out))
        return
    for piece in remote.complete(asked.prompt or "", **more):
        print(_harmless(piece), end="", flush=True)
    print()


def chat(asked: Namespace) -> None:
    talk: Any
    if _elsewhere(asked):
        more = _sent(asked)
        from maquette.verbs.remote import Remote, Talk

        talk = Talk(Remote(asked.server, asked.model or ""), **more)
    else:
        from maquette.pipeline import load
        from maquette.verbs.chat import Conversation

        how = _chosen(asked, "temperature", "top_k", "top_p", "min_p", "repetition")
        given = {
            "seed": _value(asked.seed),
            "max_tokens": _value(asked.max_tokens),
            "stop": asked.stop,
            "sampling": how,
        }
        talk = Conversation(load(getattr(asked, "RUN|BUNDLE"), asked.device, asked.precision, asked.compiled), **given)
    said = "The answers are made by a model. /new begins anew, /quit or Ctrl-D ends."
    _say(Sentence(said, "回答由模型生成。输入 /new 重新开始，输入 /quit 或按 Ctrl-D 结束。"))
    for line in _lines():
        if line.strip() == "/quit":
            break
        if line.strip() == "/new":
            talk.begin_anew()
        elif line.strip():
            _answer(talk, line.strip())


def _answer(talk: "Conversation | Talk", question: str) -> None:
    """The answer as it comes; a question that cannot be asked is no end of the conversation."""
    forgotten = talk.forgotten
    try:
        print("AI: " if sys.stdout.isatty() else "", end="")  # who speaks is told all along, not once
        for piece in talk.ask(question):
            print(_harmless(piece), end="", flush=True)
        print(flush=True)
    except MaquetteError as mistake:
        _say(mistake.render())
    if talk.forgotten and not forgotten:
        said = "The context is full: from now on the oldest turns fall away."
        _say(Sentence(said, "上下文已满：从现在起，最早的对话会被略去。"))


def _harmless(text: str) -> str:
    """`text` without control characters: what a model says must not steer the terminal."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\ufffd" for c in text)


def _lines() -> Iterator[str]:
    """What is typed, after a sign where a person sits there, or piped."""
    try:
        while True:
            yield input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return
    except UnicodeDecodeError as bad:
        raise MaquetteError("MQ-2005", "stdin", format="UTF-8 text", reason=f"byte {bad.start}") from None


def attention(asked: Namespace) -> None:
    if not asked.prompt:
        raise MaquetteError("MQ-2105", first="attention", second="--prompt TEXT")
    from maquette.verbs.attention import attention

    _print_all([attention(getattr(asked, "RUN|BUNDLE"), asked.prompt, asked.out, asked.device)])


def caption(asked: Namespace) -> None:
    from maquette.verbs.caption import caption

    for path, said in caption(getattr(asked, "RUN|BUNDLE"), asked.PICTURE, asked.device).items():
        print(f"{path}\t{_harmless(said)}")


def style(asked: Namespace) -> None:
    if not asked.features:
        raise MaquetteError("MQ-2105", first="style", second="--features RUN|FILE")
    steps, size, strength = _number(asked.steps, "--steps"), _number(asked.size, "--size"), _value(asked.strength)
    if not isinstance(strength, int | float) or isinstance(strength, bool) or not 0 <= strength < float("inf"):
        raise MaquetteError("MQ-2002", path="--strength", wanted="0 or a positive number", value=repr(asked.strength))
    from maquette.verbs.style import style

    made = style(
        asked.CONTENT, asked.STYLE, asked.features, asked.out, float(strength), steps or 0, size or 0, asked.device,
        asked.visible or "", asked.quiet, asked.overwrite,
    )  # fmt: skip
    _print_all([made])


def evaluate(asked: Namespace) -> None:
    n, seed = _number(asked.n, "-n"), _number(asked.seed, "--seed")
    from maquette.verbs.evaluate import evaluate

    how = _chosen(asked, "steps", "temperature") | ({"solver": asked.solver} if asked.solver else {})
    made = evaluate(
        asked.RUN, n, asked.data, asked.out, seed, asked.device, asked.inception, precision=asked.precision,
        exact=asked.exact, judge=asked.judge, quiet=asked.quiet, taught=asked.taught, vggish=asked.vggish,
        drawn=_chosen(asked, "guidance") | ({"sampling": how} if how else {}),
    )  # fmt: skip
    _say(made.table)
    _print_all(made.paths)


def compare(asked: Namespace) -> None:
    seeds, n = _numbers(asked.seeds, "--seeds"), _number(asked.n, "-n")
    words = getattr(asked, "RECIPE|RUN")
    from maquette.verbs.compare import compare

    made = compare(
        [word for word in words if "=" not in word],
        data=asked.data,
        budget=asked.budget,
        out=asked.out,
        seeds=seeds,
        n=n,
        overrides=[word for word in words if "=" in word] + asked.overrides,
        device=asked.device,
        quiet=asked.quiet,
    )
    _say(made.table)
    _print_all(made.paths)


def tune(asked: Namespace) -> None:
    trials, seed, n = _number(asked.trials, "--trials"), _number(asked.seed, "--seed"), _number(asked.n, "-n")
    from maquette.verbs.tune import tune

    tuned = tune(
        asked.RECIPE, asked.data, trials or 0, asked.time, asked.budget, asked.out, asked.space, asked.overrides,
        seed or 0, n, asked.device, asked.quiet,
    )  # fmt: skip
    _say(tuned.shown.table)
    _print_all(tuned.shown.paths)


def pipeline(asked: Namespace) -> None:
    from maquette.verbs.cooperation import cooperate

    made = cooperate(asked.FILE, asked.out, asked.device, asked.quiet)
    _say(made.table)
    _print_all(made.paths)


def average(asked: Namespace) -> None:
    weights = None if asked.weights is None else [_value(word) for word in asked.weights.split(",")]
    if weights and not all(isinstance(n, int | float) for n in weights):
        raise MaquetteError("MQ-2002", path="--weights", wanted="numbers, with commas", value=repr(asked.weights))
    from maquette.verbs.average import average

    _print_all([average(getattr(asked, "RUN|BUNDLE"), asked.out, weights)])


def import_model(asked: Namespace) -> None:
    from maquette.core.files import read_json
    from maquette.verbs.exchange import import_model

    path = import_model(getattr(asked, "FOLDER|hf:NAME"), asked.out, asked.overrides)
    kind = f"model.kind={read_json(path / 'config.json')['model']['kind']}"
    _say(Sentence(f"taken over with {kind}", f"已接收，{kind}"))
    _print_all([path])


def export_model(asked: Namespace) -> None:
    from maquette.verbs.exchange import export_model

    _print_all([export_model(getattr(asked, "RUN|BUNDLE"), asked.out)])


def serve(asked: Namespace) -> None:
    port, rate = _number(asked.port, "--port"), _number(asked.rate, "--rate")
    queue, slots = _number(asked.queue, "--queue"), _number(asked.slots, "--slots")
    workers = _number(asked.workers, "--workers")
    memory, worker_memory, storage = (_amount(asked, name, "GiB") for name in ("memory", "worker_memory", "storage"))
    keep = _amount(asked, "keep", "days")
    from maquette.verbs.serve import serve

    serve(
        getattr(asked, "RUN|BUNDLE"),
        host=asked.host,
        port=port or 0,
        names=tuple(asked.name),
        data_folder=asked.data_folder,
        database=asked.database,
        key_file=asked.key_file,
        rate=rate or 0,
        rules=asked.rules,
        producer=asked.producer or "",
        visible=asked.visible or "",
        memory=memory,
        warm=asked.warm,
        queue=queue or 0,
        slots=slots or 0,
        workers=workers or 0,
        worker_memory=worker_memory,
        storage=storage or 0.0,
        keep=keep or 0.0,
        precision=asked.precision,
        device=asked.device,
        studio=asked.studio,
        quiet=asked.quiet,
        say=_say,
    )


def _amount(asked: Namespace, name: str, unit: str) -> float | None:
    """The option `name` as a number above 0; None where it was not given."""
    value = _value(getattr(asked, name))
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e9:
        flag = f"--{name.replace('_', '-')}"
        raise MaquetteError("MQ-2002", path=flag, wanted=f"a number of {unit}", value=repr(getattr(asked, name)))
    return float(value)


def keys(asked: Namespace) -> None:
    what, name = getattr(asked, "create|list|revoke|audit"), getattr(asked, "NAME|ID")
    days, last = _number(asked.days, "--days"), _number(asked.last, "--last")
    if what not in ("create", "list", "revoke", "audit"):
        raise MaquetteError(
            "MQ-2111", verb=f"keys {what}", near="one of keys create, keys list, keys revoke, keys audit"
        )
    if what != "audit" and (name is None) != (what == "list"):
        wanted = {"create": ("a name", "名称"), "revoke": ("an id", "编号"), "list": ("nothing else", "空")}[what]
        reason = Phrase(f"keys {what} takes {wanted[0]}", f"keys {what} 后面应为{wanted[1]}")
        raise MaquetteError("MQ-2110", reason=reason, prog="maquette keys")
    from maquette.verbs import keys

    if what == "create":
        secret, row = keys.create_key(name, asked.scopes.split(","), days, asked.data_folder, asked.database)
        _say(Sentence(f"key {row.id}, shown this once:", f"密钥 {row.id}，仅显示这一次："))
        print(secret)
    elif what == "list":
        print("\n".join(keys.table(keys.list_keys(asked.data_folder, asked.database))))
    elif what == "audit":
        print("\n".join(keys.lines(keys.audited(name, last or 0, asked.data_folder, asked.database))))
    else:
        print(keys.revoke_key(name, asked.data_folder, asked.database).id)


def recipes(asked: Namespace) -> None:
    if asked.tutorials:
        from maquette.cli.lessons import listed

        print(listed())
        return
    from maquette.verbs.recipes import recipes

    for recipe in recipes():
        print(f"{recipe.name:<24} {recipe.about.partition(chr(10))[0]}")


def run(asked: Namespace) -> int:
    from maquette.cli.lessons import run

    return run(asked.TUTORIAL, Path(asked.out) if asked.out else None, asked.data, asked.tiny)


def diagram(asked: Namespace) -> None:
    from maquette.verbs.diagram import diagram

    _print_all([diagram(getattr(asked, "families|concepts"), asked.out)])


def new(asked: Namespace) -> None:
    from maquette.verbs.new import new

    _print_all([new(asked.FOLDER, asked.recipe)])


def show(asked: Namespace) -> None:
    from maquette.verbs.recipes import show

    print(show(asked.RECIPE, asked.overrides))


def data(asked: Namespace) -> int:
    if asked.check != "check":
        raise MaquetteError(
            "MQ-2111", verb=f"data {asked.check}", near=Phrase("nearest: data check", "最接近的是 data check")
        )
    from maquette.verbs.data import check_data

    found = check_data(asked.FOLDER, asked.recipe, asked.overrides, asked.move_bad)
    print("\n".join(map(told, found.lines())))
    return 0 if found.good else 3


def env(asked: Namespace) -> None:
    from maquette.verbs.env import check, env

    if asked.check:
        check()
    for name, value in env().items():
        print(f"{name:<16} {value}")
    if asked.check:
        print("环境搭建成功 (everything that is needed is there)")


def lr_find(asked: Namespace) -> None:
    from maquette.verbs.lr_find import lr_find

    for player, rate in lr_find(asked.RECIPE, asked.data, asked.overrides, asked.device, asked.out).items():
        print(f"train.optimizers.{player}.lr={rate:.3g}")
    if asked.out:
        print(asked.out)


def demo(asked: Namespace) -> None:
    from maquette.verbs.demo import demo

    made = demo(asked.out, asked.budget, asked.quiet)
    _say(made.table)
    _print_all(made.paths)


COMMANDS: dict[str, Callable[[Namespace], int | None]] = {
    "advise": advise,
    "plan": plan,
    "train": train,
    "resume": resume,
    "sample": sample,
    "chat": chat,
    "attention": attention,
    "caption": caption,
    "style": style,
    "evaluate": evaluate,
    "compare": compare,
    "tune": tune,
    "pipeline": pipeline,
    "average": average,
    "import": import_model,
    "export": export_model,
    "serve": serve,
    "keys": keys,
    "recipes": recipes,
    "run": run,
    "diagram": diagram,
    "new": new,
    "show": show,
    "data": data,
    "env": env,
    "lr-find": lr_find,
    "demo": demo,
}


def _chosen(asked: Namespace, *names: str) -> dict[str, Any]:
    """The numbers that were given for these options."""
    return {name: _value(text) for name in names if (text := getattr(asked, name)) is not None}


def _value(text: str | None) -> Any:
    """A number if it reads as one; what it should be is for the request's own reader to say."""
    return None if text is None else parse_yaml(text, "the command line")[0]


def _number(text: str | None, flag: str) -> int | None:
    if text is None:
        return None
    value = _value(text)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise MaquetteError(
            "MQ-2002", path=flag, wanted=Phrase("a whole number, 0 or more", "不小于 0 的整数"), value=repr(text)
        )
    return value


def _numbers(text: str, flag: str) -> list[int]:
    return [number for word in text.split(",") if (number := _number(word, flag)) is not None]


def _say(text: str) -> None:
    print(told(text), file=sys.stderr)


def _print_all(paths: list[Path]) -> None:
    if os.environ.get("RANK", "0") == "0":  # torchrun starts one process a rank; one of them tells
        print("\n".join(map(str, paths)))
