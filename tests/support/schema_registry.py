"""A schema registry for tests: the part of Confluent's HTTP interface that importing under given ids needs."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeRegistry:
    """Schemas by id; as strict as the real one: an id is accepted in mode IMPORT only, and never twice."""

    def __init__(self, *, importable: bool = True) -> None:
        self.importable = importable
        self.by_id: dict[int, tuple[str, str]] = {}  # id → subject, schema
        self.modes: dict[str, str] = {}
        self.authorizations: set[str | None] = set()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if match := re.fullmatch(r"/schemas/ids/(\d+)", path):
            found = self.by_id.get(int(match[1]))
            return (200, {"schema": found[1]}) if found else _error(404, 40403, "Schema not found")
        if match := re.fullmatch(r"/mode/([^/?]+)\?force=true", path):
            return self._set_mode(match[1], body["mode"])
        if match := re.fullmatch(r"/subjects/([^/]+)/versions", path):
            return self._register(match[1], body)
        if match := re.fullmatch(r"/subjects/([^/]+)", path):
            return self._look_up(match[1], body["schema"])
        return _error(404, 404, f"{method} {path}")

    def _set_mode(self, subject: str, mode: str) -> tuple[int, Any]:
        if mode == "IMPORT" and not self.importable:
            return _error(405, 40501, "Mode changes are not allowed")
        self.modes[subject] = mode
        return 200, {"mode": mode}

    def _register(self, subject: str, body: Any) -> tuple[int, Any]:
        if self.modes.get(subject) != "IMPORT" or body["id"] in self.by_id:
            return _error(422, 42205, f"Subject {subject} is not in import mode")
        self.by_id[body["id"]] = (subject, body["schema"])
        return 200, {"id": body["id"]}

    def _look_up(self, subject: str, schema: str) -> tuple[int, Any]:
        for schema_id, known in self.by_id.items():
            if known == (subject, schema):
                return 200, {"subject": subject, "id": schema_id, "version": 1}
        return _error(404, 40401, "Subject not found")


def _error(status: int, code: int, message: str) -> tuple[int, Any]:
    return status, {"error_code": code, "message": message}


@contextmanager
def serving(registry: FakeRegistry) -> Iterator[str]:
    """Serve a registry on a free port; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            registry.authorizations.add(self.headers.get("Authorization"))
            status, answer = registry.answer(self.command, self.path, json.loads(body) if body else None)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _handle  # noqa: N815 the base class's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
