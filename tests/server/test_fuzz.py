"""Our own description of the API as a test: what it allows is answered, what it does not is refused, nothing breaks.

The small test runs always. The large one, at least 10,000 cases:

    python -m pytest tests/server/test_fuzz.py -m slow
"""

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
import torch
from schemathesis.checks import not_a_server_error
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from maquette.server.engine import Engine
from maquette.server.jobs import Jobs
from maquette.server.store import Store
from maquette.server.supervisor import Supervisor
from tests.server.served import painter, talker
from tests.server.web import serving

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    negative_data_rejection, unsupported_method,
]  # fmt: skip
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
FEW, MANY = 1, 200
"""Examples of each operation in each mode."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("fuzz")
    kinds = [painter(folder / "painter", "gan"), painter(folder / "denoiser", "diffusion")]
    words = [talker(folder / "writer"), talker(folder / "answerer", asks=True)]
    engine = Engine([*kinds, *words], device="cpu", compiled=False)
    store = Store(f"sqlite:///{folder}/server.db", folder)
    supervisor = Supervisor(Jobs(store), workers=0)
    # what is asked of the slow models may take long: the server says so itself, within the time that a case has
    with serving(folder, engine, store=store, supervisor=supervisor, request_seconds=20.0) as (address, _):
        yield address


def real(case: Any) -> Any:
    """Two of three cases ask for a model that there is: otherwise most would only learn that there is none. A name that
    is none at all stays, being what is wrong."""
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str) and 0 < len(case.body["model"]) <= 128:
        models = ("painter", "denoiser", "writer", "answerer", None, None)
        which = models[sum(json.dumps(case.body, default=str, sort_keys=True).encode()) % len(models)]
        case.body["model"] = which or case.body["model"]
    return case


def fuzz(address: str, examples: int) -> int:
    """How many cases were tried."""
    torch.set_flush_denormal(False)  # of this thread: what draws cases wants the smallest numbers too
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    tried, faults = 0, []
    with requests.Session() as session:
        for found in schema.get_all_operations():
            operation = found.ok()
            for mode in MODES:

                @hypothesis.settings(
                    max_examples=examples, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(hypothesis.HealthCheck), phases=[hypothesis.Phase.generate],
                )  # fmt: skip
                @hypothesis.given(case=operation.as_strategy(mode))
                def run(case: Any) -> None:
                    nonlocal tried
                    tried += 1
                    told = real(case).call(session=session, timeout=120)
                    # 413 is a refusal that its list lacks, and forms with files it cannot hold against their schema
                    unjudged = told.status_code == 413 or case.media_type == "multipart/form-data"
                    checks = [one for one in CHECKS if one is not negative_data_rejection or not unjudged]
                    case.validate_response(told, checks=checks)
                    assert len(told.content) < 1 << 20 or told.status_code == 200
                    if told.status_code >= 400:
                        assert told.json()["error"].keys() == {"message", "type", "param", "code"}

                try:
                    run()
                except hypothesis.errors.Unsatisfiable:  # some operations have nothing that could be wrong
                    assert mode == GenerationMode.NEGATIVE
                except (Exception, BaseExceptionGroup) as fault:
                    if str(fault) != "Unsupported type: 'Binary'":  # Schemathesis itself, at some mutants of a file
                        faults.append(f"{operation.label} {mode.value}: {fault}")
    assert not faults, "\n\n".join(faults)
    return tried


@pytest.mark.filterwarnings("ignore")
def test_no_case_breaks_the_server(address: str) -> None:
    assert fuzz(address, FEW) > 60
    assert requests.get(f"{address}/healthz", timeout=60).status_code == 200


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(7200)
def test_ten_thousand_cases_break_nothing(address: str) -> None:
    assert fuzz(address, MANY) >= 10_000


def test_the_description_names_every_field(address: str) -> None:
    tree = requests.get(f"{address}/openapi.json", timeout=60).json()
    assert tree["openapi"].startswith("3.1")
    assert set(tree["paths"]) >= {"/v1/models", "/v1/completions", "/v1/images/edits", "/v1/videos/{video_id}/content"}
    body = tree["components"]["schemas"]["Completion"]
    assert body["additionalProperties"] is False and body["properties"]["n"]["anyOf"][0]["maximum"] == 1000
    form = tree["paths"]["/v1/images/edits"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["mask"] == {"type": "string", "format": "binary"}
    references = json.dumps(tree).split('"$ref": "#/components/schemas/')[1:]
    assert {one.partition('"')[0] for one in references} <= set(tree["components"]["schemas"])
