"""What a client is told of a mistake: OpenAI's body `{"error": {message, type, param, code}}`, from the one catalogue.

Nothing of what was sent comes back: values in a sentence are masked, `param` names fields of ours alone, and of a fault
of the server only an id is said, under which its log tells more.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from maquette.core.catalogue import CATALOGUE
from maquette.core.errors import MaquetteError, Phrase, nearest, shown


class Told(NamedTuple):
    status: int
    type: str
    code: str
    """As OpenAI calls it, where it has a name for it."""


INVALID, DENIED, LIMITED, OURS = "invalid_request_error", "authentication_error", "rate_limit_error", "server_error"

TOLD = {
    "MQ-1002": Told(500, OURS, "server_error"),
    "MQ-2100": Told(400, INVALID, "invalid_value"),
    "MQ-2101": Told(400, INVALID, "invalid_value"),
    "MQ-2002": Told(400, INVALID, "invalid_value"),
    "MQ-2121": Told(400, INVALID, "context_length_exceeded"),
    "MQ-2160": Told(404, INVALID, "model_not_found"),
    "MQ-2162": Told(503, OURS, "model_too_large"),
    "MQ-2201": Told(400, INVALID, "invalid_json"),
    "MQ-2202": Told(400, INVALID, "invalid_value"),
    "MQ-2203": Told(400, INVALID, "unknown_parameter"),
    "MQ-2204": Told(413, INVALID, "too_large"),
    "MQ-2205": Told(415, INVALID, "unsupported_media_type"),
    "MQ-2206": Told(404, INVALID, "unknown_url"),
    "MQ-2207": Told(401, DENIED, "invalid_api_key"),
    "MQ-2208": Told(403, "permission_error", "insufficient_scope"),
    "MQ-2209": Told(403, "permission_error", "origin_not_allowed"),
    "MQ-2210": Told(429, LIMITED, "rate_limit_exceeded"),
    "MQ-2211": Told(429, LIMITED, "server_busy"),
    "MQ-2212": Told(503, OURS, "server_stopping"),
    "MQ-2213": Told(408, INVALID, "timeout"),
    "MQ-2214": Told(400, INVALID, "wrong_model"),
    "MQ-2180": Told(404, INVALID, "not_found"),
    "MQ-2181": Told(409, INVALID, "wrong_state"),
    "MQ-2182": Told(400, INVALID, "invalid_file"),
    "MQ-2184": Told(400, INVALID, "invalid_value"),
    "MQ-2183": Told(409, INVALID, "idempotency_error"),
    "MQ-2230": Told(403, "permission_error", "session_not_allowed"),
    "MQ-2217": Told(400, INVALID, "bad_request"),
    "MQ-2220": Told(503, OURS, "server_starting"),
    "MQ-2219": Told(431, INVALID, "too_large"),
    "MQ-4020": Told(429, LIMITED, "server_busy"),
    "MQ-4021": Told(503, OURS, "server_stopping"),
    "MQ-4180": Told(429, LIMITED, "quota_exceeded"),
    "MQ-4181": Told(503, OURS, "store_busy"),
    "MQ-4182": Told(413, INVALID, "storage_quota_exceeded"),
    "MQ-5180": Told(503, OURS, "store_unavailable"),
    "MQ-5181": Told(503, OURS, "store_unavailable"),
    "MQ-5182": Told(503, OURS, "files_elsewhere"),
    "MQ-7041": Told(400, INVALID, "wrong_model"),
    "MQ-7030": Told(404, INVALID, "model_not_found"),
    "MQ-8002": Told(400, INVALID, "content_policy_violation"),
    "MQ-8011": Told(400, INVALID, "content_policy_violation"),
}
STATUS = {"1": 500, "2": 400, "3": 400, "4": 409, "5": 507, "6": 500, "7": 409, "8": 400}
"""Of the codes that are not told otherwise, by their kind (see the catalogue)."""

ECHOES = {"value", "label", "text", "key", "found", "given", "model", "source", "name", "file", "id"}
"""Values of a sentence that may hold what a client sent."""
MASK = "…"
LONGEST = 300
"""Characters of a message."""
FIELD = re.compile(r"[a-z][a-z_0-9]{0,40}(\.[a-z_0-9]{1,40}|\[\d{1,6}\]){0,6}")


class Later(MaquetteError):
    """A mistake that time mends: the answer says after how many seconds to try again."""

    def __init__(self, code: str, seconds: int, **values: object):
        super().__init__(code, "", **({"seconds": seconds} | values))
        self.seconds = seconds


class Elsewhere(MaquetteError):
    """MQ-2206 with another status: a path that there is, asked by a method that there is not."""

    def __init__(self, status: int, headers: dict[str, str] | None = None):
        super().__init__("MQ-2206")
        self.status, self.headers = status, headers or {}


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def answer(mistake: MaquetteError, language: str = "en") -> Answer:
    """The answer to a request that was a mistake."""
    told = TOLD.get(mistake.code)
    status = getattr(mistake, "status", told.status if told else STATUS[mistake.code[3]])
    kind = OURS if status == 500 else told.type if told else OURS if status > 500 else INVALID
    headers = dict(getattr(mistake, "headers", {}))
    seconds = getattr(mistake, "seconds", getattr(mistake, "retry_after", None))
    if status in (429, 503):
        headers["Retry-After"] = str(max(1, int(seconds or 1)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    error = {
        "message": sentence(mistake, language),
        "type": kind,
        "param": param(mistake),
        "code": told.code if told else mistake.code,
    }
    return Answer(status, {"error": error}, headers)


def sentence(mistake: MaquetteError, language: str = "en") -> str:
    """What is wrong and what to do, without anything that was sent."""
    entry = CATALOGUE[mistake.code]
    what, todo = entry.zh if language == "zh" else entry.en
    values = mistake.values_in(language) | {name: MASK for name in ECHOES & mistake.values.keys()}
    if values.get("path") and not FIELD.fullmatch(values["path"]):
        values["path"] = MASK
    parts = [part.format(**values) for part in (what, todo) if part]
    return shown((". " if language == "en" else "。").join(parts) + f" ({mistake.code})", LONGEST)


def param(mistake: MaquetteError) -> str | None:
    """The field that is at fault, if one is."""
    for said in (mistake.where, mistake.values.get("path", "")):
        if said and FIELD.fullmatch(said):
            return said
    return None


def misread(faults: Sequence[Any], fields: Sequence[str]) -> MaquetteError:
    """What pydantic found wrong, as one mistake: unknown fields first, else the first of those that are wrong.

    Args:
        faults: its `errors(include_input=False, include_context=False, include_url=False)`.
        fields: the names that there are.
    """
    unknown = [fault["loc"] for fault in faults if fault["type"] == "extra_forbidden"]
    if unknown:
        near = nearest(str(unknown[0][-1]), fields) if len(unknown[0]) == 1 else ""
        if not near.startswith("nearest"):
            near = Phrase("the documentation names those that there are", "文档列出了所有字段")
        return MaquetteError("MQ-2203", count=len(unknown), near=near)
    first = min(faults, key=lambda fault: fault["type"] == "missing")
    path = _path(first["loc"])
    wanted = "it is needed" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return MaquetteError("MQ-2202", path, path=path or "the body", wanted=wanted, more=more)


def _path(loc: Sequence[Any]) -> str:
    """`messages[0].content`; what pydantic says of the branches of a union is left out."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif re.fullmatch(r"[a-z][a-z_0-9]{0,40}", part) and part not in ("str", "int", "float", "bool"):
            path += f".{part}" if path else part
    return path
