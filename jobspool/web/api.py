"""The JSON API: each route of /api/v1, as one table that the server and its OpenAPI description are made of."""

from __future__ import annotations

import json
from collections import namedtuple

from starlette.responses import Response, StreamingResponse

from jobspool import journal
from jobspool.errors import TryAgain
from jobspool.states import STATES, state_named
from jobspool.web import dead, deeds, history, live, logfiles, looks, rows, search
from jobspool.web.problems import Problem, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request

    from jobspool.web.site import Site

PREFIX = "/api/v1"
JSON = "application/json"
ROOM = 65_536  # bytes that a body may have beyond a job's largest
LEAST = 1_048_576  # bytes that a body may have at least
MOST_EVENTS = 1000
MOST_OF_A_JOB = 200  # events
NO_STORE = {"cache-control": "no-store"}
STREAM = {**NO_STORE, "x-accel-buffering": "no"}  # else nginx holds events back

# method, path (below PREFIX), what answers it, what it is, names of the query's words, what the body is ("" for none), statuses.
Route = namedtuple("Route", "method path answer summary query body statuses", defaults=((), "", (200,)))
ROUTES: list[Route] = []


def route(method: str, path: str, summary: str, query: tuple = (), body: str = "", statuses: tuple = (200,)) -> Callable:
    """Return what puts a function into the table."""

    def noted(answer: Callable[[Site, Request], Awaitable[Response]]) -> Callable:
        ROUTES.append(Route(method, path, answer, summary, query, body, statuses))
        return answer

    return noted


def said(what: object, status: int = 200, **headers: str) -> Response:
    """Return the answer with this JSON."""
    return as_json(json.dumps(what).encode(), status, **headers)


def as_json(body: bytes, status: int = 200, **headers: str) -> Response:
    """Return the answer with JSON that is written already."""
    return Response(body, status, {**NO_STORE, **headers}, JSON)


async def body_of(site: Site, request: Request) -> bytes:
    """Return the body. Raises Problem for one that is longer than anything that is to be sent."""
    limit = max(LEAST, site.spool.settings_or_default().max_job_bytes) + ROOM
    length = request.headers.get("content-length", "")
    pieces, total = [], 0
    if not length.isdecimal() or int(length) <= limit:
        async for piece in request.stream():
            pieces.append(piece)
            total += len(piece)
            if total > limit:
                break
        else:
            return b"".join(pieces)
    problem = Problem(413, "too-large", "That is too much", f"a body may have {limit} bytes: max_job_bytes, and some room")
    problem.headers.append((b"connection", b"close"))
    raise problem


async def words_of(site: Site, request: Request) -> dict:
    """Return the JSON object in the body, {} where it is empty. Raises Problem."""
    body = await body_of(site, request)
    try:
        words = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise wrong(f"the body is not JSON: {error}") from None
    if not isinstance(words, dict):
        raise wrong("the body must be a JSON object")
    return words


# ---- looking


@route("GET", "/status", "The spool and its workers at a glance")
async def status(site: Site, request: Request) -> Response:
    return as_json(await site.answer("status", lambda: looks.status(site)))


@route("GET", "/jobs", "A page of jobs, the newest first", ("state", "q", "reason", "sort", "limit", "after"))
async def jobs(site: Site, request: Request) -> Response:
    given = request.query_params
    states, newest = _states(given.get("state", "all")), _newest(given.get("sort", "new"))
    limit = _limit(given.get("limit", "50"))
    after = search.opened(given["after"]) if given.get("after") else None
    words = search.Words(given.get("q", ""), given.get("reason"))
    key = ("jobs", request.scope["query_string"])
    make = lambda: search.page(site, states, words, newest, limit, after)  # noqa: E731 - it is short
    return as_json(await site.answer(key, make))


def _states(text: str) -> tuple[str, ...]:
    if text == "all":
        return STATES
    found = tuple(dict.fromkeys(map(state_named, text.split(","))))
    if None in found:
        raise wrong(f"there is no state {text[:50]!r}: there are all, {', '.join(STATES)}")
    return found


def _newest(text: str) -> bool:
    if text not in ("new", "old"):
        raise wrong(f"sort is new or old, not {text[:50]!r}")
    return text == "new"


def _limit(text: str, most: int = search.MOST_ROWS) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
        raise wrong(f"that takes a number from 1 to {most}, not {text[:50]!r}")
    return int(text)


@route("GET", "/jobs/{id}", "All about one job")
async def job(site: Site, request: Request) -> Response:
    await site.pulse.fresh()
    return said(await site.work(_whole, site, request.path_params["id"]))


