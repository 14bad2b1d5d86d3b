"""A model's card, and the model itself to take away: what arrives is what was saved."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from httpx2 import Client

from maquette.bundle import read_bundle
from maquette.server.engine import Engine
from maquette.server.store import Store
from tests.server.served import painter
from tests.server.web import serving


@pytest.mark.parametrize("scored", [True, False])
def test_a_card_and_a_bundle(tmp_path: Path, scored: bool) -> None:
    run = painter(tmp_path / "gan", "gan")
    engine = Engine([run], device="cpu")
    digest = engine.find("gan").digest
    score = {"name": "fid", "value": 1.5, "low": 1.0, "high": 2.0}
    (run / "report.json").write_text(json.dumps({"model": digest if scored else "another", "scores": [score]}))
    store = Store(f"sqlite:///{tmp_path}/server.db", tmp_path)
    may, mayn = store.add_key("trainer", ("train", "infer"))[0], store.add_key("user", ("infer",))[0]
    with serving(tmp_path, engine, store=store, keys=True) as (url, _), Client(base_url=url) as client:
        told = client.get("/v1/models/gan/card", headers={"authorization": f"Bearer {mayn}"}).json()
        assert told["card"] == {"name": "gan"} and told["scores"] == ([score] if scored else [])
        assert told["bytes"] == sum(path.stat().st_size for path in (run / "bundle").iterdir())
        for path, key, status in (
            ("/v1/models/gan/bundle", mayn, 403), ("/v1/models/gan/bundle", "none", 401),
            ("/v1/models/x/bundle", may, 404), ("/v1/models/x/card", may, 404), ("/v1/models/..%2fgan/card", may, 404),
        ):  # fmt: skip
            assert client.get(path, headers={"authorization": f"Bearer {key}"}).status_code == status, path
        answer = client.get("/v1/models/gan/bundle", headers={"authorization": f"Bearer {may}"})
        assert answer.headers["content-disposition"] == 'attachment; filename="gan.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {Path(name).parent for name in archive.namelist()} == {Path("gan")}
        for name in archive.namelist():
            (tmp_path / "taken").mkdir(exist_ok=True)
            (tmp_path / "taken" / Path(name).name).write_bytes(archive.read(name))
    assert read_bundle(tmp_path / "taken").digest == digest
