"""What a pipeline says: where it ends, how likely it was, in pieces, in a form, searched for; on untrained models."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from maquette.core.errors import MaquetteError
from maquette.core.types import Condition, Given, Sampling
from maquette.media.forms import fits, is_han, verse
from maquette.pipeline import Pipeline, load
from maquette.request import Request
from tests.pipeline.talking import KINDS, LEFT_TO_RIGHT, LETTERS, saved

Make = Callable[..., Pipeline]
every = pytest.mark.parametrize("kind", KINDS)
left_to_right = pytest.mark.parametrize("kind", LEFT_TO_RIGHT)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    made: dict[tuple, Pipeline] = {}

    def make(kind: str, classes: tuple[str, ...] = (), **medium) -> Pipeline:
        key = (kind, classes, *sorted(medium.items()))
        if key not in made:
            made[key] = load(saved(tmp_path_factory.mktemp(kind), kind, classes, **medium), "cpu")
        return made[key]

    return make


def streamed(pipeline: Pipeline, request: Request) -> list[str]:
    texts = [""] * request.total
    for piece in pipeline.stream(request):
        assert piece.text
        texts[piece.sample] += piece.text
    return texts


# -- where it ends ----------------------------------------------------------------------------------------------------


@every
def test_what_is_said_is_what_is_made(kind: str, make: Make) -> None:
    pipeline, request = make(kind), Request(n=5, seed=3, prompt="春眠")
    said = pipeline.say(request)
    assert np.array_equal(np.stack([one.item for one in said]), pipeline.generate(request))
    for one in said:
        assert one.text.startswith("春眠") and len(one.tokens) == len(one.log_probabilities) <= 78
        assert one.ended == "length" or one.tokens[-1] == ""
        if "\ufffd" not in one.text:
            assert "".join(one.tokens) == one.text[2:]
    assert len({one.text for one in said}) == 5


@every
def test_at_most_so_many_tokens_are_made(kind: str, make: Make) -> None:
    pipeline = make(kind)
    for most in (1, 7, 80):
        said = pipeline.say(Request(n=6, prompt=("a", "abc", ""), max_tokens=most, sampling=Sampling(temperature=2.0)))
        assert all(len(one.tokens) <= most for one in said)
        assert most == 80 or all(len(one.tokens) == most or one.ended == "stop" for one in said)
        assert most == 1 or any(len(one.tokens) > 1 for one in said)


@pytest.mark.parametrize("most", [0, -1, 81, 10**9])
def test_a_length_that_cannot_be_is_refused(most: int, make: Make) -> None:
    with pytest.raises(MaquetteError, match="MQ-2002.*max_tokens|MQ-2132.*context holds 80"):
        make("gpt").say(Request.from_tree({"max_tokens": most}))


@left_to_right
def test_a_stop_string_ends_a_row_and_is_not_said(kind: str, make: Make) -> None:
    pipeline = make(kind)
    plain = Request(n=12, seed=1, prompt="ab", sampling=Sampling(temperature=0.7))
    free = pipeline.say(plain)
    stops = ("曉", "b", ", ", "\ufffd\ufffd")
    request = dataclasses.replace(plain, stop=stops)
    cut = pipeline.say(request)
    for before, after in zip(free, cut, strict=True):
        found = [at for stop in stops if (at := before.text.find(stop, 2)) >= 0]
        assert after.text == (before.text[: min(found)] if found else before.text)
        assert after.ended == ("stop" if found else before.ended)
        assert before.tokens[: len(after.tokens)] == after.tokens
        assert np.allclose(after.log_probabilities, before.log_probabilities[: len(after.tokens)], atol=1e-5)
    assert sum(len(one.tokens) for one in cut) < sum(len(one.tokens) for one in free)
    assert streamed(pipeline, request) == [one.text for one in cut]


def test_a_row_that_is_over_costs_nothing_more(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, asked = make("gpt"), []
    read = type(pipeline.model).read
    monkeypatch.setattr(type(pipeline.model), "read", lambda *a, **k: asked.append(1) or read(*a, **k))
    free = pipeline.say(Request(seed=1))[0]
    stop = next(token for token in free.tokens if token and token in LETTERS)
    asked.clear()
    said = pipeline.say(Request(seed=1, stop=stop))[0]
    assert len(asked) == len(said.tokens) < len(free.tokens)


def test_a_model_of_all_places_is_cut_when_it_is_done(make: Make) -> None:
    pipeline = make("mdlm")
    free = pipeline.say(Request(n=8, seed=2))
    cut = pipeline.say(Request(n=8, seed=2, stop=("曉", "a")))
    for before, after in zip(free, cut, strict=True):
        found = [at for stop in ("曉", "a") if (at := before.text.find(stop)) >= 0]
        assert after.text == (before.text[: min(found)] if found else before.text)
    assert any(a.text != b.text for a, b in zip(free, cut, strict=True))


# -- in pieces, in batches --------------------------------------------------------------------------------------------


@left_to_right
@pytest.mark.parametrize("tokenizer", ["character", "byte"])
def test_the_pieces_of_each_sample_are_what_it_says(kind: str, tokenizer: str, make: Make) -> None:
    pipeline = make(kind, tokenizer=tokenizer)
    request = Request(n=4, seed=5, prompt=("春眠", "", "a"), max_tokens=60)
    assert streamed(pipeline, request) == [one.text for one in pipeline.say(request)]
    assert any("\ufffd" in text for text in streamed(pipeline, request)), "no half character was made"


@left_to_right
def test_more_samples_than_are_drawn_together(kind: str, make: Make) -> None:
    pipeline, request = make(kind, length=12), Request(n=70, max_tokens=4)
    said = pipeline.say(request)
    assert streamed(pipeline, request) == [one.text for one in said] and len(said) == 70
    assert pipeline.say(Request(seed=69, max_tokens=4))[0].text == said[69].text


@every
@pytest.mark.parametrize("how", [Sampling(), Sampling(top_k=1)], ids=["drawn", "greedy"])
def test_prompts_of_uneven_length_say_together_what_each_says_alone(kind: str, how: Sampling, make: Make) -> None:
    pipeline, prompts = make(kind), ("春眠不覺曉，處處", "a", "", "夜來風雨聲，花落知多少。\n春眠不覺")
    together = pipeline.say(Request(n=4, seed=7, prompt=prompts, sampling=how))
    for i, prompt in enumerate(prompts):
        alone = pipeline.say(Request(seed=7 + i, prompt=prompt, sampling=how))[0]
        assert together[i].tokens == alone.tokens and together[i].text == alone.text
        assert np.allclose(together[i].log_probabilities, alone.log_probabilities, atol=1e-4)


def test_the_consumer_of_a_stream_computes_as_it_did(make: Make) -> None:
    for _ in make("gpt").stream(Request(max_tokens=3)):
        assert not torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cpu")


# -- how likely -------------------------------------------------------------------------------------------------------


def read_at_once(pipeline: Pipeline, item: np.ndarray) -> torch.Tensor:
    """log p of every token of an item given those before it, all in one pass; [l - 1, vocab]."""
    x = torch.from_numpy(item.astype(np.int64))[None]
    with torch.no_grad():
        return pipeline.model.read(x[:, :-1], Condition())[0][0].log_softmax(1)  # type: ignore[operator]


@left_to_right
@pytest.mark.parametrize("how", [Sampling(temperature=0.3, top_k=9, repetition=1.5), Sampling(beams=3)])
def test_log_probabilities_are_the_models_own(kind: str, how: Sampling, make: Make) -> None:
    pipeline = make(kind)
    for one in pipeline.say(Request(n=3, prompt="春眠", likeliest=4, sampling=how)):
        log_p = read_at_once(pipeline, one.item)[2 : 2 + len(one.tokens)]
        chosen = torch.from_numpy(one.item[3 : 3 + len(one.tokens)].astype(np.int64))
        assert torch.allclose(torch.tensor(one.log_probabilities), log_p.gather(1, chosen[:, None])[:, 0], atol=1e-4)
        assert len(one.likeliest) == len(one.tokens) and all(len(others) == 4 for others in one.likeliest)
        best = torch.tensor([[value for _, value in others] for others in one.likeliest])
        assert torch.allclose(best, log_p.topk(4, dim=1).values, atol=1e-4)
        if how.beams == 0:
            assert any(token == others[0][0] for token, others in zip(one.tokens, one.likeliest, strict=True))


def test_log_probabilities_of_a_model_of_all_places(make: Make) -> None:
    """In one step all places are chosen given the prompt alone."""
    pipeline = make("mdlm")
    one = pipeline.say(Request(prompt="春眠", sampling=Sampling(steps=1, temperature=0.5)))[0]
    start = torch.full((1, 81), -1)
    start[0, :3] = torch.from_numpy(one.item[:3].astype(np.int64))
    with torch.no_grad():
        log_p = pipeline.model.predictor(Condition())(start)[0].log_softmax(1)
    chosen = torch.from_numpy(one.item.astype(np.int64))
    expected = log_p.gather(1, chosen[:, None])[3 : 3 + len(one.tokens), 0]
    assert torch.allclose(torch.tensor(one.log_probabilities), expected, atol=1e-4)


# -- searched for -----------------------------------------------------------------------------------------------------


@left_to_right
@pytest.mark.parametrize("classes", [(), ("one", "two")])
def test_a_search_with_kept_states_finds_what_one_without_finds(kind: str, classes: tuple, make: Make) -> None:
    """Also with labels and guidance, which every hypothesis of a row must be told."""
    from maquette.solvers.decoding import blank, search

    pipeline = make(kind, classes, length=20)
    n, beams = 3, 4
    labels = torch.tensor([0, 1, 0]) if classes else torch.full((n,), -1)
    guidance = 1.5 if classes else 1.0
    start = blank(n, pipeline.model.space, pipeline.device)  # type: ignore[arg-type]
    start[1, 1:4] = torch.tensor([5, 270, 280])

    def forgetful(x: torch.Tensor, at: int) -> torch.Tensor:
        return pipeline._predictor(Given(label=labels.repeat_interleave(len(x) // n)), guidance)(x, at)

    with torch.inference_mode():
        kept = search(pipeline._predictor(Given(label=labels), guidance), start, beams, 0.6, 0)
        again = search(forgetful, start, beams, 0.6, 0)
    assert torch.equal(kept, again)


@left_to_right
def test_a_search_reads_each_place_once(kind: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, lengths = make(kind, length=20), []
    read = type(pipeline.model).read

    def counted(self, tokens, *a, **k):
        lengths.append(tokens.shape[1])
        return read(self, tokens, *a, **k)

    monkeypatch.setattr(type(pipeline.model), "read", counted)
    pipeline.generate(Request(prompt="春眠", sampling=Sampling(beams=4), n=2))
    assert lengths[0] == 3 and set(lengths[1:]) == {1}


@left_to_right
def test_one_beam_says_what_greedy_decoding_says(kind: str, make: Make) -> None:
    pipeline, prompts = make(kind), ("春", "ab", "花落知多少")
    one, greedy = (
        pipeline.say(Request(n=3, prompt=prompts, max_tokens=30, sampling=how))
        for how in (Sampling(beams=1), Sampling(top_k=1))
    )
    assert [a.text for a in one] == [b.text for b in greedy]
    assert all(
        np.allclose(a.log_probabilities, b.log_probabilities, atol=1e-4) for a, b in zip(one, greedy, strict=True)
    )


@left_to_right
def test_what_is_found_is_no_less_likely_than_what_greed_finds(kind: str, make: Make) -> None:
    pipeline = make(kind, length=12)
    for prompt in "春眠ab":
        ways = (Sampling(beams=beams, length_penalty=0.0) for beams in (1, 64))
        few, many = (pipeline.say(Request(prompt=prompt, sampling=how))[0] for how in ways)
        assert sum(many.log_probabilities) >= sum(few.log_probabilities) - 1e-4


# -- in a form --------------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("form", ["五绝", "qijue", "wulu", "七律"])
def test_verse_is_in_form_always(kind: str, form: str, make: Make) -> None:
    pipeline = make(kind)
    said = pipeline.say(Request(n=25, form=form, sampling=Sampling(temperature=5.0)))
    assert all(fits(one.text, verse(form)) for one in said) and len({one.text for one in said}) > 20
    assert all(is_han(token) for one in said for token in one.tokens)
    assert {one.ended for one in said} == {"length"}
    texts = [pipeline.medium.words(item) for item in pipeline.generate(Request(n=25, form=form))]
    assert all(fits(str(text), verse(form)) for text in texts)


@every
def test_a_template_is_filled_and_its_words_are_kept(kind: str, make: Make) -> None:
    pipeline, template = make(kind), "abc □□, 1□!\n□"
    said = pipeline.say(Request(n=30, template=template, sampling=Sampling(temperature=5.0)))
    assert all(fits(one.text, template) and len(one.tokens) == 4 for one in said)
    letters = {token for one in said for token in one.tokens}
    assert any(is_han(letter) for letter in letters) and any(letter.isascii() for letter in letters)
    after = pipeline.say(Request(prompt="ha. ", template="□a", seed=1))[0]
    assert fits(after.text, "ha. □a")


def test_a_search_fills_a_template_too(make: Make) -> None:
    said = make("gpt").say(Request(form="wujue", sampling=Sampling(beams=4)))[0]
    assert fits(said.text, verse("wujue"))


def test_an_answer_may_have_a_form(make: Make) -> None:
    said = make("gpt", asks=True).say(Request(prompt="花", form="wujue"))[0]
    assert fits(said.text, verse("wujue"))


def test_gaps_need_tokens_of_one_letter(make: Make) -> None:
    plain = make("gpt", tokenizer="byte", vocabulary="")
    assert fits(plain.say(Request(template="春□"))[0].text, "春□")
    with pytest.raises(MaquetteError, match="MQ-2131.*Han characters"):
        plain.say(Request(form="wujue"))


@pytest.mark.parametrize(
    ("tree", "code"),
    [
        ({"template": "no gap"}, "MQ-2002.*template"),
        ({"template": ""}, "MQ-2002.*template"),
        ({"template": "□" * 81}, "MQ-2121.*template is 81"),
        ({"template": "□" * 1_000_000}, "MQ-2121.*more than 80"),
        ({"prompt": "春" * 60, "template": "□" * 60}, "MQ-2121.*template is 121"),
        ({"template": "□", "form": "wujue"}, "MQ-2002.*form"),
        ({"template": "□", "max_tokens": 3}, "MQ-2002.*max_tokens"),
        ({"form": "haiku"}, "MQ-2002.*五绝"),
        ({"stop": ""}, "MQ-2002.*stop"),
        ({"stop": ["a"] * 17}, "MQ-2002.*stop"),
        ({"stop": "a" * 1001}, "MQ-2002.*stop"),
        ({"likeliest": -1}, "MQ-2002.*likeliest"),
        ({"history": [["a", "b"]]}, "MQ-2105.*history"),
        ({"history": [["a", "b"]], "prompt": "c"}, "MQ-2104.*conversation"),
        ({"sampling": {"beams": 3, "top_k": 5}}, "MQ-2002.*beams"),
        ({"sampling": {"beams": 3, "temperature": 0.5}}, "MQ-2002.*beams"),
        ({"sampling": {"beams": 1000}}, "MQ-2002.*beams"),
        ({"prompt": "a" * 80}, "MQ-2121.*prompt is 81"),
    ],
    ids=str,
)
def test_what_cannot_be_said_is_refused(tree: dict, code: str, make: Make) -> None:
    with pytest.raises(MaquetteError, match=code):
        make("gpt").say(Request.from_tree(tree))


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Sampling) if f.type in (float, "float")])
def test_nan_is_no_number(name: str) -> None:
    for wrong in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(MaquetteError, match="MQ-2002"):
            Sampling(**{name: wrong})
        with pytest.raises(MaquetteError, match="MQ-2002"):
            Request.from_tree({"sampling": {name: wrong}})
        with pytest.raises(MaquetteError, match="MQ-2002"):
            Request.from_tree({"max_tokens": wrong})


def test_what_a_model_of_all_places_cannot_do_is_refused(make: Make) -> None:
    with pytest.raises(MaquetteError, match="MQ-2104.*beams"):
        make("mdlm").say(Request(sampling=Sampling(beams=2)))
    with pytest.raises(MaquetteError, match="MQ-2104.*pieces"):
        next(make("mdlm").stream(Request()))


# -- answers ----------------------------------------------------------------------------------------------------------


@every
def test_an_answer_has_no_marks_and_knows_what_was_said_before(kind: str, make: Make) -> None:
    pipeline = make(kind, asks=True)
    said = pipeline.say(Request(n=20, prompt="春", sampling=Sampling(temperature=3.0)))
    assert not any(set(one.item[4:].tolist()) & {1, 2} for one in said)
    before = pipeline.say(Request(n=20, prompt="春", history=(("a", "b"),), sampling=Sampling(temperature=3.0)))
    assert [one.text for one in before] != [one.text for one in said]
    assert before[0].item[[0, 1, 3, 5, 7]].tolist() == [0, 1, 2, 1, 2]


@every
def test_an_empty_question_is_refused(kind: str, make: Make) -> None:
    for tree in ({}, {"prompt": ""}, {"prompt": " \n"}, {"max_tokens": 5}):
        with pytest.raises(MaquetteError, match="MQ-2130"):
            make(kind, asks=True).say(Request.from_tree(tree))