def _whole(site: Site, handle: str) -> dict:
    settings = site.spool.settings_or_default()
    for _ in range(3):
        found = site.job(handle)
        try:
            known = rows.whole(site.spool, found, settings)
        except FileNotFoundError:
            continue  # RACE: it has moved on
        events = history.of_job(site.spool.root, found.id, MOST_OF_A_JOB)
        actions = rows.actions(found, site.read_only)
        return {**known, "events": events, "children": looks.children(site, found.id), "actions": actions}
    raise TryAgain(f"{handle} moves while it is looked at: try again")


@route("GET", "/dead/groups", "The dead jobs by the reason that they died of")
async def dead_groups(site: Site, request: Request) -> Response:
    return as_json(await site.answer("dead", lambda: site.reasons.groups(site)))


@route("GET", "/failures", "The failures of the last hour by their reasons")
async def failures(site: Site, request: Request) -> Response:
    return as_json(await site.answer("failures", lambda: looks.failures(site)))


@route("GET", "/rates", "The last hour by minutes, and how long jobs took and waited")
async def rates(site: Site, request: Request) -> Response:
    return as_json(await site.answer("rates", site.pulse.rates))


@route("GET", "/groups", "Groups, their limits, and how many of their jobs wait or run")
async def groups(site: Site, request: Request) -> Response:
    return as_json(await site.answer("groups", lambda: looks.groups(site)))


@route("GET", "/schedules", "Schedules, and when they are next")
async def schedules(site: Site, request: Request) -> Response:
    return as_json(await site.answer("schedules", lambda: looks.schedules(site)))


@route("GET", "/batches", "Batches, and how far they are")
async def batches(site: Site, request: Request) -> Response:
    return as_json(await site.answer("batches", lambda: looks.batches(site)))


# ---- doing


@route("PUT", "/jobs/{id}", "Add the job under that id; once, however often it is sent", body="job", statuses=(201, 200))
async def put_job(site: Site, request: Request) -> Response:
    body = await body_of(site, request)
    return _added(*await site.do(deeds.add, site, body, request.path_params["id"]))


@route("POST", "/jobs", "Add a job under a new id", body="job", statuses=(201, 200))
async def post_job(site: Site, request: Request) -> Response:
    return _added(*await site.do(deeds.add, site, await body_of(site, request)))


def _added(answer: dict, made: bool) -> Response:
    return said(answer, 201 if made else 200, location=f"{PREFIX}/jobs/{answer['job']['ref']}")


@route("POST", "/check", "See whether that is a job, and which command line adds it", body="job")
async def check(site: Site, request: Request) -> Response:
    return said(await site.work(deeds.check, site, await body_of(site, request)))


@route("DELETE", "/jobs/{id}", "Remove the job and its logs", statuses=(204,))
async def delete_job(site: Site, request: Request) -> Response:
    undo = await site.do(deeds.remove, site, request.path_params["id"])
    return Response(None, 204, {**NO_STORE, **({"x-undo": undo} if undo else {})})


@route("PATCH", "/jobs/{id}", "Let the job say something else, or have another priority", body="change")
async def patch_job(site: Site, request: Request) -> Response:
    words = await words_of(site, request)
    return said(await site.do(deeds.change, site, request.path_params["id"], words, request.headers.get("if-match")))


@route("POST", "/jobs/{id}/{verb}", f"Do it to the job: {', '.join(deeds.DEEDS)}", body="deed")
async def do(site: Site, request: Request) -> Response:
    verb = request.path_params["verb"]
    if verb not in deeds.DEEDS:
        raise Problem(404, "no-such-verb", "Nothing is called so", f"there are {', '.join(deeds.DEEDS)}")
    return said(await site.do(deeds.do, site, verb, request.path_params["id"], await words_of(site, request)))


@route("POST", "/dead/retry", "Try dead jobs again: those named, those of a reason, or all", body="choice")
async def dead_retry(site: Site, request: Request) -> Response:
    return said(await site.do(dead.treat, site, await words_of(site, request), False))


@route("POST", "/dead/purge", "Remove dead jobs and their logs", body="choice")
async def dead_purge(site: Site, request: Request) -> Response:
    return said(await site.do(dead.treat, site, await words_of(site, request), True))


@route("POST", "/undo/{token}", "Put back what was done within the last minute")
async def undo(site: Site, request: Request) -> Response:
    return said(await site.do(deeds.undo, site, request.path_params["token"]))


@route("POST", "/pause", "Let nothing new start", body="reason")
async def pause(site: Site, request: Request) -> Response:
    return said(await site.do(deeds.pause, site, await words_of(site, request)))


