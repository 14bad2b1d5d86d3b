"""Training through the API by the official client, and jobs of all kinds: what they make, and what cannot be asked."""

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from maquette.server.engine import Engine
from maquette.server.jobs import Jobs
from maquette.server.states import Policy
from maquette.server.store import Store
from maquette.server.supervisor import Supervisor
from tests.server.served import painter
from tests.server.test_files import waiting
from tests.server.web import serving
from tests.server.zips import pictures

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:openai.*")

RECIPE = """\
# Tiny pictures, in seconds.
data: {source: digits, conditional: true}
medium: {kind: image, size: 8, channels: 1}
model:
  kind: vae
  encoder: {kind: mlp, width: 16}
  decoder: {kind: mlp, width: 16}
  latent: 2
train:
  budget: 20steps
  batch: 8
  samples: 4
  sample_every: 0.5
  validate_every: 1
  checkpoint_every: 0.5
  optimizers: {model: {lr: 0.002}}
"""


def folder_with_recipe(folder: Path) -> Path:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "tiny.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server that trains."""
    folder = folder_with_recipe(tmp_path_factory.mktemp("data"))
    store = Store(f"sqlite:///{folder}/server.db", folder)
    supervisor = Supervisor(Jobs(store), workers=1, tick=0.05, device="cpu")
    with serving(folder, Engine([], device="cpu"), store=store, supervisor=supervisor) as (address, _):
        yield address, folder


