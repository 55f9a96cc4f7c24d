"""HTTP on METRICS_PORT: `/healthz` (alive), `/readyz` (ready, or why not), `/metrics` (Prometheus)."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

import orjson
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from indexer.errors import UserError
from indexer.health import Signs, judge

log = logging.getLogger(__name__)

_SILENT_SECONDS = 10.0  # a client that says nothing does not keep its thread
_PATHS = b'{"paths":["/healthz","/readyz","/metrics"]}'


class HealthServer(ThreadingTCPServer):
    """Answers on threads of its own; what it tells is read when it is asked.

    Not http.server's own class: that one asks the name service for this machine's name, which may take its time.
    """

    daemon_threads = allow_reuse_address = True

    def __init__(self, port: int, collector: Collector, signs: Callable[[], Signs]) -> None:
        """Listen on `port` (0: a free one); raises UserError PORT_TAKEN."""
        self._signs, self._registry = signs, CollectorRegistry()
        for each in (collector, PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self._registry.register(each)
        try:
            super().__init__(("", port), _Request)
        except OSError as error:
            raise UserError(f"METRICS_PORT={port}: {error.strerror}", code="PORT_TAKEN") from error
        threading.Thread(target=self.serve_forever, name="health", daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError):  # a client that hung up is nothing to tell of
            log.error("a request was not answered: %s: %s", type(error).__name__, error)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body."""
        if path == "/metrics":
            return 200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry)
        health = judge(self._signs())
        good = {"/healthz": health.alive, "/readyz": not health.problems}.get(path)
        if good is None:
            return 404, "application/json", _PATHS
        return 200 if good else 503, "application/json", orjson.dumps({"ok": good, "problems": health.hints()})


class _Request(BaseHTTPRequestHandler):
    server: HealthServer
    timeout = _SILENT_SECONDS

    def do_GET(self) -> None:
        status, kind, body = self.server.answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        log.debug(format, *arguments)
