"""The application: guard first, then what is asked most, then the routes; each error is an answer that says what to do."""

from __future__ import annotations

import asyncio
import html
import json
import os
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.staticfiles import StaticFiles

from jobspool import metrics
from jobspool.errors import QueueError
from jobspool.web import api, openapi
from jobspool.web.guard import ALWAYS
from jobspool.web.problems import MEDIA, Problem, of_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from jobspool.web.guard import Guard
    from jobspool.web.site import Site

    Send = Callable[[dict], Awaitable[None]]

STATIC = os.path.join(os.path.dirname(__file__), "static")
PAGES = ("/", "/jobs", "/job/{id}", "/dead", "/add", "/groups")  # one document, whose script looks at the path
ANY = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
STRANGER = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>queuectl: {title}</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/page.css">
</head>
<body>
<header class="top"><span class="brand">queue<b>ctl</b></span></header>
<main class="stranger">
<h1>{title}</h1>
<p>{text}</p>{more}
</main>
</body>
</html>
"""
AGAIN = '\n<p><a href="/">Try again</a></p>'  # where that can help: not to who is a stranger
ELSEWHERE = '\n<p><a href="/">To the overview</a></p>'  # where trying again can't help
STRANGERS = (401, 403, 421)
NO_COOKIE = (
    "This page needs a link with a token in it. The command “queuectl web” printed one when it was started, and says which file "
    "the token lies in; “queuectl web --open” opens it. The link is good for this browser until it is closed."
)


class App:
    """The ASGI application. What is asked for at the paths in `hot` may be answered at once, without a task for it."""

    def __init__(self, site: Site, guard: Guard) -> None:
        self._site, self._guard = site, guard
        self._router = Router(_routes(site, guard), redirect_slashes=False)
        self.hot = HOT.keys()
        self._hot_requests: dict[bytes, tuple[bytes, object]] = {}  # the token with which each was let in, and what it asks

    async def __call__(self, scope: dict, receive: Callable, send: Send) -> None:
        """Answer what is asked."""
        if scope["type"] != "http":
            raise RuntimeError(f"nothing is asked by {scope['type']}")
        raw = scope["raw_path"]
        if b"%" in raw:
            scope["path"] = os.fsdecode(unquote_to_bytes(raw))  # a file's name need not be UTF-8
        if (problem := self._guard.refuse(scope)) is not None:
            await _tell(problem, scope, send)
            return
        await _routed(self._router, self._site, scope, receive, send)

    def at_once(self, scope: dict) -> bytes | None:
        """Return the whole answer, for who may ask, where it is known and good; None where it takes more than a glance."""
        return None if self._guard.refuse(scope) is not None else self._known(HOT[scope["raw_path"]](scope))

    def remember(self, request: bytes, scope: dict) -> None:
        """Know what the whole request asks, which has just been answered at once."""
        if len(self._hot_requests) >= MOST_REQUESTS:
            self._hot_requests.clear()
        self._hot_requests[request] = (self._guard.token.value(), HOT[scope["raw_path"]](scope))

    def again(self, request: bytes) -> bytes | None:
        """Return the whole answer, where this very request was answered at once before, by the token that is good still."""
        token, key = self._hot_requests.get(request, NEVER)
        return self._known(key) if token and token == self._guard.token.value() else None

    def _known(self, key: object) -> bytes | None:
        if not self._site.pulse.is_fresh():
            return None
        self._site.pulse.asked()
        body = self._site.known(key)
        return None if body is None else JSON_HEAD % len(body) + body


MOST_REQUESTS = 256  # that are known
NEVER = (b"", None)
HOT = {  # what is asked most: the key of the answer that may be known
    b"/api/v1/status": lambda scope: "status",
    b"/api/v1/jobs": lambda scope: ("jobs", scope["query_string"]),
}
JSON_HEADERS = [*ALWAYS, (b"content-type", b"application/json"), (b"cache-control", b"no-store")]
JSON_HEAD = b"HTTP/1.1 200 OK\r\n%scontent-length: %%d\r\n\r\n" % b"".join(b"%s: %s\r\n" % each for each in JSON_HEADERS)


async def _routed(router: Router, site: Site, scope: dict, receive: Callable, send: Send) -> None:
    """Answer by the routes, with the headers that every answer has; an error is told, where nothing was sent yet."""
    begun = False

    async def send_safely(message: dict) -> None:
        nonlocal begun
        if message["type"] == "http.response.start":
            begun = True
            own = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(each for each in ALWAYS if each[0] not in own)]
        await send(message)

    try:
        await router(scope, receive, send_safely)
    except (Problem, QueueError, OSError) as error:
        if begun:
            raise
        await _tell(error if isinstance(error, Problem) else of_error(error, site.spool.root), scope, send)
    except ClientDisconnect:
        return  # who asked has gone before he had said all
    except Exception:
        if not begun:
            await _tell(Problem(500, "bug", "That is a bug", "the one who runs `queuectl web` sees a traceback"), scope, send)
        raise


async def _tell(problem: Problem, scope: dict, send: Send) -> None:
    """Send the problem: as a page to who looks at one, else as JSON."""
    is_page = not scope["path"].startswith(("/api/", "/metrics")) and scope["method"] in ("GET", "HEAD")
    text = NO_COOKIE if problem.status == 401 else problem.said["detail"]
    more = "" if problem.status in STRANGERS else ELSEWHERE if problem.status == 404 else AGAIN
    page = STRANGER.format(title=html.escape(problem.said["title"]), text=html.escape(text), more=more)
    body, kind = (page.encode("utf-8", "replace"), b"text/html; charset=utf-8") if is_page else (problem.body(), MEDIA)
    headers = [*ALWAYS, *problem.headers, (b"content-type", kind), (b"cache-control", b"no-store")]
    if problem.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="queuectl"'))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _routes(site: Site, guard: Guard) -> list:
    turn = asyncio.Lock()
    described = json.dumps(openapi.description(site.version)).encode()

    async def page(request: Request) -> Response:
        return await static.get_response("index.html", request.scope)

    async def login(request: Request) -> Response:
        headers = guard.login(request.scope)
        if headers is None:
            cure = "use the newest link that `queuectl web` printed, or start it again"
            raise Problem(403, "wrong-token", "That link is no longer good", cure)
        answer = Response(None, 303)
        answer.raw_headers.extend(headers)
        return answer

    async def description(request: Request) -> Response:
        return api.as_json(described)

    async def measured(request: Request) -> Response:
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        async with turn:  # one looks at a time, however many ask
            body = await site.work(metrics.text, site.spool, openmetrics)
        return Response(body, 200, api.NO_STORE, metrics.OPENMETRICS if openmetrics else metrics.OLDER)

    async def nothing(request: Request) -> Response:
        raise Problem(404, "no-such-page", "There is nothing here", f"{request.scope['path'][:200]!r} is no path of this page")

    static = Static(directory=STATIC)
    return [
        *(Route(path, page, methods=["GET"]) for path in PAGES),
        Route("/login", login, methods=["GET"]),
        Route("/metrics", measured, methods=["GET"]),
        Route(f"{api.PREFIX}/openapi.json", description, methods=["GET"]),
        *(Route(api.PREFIX + path, _by_method(site, methods), methods=ANY) for path, methods in _by_path().items()),
        Mount("/static", static),
        Mount("/", Route("/{rest:path}", nothing, methods=ANY)),
    ]


def _by_path() -> dict[str, dict[str, Callable]]:
    """Return the API's routes by path and method; those of fixed words before those that take any word in their place."""
    found: dict[str, dict[str, Callable]] = {}
    for each in sorted(api.ROUTES, key=lambda each: each.path.count("{")):
        found.setdefault(each.path, {})[each.method] = each.answer
    return found


def _by_method(site: Site, methods: dict[str, Callable]) -> Callable:
    async def answer(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        if method not in methods:
            allowed = ", ".join(methods)
            problem = Problem(405, "wrong-method", "That can't be done there", f"{request.method} is not for this: {allowed}")
            problem.headers.append((b"allow", allowed.encode()))
            raise problem
        return await methods[method](site, request)

    return answer


class Static(StaticFiles):
    """The page's files, as they lie; looked at anew each time, as the browser asks whether they are still the same."""

    async def get_response(self, path: str, scope: dict) -> Response:
        """Return the file. Raises Problem where there is none of that name."""
        try:
            return await super().get_response(path, scope)
        except (HTTPException, ValueError):  # the latter for a NUL
            raise Problem(404, "no-such-file", "There is no such file", "the page has none of that name") from None

    def file_response(self, *words: object, **more: object) -> Response:
        """Return the file, to be asked for again."""
        answer = super().file_response(*words, **more)
        answer.headers["cache-control"] = "no-cache"
        return answer
