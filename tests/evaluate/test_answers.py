"""Answers to unseen questions: scores by hand and against sacreBLEU, the simpler ways, and what a known model gets."""

import doctest
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sacrebleu

import maquette
from maquette.core.errors import MaquetteError
from maquette.data.dataset import Dataset, Split
from maquette.data.source import Data, open_data
from maquette.evaluate import answers, bag
from maquette.evaluate.evaluate import evaluate
from maquette.evaluate.scores import rouge
from maquette.evaluate.scores.rouge import longest_common, rouge_l
from maquette.evaluate.words import traits
from maquette.media import text
from maquette.models import lstm
from maquette.pipeline import Request
from tests.evaluate.made import known, pipeline

MEDIUM = text.Config(tokenizer="byte", length=63, asks=True)
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def spoken(number: int) -> str:
    """What the made data teach: digits in words."""
    return " ".join(NUMBERS[int(digit)] for digit in str(number))


# -- ROUGE-L ----------------------------------------------------------------------------------------------------------


def test_rouge_l_by_hand() -> None:
    """Lin's own example: three of four words in order, and two of four."""
    reference = ["police killed the gunman"]
    assert rouge_l("police kill the gunman", reference) == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", reference) == pytest.approx(0.5)
    assert rouge_l("Police killed the gunman.", reference) == 1  # as rouge-score: lower case, letters and digits
    assert rouge_l("the gunman", reference) == pytest.approx(2 * 2 / (2 + 4))
    assert rouge_l("", reference) == rouge_l("words", ["!"]) == 0


def test_rouge_l_of_chinese_goes_by_characters_and_takes_the_best_reference() -> None:
    assert rouge_l("我很好", ["我不好"]) == pytest.approx(2 / 3)
    assert rouge_l("我很好", ["你呢", "我不好", "好"]) == pytest.approx(2 / 3)


def test_longest_common_subsequence_is_the_longest() -> None:
    """Against all subsequences of short words over a small alphabet."""
    draw = np.random.default_rng(0)
    for _ in range(50):
        a, b = ("".join(draw.choice(list("ab"), size=draw.integers(0, 7))) for _ in range(2))
        parts = lambda s: {"".join(c for i, c in enumerate(s) if m >> i & 1) for m in range(1 << len(s))}  # noqa: E731
        assert longest_common(a, b) == max(map(len, parts(a) & parts(b)))


# -- BLEU and chrF ----------------------------------------------------------------------------------------------------

SAID = ["the cat sat on the mat", "a dog ran", "it rained all day long"] * 4
TRUE = [["the cat is on the mat"], ["a dog was running", "a dog ran off"], ["it rained the whole day"]] * 4


def test_corpus_scores_are_sacrebleus_own() -> None:
    streams = [[one[0] for one in TRUE], [one[1] if len(one) > 1 else None for one in TRUE]]
    bleu, signature = answers._by_sacrebleu("bleu", SAID, TRUE)
    assert bleu.value == pytest.approx(sacrebleu.corpus_bleu(SAID, streams).score)  # type: ignore[arg-type]
    assert "tok:13a" in signature and "nrefs:var" in signature and "bs:1000" in signature
    chrf, signature = answers._by_sacrebleu("chrf", SAID, TRUE)
    assert chrf.value == pytest.approx(sacrebleu.corpus_chrf(SAID, streams).score)  # type: ignore[arg-type]
    for found in (bleu, chrf):
        assert found.low is not None and found.high is not None and found.low <= found.value <= found.high
    assert answers._by_sacrebleu("bleu", SAID, TRUE)[0] == bleu


def test_chinese_is_told_by_its_letters_and_counted_by_characters() -> None:
    assert answers.mostly_han([["我在 Python 裡寫程式碼。"], ["好的"]]) and not answers.mostly_han([["ok 好", "fine"]])
    _, signature = answers._by_sacrebleu("bleu", ["我很好"] * 10, [["我很好"]] * 10)
    assert "tok:zh" in signature
    assert answers._by_sacrebleu("bleu", ["我很好呀"] * 10, [["我很好呀"]] * 10)[0].value == pytest.approx(100)