def test_from_a_zip_to_a_model_that_makes_pictures(working: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    address, folder = working
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=120) as client:
        sent = client.files.create(file=("photos.zip", pictures()), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(
            model="tiny", training_file=sent.id, seed=7, suffix="My Cats", metadata={"by": "me"},
            hyperparameters={"n_epochs": 3, "batch_size": 12, "learning_rate_multiplier": 0.5},
            extra_body={"overrides": {"model.latent": 3}}, extra_headers={"Idempotency-Key": "once"},
        )  # fmt: skip
        assert (job.object, job.status, job.model, job.training_file) == ("fine_tuning.job", "queued", "tiny", sent.id)
        told = streamed(f"{address}/v1/fine_tuning/jobs/{job.id}/events?stream=true")
        done = client.fine_tuning.jobs.retrieve(job.id)
        assert done.status == "succeeded", (done.error, (folder / "jobs" / job.id / "log.txt").read_text())
        assert done.fine_tuned_model == f"tiny-my-cats-{job.id[-8:]}"
        assert done.fine_tuned_model in [model.id for model in client.models.list()]
        recipe = json.loads((folder / "models" / done.fine_tuned_model / "recipe.json").read_text())["recipe"]
        assert (recipe["model"]["latent"], recipe["train"]["batch"], recipe["train"]["seed"]) == (3, 12, 7)
        assert recipe["train"]["optimizers"]["model"]["lr"] == 0.001 and recipe["train"]["budget"] == "3epochs"
        made = client.images.generate(model=done.fine_tuned_model, prompt="a", response_format="b64_json")
        assert made.data and made.data[0].b64_json
        # events: each once, in order, and again from where one left off
        numbers = [int(number) for number, _ in told[:-1]]
        assert numbers == list(range(1, len(numbers) + 1)) and told[-1] == ("", "[DONE]")
        kinds = [event["data"]["kind"] for _, event in told[:-1]]
        assert kinds[:2] == ["state", "state"] and kinds[-1] == "state" and {"metrics", "sample"} <= set(kinds)
        assert streamed(f"{address}/v1/fine_tuning/jobs/{job.id}/events", last=str(numbers[-2])) == told[-2:]
        listed = client.fine_tuning.jobs.list_events(job.id, limit=2)
        assert [event.id for event in listed] == [event["id"] for _, event in reversed(told[:-1])], "page by page"
        # what it has made
        with httpx.Client(base_url=f"{address}/v1/jobs/{job.id}") as http:
            found = {one["id"]: one for one in http.get("/artefacts").json()["data"]}
            assert {"bundle.zip", "metrics.jsonl", "curves.svg"} <= found.keys()
            assert any(id.startswith("step-") and id.endswith(".png") for id in found)
            for id, one in found.items():
                answer = http.get(f"/artefacts/{id}")
                assert answer.headers["content-disposition"] == f'attachment; filename="{id}"'
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert one["bytes"] in (None, len(answer.content))
            with zipfile.ZipFile(io.BytesIO(http.get("/artefacts/bundle.zip").content)) as archive:
                names = archive.namelist()
                assert archive.testzip() is None and f"{done.fine_tuned_model}/model.safetensors" in names
                card = archive.read(f"{done.fine_tuned_model}/config.json").decode()
                assert str(folder) not in card and "/tmp" not in card
            log = http.get("/logs").json()
            assert "done" in log["text"] and str(folder) not in log["text"]
            assert http.get("/logs", params={"after": log["next"]}).json() == {**log, "text": ""}
        # the same request again is the same job; then on from the model that came of it
        again = client.fine_tuning.jobs.create(
            model="tiny", training_file=sent.id, seed=7, suffix="My Cats", metadata={"by": "me"},
            hyperparameters={"n_epochs": 3, "batch_size": 12, "learning_rate_multiplier": 0.5},
            extra_body={"overrides": {"model.latent": 3}}, extra_headers={"Idempotency-Key": "once"},
        )  # fmt: skip
        assert again.id == job.id
        on = client.fine_tuning.jobs.create(
            model=done.fine_tuned_model, training_file=sent.id, extra_body={"budget": "5steps"}
        )
        large = httpx.post(
            f"{address}/v1/jobs", json={"kind": "sample", "model": done.fine_tuned_model, "n": 3, "label": "b"}
        ).json()
        streamed(f"{address}/v1/jobs/{on.id}/events?stream=true")
        streamed(f"{address}/v1/jobs/{large['id']}/events?stream=true")
        further = client.fine_tuning.jobs.retrieve(on.id)
        assert further.status == "succeeded", (further.error, (folder / "jobs" / on.id / "log.txt").read_text())
        card = json.loads((folder / "models" / str(further.fine_tuned_model) / "recipe.json").read_text())["facts"]
        assert card["card"]["from"] == done.fine_tuned_model
        with httpx.Client(base_url=f"{address}/v1/jobs/{large['id']}") as http:
            assert done_well(f"{address}/v1/jobs/{large['id']}"), http.get("/logs").json()["text"]
            with zipfile.ZipFile(io.BytesIO(http.get("/artefacts/results.zip").content)) as archive:
                assert {"000000.png", "000001.png", "000002.png", "made.jsonl"} <= set(archive.namelist())
        client.files.delete(sent.id)
        assert list((folder / "datasets").rglob("*.png")) == [] and list((folder / "uploads").iterdir()) == []


def done_well(url: str) -> bool:
    return httpx.get(url).json()["status"] == "succeeded"


def streamed(url: str, last: str | None = None) -> list[tuple[str, Any]]:
    """(id, what it says) of each event until the stream ends."""
    head = {"accept": "text/event-stream"} | ({"last-event-id": last} if last else {})
    found: list[tuple[str, Any]] = []
    number = ""
    with httpx.stream("GET", url, headers=head, timeout=180) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            name, _, text = line.partition(": ")
            if name == "id":
                number = text
            elif name == "data":
                found.append((number if text != "[DONE]" else "", text if text == "[DONE]" else json.loads(text)))
    return found


# -- a server that keeps jobs and runs none ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str], Any]]:
    """Its address, three keys (of two tenants that train, and an administrator), and its parts."""
    folder = folder_with_recipe(tmp_path_factory.mktemp("data"))
    models = tmp_path_factory.mktemp("models")
    parts = waiting(folder)
    parts["supervisor"].jobs.policy = Policy(unfinished=12)
    scopes = [("train", "infer"), ("train",), ("train", "admin"), ("infer",)]
    keys = [parts["store"].add_key(f"key {i}", scope)[0] for i, scope in enumerate(scopes)]
    engine = Engine([painter(models / "painter", "gan")], device="cpu")
    with serving(folder, engine, keys=True, **parts) as (address, app):
        yield address, keys, app


def ask(keeping: tuple[str, list[str], Any], method: str, path: str, key: int = 0, **more: Any) -> Any:
    head = {"authorization": f"Bearer {keeping[1][key]}"} | more.pop("headers", {})
    return httpx.request(method, keeping[0] + path, headers=head, **more)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"kind": "train"}, "model"),
        ({"kind": "train", "model": "tiny", "n": 5}, "n"),
        ({"kind": "train", "model": "dcgam"}, "model"),
        ({"kind": "train", "model": "../../etc/passwd"}, "model"),
        ({"kind": "train", "model": "/tmp/x.yaml"}, "model"),
        ({"kind": "train", "model": "recipes/tiny.yaml"}, "model"),
        ({"kind": "train", "model": "--help"}, "model"),
        ({"kind": "train", "model": "tiny", "file": "file-of-another"}, None),
        ({"kind": "train", "model": "tiny", "dataset": "/etc"}, "dataset"),
        ({"kind": "train", "model": "tiny", "dataset": "hf:cats"}, "dataset"),
        ({"kind": "train", "model": "tiny", "dataset": "digits", "file": "file-x"}, "dataset"),
        ({"kind": "train", "model": "tiny", "budget": "forever"}, "budget"),
        ({"kind": "train", "model": "tiny", "budget": "0steps"}, "budget"),
        ({"kind": "train", "model": "tiny", "codec": "runs/vae"}, "model"),
        ({"kind": "train", "model": "painter"}, "model"),
        ({"kind": "train", "model": "tiny", "recipe": "dcgan"}, "recipe"),
        ({"kind": "train", "model": "tiny", "priority": 3}, "priority"),
        ({"kind": "train", "model": "tiny", "out": "/tmp"}, None),
        ({"kind": "evaluate", "model": "tiny"}, "model"),
        ({"kind": "evaluate", "model": "painter", "judge": "x"}, "model"),
        ({"kind": "sample", "model": "painter", "n": 100_001}, "n"),
        ({"kind": "sample", "model": "painter", "solver": "magic"}, "solver"),
        ({"kind": "compare", "recipes": ["tiny", "nonesuch"]}, "recipes"),
        ({"kind": "compare", "recipes": ["tiny", "own/tiny"]}, "recipes"),
        ({"kind": "compare"}, "recipes"),
        ({"kind": "compare", "recipes": ["tiny"], "models": ["painter", "painter"]}, "recipes"),
        ({"kind": "compare", "models": ["painter"]}, "models"),
        ({"kind": "compare", "models": ["painter", "painter"]}, "models"),
        ({"kind": "compare", "models": ["painter", "runs/x"]}, "model"),
        ({"kind": "compare", "models": ["painter", "other"], "budget": "1s"}, "budget"),
        ({"kind": "check"}, "file"),
        ({"kind": "shell", "model": "tiny"}, "kind"),
    ],
)
def test_what_cannot_be_asked(body: dict[str, Any], param: str | None, keeping: Any) -> None:
    answer = ask(keeping, "POST", "/v1/jobs", json=body)
    error = answer.json()["error"]
    assert answer.status_code in (400, 404) and (param is None or error["param"] == param), answer.text
    assert "passwd" not in answer.text and "/tmp" not in answer.text
    assert ask(keeping, "GET", "/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    "overrides",
    [
        {"data.source": "/etc"},
        {"data.other": "digits"},
        {"data.pair.source": "digits"},
        {"codec": "runs/vae"},
        {"codec": "quantize"},
        {"train.device": "cuda"},
        {"train.frozen": ["*"]},
        {"train.budget": "9h"},
        {"model.net.path": "../x"},
        {"medium.vocabulary": "x"},
        {"medium.tokenizer": "hf:x/y"},
        {"model.architecture": "{}"},
        {"model.kind": "../x"},
        {"model.latent": "http://x"},
        {"model.latent": 10**9},
        {"model.latent": {"a": 1}},
        {"model.latent": None},
        {"train.batch": 0},
        {"train.batch": 1.5},
        {"train.batch": True},
        {"train.optimizers.model.lr": 1e9},
        {"train.optimizers.model.name": "sgd; rm"},
        {"train.optimizers.../x.lr": 0.1},
        {"model.latent\nx": 1},
        {"": 1},
        {"model": "gan"},
        {"model.latnt": 3},
        {"medium.size": "large"},
        {"data.augment.flip": "/etc"},
        {"data.columns.label": "a b/c"},
    ],
    ids=str,
)
def test_what_no_request_may_set(overrides: dict[str, Any], keeping: Any) -> None:
    answer = ask(keeping, "POST", "/v1/jobs", json={"kind": "train", "model": "tiny", "overrides": overrides})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "overrides"), answer.text
    assert ask(keeping, "GET", "/v1/jobs").json()["data"] == []


