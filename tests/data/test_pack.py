"""Packed once, opened at once, never stale and never damaged."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.data import pack
from maquette.data.dataset import Reading, Row, Source
from maquette.data.source import Data, open_data
from maquette.media.image import Config
from tests.data.making import GREY, opened, write


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read since."""
    seen: list[str] = []
    read = type(GREY).read
    monkeypatch.setattr(type(GREY), "read", lambda self, path: (seen.append(Path(path).name), read(self, path))[1])
    return seen


def packs(root: Path) -> list[Path]:
    return [p for p in files.cache_folder().glob(f"{root.name}-*")]


def test_an_unchanged_folder_is_opened_from_its_pack(tmp_path: Path, reads: list[str]) -> None:
    write(tmp_path, "a/1.png", "b/2.png", "b/3.png")
    first = opened(tmp_path)
    assert sorted(reads) == ["1.png", "2.png", "3.png"]
    again = opened(tmp_path)
    assert len(reads) == 3
    assert np.array_equal(first.train.items, again.train.items) and first.train.names == again.train.names
    assert (first.fingerprint, first.classes, first.licence) == (again.fingerprint, again.classes, again.licence)


def test_a_change_in_a_file_its_name_or_the_labels_is_seen(tmp_path: Path, reads: list[str]) -> None:
    write(tmp_path, "a/1.png", "b/2.png")
    seen = {opened(tmp_path).fingerprint}
    (tmp_path / "b/2.png").write_bytes((tmp_path / "a/1.png").read_bytes())
    os.utime(tmp_path / "b/2.png", ns=(1, 1))
    seen.add(opened(tmp_path).fingerprint)
    (tmp_path / "b/2.png").rename(tmp_path / "b/3.png")
    seen.add(opened(tmp_path).fingerprint)
    (tmp_path / "metadata.csv").write_text("file_name,label\na/1.png,x\nb/3.png,x\n")
    seen.add(opened(tmp_path).fingerprint)
    assert len(seen) == 4 and len(reads) == 8
    assert len(packs(tmp_path)) == 1  # a new pack takes the place of the old one


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", "a/1.png", "b/2.png"), write(tmp_path / "two", "a/1.png", "b/2.png")
    for path in two.rglob("*.png"):
        os.utime(path, ns=(5, 5))
    assert opened(one).fingerprint == opened(two).fingerprint
    assert open_data(Data(source=str(one)), Config(size=8).build()).fingerprint != opened(one).fingerprint


def test_a_damaged_pack_is_made_again(tmp_path: Path, reads: list[str]) -> None:
    good = opened(write(tmp_path, *(f"{n}.png" for n in range(20))))
    items = np.array(good.train.items)
    (folder,) = packs(tmp_path)

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    damages = [
        lambda: flip(folder / "train.items"),
        lambda: (folder / "train.labels").unlink(),
        lambda: (folder / "index.json").write_text("{}"),
        lambda: (folder / "MANIFEST.json").write_text("not json"),
        lambda: (folder / "MANIFEST.json").unlink(),
        lambda: (folder / "test.items").write_bytes(b""),
    ]
    for k, damage in enumerate(damages, 1):
        damage()
        mended = opened(tmp_path)
        assert len(reads) == 20 * (k + 1)
        assert np.array_equal(mended.train.items, items) and mended.fingerprint == good.fingerprint


def test_a_large_pack_is_checked_by_its_sizes(tmp_path: Path, reads: list[str], monkeypatch) -> None:
    opened(write(tmp_path, "1.png", "2.png"))
    monkeypatch.setattr(pack, "HASHED_BYTES", 10)
    opened(tmp_path)
    assert len(reads) == 2
    (folder,) = packs(tmp_path)
    with (folder / "train.items").open("ab") as file:
        file.write(b"x")
    opened(tmp_path)
    assert len(reads) == 4


def test_a_crash_while_packing_leaves_nothing_that_would_be_opened(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path, "1.png", "2.png", "3.png")
    calls: list[str] = []
    monkeypatch.setattr(files, "on_call", lambda operation, path: calls.append(operation))
    opened(tmp_path)
    monkeypatch.setattr(files, "on_call", None)
    for k in range(0, len(calls), 3):
        (folder,) = packs(tmp_path)
        files.remove_folder(folder)
        left = iter(range(len(calls)))

        def fail(operation: str, path: Path, k: int = k, left=left) -> None:
            if next(left) == k:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(files, "on_call", fail)
        try:
            opened(tmp_path)
        except MaquetteError as error:
            assert error.code == "MQ-5001"
        monkeypatch.setattr(files, "on_call", None)
        assert len(opened(tmp_path).train) + len(opened(tmp_path).test) == 3


def test_two_at_once_pack_once(tmp_path: Path, reads: list[str]) -> None:
    write(tmp_path, *(f"{n}.png" for n in range(100)))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(opened(tmp_path).fingerprint)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1 and len(reads) == 100


def test_items_may_be_written_to_without_harm(tmp_path: Path) -> None:
    data = opened(write(tmp_path, "1.png", "2.png"))
    data.train.items[:] = 0
    assert opened(tmp_path).train.items.any() and opened(tmp_path).fingerprint == data.fingerprint


def test_rows_are_read_as_they_come_and_in_their_order() -> None:
    alive, most = set[int](), 0

    def rows():
        nonlocal most
        for n in range(5000):
            alive.add(n)
            most = max(most, len(alive))
            yield Row(str(n), lambda n=n: (alive.discard(n), np.full(GREY.stored, n % 251, np.uint8))[1], "train")

    source = Source(name="stream", place="a stream", key=1, read=lambda: Reading(rows=rows()))
    data = pack.packed(source, GREY, 0.0)
    assert data.train.names == [str(n) for n in range(5000)]
    assert np.array_equal(data.train.items[:, 0, 0, 0], np.arange(5000) % 251)
    assert most < 3000


def test_too_many_bad_rows_of_a_stream_are_found_at_its_end() -> None:
    def broken() -> np.ndarray:
        raise MaquetteError("MQ-3001", "x", reason="broken")

    def reading() -> Reading:
        good = [Row(str(n), lambda n=n: np.full(GREY.stored, n, np.uint8), "train") for n in range(98)]
        return Reading(rows=iter([*good, Row("x", broken, "train"), Row("y", broken, "train")]))

    source = Source(name="stream", place="a bad stream", key=1, read=reading)
    assert pack.packed(source, GREY, 0.02).bad == [("x", "broken"), ("y", "broken")]
    with pytest.raises(MaquetteError, match="2 of 100"):
        pack.packed(source, GREY, 0.01)


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAQUETTE_CACHE", "/somewhere")
    assert files.cache_folder() == Path("/somewhere")
    monkeypatch.delenv("MAQUETTE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert files.cache_folder() == Path("/xdg/maquette")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert files.cache_folder() == Path.home() / ".cache/maquette"
