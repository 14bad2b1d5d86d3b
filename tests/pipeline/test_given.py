"""Models that start from a picture: through the pipeline, the verb and the command, and what each is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maquette.bundle import read_bundle, save_bundle
from maquette.cli.main import main
from maquette.core.errors import MaquetteError
from maquette.crafts import mask, shrink
from maquette.data.along import Along
from maquette.data.captions import Captions
from maquette.media import image
from maquette.models import adain, cyclegan, diffusion, gan
from maquette.models.base import ModelConfig
from maquette.nets import convnet, mlp, unet
from maquette.pipeline import Pipeline, Request, load
from maquette.verbs.sample import _reader, brought, sample

MEDIUM = image.Config(size=8, channels=1)
TINY, FLAT = unet.Config.tiny(), mlp.Config.tiny()
CYCLE = cyclegan.Config(generator=TINY, critic=convnet.Config(width=8, widest=16, norm="group"))
FLOW = diffusion.Config(net=TINY, steps=2)
PIX = gan.Config(generator=TINY, critic=FLAT, latent=4, l1=10.0)


def saved(folder: Path, config: ModelConfig, along: Along, classes: tuple[str, ...] = ()) -> Path:
    """A bundle of an untrained model, its weights stirred."""
    torch.manual_seed(0)
    space = MEDIUM.build().space
    model = config.fitted(space, len(classes), along.beside(space))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    save_bundle(folder, MEDIUM, config, list(classes), model.state_dict(), {"name": "tiny"}, along=along)
    return folder


def files(folder: Path, n: int, size: int = 8) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(n)]
    for i, path in enumerate(paths):
        pixels = np.random.default_rng(i).integers(0, 256, (size, size), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


@pytest.fixture
def small(tmp_path: Path) -> Pipeline:
    return load(saved(tmp_path / "bundle", PIX, Along(craft=shrink.Config(factor=2))), "cpu")


def code_of(work) -> str:
    with pytest.raises(MaquetteError) as refused:
        work()
    return refused.value.code


def test_a_bundle_says_what_is_given(tmp_path: Path) -> None:
    along = Along(craft=mask.Config(holes="boxes"))
    assert read_bundle(saved(tmp_path / "a", FLOW, along)).along == along
    plain = saved(tmp_path / "b", FLOW, Along())
    assert read_bundle(plain).along == Along() and "along" not in (plain / "config.json").read_text()


def test_each_sample_is_given_its_picture(small: Pipeline) -> None:
    given = torch.rand(3, 1, 4, 4) * 2 - 1
    made = small.generate(Request(n=7, given=given))
    assert made.shape == (7, 8, 8, 1)
    for i in (1, 5):  # sample 5 starts from picture 5 modulo 3
        alone = small.generate(Request(n=1, seed=i, given=given[i % 3 :]))
        assert np.array_equal(alone[0], made[i])
    other = small.generate(Request(n=7, given=-given))
    assert (other != made).any()


def test_what_does_not_fit_is_refused(small: Pipeline, tmp_path: Path) -> None:
    assert code_of(lambda: small.generate(Request(n=1))) == "MQ-2137"
    assert code_of(lambda: small.generate(Request(n=1, given=torch.zeros(1, 1, 8, 8)))) == "MQ-2106"
    assert code_of(lambda: small.generate(Request(n=1, given=torch.zeros(1, 1, 4, 4), back=True))) == "MQ-2104"
    plain = load(saved(tmp_path / "plain", FLOW, Along()), "cpu")
    assert code_of(lambda: plain.generate(Request(n=1, given=torch.zeros(1, 1, 8, 8)))) == "MQ-2138"
    assert code_of(lambda: sample(plain, derive=True, n=1)) == "MQ-2138"


def test_a_picture_is_brought_as_it_is_or_taken_from(small: Pipeline, tmp_path: Path) -> None:
    whole = files(tmp_path / "whole", 2)
    x = small.medium.to_tensor(np.stack([small.medium.read(path) for path in whole]))
    items = [small.medium.read(path) for path in whole]
    derived = brought(small, items, None, derive=True, seed=0)
    assert torch.equal(derived, torch.nn.functional.avg_pool2d(x, 2))
    little = files(tmp_path / "little", 2, size=4)
    halves = [_reader(small, False).read(path) for path in little]
    as_it_is = brought(small, halves, None, derive=False, seed=0)
    with Image.open(little[1]) as picture:
        assert torch.allclose(as_it_is[1, 0], torch.from_numpy(np.asarray(picture) / 127.5 - 1).float())
    assert code_of(lambda: brought(small, items, np.ones((8, 8), bool), True, 0)) == "MQ-2138"


def test_a_mended_picture_keeps_what_is_known(tmp_path: Path) -> None:
    bundle = saved(tmp_path / "bundle", FLOW, Along(craft=mask.Config()))
    (path,) = files(tmp_path / "in", 1)
    hole = np.zeros((8, 8), np.uint8)
    hole[:3] = 255
    Image.fromarray(hole).save(tmp_path / "mask.png")
    made = sample(bundle, image=path, mask=tmp_path / "mask.png", n=3, device="cpu").items
    real = MEDIUM.build().read(path)
    assert all(np.array_equal(item[3:], real[3:]) for item in made)
    assert (made[:, :3] != real[:3]).any()
    assert code_of(lambda: sample(bundle, image=path, device="cpu")) == "MQ-2105"
    assert len(sample(bundle, image=path, derive=True, device="cpu").items) == 1


def test_the_command_makes_one_of_each_picture_there_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = saved(tmp_path / "bundle", CYCLE, Along(picture=True))
    paths = files(tmp_path / "in", 3)
    words = ["sample", str(bundle), "--device", "cpu", "--out"]
    assert main([*words, str(tmp_path / "there"), "--image", str(tmp_path / "in")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    several = [word for path in paths[:2] for word in ("--image", str(path))]
    assert main([*words, str(tmp_path / "back"), *several, "--back"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    there, back = (np.asarray(Image.open(tmp_path / way / "000000.png")) for way in ("there", "back"))
    assert (there != back).any()
    assert main([*words, str(tmp_path / "none")]) == 2
    assert "MQ-2137" in capsys.readouterr().err and not (tmp_path / "none").exists()
    assert main(["evaluate", str(bundle), "--data", str(tmp_path / "in")]) == 2, "it does not know its pairs"
    assert "MQ-2118" in capsys.readouterr().err


def test_a_picture_is_made_over_in_the_manner_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = saved(tmp_path / "bundle", adain.Config.tiny(), Along(picture=True))
    photo, *paintings = files(tmp_path / "in", 4)
    words = ["sample", str(bundle), "--device", "cpu", "--image", str(photo), "--out"]
    assert main([*words, str(tmp_path / "one"), "--manner", str(paintings[2])]) == 0
    several = [word for path in paintings for word in ("--manner", str(path))]
    assert main([*words, str(tmp_path / "all"), *several]) == 0
    one, *three = (np.asarray(Image.open(path)) for path in capsys.readouterr().out.split())
    assert len(three) == 3 and np.array_equal(one, three[2]) and (three[0] != three[1]).any()
    ready, other = load(bundle, "cpu"), load(saved(tmp_path / "other", CYCLE, Along(picture=True)), "cpu")
    given = torch.zeros(1, 1, 8, 8)
    assert code_of(lambda: other.generate(Request(n=1, given=given, manner=given))) == "MQ-2138"
    assert code_of(lambda: ready.generate(Request(n=1, given=given, manner=torch.zeros(1, 1, 4, 4)))) == "MQ-2106"
    assert code_of(lambda: ready.generate(Request(n=1, manner=given))) == "MQ-2137"


def test_guidance_hides_the_label_and_not_the_picture(tmp_path: Path) -> None:
    along = Along(craft=shrink.Config(factor=2))
    ready = load(saved(tmp_path / "bundle", FLOW, along, ("a", "b")), "cpu")
    given = torch.rand(2, 1, 4, 4)
    plain, guided = (ready.generate(Request(n=2, given=given, label="b", guidance=g)) for g in (0.0, 3.0))
    assert (plain != guided).any()
    other = ready.generate(Request(n=2, given=-given, label="b", guidance=0.0))
    assert (plain != other).any(), "without a label it would be without a picture too"


def test_captions_are_kept_by_the_bundle_and_read_by_its_tokenizer() -> None:
    captions = Captions(tokenizer="character", length=5).learnt(["red bus"])
    along = Along(captions=captions)
    beside = along.beside(MEDIUM.build().space)
    assert beside.text == captions.space and beside.image is None
    assert Along.from_tree(along.to_tree(), "along") == along
    with pytest.raises(MaquetteError, match="MQ-2136"):
        PIX.fitted(MEDIUM.build().space, 0, beside)
    assert FLOW.fitted(MEDIUM.build().space, 0, beside).beside == beside
