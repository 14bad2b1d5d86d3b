"""With the language set to Chinese, what verbs say of data, models and recipes is Chinese: names and commands stay."""

import copy
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from maquette.cli.main import main
from maquette.core.errors import Phrase, Sentence, told
from maquette.data.check import CheckReport
from maquette.evaluate import chinese
from maquette.evaluate.ranking import rank
from maquette.evaluate.report import KINDS, Report
from maquette.evaluate.words import traits, verdict
from maquette.train.run import Run
from maquette.verbs import page
from maquette.verbs.advise import SCORES, advise, tables
from tests.data.making import GREY, picture, write
from tests.data.test_check import planted
from tests.evaluate.test_report import report

HAN = re.compile(r"[\u4e00-\u9fff]")
WORDS = re.compile(r"\b(the|is|are|of|its|and|with|than|for|not|more|one|samples?|takes|files?|after|from|which)\b")


def english(lines: Iterable[str]) -> list[str]:
    """Those of `lines` that have English words among their Chinese, or nothing else."""
    return [line for line in map(str, lines) if WORDS.search(re.sub(r"\S*/\S*", "", line))]  # but for paths


def test_a_sentence_is_english_and_knows_its_chinese() -> None:
    said = Sentence("two " * 100, "二" * 100)
    assert said == "two " * 100 and isinstance(said, Phrase), "it is never cut"
    assert told(said, "zh") == "二" * 100 and told(said, "en") == said and told("plain", "zh") == "plain"
    assert copy.deepcopy([said])[0].zh == said.zh and copy.copy(Phrase("a", "甲")).zh == "甲"


def test_every_score_and_simpler_way_has_a_chinese_name() -> None:
    assert [name for name in KINDS if name not in chinese.CHINESE] == []
    known = {way for table in tables() for entry in table.entries for way in entry.simpler}
    assert {way for way in known if way not in chinese.CHINESE} <= {"nanoGPT in 98 s"}
    assert {table.score for table in tables()} <= SCORES.keys()


def test_names_are_listed_as_each_language_does() -> None:
    found = chinese.listed(["5-gram", "vae", "dcgan"])
    assert (found, found.zh) == ("5-gram, vae and dcgan", "五元模型、vae和dcgan")
    assert chinese.listed(["vae"]).zh == "vae"


def test_verdicts_and_traits_are_said_in_chinese() -> None:
    many = [
        report("good", fid=1.5, precision=0.95, coverage=0.95, label_accuracy=0.99, psnr=30.0, near_copies=0.01),
        report("bad", fid=90.0, precision=0.2, coverage=0.1, label_accuracy=0.1, psnr=9.0, near_copies=0.9),
        report("likely", fid=91.0, likelihood=2.0, snr=20.0, reconstruction=0.95, modes=1.0, quality=0.9),
        report("unlike", recall=1.0),
    ]
    found = traits(many)
    said = [sentence for one in found.values() for sentence in one.sentences] + verdict(rank(many))
    assert len(said) > 20
    assert english(sentence.zh for sentence in said) == []
    assert all(HAN.search(sentence.zh) for sentence in said)
    texts = "\n".join(sentence.zh for sentence in said)
    assert "整体上，它的样本接近真实样本（Fréchet 距离为 1.5，是真实对真实的 1.5 倍）。" in texts
    assert "good 居首（按Fréchet 距离，越低越好）" in texts and "unlike 未参与排名：它没有Fréchet 距离。" in texts


@pytest.mark.parametrize("given", ["nothing", "text", "mask"])
def test_advice_is_given_in_chinese(given: str) -> None:
    found = advise("image", 500, device="cpu", given=given)
    headers = {reason for place in found.places if place.table is None for reason in place.reasons[1:2]}
    lines = [line.zh for line in found.lines()]
    own = [line for line in lines if not line.startswith("     maquette") and not any(h[:60] in line for h in headers)]
    assert english(line for line in own if HAN.search(line)) == []
    assert english(reason.zh for place in found.places for reason in place.reasons if reason not in headers) == []
    assert lines[0].startswith("图像") and "500 个样本，在 cpu 上训练 30 分钟" in lines[0]


def test_advice_speaks_the_language_that_is_set(monkeypatch, capsys) -> None:
    monkeypatch.setenv("MAQUETTE_LANG", "zh")
    assert main(["advise", "--medium", "text", "--examples", "5000"]) == 0
    out = capsys.readouterr().out
    assert "越低越好" in out and "在这里要多久、占多少内存：maquette plan" in out and "is better" not in out


