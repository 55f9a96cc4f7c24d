"""The optional schema registry: the checked-in schemas under their checked-in ids, or a refusal.

Nothing reads schemas from it. It is there for other people's tools, so the ids must be those in the records. Plain
HTTP instead of Confluent's client, which cannot register under a given id.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import schemas
from indexer.errors import FatalError, OutageError, UserError
from schemas import Schema

WAIT_SECONDS = 10.0
_CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


class SchemaRegistry:
    """A registry with Confluent's HTTP interface; the URL may carry a user and a password."""

    def __init__(self, url: str, wait: float = WAIT_SECONDS) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError("SCHEMA_REGISTRY_URL is not an http(s) URL", code="SETTING_INVALID")
        self.host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
        self._base = f"{parts.scheme}://{self.host}{parts.path.rstrip('/')}"
        self._headers = {"Content-Type": _CONTENT_TYPE, "Accept": _CONTENT_TYPE}
        if parts.username is not None:
            pair = f"{parts.username}:{parts.password or ''}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        self._wait = wait

    def missing(self) -> list[Schema]:
        """Return the schemas that the registry does not have yet.

        Raises UserError REGISTRY_DIFFERS when it has another schema under an id of ours, or ours under another id.
        """
        ours = [schemas.load(*known) for known in schemas.declared()]
        return [each for each in ours if not self._has(each)]

    def register(self) -> list[Schema]:
        """Import what is missing under its own id and return it.

        Raises UserError REGISTRY_DIFFERS, having changed nothing, or REGISTRY_READ_ONLY when it cannot import ids.
        """
        todo = self.missing()
        for schema in todo:
            with self._importing(schema):
                body = {"schema": text_of(schema), "id": schema.id, "version": schema.version}
                self._call("POST", f"/subjects/{_subject(schema)}/versions", body)
        return todo

    def _has(self, schema: Schema) -> bool:
        there = self._call("GET", f"/schemas/ids/{schema.id}", missing_ok=True)
        if there is not None:
            if schemas.fingerprint(json.loads(there["schema"])) != schema.fingerprint:
                raise self._differs(f"id {schema.id} is another schema than our {schema.subject} {schema.version}")
            return True
        same = self._call("POST", f"/subjects/{_subject(schema)}", {"schema": text_of(schema)}, missing_ok=True)
        if same is not None:
            raise self._differs(f"{schema.subject} {schema.version} has the id {same['id']} there and {schema.id} here")
        return False

    @contextmanager
    def _importing(self, schema: Schema) -> Iterator[None]:
        mode = f"/mode/{_subject(schema)}"
        try:
            self._call("PUT", f"{mode}?force=true", {"mode": "IMPORT"})
        except FatalError as error:
            raise UserError(
                f"the schema registry at {self.host} cannot import ids ({error}): start it with"
                " mode.mutability=true, or unset SCHEMA_REGISTRY_URL",
                code="REGISTRY_READ_ONLY",
            ) from error
        try:
            yield
        finally:
            self._call("PUT", f"{mode}?force=true", {"mode": "READWRITE"})

    def _differs(self, what: str) -> UserError:
        return UserError(
            f"the schema registry at {self.host} differs: {what}; use a registry of your own, or unset"
            " SCHEMA_REGISTRY_URL",
            code="REGISTRY_DIFFERS",
        )

    def _call(self, method: str, path: str, body: Any = None, *, missing_ok: bool = False) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._base + path, data, self._headers, method=method)  # noqa: S310 http(s) only
        try:
            with urlopen(request, timeout=self._wait) as answer:  # noqa: S310 http(s) only
                return json.load(answer)
        except HTTPError as error:
            if error.code == 404 and missing_ok:
                return None
            raise FatalError(
                f"schema registry at {self.host}: {error.code} {_message(error)}", code="REGISTRY_REFUSED"
            ) from error
        except (URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise OutageError(
                f"the schema registry at {self.host} does not answer: {reason}", code="REGISTRY_UNREACHABLE"
            ) from error


def text_of(schema: Schema) -> str:
    """Return the schema as a registry stores it."""
    return json.dumps(schema.definition, separators=(",", ":"), ensure_ascii=False)


def _subject(schema: Schema) -> str:
    """Return the subject by Confluent's RecordNameStrategy: the record's full name."""
    return quote(f"{schema.definition['namespace']}.{schema.definition['name']}", safe="")


def _message(error: HTTPError) -> str:
    try:
        return str(json.load(error).get("message", ""))[:200]
    except (ValueError, AttributeError, OSError):
        return ""
