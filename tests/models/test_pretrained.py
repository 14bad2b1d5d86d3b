"""Models of `transformers`: the library's logits, documents apart, adapters that peft opens, and configs that lie."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import maquette
from maquette.bundle import Bundle, read_bundle
from maquette.cli.main import main
from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Condition, Given, Sampling
from maquette.media import tokens
from maquette.models import pretrained
from maquette.pipeline import Request, load
from tests.models import made
from tests.test_bundle import seal

pytest.importorskip("transformers")
pytest.importorskip("peft")
SMALL = ["train.batch=4", "train.samples=2", "train.ema=0", "train.optimizers.model.lr=1e-2", "medium.length=24"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Read them, do not write: a Llama with its own head, and a GPT-2 whose weights are tied."""
    root = tmp_path_factory.mktemp("models")
    made.llama(root / "llama")
    made.gpt2(root / "gpt2", whole=True)
    return {"llama": root / "llama", "gpt2": root / "gpt2"}


@pytest.fixture(scope="module")
def bundles(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bundles")
    words = ["model.kind=pretrained"]
    return {name: maquette.import_model(folder, root / name, words) for name, folder in models.items()}


@pytest.fixture(scope="module")
def lora(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that changed the Llama at low rank."""
    root = tmp_path_factory.mktemp("lora")
    words = [*SMALL, "model.tune=lora", "model.rank=2"]
    return train(models["llama"], made.texts(root / "data"), root / "run", 6, words)


def train(begin: Path, data: Path, out: Path, steps: int, words: list[str]) -> Path:
    run = maquette.train("finetune", str(data), f"{steps}steps", out, words, quiet=True, begin=begin)
    return run.path


def opened(folder: Path) -> Any:
    return made.quiet().AutoModelForCausalLM.from_pretrained(folder).eval()


def logits(bundle: Bundle | Path, x: torch.Tensor) -> torch.Tensor:
    model = (read_bundle(bundle) if isinstance(bundle, Path) else bundle).build()
    with torch.no_grad():
        return model.read(x, Condition())[0]  # type: ignore[operator]


def some(vocab: int, *shape: int) -> torch.Tensor:
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(0))


# -- taking over ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_logits_are_the_librarys(name: str, models: dict[str, Path], bundles: dict[str, Path]) -> None:
    theirs, bundle = opened(models[name]), read_bundle(bundles[name])
    size = theirs.config.vocab_size
    x = some(size, 2, 20)
    with torch.no_grad():
        wanted = theirs(x).logits
    found = logits(bundle, x)
    assert found.shape[-1] == size + 2, "PROMPT and ANSWER are two rows more"
    assert wanted.std() > 0.1 and torch.equal(found[..., :size], wanted)
    assert bundle.model_config.kind() == "pretrained" and not bundle.medium_config.to_tree()["alone"]


def test_its_tokens_are_its_own_and_no_text_is_a_mark(models: dict[str, Path], bundles: dict[str, Path]) -> None:
    theirs = made.quiet().AutoTokenizer.from_pretrained(models["llama"])
    text: Any = read_bundle(bundles["llama"]).medium_config.build()
    end, prompt, answer = text.marks
    assert (end, prompt, answer) == (len(theirs) - 1, len(theirs), len(theirs) + 1)
    for words in [*made.LINES[:3], " two  spaces 2024", "👩‍👩‍👧 é", "\x00\r\n"]:
        found = text.tokenizer.encode(words)
        assert found.tolist() == theirs(words)["input_ids"] and text.tokenizer.decode(found) == words
        assert text.tokenizer.sizes[found].sum() == len(words.encode())
    forged = text.tokenizer.encode(f"a{made.END}b<|answer|>")
    assert not {*forged.tolist()} & {end, prompt, answer} and text.tokenizer.decode(forged) == f"a{made.END}b<|answer|>"
    assert text.tokenizer.decode(text.tokenizer.encode("a\ud800b")) == "a\ufffdb"
    row = text.from_record({"prompt": "It", "response": "was"}, "row").tolist()
    assert row[:2] == [end, prompt] and row.count(answer) == 1 and text.dtype == np.uint16


def test_numbers_beyond_16_bits_find_room() -> None:
    import tokenizers

    vocab = {f"w{i}": i for i in range(70_000)} | {"<end>": 70_000, "<p>": 70_001, "<a>": 70_002}
    made_of = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="w0"))
    made_of.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    text = maquette_text("70000 70001 70002\n" + made_of.to_str())
    document = text.from_bytes(b"w69999 w3", "a")
    assert document.tolist() == [70_000, 69_999, 3] and document.dtype == np.uint32
    assert text.cutter().put(document) == [] and text.units(torch.tensor([[70_000, 69_999, 3]])).tolist() == [8]


def maquette_text(vocabulary: str) -> Any:
    from maquette.media.text import Config

    return Config(tokenizer="hf", vocabulary=vocabulary, length=8).build()


@pytest.mark.parametrize("vocabulary", ["", "1 2 3", "0 1\n{}", "0 1 2\n{}", "0 0 1\n{}", "a b c\n{}", "0 1 2\n[]"])
def test_a_vocabulary_that_is_none_is_refused(vocabulary: str) -> None:
    with pytest.raises(MaquetteError, match=r"MQ-2009.*vocabulary"):
        tokens.make("hf", vocabulary)


def test_sizes_of_pieces_that_are_no_bytes() -> None:
    import tokenizers

    vocab = [("<end>", 0.0), ("<p>", 0.0), ("<a>", 0.0), ("\u2581the", -1.0), ("<0xE4>", -2.0), ("你", -3.0)]
    made_of = tokenizers.Tokenizer(tokenizers.models.Unigram(vocab, unk_id=4, byte_fallback=True))
    made_of.decoder = tokenizers.decoders.Metaspace()
    assert tokens.make("hf", "0 1 2\n" + made_of.to_str()).sizes.tolist() == [0, 0, 0, 4, 1, 3]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_documents_do_not_see_each_other(name: str, bundles: dict[str, Path]) -> None:
    model: Any = read_bundle(bundles[name]).build()
    end = model.space.marks.end
    one, other, last = [end, 5, 6, 7], [end, 9, 8], [end, 9, 8, 7, 6]
    packed, alone = torch.tensor([one + last]), torch.tensor([last])
    with torch.no_grad():
        together = model.nats(packed, Condition())[0][:, 4:]
        assert torch.allclose(together, model.nats(alone, Condition())[0], atol=1e-5)
        assert torch.allclose(together, model.nats(torch.tensor([other + last]), Condition())[0][:, 3:], atol=1e-5)
    assert model.training is False and model.keeps_apart()


def test_one_folder_costs_the_same_in_both_forms(
    models: dict[str, Path], bundles: dict[str, Path], tmp_path: Path
) -> None:
    """GPT-2 as our own model and as the library's, where documents share a window."""
    costs = []
    for bundle in (maquette.import_model(models["gpt2"], tmp_path / "own"), bundles["gpt2"]):
        model, medium = read_bundle(bundle).build().eval(), read_bundle(bundle).medium_config.build()
        rows = [medium.from_record({"text": text}, text) for text in ("It was", "春眠", "x = [1]")]
        window = np.concatenate([*rows, rows[0]]).astype(np.int64)
        x = torch.from_numpy(window)[None]
        costs.append(model.nll(Batch(x, Given(), Seeds.for_samples(0, 1))))  # type: ignore[operator]
    assert torch.allclose(*costs, rtol=1e-5)


def test_a_predictor_is_right_in_any_order(bundles: dict[str, Path]) -> None:
    model: Any = read_bundle(bundles["llama"]).build()
    x = some(100, 3, 12)
    with torch.no_grad():
        predict, wanted = model.predictor(Condition()), model.read(x, Condition())[0]
        for at in (1, 2, 3, 7, 4, 12):
            assert torch.allclose(predict(x, at), wanted[:, at - 1], atol=1e-5)


def test_it_is_drawn_scored_and_streamed_like_any_other(bundles: dict[str, Path], tmp_path: Path, capsys) -> None:
    pipeline = load(bundles["llama"], "cpu")
    ask = Request(prompt="It was", seed=3, sampling=Sampling(top_k=5))
    said = "".join(piece.text for piece in pipeline.stream(ask))
    assert said == pipeline.medium.words(pipeline.generate(ask)[0]) and said.startswith("It was")
    data = made.texts(tmp_path / "data", times=60)
    words = ["evaluate", str(bundles["llama"]), "--data", str(data), "-n", "50", "--out", str(tmp_path / "report")]
    assert main(words) == 0
    report = json.loads((tmp_path / "report/report.json").read_text())
    (found,) = [score for score in report["scores"] if score["name"] == "likelihood"]
    assert found["unit"] == "bits per byte" and 1 < found["value"] < 40


# -- tuning -----------------------------------------------------------------------------------------------------------


def test_all_weights_are_tuned_and_the_library_opens_what_came_of_it(models: dict[str, Path], tmp_path: Path) -> None:
    run = train(models["llama"], made.texts(tmp_path / "data"), tmp_path / "run", 6, [*SMALL, "train.keep=10"])
    before, after = (load_file(run / f"checkpoints/step-{step}/model.safetensors") for step in ("00000000", "00000006"))
    assert all(not torch.equal(before[name], after[name]) for name in before)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["validation"]["bits_per_byte"] for line in lines if "validation" in line]
    assert losses[-1] < losses[0]
    back = maquette.export_model(run, tmp_path / "back")
    x = some(300, 2, 20)
    with torch.no_grad():
        assert torch.equal(opened(back)(x).logits, logits(run / "bundle", x))
    theirs = made.quiet().AutoTokenizer.from_pretrained(back)
    text: Any = read_bundle(run / "bundle").medium_config.build()
    assert theirs(made.LINES[1])["input_ids"] == text.tokenizer.encode(made.LINES[1]).tolist()
    assert theirs.eos_token_id == text.marks.end
    again = maquette.import_model(back, tmp_path / "again", ["medium.length=24"])
    assert all(torch.equal(t, read_bundle(again).weights[n]) for n, t in read_bundle(run / "bundle").weights.items())


def test_at_low_rank_the_rest_keeps_every_bit(lora: Path, bundles: dict[str, Path]) -> None:
    begun, found = read_bundle(bundles["llama"]).weights, read_bundle(lora / "bundle").weights
    assert all(torch.equal(tensor, found[name]) for name, tensor in begun.items())
    more = found.keys() - begun.keys()
    assert more and all(".lora_" in name for name in more)
    assert all(found[name].abs().max() > 0 for name in more if "lora_B" in name), "it learnt nothing"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_peft_opens_the_adapter(lora: Path, models: dict[str, Path]) -> None:
    from peft import PeftModel

    base = opened(models["llama"])
    size, x = base.config.vocab_size, some(base.config.vocab_size, 2, 20)
    with torch.no_grad():
        plain = base(x).logits.clone()
        theirs = PeftModel.from_pretrained(base, lora / "adapter").eval()(x).logits
    own = logits(lora / "bundle", x)[..., :size]
    assert torch.allclose(theirs, own, atol=1e-6) and not torch.allclose(plain, own, atol=1e-3)
    assert {p.name for p in (lora / "adapter").iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}


def test_what_was_changed_at_low_rank_is_exported_whole(lora: Path, tmp_path: Path) -> None:
    back, x = maquette.export_model(lora, tmp_path / "back"), some(300, 2, 20)
    with torch.no_grad():
        assert torch.allclose(opened(back)(x).logits, logits(lora / "bundle", x), atol=1e-5)
    assert not (back / "adapter_config.json").exists()


def test_layers_can_be_named_and_a_wrong_name_is_told(models: dict[str, Path], tmp_path: Path) -> None:
    begun = maquette.import_model(models["llama"], tmp_path / "a", ["model.tune=lora", "model.targets=[v_proj]"])
    assert {n.split(".lora_")[0][-6:] for n in read_bundle(begun).weights if ".lora_" in n} == {"v_proj"}
    with pytest.raises(MaquetteError, match=r"MQ-2009.*model.targets: w_proj(.|\n)*nearest: 'v_proj'"):
        maquette.import_model(models["llama"], tmp_path / "b", ["model.tune=lora", "model.targets=[w_proj]"])
    tied = maquette.import_model(models["gpt2"], tmp_path / "c", ["model.kind=pretrained", "model.tune=lora"])
    assert any("c_attn.lora_A" in name for name in read_bundle(tied).weights)


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_a_stopped_run_ends_in_the_same_bits_without_its_source(
    tune: str, models: dict[str, Path], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(models["gpt2"], tmp_path / "source"))
    words = [*SMALL, "model.kind=pretrained", f"model.tune={tune}", "train.checkpoint_every=0.5"]
    words += ["train.precision=bf16"] * (tune == "lora")  # and dropout in both
    whole = train(source, made.texts(tmp_path / "data"), tmp_path / "whole", 4, words)
    shutil.rmtree(source)
    part = Path(shutil.copytree(whole, tmp_path / "part"))
    shutil.rmtree(part / "checkpoints/step-00000004")
    maquette.resume(part, quiet=True)
    for name in ("model", "ema", "optimisers"):
        path = f"checkpoints/step-00000004/{name}.safetensors"
        assert (whole / path).read_bytes() == (part / path).read_bytes(), name


# -- what a folder or a bundle may say --------------------------------------------------------------------------------


def as_bert(folder: Path) -> None:
    transformers = made.quiet()
    shape = transformers.BertConfig(
        vocab_size=317, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=48, eos_token_id=316,
    )  # fmt: skip
    made.saved(transformers.BertLMHeadModel(shape), folder, 0.3)


def with_a_value(name: str, value: Any) -> Callable[[Path], None]:
    return lambda folder: made.edit(folder, "config.json", **{name: value})


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    (folder / "model.safetensors").unlink()
    files.put_tensors(folder / "model.safetensors", tensors)


FOLDERS = {
    "one that sees what is to come": (as_bert, "MQ-7040", "still to come"),
    "one that lacks a tensor": (without_a_tensor, "MQ-7040", "up_proj"),
    "one of another size": (with_a_value("hidden_size", 32), "MQ-7040", ""),
    "one of a kind nobody knows": (with_a_value("model_type", "os.system"), "MQ-7040", "os.system"),
    "one that is no such model": (with_a_value("model_type", "t5"), "MQ-7040", "T5Config"),
    "one without an end": (with_a_value("eos_token_id", None), "MQ-7040", "eos_token"),
    "one whose end is no token": (with_a_value("eos_token_id", 10**6), "MQ-7040", "eos_token"),
    "a tokenizer that is none": (lambda f: (f / "tokenizer.json").write_text("{}"), "MQ-7040", "tokenizer.json"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "MQ-7040", "tokenizer.json"),
    "a pickle": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "MQ-8003", "pickle"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_is_no_such_model_is_refused(
    case: str, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, code, said = FOLDERS[case]
    shutil.copytree(models["llama"], tmp_path / "copy")
    change(tmp_path / "copy")
    assert main(["import", str(tmp_path / "copy"), "--out", str(tmp_path / "out")]) == int(code[3])
    err = capsys.readouterr().err
    assert code in err and said in err and "Traceback" not in err and not (tmp_path / "out").exists()


def test_a_config_that_names_code_or_files_is_only_read(models: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(models["llama"], tmp_path / "copy"))
    evil = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
    (copy / "modeling_evil.py").write_text(evil)
    made.edit(
        copy, "config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"}, attn_implementation="evil/kernel",
        _attn_implementation_internal="evil/kernel", transformers_weights="../evil.safetensors",
        fusion_config={"evil": True}, name_or_path="evil/base",
    )  # fmt: skip
    (copy / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "evil/base", "peft_type": "LORA"}))
    bundle = read_bundle(maquette.import_model(copy, tmp_path / "out"))
    assert not (copy / "ran").exists() and "evil" not in bundle.model_config.to_tree()["architecture"]


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "code": ({"auto_map": {"AutoModelForCausalLM": "a--b.C"}}, "MQ-8001"),
    "a kernel from the hub": ({"attn_implementation": "evil/kernel"}, "MQ-8001"),
    "a private key": ({"_attn_implementation_internal": "evil/kernel"}, "MQ-8001"),
    "a type by name": ({"dtype": "load"}, "MQ-8001"),
    "another place": ({"name_or_path": "evil/base"}, "MQ-8001"),
    "a quantiser": ({"quantization_config": {"quant_method": "evil"}}, "MQ-8001"),
    "a kind that is none": ({"model_type": "os.system"}, "MQ-8001"),
    "a kind that is a list": ({"model_type": ["llama"]}, "MQ-8001"),
    "an absurd width": ({"hidden_size": 10**9}, "MQ-8001"),
    "a width that asks for more than the file holds": ({"hidden_size": 1 << 20}, "MQ-"),
    "layers without end": ({"num_hidden_layers": 1 << 20}, "MQ-8001"),
    "an activation that is none": ({"hidden_act": "os.system"}, "MQ-2009"),
    "a width that is a word": ({"hidden_size": "wide"}, "MQ-2009"),
    "a width that does not divide": ({"num_attention_heads": 5}, "MQ-"),
    "fewer tokens than the medium": ({"vocab_size": 100}, "MQ-2009"),
    "fewer places than the medium": ({"max_position_embeddings": 8}, "MQ-2009"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_bundle_whose_architecture_lies_is_refused(case: str, bundles: dict[str, Path], tmp_path: Path) -> None:
    changes, code = HOSTILE[case]
    copy = Path(shutil.copytree(bundles["llama"], tmp_path / "copy"))
    tree = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    tree["model"]["architecture"] = json.dumps(json.loads(tree["model"]["architecture"]) | changes)
    (copy / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    seal(copy)
    with pytest.raises(MaquetteError, match=code):
        read_bundle(copy)


@pytest.mark.parametrize("architecture", ["", "{", "[]", '"llama"', "{}"])
def test_an_architecture_that_is_none_is_told(architecture: str) -> None:
    with pytest.raises(MaquetteError, match="MQ-"):
        pretrained.Config(architecture=architecture).build(read_space())


def read_space() -> Any:
    from maquette.core.types import Tokens

    return Tokens((6,), 5)


TRIPWIRE = """
import sys
from maquette.bundle import read_bundle
read_bundle(sys.argv[1]).build()  # everything that is imported late is imported now
def trip(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "pickle.")):
        print("TRIPPED", event, arguments, flush=True)
    if event == "open" and ((arguments[2] or 0) & 3 or "source" in str(arguments[0])):
        print("OPENED", arguments, flush=True)
sys.addaudithook(trip)
print(type(read_bundle(sys.argv[1]).build()).__name__)
"""


def test_opening_a_bundle_asks_neither_network_nor_source(models: dict[str, Path], tmp_path: Path) -> None:
    source = Path(shutil.copytree(models["llama"], tmp_path / "source"))
    bundle = maquette.import_model(source, tmp_path / "bundle")
    shutil.rmtree(source)
    done = subprocess.run(
        [sys.executable, "-c", TRIPWIRE, str(bundle)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.split() == ["Pretrained"], done.stdout + done.stderr


def test_a_model_that_mixes_documents_says_what_to_do(
    bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = read_bundle(bundles["llama"]).build()
    monkeypatch.setattr(model, "_apart", False)
    end = model.space.marks.end
    x = torch.tensor([[end, 5, 6, end, 7, 8]])
    with pytest.raises(MaquetteError, match=r"MQ-2009.*alone"):
        model.nll(Batch(x, Given(), Seeds.for_batch(0, 0, 1)))
    assert model.nll(Batch(x[:, :3], Given(), Seeds.for_batch(0, 0, 1))).isfinite().all()
