"""HTTP as servers give it: errors told as what they are, what may pass tried again, no host left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from lewel.data import http, remote
from lewel.errors import UserError

CONTENT = bytes(range(200))


class Server:
    """On 127.0.0.1, in a thread. `answers` are given in turn, the last one for ever; `asked`: the requests."""

    def __init__(self) -> None:
        self.answers: list[Any] = [200]
        self.asked: list[web.Request] = []
        self.loop = asyncio.new_event_loop()
        self.port = 0

    def __enter__(self) -> Server:
        ready = threading.Event()

        async def serve() -> None:
            application = web.Application()
            application.router.add_route("GET", "/{name:.*}", self._answer)
            self.runner = web.AppRunner(application)
            await self.runner.setup()
            site = web.TCPSite(self.runner, "127.0.0.1", 0)
            await site.start()
            self.port = self.runner.addresses[0][1]
            ready.set()

        def run() -> None:
            self.loop.run_until_complete(serve())
            self.loop.run_forever()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(status=405)
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == "drop":
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if answer == "wait":
            await asyncio.sleep(1)
        if isinstance(answer, str) and "/" in answer:
            return web.Response(status=302, headers={"Location": answer})
        if answer == 429:
            return web.Response(status=429, headers={"Retry-After": "3600"})
        if answer != 200:
            return web.Response(status=answer)
        if (wanted := request.http_range).start is not None:
            return web.Response(status=206, body=CONTENT[wanted])
        return web.Response(body=CONTENT)

    def url(self, name: str = "x.tar") -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(remote, "PAUSE_S", 0.001)
    monkeypatch.setattr(remote, "MOST_PAUSE_S", 0.002)
    with Server() as serving:
        yield serving


def the_range(server: Server) -> bytes:
    return remote.read([remote.Range(server.url(), 3, 9)])[0]


@pytest.mark.parametrize("answer", [500, 502, 503, 504, 429, 408, "drop"])
def test_what_may_pass_is_tried_again(server: Server, answer: Any) -> None:
    server.answers = [answer, answer, 200]
    assert the_range(server) == CONTENT[3:9]
    server.answers = [answer, 200]
    assert remote.whole(server.url()) == CONTENT


def test_a_server_that_is_silent_is_asked_again(server: Server, monkeypatch) -> None:
    monkeypatch.setattr(remote, "TIMEOUT_S", 0.3)
    server.answers = ["wait", 200]
    assert the_range(server) == CONTENT[3:9]


@pytest.mark.parametrize("what", [the_range, lambda s: remote.whole(s.url()), lambda s: remote.sizes([s.url()])])
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, r"x\.tar: no such file( \(HTTP 404\))?; check the address, or copy the shards"),
        (410, r"x\.tar: no such file \(HTTP 410\); check the address"),
        (401, r"x\.tar: no access \(HTTP 401\); check the address and your credentials"),
        (403, r"x\.tar: no access \(HTTP 403\); check the address and your credentials"),
        (400, r"x\.tar: the server answers HTTP 400 Bad Request; check the address"),
    ],
)
def test_an_answer_that_is_final_is_told_as_what_it_is(server: Server, what, status: int, said: str) -> None:
    server.answers = [status]
    with pytest.raises(UserError, match=said) as caught:
        what(server)
    assert "\n" not in str(caught.value) and len(server.asked) <= 2  # the size is asked for by two methods


@pytest.mark.parametrize("what", [the_range, lambda s: remote.whole(s.url()), lambda s: remote.sizes([s.url()])])
def test_an_error_that_stays_is_told_with_its_status(server: Server, what) -> None:
    server.answers = [500]
    with pytest.raises(UserError, match=r"x\.tar: the server answers HTTP 500 Internal Server Error; 3 tries; see"):
        what(server)


def test_pauses_grow_and_are_bounded_whatever_the_server_asks_for(server: Server, monkeypatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    server.answers = [503]
    with pytest.raises(UserError):
        the_range(server)
    server.answers = [429]
    with pytest.raises(UserError, match="HTTP 429"):
        the_range(server)
    assert pauses == [0.001, 0.002, 0.002, 0.002]


@pytest.mark.parametrize("what", [the_range, lambda s: remote.whole(s.url()), lambda s: remote.sizes([s.url()])])
def test_a_redirect_to_another_host_is_refused_and_not_followed(server: Server, what) -> None:
    with Server() as other:
        server.answers = [other.url("secret")]
        with pytest.raises(UserError, match=rf"redirects to another host, http://127.0.0.1:{other.port}, which is not"):
            what(server)
        assert not other.asked


def test_a_redirect_within_the_host_is_followed(server: Server) -> None:
    server.answers = ["/elsewhere/x.tar", 200]
    assert the_range(server) == CONTENT[3:9]
    assert [request.path for request in server.asked] == ["/x.tar", "/elsewhere/x.tar"]


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        ("http://a/x", "http://a/y", True),
        ("http://a/x", "https://a/x", True),
        ("https://a/x", "http://a/x", False),
        ("https://a/x", "https://A:443/x", True),
        ("https://a/x", "https://a.b/x", False),
        ("http://a/x", "http://a:8080/x", False),
        ("http://a:8080/x", "https://a/x", False),
    ],
)
def test_which_hosts_are_the_same(here: str, there: str, same: bool) -> None:
    assert http.is_same_host(here, there) is same


def test_a_password_is_not_shown(server: Server) -> None:
    server.answers = [403]
    with pytest.raises(UserError) as caught:
        remote.whole(server.url().replace("//", "//me:secret@"))
    assert "secret" not in str(caught.value) and "//me:...@127.0.0.1" in str(caught.value)
