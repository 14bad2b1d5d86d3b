"""Uploads: kept and given back by the official client, and nothing of what is hostile gets in or out of its folder."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.server import archive
from maquette.server.engine import Engine
from maquette.server.jobs import Jobs
from maquette.server.store import Store
from maquette.server.supervisor import Supervisor
from tests.server.web import serving
from tests.server.zips import DAMAGED, HOSTILE, pictures, zipped


def waiting(folder: Path) -> dict[str, Any]:
    """A store and a supervisor that keeps jobs and runs none."""
    store = Store(f"sqlite:///{folder}/server.db", folder)
    return {"store": store, "supervisor": Supervisor(Jobs(store), workers=0)}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str, Path]]:
    """The address of a server, two keys, and its folder."""
    folder = tmp_path_factory.mktemp("data")
    parts = waiting(folder)
    keys = [parts["store"].add_key(name, ("train",))[0] for name in "ab"]
    with serving(folder, Engine([], device="cpu"), keys=True, dataset=4 << 20, **parts) as (address, _):
        yield address, *keys, folder


@pytest.fixture
def clients(served: tuple[str, str, str, Path]) -> Iterator[tuple[openai.OpenAI, openai.OpenAI]]:
    address, *keys, _ = served
    with (
        openai.OpenAI(base_url=f"{address}/v1", api_key=keys[0], max_retries=0) as one,
        openai.OpenAI(base_url=f"{address}/v1", api_key=keys[1], max_retries=0) as other,
    ):
        yield one, other


def test_a_file_comes_back_as_it_was_sent(clients: tuple[openai.OpenAI, openai.OpenAI]) -> None:
    client, other = clients
    data = pictures()
    sent: Any = client.files.create(file=("photos.zip", data), purpose="fine-tune")
    assert (sent.object, sent.bytes, sent.filename, sent.purpose) == ("file", len(data), "photos.zip", "fine-tune")
    assert sent.sha256 == files.digest(data)
    assert client.files.retrieve(sent.id) == sent and sent in list(client.files.list())
    assert client.files.content(sent.id).read() == data
    assert list(client.files.list(purpose="evals")) == []
    for call in (other.files.retrieve, other.files.content, other.files.delete):
        with pytest.raises(openai.NotFoundError) as bad:
            call(sent.id)
        assert sent.id not in str(bad.value.body)
    assert list(other.files.list()) == []
    assert client.files.delete(sent.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(sent.id)


def test_a_key_may_keep_so_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is refused before it is sent, or when it has come without its length; deleting makes room."""
    parts = waiting(tmp_path)
    store, keys = parts["store"], [parts["store"].add_key(name, ("train",))[0] for name in "ab"]
    with serving(tmp_path, Engine([], device="cpu"), storage=4000, **parts) as (address, _):
        one, other = (openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0) for key in keys)
        first = one.files.create(file=("a.txt", b"x" * 2000), purpose="fine-tune")
        monkeypatch.setattr(store, "put_file", None)  # not even called
        with pytest.raises(openai.APIStatusError) as full:
            one.files.create(file=("b.txt", b"y" * 2000), purpose="fine-tune")
        monkeypatch.undo()
        error: Any = full.value.body
        assert full.value.status_code == 413 and error["code"] == "storage_quota_exceeded" and error["param"] == "file"
        assert "4,000" in error["message"] and "--storage" in error["message"] and len(one.files.list().data) == 1

        content = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nevals\r\n--b\r\ncontent-disposition: '
        content += b'form-data; name="file"; filename="b.txt"\r\n\r\n' + b"y" * 2001 + b"\r\n--b--\r\n"
        head = {"authorization": f"Bearer {keys[0]}", "content-type": "multipart/form-data; boundary=b"}
        unsaid = httpx.post(f"{address}/v1/files", content=iter([content]), headers=head)
        assert unsaid.status_code == 413 and "4,001" in unsaid.json()["error"]["message"]
        assert len(list(store.uploads.iterdir())) == 1, "and nothing of it is kept"

        other.files.create(file=("a.txt", b"x" * 2000), purpose="fine-tune")
        one.files.delete(first.id)
        one.files.create(file=("b.txt", b"y" * 2000), purpose="fine-tune")
        one.close()
        other.close()


def test_pages(clients: tuple[openai.OpenAI, openai.OpenAI]) -> None:
    _, client = clients
    sent = [client.files.create(file=(f"{i}.txt", f"text {i}".encode()), purpose="evals").id for i in range(5)]
    assert [file.id for file in client.files.list(limit=2)] == sent[::-1], "the client turns the pages"
    assert [file.id for file in client.files.list(limit=2, order="asc")] == sent
    for id in sent:
        client.files.delete(id)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused(name: str, clients: tuple[openai.OpenAI, openai.OpenAI], served: Any) -> None:
    client, _ = clients
    before = sorted(served[3].rglob("*"))
    with pytest.raises(openai.BadRequestError) as bad:
        client.files.create(file=("a.zip", HOSTILE[name]), purpose="fine-tune")
    assert bad.value.code == "invalid_file" and bad.value.param == "file"
    assert [path for path in sorted(served[3].rglob("*")) if path not in before and "uploads" in path.parts] == []


