"""`POST /v1/moderations`: what the operator's rules (`--rules FILE`) say of texts."""

import secrets
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from maquette.server.doors import needs
from maquette.server.filtering import Rules
from maquette.server.reading import described, read_json
from maquette.server.schemas import Moderation

router = APIRouter()
NAME = "rules"
"""Of the only model here, which is the operator's list."""
CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
"""OpenAI's, which clients expect to find; those that no rule names are never flagged."""


@router.post("/v1/moderations", dependencies=[Depends(needs("infer"))], openapi_extra=described(Moderation))
async def moderate(request: Request) -> Response:
    """Each text by the categories of the rules. Without rules nothing is flagged."""
    body = await read_json(request, Moderation)
    inputs = [body.input] if isinstance(body.input, str) else body.input
    texts = [one if isinstance(one, str) else one.text for one in inputs]
    rules = request.app.state.rules or Rules({})
    results = [_result(rules, text) for text in texts]
    return JSONResponse({"id": f"modr-{secrets.token_hex(12)}", "model": NAME, "results": results})


def _result(rules: Rules, text: str) -> dict[str, Any]:
    flags = dict.fromkeys(CATEGORIES, False) | rules.flags(text)
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": {name: float(flag) for name, flag in flags.items()},
        "category_applied_input_types": {name: ["text"] for name in flags},
    }
