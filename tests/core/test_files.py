"""Storage: whole or not at all, whatever fails and wherever; and nothing is read that is not what was written."""

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import stat
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maquette.core import files
from maquette.core.errors import MaquetteError

OLD, NEW = {"a.bin": b"old" * 400, "sub/b.json": b"{}\n"}, {"a.bin": b"new!" * 500, "c.bin": b"", "sub/b.json": b"[]\n"}


def filler(content: dict[str, bytes]) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        for name, data in content.items():
            files.put(folder / name, data)

    return fill


def content(path: Path) -> dict[str, bytes] | None:
    """What a reader finds after a crash: the whole folder, verified, or none."""
    files.settle(path)
    if not path.exists():
        return None
    folder = files.Folder(path)
    folder.verify()
    return {name: folder.read(name) for name in folder.listed}


@contextlib.contextmanager
def at_call(action: Callable[[int, str, Path], None]) -> Iterator[list[str]]:
    """Call `action(k, operation, path)` at the k-th storage call."""
    calls: list[str] = []

    def seam(operation: str, path: Path) -> None:
        calls.append(operation)
        action(len(calls), operation, path)

    files.on_call = seam
    try:
        yield calls
    finally:
        files.on_call = None


def count(work: Callable[[], object]) -> int:
    with at_call(lambda *_: None) as calls:
        work()
    return len(calls)


def killed(work: Callable[[], object], at: int) -> None:
    """Run `work` in a child process that kills itself at its storage call number `at`."""

    def die(k: int, operation: str, path: Path) -> None:
        if k == at:
            os.kill(os.getpid(), signal.SIGKILL)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads: the child only writes files
        child = os.fork()
    if child == 0:
        with at_call(die):
            work()
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


# -- one file ---------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "x.json"
    files.write_json(path, {"é": [1, 2.5, None]})
    assert files.read_json(path) == {"é": [1, 2.5, None]}
    files.write_file(path, b"[3]")
    assert files.read_json(path) == [3] and os.listdir(path.parent) == ["x.json"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_json_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    for write in files.write_json, files.append_line, files.put_json:
        with pytest.raises(ValueError):
            write(tmp_path / "x", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EACCES])