def test_what_a_request_may_set(keeping: Any) -> None:
    overrides = {
        "model.latent": 3,
        "model.encoder.width": 8,
        "medium.size": 8,
        "train.batch": 4,
        "data.conditional": True,
        "train.optimizers.model.betas": [0.5, 0.9],
        "train.best": True,
        "data.augment.flip": 0.5,
    }
    answer = ask(keeping, "POST", "/v1/jobs", json={"kind": "train", "model": "own/tiny", "overrides": overrides})
    job = answer.json()
    assert answer.status_code == 200 and job["asked"]["overrides"] == overrides
    assert ask(keeping, "POST", f"/v1/jobs/{job['id']}/cancel").json()["status"] == "cancelled"
    assert ask(keeping, "POST", f"/v1/jobs/{job['id']}/cancel").status_code == 409


def test_a_tenant_does_nothing_to_anothers_jobs(keeping: Any) -> None:
    job = ask(keeping, "POST", "/v1/jobs", json={"kind": "sample", "model": "painter", "n": 3}).json()
    paths = [f"/v1/{kind}/{job['id']}{part}" for kind in ("jobs", "fine_tuning/jobs") for part in ("", "/events")]
    paths += [
        f"/v1/jobs/{job['id']}{part}"
        for part in ("/logs", "/artefacts", "/artefacts/results.zip", "/events?stream=true")
    ]
    for path in paths:
        assert ask(keeping, "GET", path, key=1).status_code == 404, path
    for act in ("cancel", "pause", "resume"):
        assert ask(keeping, "POST", f"/v1/jobs/{job['id']}/{act}", key=1).status_code == 404
    assert ask(keeping, "GET", "/v1/jobs", key=1).json()["data"] == []
    assert ask(keeping, "GET", f"/v1/fine_tuning/jobs/{job['id']}").status_code == 404, "it trains nothing"
    assert ask(keeping, "GET", "/v1/jobs", key=3).status_code == 403, "a key that may only ask for samples"
    assert ask(keeping, "POST", f"/v1/jobs/{job['id']}/pause").json()["status"] == "paused"
    assert ask(keeping, "POST", f"/v1/jobs/{job['id']}/resume").json()["status"] == "queued"
    assert ask(keeping, "POST", f"/v1/jobs/{job['id']}/cancel").json()["status"] == "cancelled"


