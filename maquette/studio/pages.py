"""The routes of the studio: pages in a language, what they load, and the way in with a key.

A page is words alone. Whatever it shows comes from the API, which its script asks under the same doors as everyone; so
pages are public where no key is needed, and lead to the way in where one is. Nothing in them is inline and nothing
comes from elsewhere: the policy below holds for all.
"""

import asyncio
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import Field
from starlette.responses import RedirectResponse, Response, StreamingResponse

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.server.artefacts import artefact
from maquette.server.doors import Caller, audit, needs
from maquette.server.reading import read_form
from maquette.server.schemas import Body
from maquette.server.sessions import COOKIE, LANGUAGE, Session
from maquette.studio.words import LANGUAGES, choose, words

PAGES = ("data", "train", "make", "compare", "models", "jobs")
HOME = "/studio/make"
YEAR = 365 * 86_400
STATIC = Path(__file__).parent / "static"
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

POLICY = (
    "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""Of every page: what it loads is ours; what was made in it is shown from its memory."""
FRAMED = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; frame-ancestors 'self'"
)
"""Of a report: no script, no address, an origin of its own."""

router = APIRouter(include_in_schema=False)
PUBLIC = [Depends(needs("public"))]
train = needs("train")


class SignIn(Body):
    """The form of the way in."""

    key: Annotated[str, Field(min_length=1, max_length=200)]


@router.get("/", dependencies=PUBLIC)
@router.get("/studio", dependencies=PUBLIC)
async def home(request: Request) -> Response:
    return RedirectResponse(HOME, 303)


@router.get("/studio/sign-in", dependencies=PUBLIC)
async def way_in(request: Request) -> Response:
    """The form that asks for a key."""
    if session_of(request) is not None or not await request.app.state.lock.closed():
        return RedirectResponse(HOME, 303)
    return shown(request, "sign-in")


@router.post("/studio/sign-in", dependencies=PUBLIC)
async def sign_in(request: Request) -> Response:
    """A key becomes a session."""
    state, address = request.app.state, request.client.host if request.client else ""
    body, _ = await read_form(request, SignIn, frozenset())
    row = await asyncio.to_thread(state.store.key_of, body.key.strip())
    if row is None:
        if state.strikes.take(address):
            return shown(request, "sign-in", status=429, mistake="too_often")
        audit(request, "", "denied", "", 401)
        return shown(request, "sign-in", status=401, mistake="wrong_key")
    audit(request, str(row.id), "session.open", "", 303)
    answer = RedirectResponse(HOME, 303)
    _keep(request, answer, COOKIE, state.sessions.open(str(row.id)), round(state.sessions.seconds))
    return answer


@router.post("/studio/sign-out", dependencies=PUBLIC)
async def sign_out(request: Request) -> Response:
    """The session is over. Another site cannot ask for this: its request would come without the cookie."""
    request.app.state.sessions.close(request.cookies.get(COOKIE))
    answer = RedirectResponse("/studio/sign-in", 303)
    answer.delete_cookie(COOKIE, path="/")
    return answer


@router.get("/studio/language/{language}/{page}", dependencies=PUBLIC)
async def speak(request: Request, language: str, page: str) -> Response:
    """From now on in this language."""
    if language not in LANGUAGES or page not in (*PAGES, "sign-in"):
        raise MaquetteError("MQ-2206")
    answer = RedirectResponse(f"/studio/{page}", 303)
    _keep(request, answer, LANGUAGE, language, YEAR)
    return answer


@router.get("/studio/static/{name}", dependencies=PUBLIC)
async def static(request: Request, name: str) -> Response:
    """A file of the studio's own, of those that there are."""
    if name not in _static():
        raise MaquetteError("MQ-2206")
    data, tag = _static()[name]
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=TYPES[Path(name).suffix], headers=headers)


@router.get("/studio/report/{job_id}")
async def report(request: Request, job_id: str, caller: Caller = Depends(train)) -> Response:
    """The page that a job has written, for a frame."""
    state = request.app.state
    if state.supervisor is None:
        raise MaquetteError("MQ-2206")
    job = await asyncio.to_thread(state.jobs.get, caller.id, job_id)
    one = await asyncio.to_thread(artefact, state.store.folder, job, "report.html")
    headers = {"content-security-policy": FRAMED, "x-frame-options": "SAMEORIGIN"}
    return StreamingResponse(one.blocks(), media_type=one.type, headers=headers)


@router.get("/studio/{page}", dependencies=PUBLIC)
async def page(request: Request, page: str) -> Response:
    """One of the pages."""
    if page not in PAGES:
        raise MaquetteError("MQ-2206")
    if session_of(request) is None and await request.app.state.lock.closed():
        return RedirectResponse("/studio/sign-in", 303)
    return shown(request, page)


def shown(request: Request, page: str, status: int = 200, **more: Any) -> Response:
    """`page` in the language that is asked for."""
    language = choose(request.cookies.get(LANGUAGE), request.headers.get("accept-language", ""))
    session, said = session_of(request), words(language)
    values: Mapping[str, Any] = {
        "w": said,
        "language": language,
        "languages": LANGUAGES,
        "page": page,
        "pages": PAGES,
        "session": session,
        "words": json.dumps(said, ensure_ascii=False, separators=(",", ":")),
        "mistake": "",
    }
    text = _templates().get_template(f"{page}.html").render(values | more)
    headers = {
        "content-security-policy": POLICY,
        "referrer-policy": "same-origin",  # with "no-referrer" a form would come from the origin "null"
        "content-language": language,
        "vary": "accept-language, cookie",
    }
    return Response(text, status, headers, media_type="text/html; charset=utf-8")


def session_of(request: Request) -> Session | None:
    return request.app.state.sessions.find(request.cookies.get(COOKIE))


def _keep(request: Request, answer: Response, name: str, value: str, seconds: int) -> None:
    """A cookie that no other site sends and no script reads, and that goes by https alone where the page came so.

    A proxy ends TLS, so the browser is who knows: the doors have let its Origin in as that of this very host.
    """
    page = request.headers.get("origin") or request.headers.get("referer", "")
    secure = page.lower().startswith("https://")
    answer.set_cookie(name, value, seconds, path="/", secure=secure, httponly=True, samesite="strict")


@cache
def _templates() -> Environment:
    """Everything is escaped: words are ours, and nothing else is ever put into a page here."""
    return Environment(
        loader=PackageLoader("maquette.studio"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


@cache
def _static() -> dict[str, tuple[bytes, str]]:
    found = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in TYPES}
    return {name: (data, f'"{files.digest(data)[:32]}"') for name, data in found.items()}
