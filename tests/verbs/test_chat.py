"""A conversation, through Python and through the command with what is typed piped in."""

import io
import json
from pathlib import Path

import pytest

import maquette
from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.pipeline import load
from maquette.request import Request
from maquette.verbs.chat import Conversation
from tests.pipeline.talking import KINDS, saved

END, PROMPT, ANSWER = 0, 1, 2


@pytest.fixture(scope="module", params=list(KINDS))
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp(request.param), request.param, asks=True)


def talk(monkeypatch: pytest.MonkeyPatch, typed: str, *words: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    return main(["chat", *words])


def test_each_answer_is_given_what_was_said_before(bundle: Path) -> None:
    pipeline = load(bundle, "cpu")
    conversation = Conversation(pipeline, seed=3, max_tokens=5)
    first = "".join(conversation.ask("春"))
    second = "".join(conversation.ask("花"))
    assert first == pipeline.say(Request(prompt="春", seed=3, max_tokens=5))[0].text
    assert second == pipeline.say(Request(prompt="花", seed=4, max_tokens=5, history=(("春", first),)))[0].text
    assert conversation.turns == [("春", first), ("花", second)]
    conversation.begin_anew()
    third = "".join(conversation.ask("花"))
    assert third == pipeline.say(Request(prompt="花", seed=5, max_tokens=5))[0].text


def test_the_oldest_turns_fall_away_when_the_context_is_full(bundle: Path) -> None:
    conversation = Conversation(bundle, "cpu", max_tokens=6)
    for number in range(12):
        answer = "".join(conversation.ask("春眠不覺曉，處處"))
        assert conversation.turns[-1] == ("春眠不覺曉，處處", answer)
        assert conversation.forgotten + len(conversation.turns) == number + 1
    assert conversation.forgotten > 0
    before = list(conversation.turns)
    for question, code in (("春" * 100, "MQ-2121"), (" ", "MQ-2130")):
        with pytest.raises(MaquetteError, match=code):
            next(conversation.ask(question))
    assert conversation.turns == before


def test_what_is_typed_is_answered_line_by_line(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    typed = "春\n\n花\n/new\n春\n/quit\nnever\n"
    assert talk(monkeypatch, typed, str(bundle), "--max-tokens", "4", "--device", "cpu") == 0
    out, err = capsys.readouterr()
    conversation = Conversation(bundle, "cpu", max_tokens=4)
    expected = ["".join(conversation.ask("春")), "".join(conversation.ask("花"))]
    conversation.begin_anew()
    expected.append("".join(conversation.ask("春")))
    visible = "".join(c for c in "\n".join([*expected, ""]) if c == "\n" or c.isprintable())
    assert "".join(c for c in out if c == "\n" or (c.isprintable() and c != "\ufffd")) == visible.replace("\ufffd", "")
    assert "made by a model" in err and "/quit" in err
    assert not any(c < " " and c not in "\n\t" for c in out), "a control character reached the terminal"


def test_a_question_too_long_is_no_end(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert talk(monkeypatch, "春" * 100 + "\n春\n", str(bundle), "--max-tokens", "2") == 0
    out, err = capsys.readouterr()
    assert "MQ-2121" in err and "Traceback" not in err and out


def test_that_turns_fall_away_is_said_once(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert talk(monkeypatch, "春眠不覺曉\n" * 20, str(bundle), "--max-tokens", "5", "--top-k", "3") == 0
    assert capsys.readouterr().err.count("context is full") == 1


def test_bytes_that_are_no_text_are_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="utf-8"))
    assert main(["chat", str(bundle)]) == 2
    assert "MQ-2005" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--temperature", "nan"], ["--max-tokens", "0"], ["--top-p", "2"]], ids=" ".join)
def test_settings_that_cannot_be_are_refused_at_once(words: list[str], bundle: Path, monkeypatch, capsys) -> None:
    assert talk(monkeypatch, "春\n", str(bundle), *words) == 2
    assert "MQ-2002" in capsys.readouterr().err


def test_a_model_that_only_goes_on_does_not_answer(tmp_path: Path, monkeypatch, capsys) -> None:
    assert talk(monkeypatch, "hello\n", str(saved(tmp_path, "lstm"))) == 2
    out, err = capsys.readouterr()
    assert "MQ-2133" in err and "--prompt" in err and not out


def test_a_conversation_that_was_learnt_is_held(tmp_path: Path) -> None:
    """Whoever asks a letter is given its capital, and then how many were asked before it."""
    rows = []
    for i in range(60):
        letters = [chr(97 + (i * 7 + j * j + j) % 20) for j in range(3)]
        turns = [{"role": r, "content": c} for j, x in enumerate(letters)
                 for r, c in (("user", x), ("assistant", f"{x.upper()}{j}"))]  # fmt: skip
        rows.append(json.dumps({"messages": turns}))
    (tmp_path / "talks.jsonl").write_text("\n".join(rows))
    settings = [
        "medium.asks=true",
        "medium.length=32",
        "train.batch=16",
        "train.best=false",
        "train.samples=2",
        "train.precision=fp32",
    ]
    net = ["model.net.width=32", "model.net.depth=2", "model.net.heads=2"]
    source = str(tmp_path / "talks.jsonl")
    run = maquette.train("gpt-char", source, "250steps", tmp_path / "run", [*settings, *net], quiet=True)
    conversation = Conversation(run.path, "cpu", sampling={"top_k": 1})
    assert ["".join(conversation.ask(letter)) for letter in "cab"] == ["C0", "A1", "B2"]