def test_a_folder_is_looked_over_in_chinese(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MAQUETTE_LANG", "zh")
    assert main(["data", "check", str(planted(tmp_path / "photos")), "medium.size=16"]) == 3
    out = capsys.readouterr().out
    for said in (
        "51 个文件中可读取 49 个", "训练集：39 个，分为 2 类（a 22，b 17）", "2 个无法读取：",
        "empty.png：文件为空（0 字节）", "words.jpg：这是文本，不是图片", "tiny.png：12 x 12，小于 16 x 16",
        "组完全相同：", "组跨越多个划分（数据泄漏）：", "个：CMYK，读取时忽略色彩配置文件：", "跳过了：1 个 .txt",
    ):  # fmt: skip
        assert said in out
    assert english(out.splitlines()) == []
    assert main(["data", "check", str(write(tmp_path / "good", "1.png"))]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "没有需要修正的地方"


def test_what_a_check_found_is_plain_data_all_the_same(tmp_path: Path) -> None:
    from maquette.data.check import check

    found = check(planted(tmp_path), GREY)
    assert isinstance(found, CheckReport) and json.loads(json.dumps(found.to_tree()))["readable"] == 49


# -- reports ----------------------------------------------------------------------------------------------------------


def test_what_a_report_says_in_chinese_is_written_with_it(tmp_path: Path) -> None:
    both, plain = Sentence("It copies.", "它在照抄。"), "Only in English."
    made = replace(report(fid=2.0), notes=(both, plain), warnings=(both,))
    made.write(tmp_path)
    again = Report.read(tmp_path)
    assert again == made and again.both("It copies.").zh == "它在照抄。" and again.both(plain).zh == plain
    assert json.loads((tmp_path / "report.json").read_text())["chinese"] == {"It copies.": "它在照抄。"}


def test_what_is_said_of_all_is_said_once(tmp_path: Path) -> None:
    shared, own = Sentence("All of them.", "全都如此。"), Sentence("This one.", "只有这个。")
    one, other = (replace(report(n, fid=2.0), warnings=said) for n, said in (("a", (shared,)), ("b", (shared, own))))
    found = list(page._warnings([one, other]))
    assert [(line, line.zh) for line in found] == [("All of them.", "全都如此。"), ("b: This one.", "b：只有这个。")]
    (alone,) = page._warnings([one])
    assert (alone, alone.zh) == ("a: All of them.", "a：全都如此。")


@pytest.fixture(scope="module")
def small(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of so few pictures that too few are held out."""
    from maquette.verbs.train import train

    folder = tmp_path_factory.mktemp("small")
    for number in range(160):
        (folder / "ab"[number % 2]).mkdir(exist_ok=True)
        (folder / "ab"[number % 2] / f"{number}.png").write_bytes(picture(number, 8))
    return train(str(recipe), str(folder), "20steps", folder.with_name("small-run"), quiet=True)


def test_a_small_folder_is_told_what_its_scores_mean(small: Run, tmp_path: Path, monkeypatch, capsys) -> None:
    """Compared with pictures that the model learnt from: said in both languages, before the scores."""
    monkeypatch.setenv("MAQUETTE_LANG", "zh")
    assert main(["evaluate", str(small.path), "-n", "60", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text()
    for said in (
        'lang="en">small-run: Too few samples were held out, so what the model made is compared with 60 of those',
        'lang="zh">small-run：留出的样本太少，因此生成的样本是与模型学习过的 60 个样本比较的。',
        "只有 60 个样本与同样多的真实样本比较。", "请把至少 50 个样本放进与 train/ 并列的 test/ 文件夹",
        "and evaluate with -n 50.",
    ):  # fmt: skip
        assert said in text and text.index(said) < text.index(">评分<")
    err = capsys.readouterr().err
    assert "真实对真实" in err and "正在生成 60 个样本" in err and english(err.splitlines()) == []
    shown = re.sub(r'<span lang="en">.*?</span>|<small lang="en">.*?</small>', "", text, flags=re.DOTALL)
    told_of = re.findall(r"<li(?: [^>]*)?>(.*?)</li>|<p(?: [^>]*)?>(.*?)</p>|<figcaption>(.*?)</fig", shown, re.DOTALL)
    assert english(re.sub("<[^>]*>", "", "".join(parts)) for parts in told_of) == []


def test_scores_of_unseen_samples_are_told_without_a_caution(run: Run, tmp_path: Path, capsys) -> None:
    assert main(["evaluate", str(run.path), "-n", "60", "--out", str(tmp_path)]) == 0
    assert "Too few samples were held out" not in (tmp_path / "report.html").read_text()
    assert "Too few" not in capsys.readouterr().err


def test_training_is_told_in_chinese(recipe: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MAQUETTE_LANG", "zh")
    assert main(["train", str(recipe), "--budget", "3steps", "--out", str(tmp_path / "run")]) == 0
    err = capsys.readouterr().err
    assert (
        "可学习的样本 1,438 个，留出 359 个" in err
        and "完成：3 步；模型包在" in err
        and english(err.splitlines()) == []
    )
