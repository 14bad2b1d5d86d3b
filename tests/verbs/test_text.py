"""Text through the verbs: train, look, resume, go on from a prompt; and wrong input."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import maquette
from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.core.sequences import counted
from maquette.core.types import Autoencoder, Sampling, Stream, Tokens
from maquette.data.source import open_data
from maquette.pipeline import Request, load
from maquette.train.run import Run
from maquette.verbs.recipes import read

SMALL = {
    "gpt-char": ["model.net.width=32", "model.net.depth=2", "model.net.heads=2"],
    "lstm-char": ["model.width=64", "train.optimizers.model.lr=1e-2"],
    "mdlm-char": ["model.net.width=32", "model.net.depth=2", "model.net.heads=2"],
    "textvae-char": [
        *(f"model.{part}.{size}" for part in ("encoder", "decoder") for size in ("width=32", "heads=2")),
        "model.free=3",
    ],
}
ENOUGH = {"gpt-char": (120, 1.5), "lstm-char": (200, 1.5), "mdlm-char": (200, 3.4), "textvae-char": (120, 2.5)}
"""Steps, and the bits per byte that they reach at most."""
TINY = ["medium.length=32", "train.batch=8", "train.samples=3", "train.sample_every=1", "train.validate_every=1"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(30):
        (folder / f"{i}.txt").write_text("the cat sat on the mat.\n" * (5 + i), encoding="utf-8")
    return folder


def trained(recipe: str, corpus: Path, out: Path, steps: int = 20) -> Path:
    settings = [*SMALL[recipe], *TINY]
    return maquette.train(recipe, str(corpus), f"{steps}steps", out, settings, quiet=True).path


@pytest.fixture(scope="module", params=list(SMALL))
def run(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(request.param, corpus, tmp_path_factory.mktemp("runs") / request.param, ENOUGH[request.param][0])


def test_a_run_holds_words_and_bits_per_byte(run: Path) -> None:
    opened, (steps, most) = Run.open(run), ENOUGH[run.name]
    assert opened.recipe.medium.vocabulary == "\n .acehmnost"  # type: ignore[attr-defined]
    last = opened.samples / f"step-{steps:08}.txt"
    assert last.read_text() and last.with_suffix(".png").exists()
    held_out = [line["validation"] for line in opened.metrics() if "validation" in line]
    bits = [line["bits_per_byte"] for line in held_out]
    assert bits[-1] < most
    medium = opened.recipe.medium.build()
    x = medium.to_tensor(np.asarray(open_data(opened.recipe.data, medium).test.items))
    assert isinstance(medium.space, Tokens)
    each = float(medium.units(x).sum() / counted(x, medium.space).sum())  # bytes a token
    assert held_out[-1]["perplexity"] == pytest.approx(2 ** (bits[-1] * each), rel=1e-4)


def test_training_says_what_unseen_text_costs(corpus: Path, tmp_path: Path, capsys) -> None:
    maquette.train("lstm-char", str(corpus), "2steps", tmp_path / "run", [*SMALL["lstm-char"], *TINY])
    assert re.search(r"step 2  unseen data: bits per byte [\d.]+, perplexity [\d.]+\n", capsys.readouterr().err)


def test_it_goes_on_from_a_prompt(run: Path) -> None:
    made = maquette.sample(run, n=2, prompt="the cat", sampling={"top_k": 1})
    texts = [load(run).medium.words(item) for item in made.items]
    learnt = run.name == "gpt-char"  # the others need more steps for the whole sentence
    assert all(text.startswith("the cat sat on" if learnt else "the cat") for text in texts)


def test_between_two_texts_it_goes_from_code_to_code(run: Path, capsys) -> None:
    """Its ends are the likeliest texts of their seeds, and the command goes that way unless it is told otherwise."""
    pipeline = load(run, "cpu")
    greedy = Sampling(top_k=1)
    walk = pipeline.generate(Request(n=2, seed=3, between=4, sampling=greedy))
    ends = pipeline.generate(Request(n=2, seed=3, sampling=greedy))
    assert len(walk) == 5 and (walk[0] == ends[0]).all() and (walk[4] == ends[1]).all()
    assert main(["sample", str(run), "--seed", "3", "--interpolate", "4"]) == 0
    printed = capsys.readouterr().out.rstrip("\n")
    assert printed == f"\n\n{'-' * 40}\n\n".join(pipeline.medium.words(item) or "" for item in walk).rstrip("\n")


def test_each_sample_has_its_seed_whatever_comes_with_it(run: Path) -> None:
    pipeline = load(run, "cpu")
    bold = Sampling(temperature=3.0)
    four = pipeline.generate(Request(n=4, seed=3, sampling=bold))
    assert (pipeline.generate(Request(n=1, seed=5, sampling=bold))[0] == four[2]).all()
    assert len({item.tobytes() for item in four}) == 4
    pair = pipeline.generate(Request(n=2, prompt=("the", "the cat sat")))
    assert [pipeline.medium.words(item).startswith(p) for item, p in zip(pair, ("the", "the cat sat"), strict=True)]


def test_words_come_as_they_are_made(run: Path) -> None:
    pipeline = load(run, "cpu")
    ask = Request(prompt="the cat", seed=4)
    if not isinstance(pipeline.model, Stream):
        with pytest.raises(MaquetteError, match="MQ-2104"):
            next(pipeline.stream(ask))
        return
    pieces = list(pipeline.stream(ask))
    assert len(pieces) > 3 and {piece.sample for piece in pieces} == {0}
    assert "".join(piece.text for piece in pieces) == pipeline.medium.words(pipeline.generate(ask)[0])


def test_the_command_prints_what_it_made_and_marks_what_it_writes(run: Path, tmp_path: Path, capsys) -> None:
    assert main(["sample", str(run), "--prompt", "the mat", "--top-k", "1"]) == 0
    assert capsys.readouterr().out.startswith("the mat")
    assert main(["sample", str(run), "-n", "2", "--out", str(tmp_path / "made")]) == 0
    files = sorted((tmp_path / "made").glob("*.md"))
    assert len(files) == 2 and all(file.read_text().startswith("---\nAIGC: ") for file in files)


def test_stop_strings_lengths_and_likelihoods_through_the_command(run: Path, tmp_path: Path, capsys) -> None:
    greedy = ["sample", str(run), "--prompt", "the mat", "--top-k", "1"]
    assert main(greedy) == 0
    whole = capsys.readouterr().out.removesuffix("\n")
    stop = whole[9:11]
    assert main([*greedy, "-n", "1", "--stop", "nowhere", "--stop", stop, "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("*.md")
    said = file.read_text().partition("\n---\n\n")[2]
    assert said == whole[: whole.index(stop, 7)]
    capsys.readouterr()
    assert main([*greedy, "--max-tokens", "4", "-n", "2", "--logprobs", "3"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["sample"], second["sample"], first["ended"]) == (0, 1, "length")
    assert first["text"] == "the mat" + "".join(told["token"] for told in first["tokens"])
    assert first["text"] == whole[:11] or not isinstance(load(run).model, Stream)  # who sees both ways sees the end
    for told in first["tokens"]:
        assert len(told["likeliest"]) == 3 and told["log_probability"] == told["likeliest"][0][1] <= 0


def test_the_likeliest_text_is_searched_for_through_the_command(run: Path, capsys) -> None:
    code = main(["sample", str(run), "--prompt", "the", "--beams", "3", "--max-tokens", "9"])
    out, err = capsys.readouterr()
    if isinstance(load(run).model, Stream):
        assert code == 0 and out.startswith("the cat sat" if run.name == "gpt-char" else "the")
    else:
        assert code == 2 and "MQ-2104" in err


def test_it_is_scored_on_continuations_of_unseen_beginnings(run: Path, tmp_path: Path) -> None:
    shown = maquette.evaluate(run, n=50, out=tmp_path, quiet=True)
    scores = {score.name: score for score in shown.reports[0].scores}
    assert scores["likelihood"].unit == "bits per byte" and scores["likelihood"].value < 4
    assert {"divergence", "distinct_1", "distinct_2", "self_bleu", "repetition", "verbatim", "fid"} <= scores.keys()
    assert scores["perplexity"].unit == "per token" and scores["perplexity"].value > 1
    beside = scores["likelihood"].baselines
    assert 0 < beside["5-gram"].value < beside["bigram"].value < 4
    whole = Run.open(run).recipe.medium.build().whole  # what is unseen here says nothing new
    assert scores["verbatim"].floor == (33 if whole else 25), "all 33 characters, or three quarters of them"
    assert scores["divergence"].floor is not None and scores["divergence"].floor < 0.3
    assert any("5-gram are models of n-grams" in note for note in shown.reports[0].notes)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "bits per byte" in page and "五元模型" in page and "\n5-gram" in shown.table
    pipeline = load(run, "cpu")
    assert scores["likelihood"].bound == getattr(pipeline.model, "bound", False)
    codes = isinstance(pipeline.model, Autoencoder)
    assert ("reconstruction" in scores) == codes
    drawn = [picture.name for picture in shown.reports[0].pictures]
    assert drawn == ["samples", *(["reconstructions", "interpolation"] if codes else [])]


def test_where_it_looks_is_drawn(run: Path, tmp_path: Path, capsys) -> None:
    picture = tmp_path / "look.png"
    code = main(["attention", str(run), "--prompt", "the cat", "--out", str(picture)])
    out, err = capsys.readouterr()
    if run.name in ("lstm-char", "mdlm-char"):
        assert code == 2 and "MQ-2104" in err and not picture.exists()
        return
    with Image.open(picture) as drawn:
        assert code == 0 and out.strip() == str(picture) and drawn.width > 200
    tokens, maps = load(run).attention("the cat")
    assert tokens == ["", *"the cat"] and maps.shape == (2, 2, 8, 8)
    assert maps.triu(1).abs().max() == 0 and torch.allclose(maps.sum(-1), torch.ones(2, 2, 8))
    assert main(["attention", str(run)]) == 2 and main(["attention", str(run), "--prompt", "a", "--out", "a.txt"]) == 2


def test_what_fewer_bits_cost_is_told(run: Path, tmp_path: Path, capsys) -> None:
    costs: dict[str, float] = {}
    for precision in ("fp32", "int8", "bf16"):
        main(["evaluate", str(run), "-n", "50", "--precision", precision, "--out", str(tmp_path)])
        report = (tmp_path / "report.json").read_text()
        costs[precision] = next(s["value"] for s in json.loads(report)["scores"] if s["name"] == "perplexity")
        if precision != "fp32":
            more = f"{costs[precision]:.5g} with weights in {precision}, {costs['fp32']:.5g} in fp32"
            assert more in capsys.readouterr().err and more in report
    assert len({*costs.values()}) == 3 and all(abs(cost / costs["fp32"] - 1) < 0.05 for cost in costs.values())


def test_families_of_text_are_compared(corpus: Path, tmp_path: Path) -> None:
    for name, sizes in SMALL.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps(read(name, [*sizes, *TINY]).to_tree()))
    small = [str(tmp_path / f"{name}.yaml") for name in SMALL]
    settings = ["train.precision=fp32", "medium.alone=true"]
    shown = maquette.compare(small, str(corpus), "3steps", tmp_path / "out", n=50, overrides=settings, quiet=True)
    assert [report.name for report in shown.reports] == list(SMALL)
    scores = [score for report in shown.reports if (score := report.score("likelihood")) is not None]
    assert len(scores) == len(SMALL) and all(score.baselines == scores[0].baselines for score in scores)


@pytest.mark.parametrize("recipe", list(SMALL))
def test_a_stopped_run_ends_in_the_same_bits(recipe: str, corpus: Path, tmp_path: Path) -> None:
    import shutil

    whole = trained(recipe, corpus, tmp_path / "whole")
    part = Path(shutil.copytree(whole, tmp_path / "part"))
    shutil.rmtree(part / "checkpoints/step-00000020")
    maquette.resume(part, quiet=True)
    for name in ("model", "ema", "optimisers"):
        path = f"checkpoints/step-00000020/{name}.safetensors"
        assert (whole / path).read_bytes() == (part / path).read_bytes(), name


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--prompt", "x" * 50], "MQ-2121"),
        (["--top-k", "-1"], "MQ-2002"),
        (["--top-p", "0"], "MQ-2002"),
        (["--temperature", "nan"], "MQ-2002"),
        (["--solver", "heun"], "MQ-2104"),
        (["--max-tokens", "0"], "MQ-2002"),
        (["--max-tokens", "1000000000"], "MQ-2132"),
        (["--max-tokens", "nan"], "MQ-2002"),
        (["--stop", ""], "MQ-2002"),
        (["--beams", "-1"], "MQ-2002"),
        (["--beams", "2", "--temperature", "0.5"], "MQ-2002"),
        (["--logprobs", "x"], "MQ-2002"),
        (["--template", "no gap"], "MQ-2002"),
        (["--form", "sonnet"], "MQ-2002"),
        (["--form", "wujue"], "MQ-2121|MQ-2131"),
        (["-n", "0"], "MQ-2002"),
        (["-n", "1000000000"], "MQ-2002"),
        (["--image", "a.png", "--factor", "2"], "MQ-2"),
    ],
)
def test_what_cannot_be_is_refused(run: Path, words: list[str], code: str, capsys) -> None:
    assert main(["sample", str(run), *words]) == 2
    out, err = capsys.readouterr()
    assert re.search(code, err) and "Traceback" not in err and not out


def test_models_of_pictures_take_no_words(tmp_path: Path) -> None:
    path = maquette.train(
        "points-vae", budget="2steps", out=tmp_path / "run", overrides=["train.batch=8"], quiet=True
    ).path
    with pytest.raises(MaquetteError, match="MQ-2104"):
        maquette.sample(path, prompt="a cat")
    for asked in ({"sampling": {"top_k": 3}}, {"max_tokens": 3}, {"template": "□"}, {"stop": "a"}, {"likeliest": 3}):
        with pytest.raises(MaquetteError, match="MQ-2104"):
            maquette.sample(path, **asked)
    with pytest.raises(MaquetteError, match="MQ-2104"):
        load(path).say(Request())


def test_text_and_models_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MaquetteError, match="MQ-2008"):
        maquette.train("gpt-char", "pydoc", "2steps", tmp_path / "run", ["model=diffusion"], quiet=True)
    with pytest.raises(MaquetteError, match="MQ-2008"):
        maquette.train("dcgan", "digits", "2steps", tmp_path / "run", ["model=lstm"], quiet=True)
    assert not (tmp_path / "run").exists()
