"""A server of files that also speaks as much of Hugging Face and of Kaggle as downloads need."""

import hashlib
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REVISION = "c0ffee" + "0" * 34
FOUND, GONE, SAME = 200, 404, 304


class FakeHub:
    """Serves `files` by path, the Hugging Face repository `me/small`, whose tag is `v1`, and the
    Kaggle model `me/small/keras/tiny`, version 3. `asked` lists what was asked for, but for `HEAD`.
    """

    def __init__(self, tls: ssl.SSLContext | None = None):
        self.files: dict[str, bytes] = {}
        self.repository: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Frees the port: whoever asks now is refused."""
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content."""
        if path.startswith("/v1/models.ModelApiService/"):
            return self._kaggle(path.rsplit("/", 1)[1], body)
        if path in (f"/api/models/me/small/revision/{name}" for name in ("main", "v1", REVISION)):
            return FOUND, {}, json.dumps({"id": "me/small", "sha": REVISION}).encode()
        if path.startswith(f"/api/models/me/small/tree/{REVISION}"):
            files = [
                {"type": "file", "path": name, "size": len(content), "oid": _hash(content)}
                for name, content in self.repository.items()
            ]
            return FOUND, {}, json.dumps(files).encode()
        prefix = f"/me/small/resolve/{REVISION}/"
        if path.startswith(prefix) and path.removeprefix(prefix) in self.repository:
            content = self.repository[path.removeprefix(prefix)]
            return FOUND, {"X-Repo-Commit": REVISION, "ETag": f'"{_hash(content)}"'}, content
        if path in self.redirects:
            return 302, {"Location": self.redirects[path]}, b""
        if path in self.files:
            return FOUND, {"ETag": f'"{_hash(self.files[path])}"'}, self.files[path]
        return GONE, {"X-Error-Code": "RepoNotFound"}, b""

    def _kaggle(self, call: str, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        asked = (body["ownerSlug"], body["modelSlug"], body["instanceSlug"])
        if asked != ("me", "small", "tiny"):
            return GONE, {}, b""
        if call == "GetModelInstance":
            return FOUND, {}, json.dumps({"versionNumber": 3}).encode()
        content = self.repository.get(body["path"])
        return (GONE, {}, b"") if content is None else (FOUND, {}, content)


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            if self.command != "HEAD":
                hub.asked.append(path)
            status, headers, content = hub.answer(path, json.loads(body or b"{}"))
            if "ETag" in headers and self.headers.get("If-None-Match") == headers["ETag"]:
                status, content = SAME, b""
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_POST = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler
