"""The page's server: who is let in, and frames both ways. No browser is started."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from edgekit.devices.agent.frames import LENGTHS, decode_header, encode
from edgekit.devices.web import package
from edgekit.devices.web.server import PageGone, PageServer


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]


class Visitor:
    """A client that asks as it likes."""

    def __init__(self, server: PageServer) -> None:
        self.server = server
        self.line = http.client.HTTPConnection(server.host, timeout=10)

    def ask(self, name: str, method: str = "GET", body: bytes | None = None, **headers) -> Answer:
        path = name if name.startswith("/") else f"/{self.server.token}/{name}"
        self.line.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = self.line.getresponse()
        return Answer(answer.status, answer.read(), dict(answer.getheaders()))


@pytest.fixture
def server(tmp_path) -> Iterator[PageServer]:
    runtime = tmp_path / "core.js"
    runtime.write_text("export {};")
    (tmp_path / "secret").write_text("secret")
    done: list[int] = []
    server = PageServer({"core.js": runtime}, progress=done.append)
    server.done = done  # type: ignore[attr-defined]
    yield server
    threading.Thread(target=server._server.shutdown).start()  # takes half a second


@pytest.fixture
def visitor(server) -> Visitor:
    return Visitor(server)


def frame(header, payload=b"") -> bytes:
    return encode(header, len(payload)) + payload


def test_the_page_is_given_out_once(visitor):
    first = visitor.ask("")
    assert first.status == 200
    assert b"page.js" in first.body
    assert b"{nonce}" not in first.body
    policy = first.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval'" not in policy.replace("wasm-unsafe-eval'", "")
    assert first.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert visitor.ask("").status == 410


def test_it_listens_on_loopback_only(server):
    assert server._server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "path", ["/", "/x/", "/x/next", "//", "/page.js", "/%2e%2e/secret", "/favicon.ico"]
)
def test_without_the_token_there_is_nothing(visitor, path):
    assert visitor.ask(path).status == 404
    assert visitor.ask(path, "POST", b"").status == 404


@pytest.mark.parametrize(
    "name", ["litert/../secret", "litert/%2e%2e/secret", "../secret", "litert/", "secret", "/etc"]
)
def test_names_are_looked_up_and_never_joined(visitor, name):
    assert visitor.ask(f"/{visitor.server.token}/{name}").status == 404


def test_files_of_the_page(visitor):
    assert visitor.ask("litert/core.js").body == b"export {};"
    assert visitor.ask("page.js").headers["Content-Type"].startswith("text/javascript")


def test_another_name_for_this_address_is_refused(visitor):
    assert visitor.ask("", Host="evil.example").status == 404
    assert visitor.ask("").status == 200  # and did not use up the visit


def test_other_sites_cannot_post(visitor):
    body = frame({"hello": {}})
    assert visitor.ask("answer", "POST", body, Sec_Fetch_Site="cross-site").status == 404
    assert visitor.ask("answer", "POST", body, Sec_Fetch_Site="same-origin").status == 200


@pytest.mark.parametrize(
    "body", [b"", b"\0" * 7, LENGTHS.pack(5, 0) + b"{}", LENGTHS.pack(2, 9) + b"{}", frame({})[:-1]]
)
def test_posts_that_are_no_frames(visitor, body):
    assert visitor.ask("answer", "POST", body).status == 400


def test_work_and_answers(server, visitor):
    visitor.ask("answer", "POST", frame({"hello": {"browser": "Test 1"}}))
    assert server.hello(5) == {"browser": "Test 1"}
    asked: list = []
    worker = threading.Thread(target=lambda: asked.append(server.ask({"verb": "run"}, b"abc")))
    worker.start()
    work = visitor.ask("next").body
    size, count = LENGTHS.unpack_from(work)
    assert decode_header(work[LENGTHS.size : LENGTHS.size + size]) == {"verb": "run"}
    assert work[-count:] == b"abc"
    visitor.ask("answer", "POST", frame({"progress": 3}))
    visitor.ask("answer", "POST", frame({"ok": True}, b"result"))
    worker.join(5)
    assert asked == [({"ok": True}, b"result")]
    assert server.done == [3]


def test_a_page_that_goes_away(server, visitor):
    other = Visitor(server)
    other.line.request("GET", f"/{server.token}/alive")
    assert other.line.getresponse().status == 200
    other.line.close()
    with pytest.raises(PageGone):
        server.ask({"verb": "run"})


def test_the_lock_of_the_package_has_digests_and_no_host():
    """npm holds the package to these; where it comes from is the user's configuration."""
    lock = json.loads((package.PAGE / "package-lock.json").read_text(encoding="utf-8"))
    wanted = json.loads((package.PAGE / "package.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert wanted["dependencies"] == {package.NAME: package.version()}
    assert packages
    for entry in packages.values():
        assert entry["integrity"].startswith("sha512-")
        assert "resolved" not in entry
