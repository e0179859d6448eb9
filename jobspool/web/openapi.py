"""The API's description for programs, OpenAPI 3.1, made of the table of its routes."""

from __future__ import annotations

import re

from jobspool.job import WORDS
from jobspool.states import STATES
from jobspool.web.api import PREFIX, ROUTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.web.api import Route

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
BODIES = {
    "job": {"$ref": "#/components/schemas/NewJob"},
    "change": {
        "type": "object",
        "properties": {"record": {"$ref": "#/components/schemas/Record"}, "priority": {"type": "integer"}},
        "minProperties": 1,
        "maxProperties": 1,
    },
    "deed": {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "signal": {"type": "string"}, "undo": {"type": ["string", "null"]}},
    },
    "choice": {
        "type": "object",
        "properties": {
            "ids": {"type": "array", "items": {"type": "string"}},
            "reason": {"type": "string"},
            "all": {"const": True},
        },
        "minProperties": 1,
        "maxProperties": 1,
    },
    "reason": {"type": "object", "properties": {"reason": {"type": "string"}}},
}
STREAMS = ("/events", "/follow")


def description(version: str) -> dict:
    """Return the whole description."""
    paths: dict[str, dict] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "queuectl",
            "version": version,
            "description": "A job queue that you can ls. The words are those of the job file: queuectl-spool(5).",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"cookie": []}],
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": SECURITY},
    }


def _operation(route: Route) -> dict:
    found = {"summary": route.summary, "operationId": route.answer.__name__, "parameters": _parameters(route)}
    if route.body:
        required = route.body in ("job", "change", "choice")
        found["requestBody"] = {"required": required, "content": {"application/json": {"schema": BODIES[route.body]}}}
    answers = {str(status): _answer(route, status) for status in route.statuses}
    return {**found, "responses": {**answers, "default": {"description": "What was wrong, and what to do", "content": PROBLEM}}}


def _parameters(route: Route) -> list[dict]:
    inside = re.findall(r"\{(\w+)\}", route.path)
    found = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in inside]
    found += [{"name": name, "in": "query", "schema": QUERY.get(name, {"type": "string"})} for name in route.query]
    if route.method == "PATCH":
        found.append({"name": "If-Match", "in": "header", "schema": {"type": "string"}})
    return found


def _answer(route: Route, status: int) -> dict:
    if status == 204:
        return {"description": "It is done"}
    if route.path.endswith(STREAMS):
        return {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    if route.path.endswith("{stream}"):
        return {"description": "Bytes", "content": {"text/plain": {}, "application/octet-stream": {}}}
    return {"description": "As the manual tells", "content": {"application/json": {"schema": _schema(route)}}}


def _schema(route: Route) -> dict:
    name = {"/jobs": "Page" if route.method == "GET" else "Done", "/jobs/{id}/{verb}": "Done"}.get(route.path)
    return {"$ref": f"#/components/schemas/{name}"} if name else {"type": "object"}


QUERY = {
    "state": {"type": "string", "enum": ["all", *STATES], "default": "all"},
    "sort": {"type": "string", "enum": ["new", "old"], "default": "new"},
    "limit": {"type": "integer", "minimum": 1},
    "most": {"type": "integer", "minimum": 1},
    "tail": {"type": "integer", "minimum": 0},
    "offset": {"type": "integer", "minimum": 0},
    "download": {"type": "string", "enum": ["1"]},
}
_TEXT, _MAYBE = {"type": "string"}, {"type": ["string", "null"]}
SCHEMAS = {
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {"status": {"type": "integer"}, **dict.fromkeys(("type", "title", "detail", "key", "near"), _TEXT)},
    },
    "Record": {
        "type": "object",
        "description": "A job, as its file has it: one of command and argv says what to run.",
        "properties": {word: {} for word in WORDS},
        "additionalProperties": False,
    },
    "NewJob": {
        "oneOf": [
            {"$ref": "#/components/schemas/Record"},
            {
                "type": "object",
                "required": ["job"],
                "properties": {"job": {"$ref": "#/components/schemas/Record"}, "start": _MAYBE},
                "additionalProperties": False,
            },
        ]
    },
    "Row": {
        "type": "object",
        "required": ["id", "ref", "state", "handle", "command", "when", "age"],
        "properties": {
            **dict.fromkeys(("id", "ref", "handle", "command", "tries", "when", "age"), _TEXT),
            **dict.fromkeys(("name", "reason", "signal", "group", "batch", "problem", "held", "text"), _MAYBE),
            "state": {"type": "string", "enum": list(STATES)},
            "priority": {"type": "integer"},
            "exit": {"type": ["integer", "null"]},
            "progress": {"type": ["number", "null"]},
            "tags": {"type": "array", "items": _TEXT},
        },
    },
    "Page": {
        "type": "object",
        "required": ["jobs", "next", "total", "searched", "complete"],
        "properties": {
            "jobs": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}},
            "next": _MAYBE,
            "total": {"type": "integer"},
            "searched": {"type": "integer"},
            "complete": {"type": "boolean"},
        },
    },
    "Done": {
        "type": "object",
        "required": ["job", "undo", "command"],
        "properties": {"job": {"$ref": "#/components/schemas/Row"}, "undo": _MAYBE, "command": _TEXT},
    },
}
SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "The token in the file that `queuectl web` names."},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "queuectl_PORT", "description": "With X-Queuectl: 1 for changes."},
}