def test_nothing_right_is_zero_with_an_interval() -> None:
    found, _ = answers._by_sacrebleu("chrf", ["xyz"] * 10, [["abc"]] * 10)
    assert (found.value, found.low, found.high) == (0, 0, 0)


# -- simpler ways -----------------------------------------------------------------------------------------------------


def test_the_nearest_question_gives_its_answer() -> None:
    learnt = {"How are you today?": ["fine"], "What time is it?": ["noon", "late"], "今天天氣如何？": ["晴"]}
    asked = ["what time is it now?", "how are you?", "天氣好嗎？"]
    assert answers.nearest_answers(learnt, asked) == ["noon", "fine", "晴"]


@pytest.mark.parametrize("module", [answers, bag, rouge], ids=lambda module: module.__name__)
def test_doctests(module) -> None:
    assert doctest.testmod(module).failed == 0


# -- a model whose answers are known ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "numbers.jsonl"
    rows = [{"figure": f"number {n}", "word": spoken(n)} for n in range(1000, 10_000, 30)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def numbers(table: Path) -> Dataset:
    return open_data(Data(source=str(table), columns={"prompt": "figure", "response": "word"}), MEDIUM.build())


def who_says(answer: Callable[[str], str]):
    """A pipeline whose model answers so."""
    medium = MEDIUM.build()

    def draw(request: Request) -> np.ndarray:
        assert request.sampling is not None and request.sampling.top_k == 1 and isinstance(request.prompt, tuple)
        made = []
        for prompt in request.prompt:
            row = medium.from_record({"prompt": prompt, "response": answer(prompt) or " "}, "made")
            made.append(np.concatenate([row, np.zeros(medium.stored[0] - len(row), row.dtype)]))
        return np.stack(made)

    return known(pipeline(MEDIUM, lstm.Config.tiny()), draw)


def test_who_knows_the_answers_is_ahead_of_simpler_ways(numbers: Dataset) -> None:
    report = evaluate(who_says(lambda prompt: spoken(int(prompt.split()[1]))), numbers)
    scores = {score.name: score for score in report.scores}
    assert set(scores) == {"chrf", "bleu", "rouge_l", "distinct_2", "repetition", "likelihood", "perplexity"}
    for name, best in (("chrf", 100), ("bleu", 100), ("rouge_l", 1)):
        score = scores[name]
        assert score.value == pytest.approx(best) and score.low is not None and score.high is not None
        assert list(score.baselines) == [answers.NEAREST]  # questions are no longer than answers: no first sentence
        nearest = score.baselines[answers.NEAREST]
        assert nearest.high is not None and nearest.high < score.low
    stamp = scores["bleu"].stamp
    assert stamp.extractor == "sacreBLEU" and "tok:13a" in stamp.software["sacrebleu"] and stamp.split == "test"
    assert stamp.real == stamp.made >= 20
    assert [picture.name for picture in report.pictures] == ["samples"]
    told = traits([report])[report.name]
    assert any("chrF: better than the nearest training question (100 against" in line for line in told.good)


def test_a_question_is_asked_once_and_all_its_answers_count() -> None:
    medium = MEDIUM.build()
    rows = [("a", "b"), ("c", "d"), ("a", "e"), ("a", "b"), ("long " * 20, "cut off")]
    cutter = medium.cutter()
    windows = [w for q, a in rows for w in cutter.put(medium.from_record({"prompt": q, "response": a}, "row"))]
    items = np.stack([*windows, *cutter.rest()])
    found = answers.questions(Split(items, np.full(len(items), -1)), medium)
    assert {question: sorted(said) for question, said in found.items()} == {"a": ["b", "e"], "c": ["d"]}


def test_a_question_cut_inside_a_character_is_passed_over_where_it_has_grown_too_long() -> None:
    medium = text.Config(tokenizer="byte", length=14, asks=True).build()
    cutter = medium.cutter()
    [row] = cutter.put(medium.from_record({"prompt": "春眠不覺曉", "response": "a"}, "row")) + cutter.rest()
    question = medium.passage(row[2 : row.tolist().index(2)])
    assert question == "春眠不\ufffd" and not answers._can_be_asked(question, medium)
    assert answers._can_be_asked("春眠不", medium)


def test_who_knows_nothing_is_behind_and_it_is_said(numbers: Dataset) -> None:
    report = evaluate(who_says(lambda prompt: "???"), numbers, n=15)
    assert report.scores[0].stamp.made == 15 and report.scores[0].value == 0
    assert any("chrF: worse than the nearest training question" in line for line in traits([report])[report.name].bad)
    assert any("Only 1 of 15 samples differ" in warning for warning in report.warnings)


def test_texts_to_be_summarised_have_their_first_sentence_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "papers.jsonl"
    rows = [
        {"prompt": f"We found {spoken(n)}. More was not found, though we looked all day.", "response": spoken(n)}
        for n in range(100, 400)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    medium = text.Config(tokenizer="byte", length=127, asks=True)
    data = open_data(Data(source=str(path)), medium.build())
    exam = answers.examine(pipeline(medium, lstm.Config.tiny()), data, 12)
    assert len(exam.asked) == len(exam.answers) == 12 and set(exam.simpler) == {answers.NEAREST, answers.FIRST}
    assert exam.simpler[answers.FIRST] == [f"We found {true[0]}." for true in exam.references]


def test_data_without_questions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nobody asks here. " * 200)
    data = open_data(Data(source=str(tmp_path)), MEDIUM.build())
    with pytest.raises(MaquetteError, match="MQ-2084"):
        evaluate(who_says(str), data)


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(MaquetteError, match=r"maquette\[text\]"):
        answers._by_sacrebleu("chrf", SAID, TRUE)


# -- through the verbs ------------------------------------------------------------------------------------------------

COLUMNS = "data.columns={prompt: figure, response: word}"
SMALL = [
    COLUMNS, "medium.tokenizer=byte", "medium.length=63", "train.batch=8", "train.samples=2", "train.precision=fp32",
]  # fmt: skip
NET = ["model.net.width=32", "model.net.depth=2", "model.net.heads=2"]


def test_an_answering_run_is_evaluated_and_compared(table: Path, tmp_path: Path) -> None:
    run = maquette.train("translate", str(table), "3steps", tmp_path / "run", [*SMALL, *NET], quiet=True)
    shown = maquette.evaluate(run.path, n=12, out=tmp_path / "report", quiet=True)
    lines = shown.table.splitlines()
    assert "chrF ↑" in lines[1] and "BLEU ↑" in lines[1] and "ROUGE-L ↑" in lines[1] and "bits/byte ↓" in lines[1]
    assert any(line.startswith(answers.NEAREST) and "±" in line for line in lines)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "最近的训练问题" in page and "nrefs:" in page
    for name, kind in (("one", "{kind: lstm, width: 16}"), ("two", "{kind: gpt, net: {kind: transformer, width: 16}}")):
        (tmp_path / f"{name}.yaml").write_text(
            f"data: {{source: x}}\nmedium: {{kind: text, asks: true}}\nmodel: {kind}\ntrain: {{budget: 2steps}}\n"
        )
    recipes = [str(tmp_path / f"{name}.yaml") for name in ("one", "two")]
    met = maquette.compare(recipes, str(table), "2steps", tmp_path / "out", n=12, overrides=SMALL, quiet=True)
    assert [report.scores[0].name for report in met.reports] == ["chrf", "chrf"]
    assert met.reports[0].scores[0].baselines == met.reports[1].scores[0].baselines
    assert "12 answers of each" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
