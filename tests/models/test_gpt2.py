"""GPT-2's files: the same logits as the library's, the same tokens, every bit there and back, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import maquette
from maquette.bundle import Bundle, read_bundle
from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.core.types import Condition
from maquette.media.tokens import BYTES, LEARNT, alphabet
from maquette.models.foreign import grown
from tests.models import made

pytest.importorskip("transformers")
TEXTS = [*made.LINES[:3], " two  spaces\n\ttab 2024 ", "It's 3.14—“quoted”", "我们在2024年👩‍👩‍👧🎉", "", "\x00\r\n"]
FORMS = {
    "vocab.json": {},
    "tokenizer.json": {"whole": True},
    "no prefix": {"prefix": False},
    "shards": {"shard": "15KB"},
    "untied": {"tied": False},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it, do not write."""
    path = tmp_path_factory.mktemp("models") / "small"
    made.gpt2(path)
    return path


def imported(folder: Path, out: Path, *overrides: str) -> Bundle:
    return read_bundle(maquette.import_model(folder, out, overrides))


def numbers(bundle: Bundle, folder: Path) -> torch.Tensor:
    """The library's number of each of our tokens, but for PROMPT and ANSWER."""
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = bundle.medium_config.to_tree()["vocabulary"].split("\n")
    return torch.tensor(
        [vocab[made.END], *(vocab[p] for p in [*alphabet(), *(line.replace(" ", "") for line in lines)])]
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_logits_are_the_librarys(form: str, folder: Path, tmp_path: Path) -> None:
    theirs = made.gpt2(tmp_path / "theirs", **FORMS[form])
    assert form != "shards" or len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    bundle = imported(tmp_path / "theirs", tmp_path / "bundle")
    assert bundle.model_config.kind() == "gpt" and bundle.model_config.to_tree()["tied"] == (form != "untied")
    own, order = bundle.build(), numbers(bundle, folder)
    known = torch.tensor([0, *range(BYTES, own.space.vocab)])  # type: ignore[union-attr]
    x = torch.randint(len(known), (3, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = theirs(order[x]).logits[..., order]
        found, _ = own.read(known[x], Condition())  # type: ignore[operator]
    assert wanted.std() > 1 and torch.allclose(found[..., known], wanted, rtol=0, atol=1e-4)


def test_text_is_cut_as_the_library_cuts_it(folder: Path, tmp_path: Path) -> None:
    from transformers import GPT2Tokenizer

    theirs = GPT2Tokenizer.from_pretrained(folder)
    bundle = imported(folder, tmp_path / "bundle")
    text, order = bundle.medium_config.build(), numbers(bundle, folder)
    for words in TEXTS:
        tokens = text.tokenizer.encode(words)  # type: ignore[attr-defined]
        assert [int(order[t - BYTES + 1]) for t in tokens] == theirs(words)["input_ids"], words
        assert text.tokenizer.decode(tokens) == words  # type: ignore[attr-defined]
    assert len(text.tokenizer.encode(made.LINES[0])) < 40 and text.space.vocab > LEARNT  # type: ignore[attr-defined]


@pytest.mark.parametrize("tied", [True, False])
def test_every_bit_goes_there_and_back(tied: bool, tmp_path: Path) -> None:
    theirs = made.gpt2(tmp_path / "theirs", tied)
    once = imported(tmp_path / "theirs", tmp_path / "once")
    back = maquette.export_model(tmp_path / "once", tmp_path / "back")
    before, after = (load_file(path / "model.safetensors") for path in (tmp_path / "theirs", back))
    assert before.keys() == after.keys()
    for name, tensor in before.items():  # the marks PROMPT and ANSWER are the last two rows
        more = 2 if name in ("transformer.wte.weight", "lm_head.weight") else 0
        assert len(after[name]) == len(tensor) + more and torch.equal(after[name][: len(tensor)], tensor), name
    again = imported(back, tmp_path / "again")
    assert again.weights.keys() == once.weights.keys() and again.medium_config == once.medium_config
    assert all(torch.equal(tensor, once.weights[name]) for name, tensor in again.weights.items())
    opened = made.quiet().AutoModelForCausalLM.from_pretrained(back).eval()
    x = torch.randint(theirs.config.vocab_size, (2, 32), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(opened(x).logits[..., : theirs.config.vocab_size], theirs(x).logits, atol=1e-5)


def test_what_is_exported_speaks_with_the_librarys_tokenizer(folder: Path, tmp_path: Path) -> None:
    imported(folder, tmp_path / "bundle")
    back = maquette.export_model(tmp_path / "bundle", tmp_path / "back")
    theirs, first = (made.quiet().AutoTokenizer.from_pretrained(path) for path in (back, folder))
    for words in TEXTS:
        assert theirs(words)["input_ids"] == first(words)["input_ids"]
    assert theirs.eos_token == made.END and theirs.convert_tokens_to_ids("<|answer|>") == len(first) + 1


def test_a_model_learnt_here_is_opened_there(tmp_path: Path) -> None:
    form = [
        "positions=learned",
        "norm=layer",
        "mlp=gelu",
        "bias=true",
        "qk_norm=false",
        "width=16",
        "depth=2",
        "heads=2",
    ]
    settings = [f"model.net.{setting}" for setting in form] + ["model.embed_norm=false", "medium.length=16"]
    settings += ["medium.tokenizer=bpe", "medium.vocab=300", "train.batch=4", "train.samples=2", "train.precision=fp32"]
    run = maquette.train(
        "gpt-char", str(made.texts(tmp_path / "data")), "3steps", tmp_path / "run", settings, quiet=True
    )
    back = maquette.export_model(run.path, tmp_path / "back")
    opened, bundle = made.quiet().AutoModelForCausalLM.from_pretrained(back).eval(), read_bundle(run.bundle)
    order, own = numbers(bundle, back), bundle.build()
    known = torch.tensor([0, *range(BYTES, own.space.vocab)])  # type: ignore[union-attr]
    with torch.no_grad():
        found = own.read(known[None, :16], Condition())[0][..., known]  # type: ignore[operator]
        assert torch.allclose(found, opened(order[None, :16]).logits[..., order], atol=1e-4)


def test_a_shorter_window_leaves_the_later_places_behind(folder: Path, tmp_path: Path) -> None:
    whole, part = imported(folder, tmp_path / "whole"), imported(folder, tmp_path / "part", "medium.length=8")
    assert torch.equal(part.weights["net.places"], whole.weights["net.places"][:8])
    with pytest.raises(MaquetteError, match="MQ-7001"):
        imported(folder, tmp_path / "longer", "medium.length=64")
    assert not (tmp_path / "longer").exists()


def test_new_tokens_begin_near_the_mean_and_apart() -> None:
    table = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0)) + 3
    more = grown(table, 2)
    assert torch.equal(more[:1000], table) and torch.equal(grown(table, 0), table)
    assert (more[1000:] - table.mean(0)).abs().max() < 0.5 and not torch.equal(more[1000], more[1001])


def test_the_commands(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["import", str(folder), "medium.length=16"]) == 0
    said = capsys.readouterr()
    assert said.out == "bundles/small\n" and "model.kind=gpt" in said.err
    assert main(["sample", "bundles/small", "--prompt", "It was", "--top-k", "1"]) == 0
    assert capsys.readouterr().out.startswith("It was")
    assert main(["export", "bundles/small"]) == 0 and main(["export", "bundles/small"]) == 0
    assert capsys.readouterr().out == "exported/small\nexported/small-2\n"
    assert main(["import", str(folder), "--out", "bundles/small"]) == 5
    assert main(["sample", "exported/small"]) == 7 and "maquette import" in capsys.readouterr().err
    assert main(["import", str(folder), "train.batch=3"]) == 2
    card = read_bundle("bundles/small").card
    assert card["from"] == "small" and len(card["from_sha256"]) == 64


# -- what is refused --------------------------------------------------------------------------------------------------


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def with_a_token_more(folder: Path) -> None:
    made.edit(folder, "vocab.json", **{"[PAD]": 400})


def without_an_end(folder: Path) -> None:
    made.edit(folder, "vocab.json", **{made.END: None})
    made.edit(folder, "config.json", eos_token_id=None)


def with_an_index(**places: str):
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    return change


REFUSED = {
    "a pickle": (without_weights, "MQ-8003", "torch.load('pytorch_model.bin', weights_only=True)"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "MQ-7040", "no model.safetensors"),
    "cut weights": (lambda f: (f / "model.safetensors").write_bytes(b"12345678"), "MQ-8001", "safetensors"),
    "an index that leaves the folder": (with_an_index(a="../x.safetensors"), "MQ-7040", "index"),
    "an index of pickles": (with_an_index(a="x.bin"), "MQ-7040", "index"),
    "an index of what is not there": (with_an_index(a="x.safetensors"), "MQ-5004", "x.safetensors"),
    "another activation": (lambda f: made.edit(f, "config.json", activation_function="relu"), "MQ-7040", "relu"),
    "another epsilon": (lambda f: made.edit(f, "config.json", layer_norm_epsilon=1e-6), "MQ-7040", "1e-06"),
    "more layers than weights": (lambda f: made.edit(f, "config.json", n_layer=3), "MQ-7040", "h.2.ln_1.weight"),
    "layers that are words": (lambda f: made.edit(f, "config.json", n_layer="two"), "MQ-7040", "whole number"),
    "heads that do not fit": (lambda f: made.edit(f, "config.json", n_head=3), "MQ-2002", "heads"),
    "a head that is not there": (lambda f: made.edit(f, "config.json", tie_word_embeddings=False), "MQ-7040", "lm_"),
    "quantised weights": (lambda f: made.edit(f, "config.json", quantization_config={}), "MQ-7040", "quantised"),
    "a token that no merge makes": (with_a_token_more, "MQ-7040", "[PAD]"),
    "no end": (without_an_end, "MQ-7040", "to end a text"),
    "a merge without its piece": (lambda f: made.edit(f, "vocab.json", Ġw=None), "MQ-7040", "merges make"),
    "a config that is a list": (lambda f: (f / "config.json").write_text('["model_type"]'), "MQ-5004", "MANIFEST"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_over_is_refused_in_a_sentence(case: str, folder: Path, tmp_path: Path, capsys) -> None:
    change, code, said = REFUSED[case]
    shutil.copytree(folder, tmp_path / "copy")
    change(tmp_path / "copy")
    words = ["import", str(tmp_path / "copy"), "--out", str(tmp_path / "out"), "model.kind=gpt"]
    assert main(words) == int(code[3])
    err = capsys.readouterr().err
    assert code in err and said in err and "Traceback" not in err and not (tmp_path / "out").exists()


def test_what_the_form_cannot_express_is_not_exported(tmp_path: Path) -> None:
    settings = ["medium.length=8", "model.net.width=16", "model.net.depth=1", "model.net.heads=2"]
    settings += ["train.batch=2", "train.samples=1"]
    run = maquette.train(
        "gpt-char", str(made.texts(tmp_path / "data")), "1steps", tmp_path / "run", settings, quiet=True
    )
    with pytest.raises(
        MaquetteError, match=r'MQ-7041.* positions "rotary", .*tokenizer "character"\n.* positions "learned".*"bpe"$'
    ):
        maquette.export_model(run.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    run = maquette.train(
        "points-vae", budget="1steps", out=tmp_path / "points", overrides=["train.batch=8"], quiet=True
    )
    with pytest.raises(MaquetteError, match="MQ-7041.*no other library"):
        maquette.export_model(run.path, tmp_path / "out")


def test_a_name_on_the_hub_needs_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests are offline: what cannot be reached is told in a sentence, and a folder's name never asks the network."""
    with pytest.raises(MaquetteError, match="MQ-2134"):
        maquette.import_model("hf:nobody/nothing", tmp_path / "out")
    with pytest.raises(MaquetteError, match="MQ-5004"):
        maquette.import_model("nobody/nothing", tmp_path / "out")
