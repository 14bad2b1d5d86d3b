"""Cookies that stand for a key: what they open, what they do not, and when they end."""

import http.client
import json
import urllib.parse
from pathlib import Path
from typing import NamedTuple

import pytest

from maquette.server.sessions import COOKIE, Sessions, may_change
from tests.server.served import painter
from tests.studio.browser import studio


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


def ask(url: str, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """A request by nobody's rules but ours: no redirect is followed, no cookie kept."""
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    try:
        connection.request(
            method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
    finally:
        connection.close()


def sign_in(url: str, key: str, **headers: str) -> Answer:
    body = f'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\n{key}\r\n--b--\r\n'.encode()
    return ask(url, "POST", "/studio/sign-in", body, Content_Type="multipart/form-data; boundary=b", **headers)


def test_a_session_ends_by_time_by_closing_and_by_too_many_others() -> None:
    now = [0.0]
    sessions = Sessions(clock=lambda: now[0], seconds=10.0, most=2)
    first, second = sessions.open("a"), sessions.open("b")
    assert first != second and len(first) >= 43
    found = sessions.find(first)
    assert found is not None and found.key == "a" and found.csrf not in (first, "")
    sessions.open("c")
    assert sessions.find(first) is None, "the oldest made room"
    now[0] = 9.9
    assert sessions.find(second) is not None
    now[0] = 10.0
    assert sessions.find(second) is None
    third = sessions.open("d")
    sessions.close(third)
    for cookie in (third, "", None, "x" * 5000, "\ud800"):
        assert sessions.find(cookie) is None


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH", "ODD"])
def test_a_change_needs_the_token(method: str) -> None:
    sessions = Sessions()
    session = sessions.find(sessions.open("a"))
    assert session is not None
    assert may_change(session, method, session.csrf)
    for wrong in ("", session.csrf[:-1], session.csrf + "x", "ü"):
        assert not may_change(session, method, wrong)
        assert may_change(session, "GET", wrong)


def test_the_way_in_with_a_key(tmp_path: Path) -> None:
    with studio(tmp_path, (painter(tmp_path / "gan", "gan"),), jobs=False, keys=True, strikes=6) as (url, app):
        secret, row = app.state.store.add_key("me", ("infer",))
        for page in ("data", "train", "make", "compare", "models", "jobs"):
            answer = ask(url, "GET", f"/studio/{page}")
            assert (answer.status, answer.headers["location"]) == (303, "/studio/sign-in")
        assert ask(url, "GET", "/v1/models").status == 401
        assert ask(url, "GET", "/studio/sign-in").status == 200
        wrong = sign_in(url, "mq-no-key<script>")
        assert wrong.status == 401 and "no valid key" in wrong.text and "mq-no-key" not in wrong.text

        right = sign_in(url, secret)
        cookie = right.headers["set-cookie"]
        assert (right.status, right.headers["location"]) == (303, "/studio/make")
        assert cookie.startswith(f"{COOKIE}=") and secret not in cookie
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
        kept = cookie.partition(";")[0]
        page = ask(url, "GET", "/studio/make", Cookie=kept).text
        session = app.state.sessions.find(kept.partition("=")[2])
        assert f'name="csrf" content="{session.csrf}"' in page and secret not in page
        assert "gan" in ask(url, "GET", "/v1/models", Cookie=kept).text

        wanted = json.dumps({"model": "gan", "prompt": "", "seed": 1}).encode()
        more = {"Cookie": kept, "Content_Type": "application/json"}
        assert ask(url, "POST", "/v1/images/generations", wanted, **more).status == 403
        assert ask(url, "POST", "/v1/images/generations", wanted, **more, X_CSRF_Token="no").status == 403
        assert ask(url, "POST", "/v1/images/generations", wanted, **more, X_CSRF_Token=session.csrf).status == 200
        elsewhere = ask(
            url, "POST", "/v1/images/generations", wanted, **more, X_CSRF_Token=session.csrf, Origin="http://evil"
        )
        assert elsewhere.status == 403
        both = ask(url, "GET", "/v1/models", Cookie=kept, Authorization="Bearer wrong")
        assert both.status == 401, "a key that is said is the one that counts"
        assert ask(url, "GET", "/v1/models/gan/card", Cookie=kept).status == 200
        assert ask(url, "GET", "/v1/models/gan/bundle", Cookie=kept).status == 403, "weights need the scope train"

        app.state.store.revoke_key(row.id)
        assert ask(url, "GET", "/v1/models", Cookie=kept).status == 401
        assert (
            ask(url, "POST", "/studio/sign-out", Cookie=kept, Content_Type="multipart/form-data; boundary=b").status
            == 303
        )
        assert ask(url, "GET", "/studio/make", Cookie=kept).status == 303
        while (answer := sign_in(url, "wrong")).status == 401:
            pass
        assert answer.status == 429 and "Wait a minute" in answer.text


def test_behind_tls_a_cookie_goes_by_https_alone(tmp_path: Path) -> None:
    """A proxy ends TLS and passes plain HTTP on; the browser's Origin, or the page it comes from, tells of it."""
    with studio(tmp_path, jobs=False, keys=True, names=("api.example.org",)) as (url, app):
        secret, _ = app.state.store.add_key("me", ("infer",))
        for scheme, secure in (("https", True), ("http", False)):
            told = sign_in(url, secret, Host="api.example.org", Origin=f"{scheme}://api.example.org")
            assert told.status == 303 and ("; Secure" in told.headers["set-cookie"]) is secure
            page = f"{scheme}://api.example.org/studio/make"
            told = ask(url, "GET", "/studio/language/zh/make", Host="api.example.org", Referer=page)
            assert ("; Secure" in told.headers["set-cookie"]) is secure
        assert "Secure" not in sign_in(url, secret).headers["set-cookie"]
        kept = sign_in(url, secret, Host="api.example.org", Origin="https://evil.example")
        assert kept.status == 403 and "set-cookie" not in kept.headers


def test_what_pages_may_load_and_what_they_are_made_of(tmp_path: Path) -> None:
    with studio(tmp_path, jobs=False) as (url, _):
        assert ask(url, "GET", "/").headers["location"] == "/studio/make"
        assert ask(url, "GET", "/studio/sign-in").status == 303, "no key is needed here"
        for page in ("data", "train", "make", "compare", "models", "jobs"):
            answer = ask(url, "GET", f"/studio/{page}", Accept_Language="zh")
            policy = answer.headers["content-security-policy"]
            assert "default-src 'self'" in policy and "unsafe" not in policy and "http" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
            assert 'lang="zh-CN"' in answer.text and answer.headers["content-language"] == "zh"
            for inline in (" style=", "<style", " onclick", "javascript:", "http://", "https://"):
                assert inline not in answer.text.replace('"http://www.w3.org/2000/svg"', ""), inline
            assert answer.text.count("<script") == 1
        told = ask(url, "GET", "/studio/language/zh/train")
        assert told.headers["location"] == "/studio/train" and "maquette_language=zh" in told.headers["set-cookie"]
        static = ask(url, "GET", "/studio/static/common.js")
        assert static.headers["content-type"].startswith("text/javascript")
        assert ask(url, "GET", "/studio/static/common.js", If_None_Match=static.headers["etag"]).status == 304
        for path in ("/studio/nothing", "/studio/static/pages.py", "/studio/static/..%2fpages.py", "/studio/make/",
                     "/studio/language/xx/make", "/studio/language/en/nothing", "/studio/report/job-1"):  # fmt: skip
            assert ask(url, "GET", path).status == 404, path