@pytest.mark.parametrize("name", [*HOSTILE, *DAMAGED])
def test_nothing_is_written_of_an_archive_that_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes((HOSTILE | DAMAGED)[name])
    (tmp_path / "in").mkdir()
    with pytest.raises(MaquetteError, match="MQ-2182"):
        archive.unpack(tmp_path / "a.zip", tmp_path / "in" / "there")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "in"]


def test_a_good_archive_is_unpacked_without_what_is_not_data(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(pictures(4))
    assert archive.unpack(tmp_path / "a.zip", tmp_path / "there") == 4
    found = sorted(path.relative_to(tmp_path / "there").as_posix() for path in (tmp_path / "there").rglob("*.*"))
    assert found == ["MANIFEST.json", "a/0.png", "a/2.png", "b/1.png", "b/3.png"]


def test_bounds_are_bounds(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({f"{i}.txt": b"text" for i in range(5)}))
    assert len(archive.look(tmp_path / "a.zip", archive.Bounds(members=5, bytes=20, one=4))) == 5
    for bounds in (archive.Bounds(members=4), archive.Bounds(bytes=19), archive.Bounds(one=3)):
        with pytest.raises(MaquetteError, match="MQ-2182"):
            archive.look(tmp_path / "a.zip", bounds)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.exe", b"MZ"),
        ("a", b"text"),
        ("a.png", b"\x89PNG"),
        ("a.txt", b""),
        ("a.txt", b"  \n"),
        ("a.txt", b"text\0"),
        ("a.txt", b"\xff\xfe" + "text".encode("utf-16-le")),
        ("a.csv", b"a,b\n\xe9,1\n"),
        ("a.jsonl", b"{'a': 1}\n"),
        ("a.jsonl", b"[1]\n"),
        ("a.jsonl", b'{"a": NaN}\n'),
        ("a.jsonl", b'{"a": 1, "a": 2}\n'),
        ("../../a.zip", b"no ZIP"),
    ],
)
def test_what_is_no_data_is_refused(name: str, data: bytes, clients: tuple[openai.OpenAI, openai.OpenAI]) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        clients[0].files.create(file=(name, data), purpose="fine-tune")
    assert bad.value.code == "invalid_file"


def test_a_name_is_a_name_and_no_place(clients: tuple[openai.OpenAI, openai.OpenAI], served: Any) -> None:
    client, _ = clients
    for name in ("../../../etc/x.txt", "C:\\windows\\x.txt", "/x.txt"):
        sent = client.files.create(file=(name, b"text"), purpose="user_data")
        assert sent.filename == "x.txt"
        client.files.delete(sent.id)
    sent = client.files.create(file=('a"b\r\nc\x1b.jsonl', b'{"a": 1}'), purpose="user_data")
    assert sent.filename.isprintable() and '"' not in sent.filename
    response = client.files.with_raw_response.content(sent.id)
    assert response.headers["content-disposition"] == f'attachment; filename="{sent.id}.jsonl"'
    assert response.headers["content-type"] == "application/octet-stream"


def test_forms_that_are_none(served: Any) -> None:
    address, key, _, _ = served
    head = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=address, headers=head) as client:
        text = ("a.txt", b"text")
        assert client.post("/v1/files", json={}).status_code == 415
        assert client.post("/v1/files", files={"file": text}).status_code == 400
        assert client.post("/v1/files", files={"file": text}, data={"purpose": "world"}).status_code == 400
        assert client.post("/v1/files", files={"other": text}, data={"purpose": "evals"}).status_code == 400
        assert client.post("/v1/files", files={"file": text}, data={"purpose": "evals", "x": "1"}).status_code == 400
        assert client.post("/v1/files", data={"file": "text", "purpose": "evals"}).status_code in (400, 415)
        two = [("file", text), ("file", text)]
        assert client.post("/v1/files", files=two, data={"purpose": "evals"}).status_code == 400
        large = client.post("/v1/files", files={"file": ("a.txt", b"x" * (5 << 20))}, data={"purpose": "evals"})
        assert large.status_code == 413
        assert client.get("/v1/files", headers={"authorization": "Bearer x"}).status_code == 401


def test_a_file_that_a_job_needs_stays(served: Any, clients: tuple[openai.OpenAI, openai.OpenAI]) -> None:
    client, _ = clients
    sent = client.files.create(file=("a.zip", pictures(4)), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="image/dcgan", training_file=sent.id)
    with pytest.raises(openai.ConflictError):
        client.files.delete(sent.id)
    client.fine_tuning.jobs.cancel(job.id)
    assert client.files.delete(sent.id).deleted


def test_a_zip_that_is_made_is_the_same_each_time(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 3_000_000)
    parts = [("x/a", tmp_path / "a"), ("b", tmp_path / "b")]
    data = b"".join(files.zipped(parts))
    assert data == b"".join(files.zipped(parts))
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        assert made.testzip() is None and made.read("x/a") == b"a" * 3_000_000 and made.namelist() == ["x/a", "b"]