@pytest.mark.parametrize("sticky", [False, True])
def test_a_file_survives_a_fault_at_any_call(number: int, sticky: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    files.write_file(path, b"old")
    calls = count(lambda: files.write_file(tmp_path / "y.bin", b"new"))
    assert calls == 4  # write, fsync, rename, fsync the folder
    for at in range(1, calls + 1):

        def fault(k: int, operation: str, where: Path, at: int = at) -> None:
            if k == at or (sticky and k > at):
                raise OSError(number, os.strerror(number))

        with at_call(fault), pytest.raises(MaquetteError) as refused:
            files.write_file(path, b"new")
        assert refused.value.code == "MQ-5001" and refused.value.exit_code == 5
        assert str(path) in str(refused.value) and os.strerror(number) in str(refused.value)
        assert ("MB free" in str(refused.value)) == (number in (errno.ENOSPC, errno.EDQUOT))
        assert path.read_bytes() == (b"new" if at == calls else b"old")
        assert sorted(os.listdir(tmp_path)) == ["x.bin", "y.bin"], "nothing half-written stays"
        files.write_file(path, b"old")


def test_a_file_survives_a_kill_at_any_call(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    for at in range(1, 5):
        files.write_file(path, b"old")
        killed(lambda: files.write_file(path, b"new"), at)
        assert path.read_bytes() == (b"new" if at == 4 else b"old")
        files.sweep(tmp_path)
        assert os.listdir(tmp_path) == ["x.bin"]


def test_a_real_limit_of_the_system_is_a_clear_sentence(tmp_path: Path) -> None:
    """No seam: the kernel itself refuses to let the file grow."""
    path = tmp_path / "x.bin"
    files.write_file(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(MaquetteError, match="could not write: File too large"):
            files.write_file(path, b"x" * 100_000)
        with pytest.raises(MaquetteError, match="MQ-5001"):
            files.commit_folder(tmp_path / "f", filler({"big": b"x" * 100_000}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x.bin"]


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    for work in (
        lambda: files.write_file(tmp_path / "x" / "y", b""),
        lambda: files.commit_folder(tmp_path / "x" / "y", filler(NEW)),
        lambda: files.make_folder(tmp_path / "x"),
        lambda: files.append_line(tmp_path / "x" / "y", {}),
        lambda: files.remove_folder(tmp_path / "none"),
    ):
        with pytest.raises(MaquetteError, match="MQ-5001"):
            work()


def test_space_is_asked_for_beforehand(tmp_path: Path) -> None:
    files.require_space(tmp_path / "not" / "there" / "yet", 1000)
    with pytest.raises(MaquetteError, match="MQ-5002.*1,000,000,000,000,000,000 bytes are needed"):
        files.require_space(tmp_path, 10**18)


def test_a_move_overwrites_nothing(tmp_path: Path) -> None:
    files.write_file(tmp_path / "a", b"a")
    files.write_file(tmp_path / "b", b"b")
    with pytest.raises(MaquetteError, match="MQ-5005"):
        files.move_file(tmp_path / "a", tmp_path / "b")
    files.move_file(tmp_path / "a", tmp_path / "bad" / "c")
    assert (tmp_path / "bad" / "c").read_bytes() == b"a" and (tmp_path / "b").read_bytes() == b"b"


# -- a log ------------------------------------------------------------------------------------------------------------


def test_a_log_grows_line_by_line_and_drops_a_torn_end(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert files.read_lines(path) == []
    for k in range(3):
        files.append_line(path, {"k": k, "text": "line\nbreak é\u2028"})
    assert [entry["k"] for entry in files.read_lines(path)] == [0, 1, 2]
    whole = path.read_bytes()
    for cut in range(1, len(whole) // 3):  # also in the middle of a character
        path.write_bytes(whole[:-cut])
        assert [entry["k"] for entry in files.read_lines(path)] == [0, 1]
        files.append_line(path, {"k": 9})
        assert [entry["k"] for entry in files.read_lines(path)] == [0, 1, 9], (
            "the next line is not glued to the torn one"
        )
    path.write_bytes(b"x" * 20_000)  # nothing but a torn line, longer than a block
    files.append_line(path, {"k": 0})
    assert files.read_lines(path) == [{"k": 0}]


def test_a_damaged_line_within_a_log_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"k": 0}\n{"k": NaN}\n{"k": 2}\n')
    with pytest.raises(MaquetteError, match=r"MQ-2005.*\n.*log.jsonl:2"):
        files.read_lines(path)


# -- a folder ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_committed_with_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "f"
    files.commit_folder(path, filler(OLD))
    assert content(path) == OLD
    files.commit_folder(path, filler(NEW))
    assert content(path) == NEW and os.listdir(tmp_path) == ["f"]
    listed = json.loads((path / "MANIFEST.json").read_bytes())["files"]
    assert listed["a.bin"] == {"bytes": 2000, "sha256": files.digest(NEW["a.bin"])}


FAULTS: dict[str, Callable[[], BaseException]] = {
    "full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "broken": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "read-only": lambda: OSError(errno.EROFS, os.strerror(errno.EROFS)),
    "interrupted": KeyboardInterrupt,
}


@pytest.mark.parametrize("first", [True, False], ids=["first", "replacing"])
@pytest.mark.parametrize("sticky", [False, True], ids=["once", "sticky"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_survives_a_fault_at_any_call(fault: str, sticky: bool, first: bool, tmp_path: Path) -> None:
    path, old = tmp_path / "f", None if first else OLD
    calls = count(lambda: files.commit_folder(tmp_path / "counted", filler(NEW)))
    calls += 0 if first else 1  # the old one is set aside
    for at in range(1, calls + 1):
        shutil.rmtree(tmp_path)
        if old:
            files.commit_folder(path, filler(old))

        def fail(k: int, operation: str, where: Path, at: int = at) -> None:
            if k == at or (sticky and k > at):
                raise FAULTS[fault]()

        with at_call(fail) as made, pytest.raises((MaquetteError, KeyboardInterrupt)) as refused:
            files.commit_folder(path, filler(NEW))
        assert refused.type is KeyboardInterrupt or (
            "MQ-5001" in str(refused.value) and str(path) in str(refused.value)
        )
        renamed = at > calls - 2  # only the folder's fsync and the deletion come after
        assert made and content(path) == (NEW if renamed else old)
        assert os.listdir(tmp_path) == ([] if content(path) is None else ["f"]), "nothing half-made stays"


@pytest.mark.parametrize("first", [True, False], ids=["first", "replacing"])
def test_a_folder_survives_a_kill_at_any_call(first: bool, tmp_path: Path) -> None:
    path, old = tmp_path / "f", None if first else OLD
    calls = count(lambda: files.commit_folder(tmp_path / "counted", filler(NEW))) + (0 if first else 1)
    for at in range(1, calls + 1):
        shutil.rmtree(tmp_path)
        if old:
            files.commit_folder(path, filler(old))
        killed(lambda: files.commit_folder(path, filler(NEW)), at)
        found = content(path)
        assert found == NEW if at > calls - 2 else found == old
        files.commit_folder(path, filler(NEW))
        assert content(path) == NEW and os.listdir(tmp_path) == ["f"], "the next commit cleans up"


def test_a_protocol_that_is_not_atomic_would_be_found(tmp_path: Path) -> None:
    """The twin of the tests above: writing in place leaves neither old nor new."""

    def in_place() -> None:
        shutil.rmtree(path)
        filler(NEW)(path)
        listed = {name: {"bytes": len(data), "sha256": files.digest(data)} for name, data in NEW.items()}
        files.put_json(path / files.MANIFEST, {"files": listed})

    path, lost = tmp_path / "f", 0
    for at in range(1, 9):
        files.commit_folder(path, filler(OLD))
        killed(in_place, at)
        try:
            lost += content(path) not in (OLD, NEW)
        except MaquetteError:
            lost += 1
        shutil.rmtree(path, ignore_errors=True)
    assert lost >= 7


def test_sweeping_removes_what_killed_writers_left(tmp_path: Path) -> None:
    files.commit_folder(tmp_path / "f", filler(OLD))
    os.rename(tmp_path / "f", tmp_path / ".f.old")
    (tmp_path / ".f.new").mkdir()
    (tmp_path / ".g.new").mkdir()
    (tmp_path / ".x.json.17.tmp").write_bytes(b"{")
    files.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["f"] and content(tmp_path / "f") == OLD


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    files.commit_folder(tmp_path / "f", filler(NEW))
    return tmp_path / "f"


def damaged(path: Path, name: str = "") -> None:
    with pytest.raises(MaquetteError) as refused:
        files.Folder(path).verify()
    assert refused.value.code in ("MQ-5003", "MQ-2005", "MQ-5004") and name in str(refused.value)


def test_one_flipped_bit_is_found_wherever_it_is(committed: Path) -> None:
    data = (committed / "a.bin").read_bytes()
    for bit in range(0, 8 * len(data), 331):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (committed / "a.bin").write_bytes(flipped)
        damaged(committed, "a.bin")


def test_a_flipped_bit_in_the_manifest_changes_nothing_unseen(committed: Path) -> None:
    manifest = committed / files.MANIFEST
    data, found = manifest.read_bytes(), 0
    for bit in range(0, 8 * len(data), 29):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        manifest.write_bytes(flipped)
        try:
            files.Folder(committed).verify()
        except MaquetteError:
            found += 1
        else:
            assert json.loads(flipped) == json.loads(data), "only blanks may change"
    assert found > len(data) / 8


def test_cut_missing_swapped_and_foreign_files_are_found(committed: Path, tmp_path: Path) -> None:
    def spoilt(spoil: Callable[[Path], object], name: str) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(committed, copy)
        spoil(copy)
        damaged(copy, name)
        shutil.rmtree(copy)

    for length in 0, 1, 1999, 2001:
        spoilt(lambda f, n=length: (f / "a.bin").write_bytes((NEW["a.bin"] * 2)[:n]), "a.bin")
    spoilt(lambda f: (f / "a.bin").unlink(), "a.bin")
    spoilt(lambda f: (f / files.MANIFEST).unlink(), files.MANIFEST)
    spoilt(lambda f: (f / files.MANIFEST).write_bytes(b"{}"), "no list of files")
    spoilt(lambda f: os.rename(f / "a.bin", f / "c.bin"), "")
    spoilt(lambda f: shutil.rmtree(f / "sub"), "sub/b.json")
    (committed / "foreign").write_bytes(b"x")
    with pytest.raises(MaquetteError, match="foreign is not in MANIFEST.json"):
        files.Folder(committed).read("foreign")
    with pytest.raises(MaquetteError, match="MQ-5004"):
        files.Folder(tmp_path / "none")


def test_links_pipes_and_folders_are_not_read(committed: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(NEW["a.bin"])

    def swap(make: Callable[[Path], object]) -> None:
        shutil.rmtree(committed)
        files.commit_folder(committed, filler(NEW))
        (committed / "a.bin").unlink()
        make(committed / "a.bin")
        damaged(committed, "a.bin")
        with pytest.raises(MaquetteError, match="MQ-8001"):
            files.read_file(committed / "a.bin")

    swap(lambda p: p.symlink_to(tmp_path / "elsewhere"))
    swap(lambda p: os.mkfifo(p))
    swap(lambda p: p.mkdir())
    with pytest.raises(MaquetteError, match="not a regular file"):
        files.read_file("/dev/zero")
    with pytest.raises(MaquetteError, match="at most 10 are read"):
        files.read_file(tmp_path / "elsewhere", limit=10)
    for name in "a\0b", "\ud800":
        with pytest.raises(MaquetteError, match="MQ-8001"):
            files.read_file(tmp_path / name)


@pytest.mark.parametrize(
    "listed",
    [
        {"../elsewhere": {"bytes": 1, "sha256": ""}}, {"/etc/passwd": {"bytes": 1, "sha256": ""}},
        {"": {"bytes": 1, "sha256": ""}}, {"a": 3}, {"a": {"bytes": "1", "sha256": ""}}, {"a": {"bytes": 1}}, [], None,
        {"sub/../../x": {"bytes": 1, "sha256": ""}},
    ],
)  # fmt: skip
def test_a_hostile_manifest_is_refused(listed: object, tmp_path: Path) -> None:
    (tmp_path / files.MANIFEST).write_text(json.dumps({"files": listed}))
    with pytest.raises(MaquetteError, match="MQ-5003.*has no list of files"):
        files.Folder(tmp_path)


def test_names_that_no_file_system_takes_are_damage(tmp_path: Path) -> None:
    for name in "a\0b", "x" * 5000:
        (tmp_path / files.MANIFEST).write_text(json.dumps({"files": {name: {"bytes": 1, "sha256": ""}}}))
        damaged(tmp_path)


# -- tensors ----------------------------------------------------------------------------------------------------------

TENSORS = {
    "w": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "half": torch.arange(4).to(torch.bfloat16),
    "step": torch.tensor(7),
    "none": torch.zeros(0, 3),
    "turned": torch.arange(6.0).reshape(2, 3).T,
}


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    files.commit_folder(tmp_path / "f", lambda folder: files.put_tensors(folder / "t.safetensors", TENSORS))
    back = files.Folder(tmp_path / "f").read_tensors("t.safetensors")
    assert back.keys() == TENSORS.keys()
    assert all(torch.equal(back[k], t) and back[k].dtype == t.dtype for k, t in TENSORS.items())


def hostile(header: object, body: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" * 7, b"\0" * 8, b"\xff" * 8, struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 10) + b"{}",
        b"PK\x03\x04" + b"\0" * 60, b"\x80\x04\x95" + b"\0" * 60,  # a zip (torch.save) and a pickle
        hostile([]), hostile(b"null"), hostile(b"{"), hostile(b'{"a": NaN}'), hostile({"a": 3}), hostile({"a": {}}),
        hostile(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
        hostile({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 80]}}),
        hostile({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}),
        hostile({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}),
        hostile({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}}),
        hostile({"a": {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}}),
        hostile({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}),
        hostile({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),  # a hole behind it
        hostile({k: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for k in "ab"}),  # two share their bytes
        hostile({"__metadata__": {"a": 1}}), hostile(b'{"\xff": 1}'), hostile(b"[" * 5000),
    ],
)  # fmt: skip
def test_hostile_tensor_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(MaquetteError, match=r"MQ-(8001|2005)"):
        files.read_tensors(path)


def test_more_tensors_than_a_model_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_TENSORS", 50)
    header = {str(k): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(51)}
    with pytest.raises(MaquetteError, match="MQ-8001.*at most 50 tensors"):
        files.read_tensors("x", hostile(header, b""))


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_mutants_of_a_tensor_file_are_read_or_refused(data: st.DataObject) -> None:
    from safetensors.torch import save

    whole = bytearray(save({k: t.contiguous() for k, t in TENSORS.items()}))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 40))
    try:
        files.read_tensors("x", bytes(whole[: len(whole) - cut]))
    except MaquetteError as refused:
        assert refused.code in ("MQ-8001", "MQ-2005")


# -- locks ------------------------------------------------------------------------------------------------------------


def test_a_folder_is_held_by_one_process_and_freed_when_it_dies(tmp_path: Path) -> None:
    ready, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        with files.lock(tmp_path / "run"):
            os.write(tell, b"!")
            signal.pause()
    try:
        os.read(ready, 1)
        says = f"MQ-4001.*in use by process {child} on "
        with pytest.raises(MaquetteError, match=says) as refused, files.lock(tmp_path / "run"):
            pass
        assert refused.value.exit_code == 4
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)
    with files.lock(tmp_path / "run"):
        assert f"process {os.getpid()} " in (tmp_path / "run" / ".lock").read_text()
        with pytest.raises(MaquetteError, match="MQ-4001"), files.lock(tmp_path / "run"):
            pass
    with files.lock(tmp_path / "run"):
        pass
