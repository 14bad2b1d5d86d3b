"""The command line: frozen verbs and options, quick help, mistakes in a few lines with the right exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from maquette import __version__
from maquette.cli import main as entry
from maquette.cli.commands import COMMANDS
from maquette.cli.main import main
from maquette.cli.parser import VERBS, parse
from maquette.core.errors import MaquetteError

FROZEN = {
    "advise": "--medium --examples --data --given --time --device",
    "plan": "RECIPE --data --budget --device key=value",
    "train": "RECIPE --data --from --budget --out --seed --device --quiet key=value",
    "resume": "RUN --budget --quiet",
    "sample": "RUN|BUNDLE? -n --prompt --seed --label --guidance --guidance-interval --solver --steps --temperature "
    "--eta --top-k --top-p --min-p --repetition --beams --max-tokens --stop --template --form --logprobs "
    "--interpolate --mix --image --manner --mask --gap --factor --blur --colour --strength --derive --back "
    "--opening --quarters --voice --transpose --clip --grid --out --like --keep-prompt --overwrite --visible --server "
    "--model --precision --compiled --device --quiet",
    "chat": "RUN|BUNDLE? --seed --temperature --top-k --top-p --min-p --repetition --max-tokens --stop "
    "--server --model --precision --compiled --device",
    "attention": "RUN|BUNDLE --prompt --out --device",
    "caption": "RUN|BUNDLE PICTURE… --device",
    "style": "CONTENT STYLE --features --strength --steps --size --out --overwrite --visible --device --quiet",
    "evaluate": "RUN -n --data --out --seed --guidance --solver --steps --temperature --inception "
    "--vggish --judge --exact --taught --precision --device --quiet",
    "compare": "RECIPE|RUN… --data --budget --seeds -n --out --device --quiet key=value",
    "tune": "RECIPE --data --trials --time --budget --space --seed -n --out --device --quiet key=value",
    "pipeline": "FILE --out --device --quiet",
    "average": "RUN|BUNDLE… --weights --out",
    "import": "FOLDER|hf:NAME --out key=value",
    "export": "RUN|BUNDLE --out",
    "serve": "RUN|BUNDLE…? --host --port --name --data-folder --database --key-file --rate --rules --producer "
    "--visible --memory --warm --queue --slots --workers --worker-memory --storage --keep --precision --device "
    "--studio --quiet",
    "keys": "create|list|revoke|audit NAME|ID? --scopes --days --last --data-folder --database",
    "recipes": "--tutorials",
    "run": "TUTORIAL --tiny --data --out",
    "diagram": "families|concepts --out",
    "new": "FOLDER --recipe",
    "show": "RECIPE key=value",
    "data": "check FOLDER --move-bad --recipe key=value",
    "env": "--check",
    "lr-find": "RECIPE --data --out --device key=value",
    "demo": "--out --budget --quiet",
}


def run(*words: str, **keywords) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "maquette", *words], capture_output=True, text=True, **keywords)


def test_verbs_and_options_are_frozen() -> None:
    """A new verb or option is a decision: change this table with it, and the documentation."""
    now = {
        name: " ".join([*verb.takes, *(option.flag for option in verb.options), *["key=value"] * verb.overrides])
        for name, verb in VERBS.items()
    }
    assert now == FROZEN
    assert COMMANDS.keys() == VERBS.keys()


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"], ["recipes"]], ids=" ".join)
def test_neither_torch_nor_numpy_is_imported(words: list[str]) -> None:
    script = f"""
import sys, json
from maquette.cli.main import main
try:
    main({words!r})
except SystemExit as end:
    assert not end.code
