"""A stand-in for the Hugging Face hub on 127.0.0.1, which speaks as much of its protocol as a download needs.

A file's bytes come from another host than the hub's, by a redirect, as they do there.
"""

import hashlib
import json
import random
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_token-of-a-test"
HEAD = b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 20) + b"general.architecture" + struct.pack("<IQ", 8, 5) + b"llama"
DATA = HEAD + random.Random(1).randbytes(3_000_000)  # more than two chunks of the reading
OTHER = HEAD + random.Random(2).randbytes(1000)
NAME = "hf:owner/repo:Q4_K_M"
Response = tuple[int, dict[str, str], bytes]  # status, headers, body


@dataclass
class Repo:
    """A repository at one commit."""

    files: dict[str, bytes]
    commit: str = "c" * 40
    small: set[str] = field(default_factory=set)  # the files that are in git itself, without LFS
    access: str = "public"  # or "gated", "private"
    tags: list[str] = field(default_factory=lambda: ["gguf", "license:apache-2.0"])

    def etag(self, path: str) -> str:
        data = self.files[path]
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() if path in self.small else sha256(data)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    host: str

    @property
    def start(self) -> int:
        """Where its Range begins."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", "bytes=0-"))
        assert match is not None, self.headers["range"]
        return int(match[1])


class Hub:
    """What it has, what it was asked, and what goes wrong."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.cdn = f"http://localhost:{port}"
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.answers: list[Response] = []  # for the next requests, instead of the right ones
        self.bodies: list[bytes] = []  # for the next requests for a file's bytes
        self.cuts: list[int] = []  # after how many bytes the connection of those breaks
        self.ranges = True  # whether a Range is honoured
        self.content_range = ""  # that is said, instead of the right one
        self.lengths = True  # whether the length of a file is said, or it ends where the connection does
        self.hold: threading.Event | None = None  # after the first half of a file, wait for it
        self.held = threading.Event()

    def downloads(self) -> list[Request]:
        return [request for request in self.requests if request.path.startswith("/cdn/")]

    def info(self, name: str, repo: Repo) -> dict[str, Any]:
        """What /api/models/... says with blobs=true."""
        siblings: list[dict[str, Any]] = []
        for path, data in repo.files.items():
            sibling: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": "b" * 40}
            if path in repo.small:
                sibling["blobId"] = repo.etag(path)
            else:
                sibling["lfs"] = {"sha256": repo.etag(path), "size": len(data), "pointerSize": 134}
            siblings.append(sibling)
        return {"id": name, "sha": repo.commit, "tags": repo.tags, "siblings": siblings}


def error(status: int, code: str = "", **headers: str) -> Response:
    body = json.dumps({"error": "a text of the hub's\x1b[31m\n own"}).encode()
    return status, headers | ({"X-Error-Code": code} if code else {}), body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        url = urlsplit(self.path)
        request = Request(self.command, unquote(url.path), headers, self.headers["Host"])
        self.hub.requests.append(request)
        if self.hub.answers:
            self._send(*self.hub.answers.pop(0))
        elif request.path.startswith("/cdn/"):
            self._send_bytes(request)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", request.path):
            assert url.query == "blobs=true"
            self._send_info(request, *match.groups())
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", request.path):
            self._send_redirect(request, *match.groups())
        else:
            self._send(*error(404, "RepoNotFound"))

    do_HEAD = do_GET

    def _repo(self, request: Request, name: str, revision: str) -> Repo | None:
        """The repository, unless it is to be refused: then that is done."""
        repo = self.hub.repos.get(name)
        known = request.headers.get("authorization") == f"Bearer {TOKEN}"
        if repo is None or (repo.access == "private" and not known):
            self._send(*error(404 if known else 401, "RepoNotFound"))
        elif repo.access == "gated" and "/resolve/" in request.path and not known:
            self._send(*error(403 if "authorization" in request.headers else 401, "GatedRepo"))
        elif revision not in ("main", "v1", repo.commit):
            self._send(*error(404, "RevisionNotFound"))
        else:
            return repo
        return None

    def _send_info(self, request: Request, name: str, revision: str) -> None:
        if repo := self._repo(request, name, revision):
            self._send(200, {"Content-Type": "application/json"}, json.dumps(self.hub.info(name, repo)).encode())

    def _send_redirect(self, request: Request, name: str, revision: str, path: str) -> None:
        if (repo := self._repo(request, name, revision)) is None:
            return
        if path not in repo.files:
            self._send(*error(404, "EntryNotFound"))
            return
        headers = {
            "X-Repo-Commit": repo.commit,
            "X-Linked-Etag": f'"{repo.etag(path)}"',
            "X-Linked-Size": str(len(repo.files[path])),
            "Location": f"{self.hub.cdn}/cdn/{name}/{path}".replace(" ", "%20"),
        }
        self._send(302, headers, b"")

    def _send_bytes(self, request: Request) -> None:
        owner, name, path = request.path.removeprefix("/cdn/").split("/", 2)
        data = self.hub.bodies.pop(0) if self.hub.bodies else self.hub.repos[f"{owner}/{name}"].files[path]
        start = request.start if self.hub.ranges else 0
        headers, status = {"ETag": '"of-the-cdn"'}, 200
        if "range" in request.headers and self.hub.ranges:
            status = 206
            headers["Content-Range"] = self.hub.content_range or f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(status, headers, data[start:], self.hub.cuts.pop(0) if self.hub.cuts else None)

    def _send(self, status: int, headers: dict[str, str], body: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        if self.hub.lengths or not self.path.startswith("/cdn/"):
            self.send_header("Content-Length", str(len(body)))
        else:
            self.close_connection = True
        for name, value in ({"X-HF-Warning": "all; beware\x1b[31m"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut is not None:
            self.wfile.write(body[:cut])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif self.hub.hold is not None and status in (200, 206) and len(body) > 1000:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.hub.held.set()
            self.hub.hold.wait(60)
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what these tests are about."""


@contextmanager
def serving() -> Iterator[Hub]:
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        hub = handler.hub = Hub(server.server_port)  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            if hub.hold is not None:
                hub.hold.set()
            server.shutdown()
            thread.join()