@pytest.mark.parametrize("id", ["..%2f..%2fserver.db", "server.db", "plan.json", ".lock", "%00", "x" * 5000])
def test_artefacts_are_looked_up_and_not_opened(id: str, keeping: Any) -> None:
    job = ask(keeping, "POST", "/v1/jobs", key=1, json={"kind": "sample", "model": "painter"}).json()
    assert ask(keeping, "GET", f"/v1/jobs/{job['id']}/artefacts/{id}", key=1).status_code in (404, 413)
    ask(keeping, "POST", f"/v1/jobs/{job['id']}/cancel", key=1)


def test_quota_priority_and_idempotency(keeping: Any) -> None:
    body = {"kind": "sample", "model": "painter", "n": 2}
    first = ask(keeping, "POST", "/v1/jobs", key=2, json=body | {"priority": 5}, headers={"idempotency-key": "k"})
    assert first.json()["priority"] == 5
    same = ask(keeping, "POST", "/v1/jobs", key=2, json=body | {"priority": 5}, headers={"idempotency-key": "k"})
    assert same.json()["id"] == first.json()["id"]
    other = ask(keeping, "POST", "/v1/jobs", key=2, json=body | {"n": 3}, headers={"idempotency-key": "k"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_error")
    for _ in range(11):
        assert ask(keeping, "POST", "/v1/jobs", key=2, json=body).status_code == 200
    full = ask(keeping, "POST", "/v1/jobs", key=2, json=body)
    assert (full.status_code, full.json()["error"]["code"]) == (429, "quota_exceeded")
    assert int(full.headers["retry-after"]) >= 1
    for job in ask(keeping, "GET", "/v1/jobs?limit=100", key=2).json()["data"]:
        ask(keeping, "POST", f"/v1/jobs/{job['id']}/cancel", key=2)


def test_a_store_that_is_locked_is_said_to_be_busy(keeping: Any) -> None:
    import sqlite3

    store = keeping[2].state.store
    with sqlite3.connect(store.folder / "server.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        answer = ask(keeping, "POST", "/v1/jobs", json={"kind": "sample", "model": "painter"}, timeout=60)
        other.execute("ROLLBACK")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_busy"), time.monotonic() - began
    assert int(answer.headers["retry-after"]) >= 1
    assert ask(keeping, "GET", "/v1/jobs").json()["data"][0]["status"] == "cancelled"


def test_recipes_are_listed(keeping: Any) -> None:
    listed = ask(keeping, "GET", "/v1/recipes").json()
    found = {one["id"]: one["about"] for one in listed["data"]}
    assert (
        found["own/tiny"] == "Tiny pictures, in seconds." and "image/dcgan" in found and "digits" in listed["datasets"]
    )