print(json.dumps([name for name in ("torch", "numpy", "rich", "jinja2") if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_help_names_every_verb_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    for words in [[]] + [[name] for name in VERBS]:
        with pytest.raises(SystemExit) as end:
            main([*words, "--help"])
        assert end.value.code == 0
        text = capsys.readouterr().out
        wanted = [option.flag for option in VERBS[words[0]].options] if words else list(VERBS)
        assert all(name in text for name in wanted)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"maquette {__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], "MQ-2112", "--help"),
        (["trian", "x"], "MQ-2111", "nearest: train"),
        (["--quite"], "MQ-2114", "--"),
        (["train"], "MQ-2110", "RECIPE"),
        (["train", "dcgan", "--bugdet", "3s"], "MQ-2114", "nearest: --budget"),
        (["train", "dcgan", "--bud=3s"], "MQ-2114", "nearest: --budget"),
        (["train", "dcgan", "--budget"], "MQ-2110", "--budget"),
        (["train", "dcgan", "dcgan2"], "MQ-2113", "dcgan2"),
        (["sample", "run", "model.net=mlp"], "MQ-2113", "model.net=mlp"),
        (["sample", "run", "--grids", "a.png"], "MQ-2114", "nearest: --grid"),
        (["data", "chekc", "x"], "MQ-2111", "data check"),
        (["compare", "dcgan", "--seeds", "0,a"], "MQ-2002", "--seeds"),
        (["compare", "dcgan", "--seeds", "-1"], "MQ-2002", "--seeds"),
        (["train", "dcgan", "--seed", "1.5"], "MQ-2002", "--seed"),
        (["train", "dcgan", "--seed", "-1"], "MQ-2002", "0 or more"),
        (["keys", "create"], "MQ-2110", "keys create takes a name"),
        (["keys", "list", "me"], "MQ-2110", "keys list takes nothing else"),
    ],
)
def test_misspelt_commands(words: list[str], code: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert code in err and said in err
    assert len(err.splitlines()) <= 3 and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian", "x"], "最接近的是 train"),
        (["train"], "缺少 RECIPE"),
        (["train", "dcgan", "--budget"], "--budget: 后面需要一个值"),
        (["train", "dcgan", "--budget", "10 parsecs"], "2000steps、90s、10min、1h 或 5epochs 的形式"),
        (["train", "dcgn"], "最接近的是 'dcgan'"),
        (["train", "dcgan", "model.latent=abc"], "应为 整数"),
    ],
)
def test_misspelt_commands_in_chinese(words: list[str], said: str, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MAQUETTE_LANG", "zh")
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err and "nearest" not in err


def test_overrides_may_stand_between_options() -> None:
    asked = parse(["train", "dcgan", "a.b=1", "--seed=3", "c=2"])
    assert (asked.RECIPE, asked.overrides, asked.seed) == ("dcgan", ["a.b=1", "c=2"], "3")


def test_interpolate_needs_no_number() -> None:
    assert parse(["sample", "run", "--interpolate", "--grid", "a.png"]).interpolate == "8"
    assert parse(["sample", "run", "--interpolate", "3"]).interpolate == "3"
    assert parse(["sample", "run"]).interpolate is None


def test_stop_strings_are_collected() -> None:
    assert parse(["sample", "run", "--stop", "a", "--stop", "b,c"]).stop == ["a", "b,c"]
    assert parse(["sample", "run"]).stop == [] and parse(["chat", "run"]).stop == []


# -- what goes wrong inside -------------------------------------------------------------------------------------------


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def work(asked) -> None:
        raise error

    monkeypatch.setitem(COMMANDS, "env", work)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (MaquetteError("MQ-2006", name="x", near=""), 2),
        (MaquetteError("MQ-3001", "a.png", reason="cut"), 3),
        (MaquetteError("MQ-4001", "run", holder="process 1"), 4),
        (MaquetteError("MQ-5004", "run"), 5),
        (MaquetteError("MQ-6001", step=1, what="loss", player="model"), 6),
        (MaquetteError("MQ-7030", "run"), 7),
        (MaquetteError("MQ-8001", "run", reason="x"), 8),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(
    error: BaseException, exit_code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, error)
    assert main(["env"]) == exit_code
    assert "Traceback" not in capsys.readouterr().err


def test_a_signal_keeps_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, SystemExit(143))
    with pytest.raises(SystemExit) as end:
        main(["env"])
    assert end.value.code == 143


def test_a_fault_of_ours_is_short_and_leaves_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fail_with(monkeypatch, ZeroDivisionError("oh"))
    assert main(["env"]) == 1
    err = capsys.readouterr().err
    (report,) = tmp_path.iterdir()
    assert "MQ-1001" in err and "ZeroDivisionError: oh" in err and str(report) in err and "Traceback" not in err
    assert "Traceback" in report.read_text() and "ZeroDivisionError" in report.read_text()
    with pytest.raises(ZeroDivisionError):
        main(["env", "--debug"])


def test_debug_shows_the_traceback_of_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "no-such-recipe", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"{sys.executable} -m maquette show --help | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


def test_messages_in_chinese(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MAQUETTE_LANG", "zh")
    assert main(["trian"]) == 2
    assert "没有名为" in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    done = run("env", "--quite", env=os.environ | {"PYTHONPATH": str(Path(entry.__file__).parents[2])})
    assert done.returncode == 2 and "MQ-2114" in done.stderr