@route("POST", "/resume", "Let jobs start again")
async def resume(site: Site, request: Request) -> Response:
    await words_of(site, request)
    return said(await site.do(deeds.resume, site))


# ---- logs and events


LOG = "/jobs/{id}/attempts/{number}/{stream}"


async def _log_path(site: Site, request: Request) -> str:
    return await site.work(logfiles.path_of, site, *(request.path_params[word] for word in ("id", "number", "stream")))


@route("GET", LOG, "What an attempt printed, as bytes", ("tail", "download"), statuses=(200, 206))
async def log(site: Site, request: Request) -> Response:
    opened = await site.work(logfiles.Log, await _log_path(site, request))
    try:
        size, tail = opened.size, request.query_params.get("tail")
        part = logfiles.span_of(size, request.headers.get("range"), tail)
    except Problem:
        opened.close()
        raise
    span = part or logfiles.Span(0, size, size)
    headers, kind = _log_headers(request, span)
    partial = part is not None and tail is None
    if partial:
        headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{size}"
    if request.method == "HEAD":
        opened.close()
        return Response(None, 206 if partial else 200, headers, kind)
    return StreamingResponse(logfiles.pieces(site, opened, span), 206 if partial else 200, headers, kind)


def _log_headers(request: Request, span: logfiles.Span) -> tuple[dict[str, str], str]:
    """Return the headers of so much of a log, and what it is said to be: nothing that a browser would run."""
    headers = {
        **NO_STORE,
        "content-length": str(span.end - span.start),
        "accept-ranges": "bytes",
        "x-log-bytes": str(span.size),
        "content-security-policy": "sandbox; default-src 'none'",
    }
    if not request.query_params.get("download"):
        return headers, "text/plain; charset=utf-8"
    name = f"attempt-{request.path_params['number']}.{request.path_params['stream']}"
    return {**headers, "content-disposition": f'attachment; filename="{name}"'}, "application/octet-stream"


@route("GET", f"{LOG}/follow", "What it prints from now on, as server-sent events", ("offset",))
async def follow(site: Site, request: Request) -> Response:
    path = await _log_path(site, request)
    offset = request.headers.get("last-event-id") or request.query_params.get("offset") or "0"
    if not (offset.isascii() and offset.isdecimal() and len(offset) < 16):
        raise wrong("offset takes a number of bytes")
    job = await site.work(site.job, request.path_params["id"])
    if request.method == "HEAD":
        return Response(None, 200, STREAM, "text/event-stream")
    told = logfiles.follow(site, job.id, int(request.path_params["number"]), path, int(offset))
    return StreamingResponse(told, 200, STREAM, "text/event-stream")


@route("GET", f"{LOG}/search", "The lines of a log that have a text", ("q", "most"))
async def search_log(site: Site, request: Request) -> Response:
    path = await _log_path(site, request)
    text, most = request.query_params.get("q", ""), _limit(request.query_params.get("most", "100"), logfiles.MOST_MATCHES)
    if not 1 <= len(text) <= 500:
        raise wrong("q takes a text of 1 to 500 characters")
    return said(await site.work(logfiles.search, path, text, most))


@route("GET", "/events", "What happens, as server-sent events; or what has happened, as JSON", ("cursor", "last", "limit"))
async def events(site: Site, request: Request) -> Response:
    cursor = request.query_params.get("cursor") or request.headers.get("last-event-id")
    if cursor and not journal.is_cursor(cursor):
        raise wrong(f"{cursor[:50]!r} is no cursor: they are as 12:3456, and each event has one")
    if "text/event-stream" in request.headers.get("accept", ""):
        if request.method == "HEAD":
            return Response(None, 200, STREAM, "text/event-stream")
        return StreamingResponse(_told(site, cursor), 200, STREAM, "text/event-stream")
    await site.pulse.fresh()
    if last := request.query_params.get("last"):
        return said(await site.work(history.newest, site.spool.root, _limit(last, MOST_EVENTS)))
    most = _limit(request.query_params.get("limit", "1000"), MOST_EVENTS)
    return said(await site.work(history.since, site.spool.root, cursor, most))


async def _told(site: Site, cursor: str | None) -> AsyncIterator[bytes]:
    """Yield what was missed behind the cursor, and then what happens."""
    number = site.pulse.number
    yield b"retry: 1000\n\n"
    if cursor:
        missed = await site.work(history.caught_up, site.spool.root, cursor, live.SHOWN)
        yield live.message("change", {**missed, "counts": site.catalogue.counts()})
    async for message in site.pulse.messages(number):
        yield message
