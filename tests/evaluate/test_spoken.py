"""Words that sounds were asked to say, told by a classifier of real ones: here pitches, said in one of two timbres."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from maquette.bundle import Bundle
from maquette.data.along import Along
from maquette.data.captions import Captions
from maquette.data.combinations import Combinations, apart
from maquette.data.dataset import Dataset, Split, both
from maquette.evaluate import domain, spoken
from maquette.evaluate.evaluate import evaluate
from maquette.evaluate.report import Stamp
from maquette.models import diffusion
from maquette.nets import unet
from maquette.pipeline import Pipeline, Request
from tests.evaluate.made import CPU, PITCHES, SOUND, known, notes

WORDS = [f"{pitch:.0f}" for pitch in PITCHES]
SPEAKERS = ("soft", "bright")
STAMP = Stamp(extractor="none", weights="", resize="none", data="ab", split="test", real=0, made=0, seed=0, software={})


@pytest.fixture(scope="module", autouse=True)
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(domain, "PASSES", 2500)
    patch.setenv("MAQUETTE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def said() -> Dataset:
    """Who speaks is the label, what is said the caption."""

    def told(split: Split, name: str) -> Split:
        words = [["", WORDS[label % 4]] for label in split.labels]
        return replace(split, labels=split.labels // 4, notes=lambda: words)

    return replace(both(notes(), told), classes=list(SPEAKERS), fingerprint="sa" * 32)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return apart(said(), Combinations(labels=True, share=0.25))


def answering(data: Dataset, word: Callable[[str], str]) -> Callable[[Request], np.ndarray]:
    """Who says, in the voice that is asked for, `word` of what is asked for: real sounds of the source's test split."""
    assert data.whole is not None
    test = data.whole.test
    rows = {(text, label): row for row, (text, label) in enumerate(zip(test.captions, test.labels, strict=True))}

    def answer(request: Request) -> np.ndarray:
        words = request.prompt or tuple(WORDS[i % 4] for i in range(request.total))
        labels = request.label or tuple(i % 2 for i in range(request.total))
        assert isinstance(words, tuple) and isinstance(labels, tuple)
        asked = zip(words, np.resize(labels, len(words)), strict=True)
        return np.stack([test.items[rows[word(text), label]] for text, label in asked])

    return answer


def test_pairs_of_a_caption_and_a_label_are_held_out(data: Dataset) -> None:
    learnt, tested = (set(zip(split.captions, split.labels, strict=True)) for split in (data.train, data.test))
    assert len(tested) == 2 and not learnt & tested and len(learnt) == 6
    assert data.whole is not None and len(data.train) + len(data.test) == len(data.whole.train)


def speech() -> Pipeline:
    """An untrained model that is told a speaker and a word."""
    config = diffusion.Config(net=unet.Config(width=8, stages=(1,), blocks=(1,), patch=16, attention=32, head=8))
    along = Along(captions=Captions(tokenizer="byte", length=4))
    model = config.fitted(SOUND.build().space, len(SPEAKERS), along.beside(SOUND.build().space))
    return Pipeline(Bundle(SOUND, config, list(SPEAKERS), model.state_dict(), {}, "ab" * 32, along=along), CPU)


def test_words_are_recognised_where_they_are_said(data: Dataset) -> None:
    like = speech()
    right = spoken.hear(known(like, answering(data, lambda word: word)), data, Request(n=60, seed=1))
    wrong = spoken.hear(
        known(like, answering(data, lambda word: WORDS[(WORDS.index(word) + 1) % 4])), data, Request(n=60)
    )
    assert right is not None and wrong is not None
    (good, every), (bad, none) = right.scores(STAMP), wrong.scores(STAMP)
    assert good.value > 0.9 and bad.value < 0.1 and good.floor == bad.floor and good.floor > 0.9
    assert 0.4 < good.baselines["chance"].value < 0.7  # of two pairs one is asked for about as often as the other
    assert (
        every.value > 0.9 and none.value < 0.1 and every.stamp.made == 296 and every.baselines["chance"].value == 0.25
    )
    assert list(right.every) == sorted(WORDS) and all(n == 74 for _, n in right.every.values())
    assert good.stamp.extractor == "words" and good.stamp.made == 60 and good.stamp.real == 400
    assert set(right.pairs) == {
        f"{SPEAKERS[label]}: {text}" for text, label in zip(data.test.captions, data.test.labels, strict=True)
    }
    assert "60 sounds were asked for by the 2 different captions" in right.note()
    assert f"{WORDS[0]} 74 of 74 times" in right.note()
    shot = right.shot(SOUND.build())
    assert shot.png.startswith(b"\x89PNG") and shot.clip is not None and shot.clip[0] == ".wav"


def test_a_report_of_speech_says_how_many_words_are_recognised(data: Dataset) -> None:
    report = evaluate(known(speech(), answering(data, lambda word: word)), data, 60)
    score = report.score("words_heard")
    assert score is not None and score.value > 0.9 and score.stamp.data == data.fingerprint
    assert (every := report.score("every_word")) is not None and every.value > 0.9
    assert [picture.name for picture in report.pictures][0] == "spoken" and "spoken" in report.clips
    assert any("different captions" in note for note in report.notes)


def test_captions_that_are_no_few_words_are_not_listened_for() -> None:
    for texts in (lambda row: f"sound {row}", lambda row: "", lambda row: "the same"):

        def told(split: Split, name: str, texts: Callable[[int], str] = texts) -> Split:
            return replace(split, notes=lambda: [["", texts(row)] for row in range(len(split))])

        assert spoken.hear(speech(), both(said(), told), Request(n=60)) is None
