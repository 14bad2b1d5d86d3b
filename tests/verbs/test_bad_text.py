"""Text that is none, or too much of it, through the real command: one sentence, nothing half-written, little memory."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from maquette.cli.main import main
from tests.pipeline.talking import saved

TINY = ["medium.length=32", "train.batch=4", "train.samples=1", "model.width=16"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.txt", b"caf\xe9 au lait", "not UTF-8 text (byte 3)"),
        ("a.txt", "曉".encode()[:2], "not UTF-8 text (byte 0)"),
        ("a.txt", b"", "it is empty"),
        ("a.txt", b" \n\n\t", "it is empty"),
        ("a.jsonl", b'{"text": "caf\xe9"}', "not UTF-8 text"),
        ("a.jsonl", b"", "it has no column"),
        ("a.jsonl", b'{"text": "half', "JSON"),
        ("a.jsonl", b'{"text": "' + b"a" * (17 << 20) + b'"}', "longer than 16 MB"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_files_that_are_no_text_are_refused(name: str, data: bytes, said: str, tmp_path: Path, capsys) -> None:
    (tmp_path / name).write_bytes(data)
    assert main(["train", "lstm-char", "--data", str(tmp_path / name), "--out", str(tmp_path / "run"), *TINY]) in (2, 3)
    out, err = capsys.readouterr()
    assert said in err and "Traceback" not in err and not out and len(err.splitlines()) <= 3
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "said", "todo"),
    [
        ("abcde", "only 5 tokens to learn from, and one window of the context takes 32", "medium.length=5"),
        ("abc", "only 3 tokens", "bring more text\n"),
    ],
)
def test_a_text_that_fills_no_window_is_refused(text: str, said: str, todo: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "a.txt").write_text(text)
    train = ["train", "lstm-char", "--data", str(tmp_path / "a.txt"), "--budget", "1steps", *TINY]
    assert main([*train, "--out", str(tmp_path / "run")]) == 3
    out, err = capsys.readouterr()
    assert "MQ-3018" in err and said in err and todo in err and not out and not (tmp_path / "run").exists()
    if "=" in todo:
        assert main([*train, "--out", str(tmp_path / "run"), todo]) == 0, "what is advised can be done"
        assert "warning[MQ-3019]" in capsys.readouterr().err


def test_a_text_of_few_windows_is_learnt_with_a_warning(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "a.txt").write_text("the cat sat on the mat, and the dog did not. " * 2)
    train = ["train", "lstm-char", "--data", str(tmp_path / "a.txt"), "--budget", "1steps", *TINY, "--quiet"]
    assert main([*train, "--out", str(tmp_path / "few")]) == 0
    err = capsys.readouterr().err
    assert (
        "warning[MQ-3019]" in err
        and "only 90 tokens to learn from, in 3 windows of at most 32, fewer than the 4" in err
    )
    monkeypatch.setenv("MAQUETTE_LANG", "zh")
    assert main([*train, "--out", str(tmp_path / "few-zh")]) == 0
    assert "可供学习的只有 90 个词元，共 3 个窗口" in capsys.readouterr().err
    (tmp_path / "a.txt").write_text("the cat sat on the mat, and the dog did not. " * 9)
    assert main([*train, "--out", str(tmp_path / "enough")]) == 0
    assert capsys.readouterr().err == ""


def test_one_bad_file_among_many_is_named_and_left_out(tmp_path: Path, capsys) -> None:
    for i in range(30):
        (tmp_path / f"{i}.txt").write_text(f"good text number {i}. " * 20)
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    train = ["train", "lstm-char", "--data", str(tmp_path), "--budget", "1steps", "--quiet", *TINY]
    assert main([*train, "--out", str(tmp_path / "run")]) == 3
    assert "bad.txt" in capsys.readouterr().err
    train.remove("--quiet")
    assert main([*train, "--out", str(tmp_path / "run"), "data.max_bad=0.1"]) == 0
    said = capsys.readouterr().err
    assert re.match(r"\d+ samples to learn from, \d+ held out; left out: 1 that cannot be read", said)
    assert "bad.txt" in (tmp_path / "run" / "recipe.json").read_text()


@pytest.mark.parametrize("prompt", ["\U0001f389 Ωμέγα \u202e", "", " ", "\x00", "ab\udce9"])
def test_any_prompt_can_be_gone_on_with(prompt: str, tmp_path: Path, capsys) -> None:
    """Characters that the vocabulary has not are bytes; half a character, as a shell may pass, is shown as such."""
    assert main(["sample", str(saved(tmp_path, "lstm")), "--prompt", prompt, "--max-tokens", "3"]) == 0
    assert capsys.readouterr().out.startswith(prompt.replace("\udce9", "\ufffd"))


@pytest.mark.slow
def test_one_line_of_200_megabytes_is_learnt_from_in_little_memory(tmp_path: Path) -> None:
    with open(tmp_path / "line.txt", "wb") as file:
        for _ in range(200):
            file.write(b"one and the same line " * 47_662)
    script = (
        "import resource, sys\n"
        "from maquette.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
        "sys.exit(code)"
    )
    words = ["train", "lstm-char", "--data", str(tmp_path / "line.txt"), "--out", str(tmp_path / "run"), "--quiet"]
    settings = ["medium.length=512", "train.batch=4", "train.samples=1", "model.width=16", "train.validate_every=1"]
    environment = os.environ | {"MAQUETTE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", script, *words, "--budget", "1steps", *settings],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 1000, "megabytes"


@pytest.mark.parametrize("name", ["a.txt", "notes/a.md"])
def test_text_is_looked_over_as_text_without_a_recipe(name: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("good text " * 50)
    place = path if name == "a.txt" else tmp_path
    assert main(["data", "check", str(place)]) == 0
    assert "1" in capsys.readouterr().out
    path.write_bytes(b"\xff")
    assert main(["data", "check", str(place)]) == 3
    assert "not UTF-8" in "".join(capsys.readouterr())
