"""What goes with each sample: what a craft takes, partners of another source, pictures without partners, captions."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.core.errors import MaquetteError
from maquette.crafts import mask, shrink
from maquette.data.batches import Batches, held_out
from maquette.data.captions import Captions
from maquette.data.dataset import Dataset, Split
from maquette.data.pair import Pair
from maquette.data.source import Data, open_data, told
from maquette.media.points import Config as Points
from tests.data.making import GREY, opened, picture, refused, write

AUGMENT = {"flip": 0.5, "crop": 2, "rotate": 20}


def drawn(folder: Path, names: dict[str, int]) -> Path:
    """A picture under each name; equal numbers give equal pictures."""
    for name, number in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))
    return folder


def item(number: int) -> np.ndarray:
    return GREY.from_bytes(picture(number), "x")


def two_folders(root: Path, n: int = 8) -> tuple[Path, Path]:
    """Samples 0, 1 … and their partners 100, 101 … of the same names, three quarters of both for training."""
    splits = {i: "train" if i % 4 else "test" for i in range(n)}
    first = drawn(root / "first", {f"{splits[i]}/{i}.png": i for i in range(n)})
    return first, drawn(root / "second", {f"{splits[i]}/{i}.png": 100 + i for i in range(n)})


def paired(data: Dataset) -> dict[str, tuple[bytes, bytes]]:
    found = {}
    for split in (data.train, data.test):
        assert split.images is not None
        for name, one, other in zip(split.names, split.items, split.images, strict=True):
            found[name] = (one.tobytes(), other.tobytes())
    return found


# -- pairs ------------------------------------------------------------------------------------------------------------


def test_folders_are_joined_by_the_names_of_their_files(tmp_path: Path) -> None:
    first, second = two_folders(tmp_path)
    data = opened(first, pair=Pair(source=str(second)))
    assert (len(data.train), len(data.test)) == (6, 2)
    found = paired(data)
    for i in range(8):
        name = f"{'train' if i % 4 else 'test'}/{i}.png"
        assert found[name] == (item(i).tobytes(), item(100 + i).tobytes())
    assert opened(first).fingerprint != data.fingerprint
    again = opened(first, pair=Pair(source=str(second)))
    assert again.fingerprint == data.fingerprint and paired(again) == found


def test_tables_are_joined_by_a_column(tmp_path: Path) -> None:
    for folder, names, start in (("a", "xyz", 0), ("b", "zxy", 10)):
        drawn(tmp_path / folder, {f"{i}.png": start + i for i in range(3)})
        lines = ["file_name,kind", *(f"{i}.png,{name}" for i, name in enumerate(names))]
        (tmp_path / folder / "metadata.csv").write_text("\n".join(lines))
    data = opened(tmp_path / "a", pair=Pair(source=str(tmp_path / "b"), by="kind"))
    wanted = {"0.png": 11, "1.png": 12, "2.png": 10}  # x, y, z
    assert paired(data) == {n: (item(i).tobytes(), item(wanted[n]).tobytes()) for i, n in enumerate(wanted)}


def test_what_has_no_partner_is_named(tmp_path: Path) -> None:
    first, second = two_folders(tmp_path, 12)
    (second / "train" / "2.png").unlink()
    (second / "train" / "3.png").write_bytes(b"no picture")
    drawn(second, {"train/5.bmp": 7})
    pair = Pair(source=str(second))
    error = refused(first, pair=pair)
    assert error.code == "MQ-3003" and "partner" in str(error)
    data = opened(first, pair=pair, max_bad=0.3)
    reasons = dict(data.bad)
    assert "no partner has name '2'" in reasons["train/2.png"]
    assert "its partner train/3.png: " in reasons["train/3.png"]
    assert "2 partners have name '5'" in reasons["train/5.png"]
    assert len(data.bad) == 3 and len(data.train) + len(data.test) == 9


def test_no_partner_comes_from_another_split(tmp_path: Path) -> None:
    first = drawn(tmp_path / "first", {"train/1.png": 1, "train/2.png": 2, "test/3.png": 3})
    second = drawn(tmp_path / "second", {"train/1.png": 11, "test/2.png": 12, "test/3.png": 13})
    data = opened(first, pair=Pair(source=str(second)), max_bad=0.5)
    assert data.bad == [("train/2.png", "its partner of name '2' is in the split test")]
    assert len(data.train) == 1 and len(data.test) == 1


def test_sources_that_have_nothing_in_common_are_told_apart(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", "1.png", "2.png"), write(tmp_path / "b", "3.png")
    error = refused(first, pair=Pair(source=str(second)), max_bad=1.0)
    assert error.code == "MQ-3017" and "name '2'" in str(error)
    assert "it has no kind" in str(refused(first, pair=Pair(source=str(second), by="kind"), max_bad=1.0))


def test_so_few_pairs_that_one_split_was_empty_are_shared(tmp_path: Path) -> None:
    first = write(tmp_path / "a", "1.png", "2.png", "3.png")
    second = drawn(tmp_path / "b", {f"{i}.png": 20 + i for i in (1, 2, 3)})
    data = opened(first, pair=Pair(source=str(second)))
    assert len(data.train) == 2 and len(data.test) == 1
    assert all(paired(data)[f"{i}.png"][1] == item(20 + i).tobytes() for i in (1, 2, 3))


def test_training_apart_is_not_told_which_go_together(tmp_path: Path) -> None:
    first, second = two_folders(tmp_path)
    data = opened(first, pair=Pair(source=str(second), apart=True))
    assert data.train.images is None and data.train.others is not None and len(data.train.others) == 6
    assert data.test.images is not None and data.test.others is None
    assert data.fingerprint == opened(first, pair=Pair(source=str(second))).fingerprint


def test_other_pictures_are_those_of_their_own_splits(tmp_path: Path) -> None:
    first, second = two_folders(tmp_path)
    for path in sorted((second / "train").iterdir())[:2]:
        path.unlink()
    data = opened(first, other=str(second))
    assert len(data.train) == 6 and data.train.others is not None and len(data.train.others) == 4
    assert data.test.others is not None and len(data.test.others) == 2
    assert data.fingerprint != opened(first).fingerprint
    assert refused(first, other=str(drawn(tmp_path / "one", {"1.png": 1}))).code == "MQ-3002"


def test_one_thing_says_which_picture_is_given(tmp_path: Path) -> None:
    with pytest.raises(MaquetteError, match=r"data\.given and data\.other"):
        Data(source="a", given=shrink.Config(), other="b")
    with pytest.raises(MaquetteError, match="MQ-2009"):
        open_data(Data(source="ring8", given=shrink.Config()), Points().build())
    with pytest.raises(MaquetteError, match="multiples of 5"):
        opened(write(tmp_path, "1.png", "2.png"), given=shrink.Config(factor=5))


# -- batches ----------------------------------------------------------------------------------------------------------


def split(n: int, **more: object) -> Split:
    items = np.stack([item(i) for i in range(n)])
    return Split(items, np.arange(n), **more)  # type: ignore[arg-type]


def test_a_craft_takes_from_what_was_augmented() -> None:
    batch = Batches(split(20, craft=shrink.Config(factor=4)), GREY, 8, 0, augment=AUGMENT)(3)
    assert batch.given.image is not None
    assert torch.equal(batch.given.image, torch.nn.functional.avg_pool2d(batch.x, 4))


def test_what_is_taken_depends_on_seed_and_step_alone() -> None:
    craft = mask.Config()
    batches = Batches(split(20, craft=craft), GREY, 8, 0)
    one, again, other = batches(2).given.image, batches(2).given.image, batches(3).given.image
    assert one is not None and again is not None and other is not None
    assert torch.equal(one, again) and not torch.equal(one[:, -1], other[:, -1])
    halves = [Batches(split(20, craft=craft), GREY, 8, 0, rank=rank, world=2)(2).given.image for rank in range(2)]
    assert torch.equal(torch.cat(halves), one)  # type: ignore[arg-type]


def test_partners_are_changed_alike() -> None:
    """The partner of each is the same picture: it must come out the same."""
    items = np.stack([item(i) for i in range(20)])
    batch = Batches(split(20, images=items), GREY, 8, 0, augment=AUGMENT)(1)
    assert torch.equal(batch.given.image, batch.x)  # type: ignore[arg-type]


def test_other_pictures_come_in_an_order_of_their_own() -> None:
    others = np.stack([item(50 + i) for i in range(7)])
    batches = Batches(split(20, others=others), GREY, 5, 0)
    seen = torch.cat([batches(step).given.image for step in range(7)])  # type: ignore[misc]
    counts = [(seen == GREY.to_tensor(others[i : i + 1])).flatten(1).all(1).sum().item() for i in range(7)]
    assert counts == [5] * 7, "35 rows show each of 7 pictures five times"


def test_held_out_rows_are_given_the_same_every_time() -> None:
    parts = [split(20, craft=mask.Config()), split(20, others=np.stack([item(50 + i) for i in range(3)]))]
    for part in parts:
        once, again = ([b.given.image for b in held_out(part, GREY, 8, 20, 0)] for _ in range(2))
        assert [len(image) for image in once] == [8, 8, 4]  # type: ignore[arg-type]
        assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))  # type: ignore[arg-type]


# -- captions ---------------------------------------------------------------------------------------------------------


def test_captions_stand_in_a_named_column_or_beside_the_file(tmp_path: Path) -> None:
    write(tmp_path / "beside", "1.png", "2.png")
    (tmp_path / "beside" / "1.txt").write_text("a red\n bus\n")
    data = opened(tmp_path / "beside")
    said = dict(zip(data.train.names + data.test.names, data.train.captions + data.test.captions, strict=True))
    assert said == {"1.png": "a red bus", "2.png": ""} and data.ignored == {}
    (tmp_path / "beside" / "1.txt").write_text("a blue bus, longer")
    data = opened(tmp_path / "beside")
    assert "a blue bus, longer" in data.train.captions + data.test.captions
    write(tmp_path / "table", "1.png")
    (tmp_path / "table" / "metadata.csv").write_text("file_name,text,title\n1.png,plain,fine\n")
    assert opened(tmp_path / "table").train.captions == ["plain"]
    assert opened(tmp_path / "table", columns={"caption": "title"}).train.captions == ["fine"]
    assert refused(tmp_path / "table", columns={"caption": "titel"}).code == "MQ-3002"


def test_a_text_file_without_a_picture_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "1.png")
    (tmp_path / "2.txt").write_text("nothing")
    assert opened(tmp_path).ignored == {".txt": 1}


def test_captions_become_tokens_of_one_length() -> None:
    captions = Captions(tokenizer="character", length=6, vocab=300).learnt(["abc", "bcd"])
    assert captions.learnt(["xyz"]) == captions, "what was learnt stays"
    rows = captions.encode(["abc", "dcbadcba", ""])
    assert rows.shape == (3, 6) and rows.dtype == np.int64
    assert rows[0, 3:].tolist() == [0, 0, 0] and (rows[1] > 0).all() and not rows[2].any()
    assert rows.max() < captions.space.vocab and captions.space.shape == (6,)


def test_a_split_has_the_tokens_of_its_captions(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png", "3.png")
    for name in "12":
        (tmp_path / f"{name}.txt").write_text(f"number {name}")
    how = Data(source=str(tmp_path), captions=Captions(tokenizer="byte", length=12))
    data = open_data(how, GREY)
    assert how.learnt(data) == how
    data = told(data, how.captions)
    assert data.ignored == {"captions that are missing": 1}
    batch = Batches(data.train, GREY, 2, 0)(0)
    assert batch.given.text is not None and batch.given.text.shape == (2, 12)
    learnt = dataclasses.replace(how, captions=Captions(tokenizer="character")).learnt(data)
    assert learnt.captions is not None and set(learnt.captions.vocabulary) >= set("number ")
    with pytest.raises(MaquetteError, match="MQ-3002"):
        told(opened("digits"), how.captions)
