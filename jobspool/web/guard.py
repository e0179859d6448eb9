"""Who may ask: a token that only this user can read, and a page that no other site can speak for.

The token lies in a file of mode 0600. Who brings it once, as the printed link does, gets a cookie, which is made of the token, is
not it, and is good until this page ends. Everything else here is against other sites in the same browser: a name of theirs that
points to us (DNS rebinding) is not in Host's list; what they send with the cookie comes with their Origin, or says in
Sec-Fetch-Site where it is from, and lacks a header that no site may send to another unasked.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import time
from urllib.parse import parse_qs

from jobspool import durable
from jobspool.errors import UnsafeSpool
from jobspool.trust import READ
from jobspool.web.problems import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SAFE = ("GET", "HEAD")
LOOK_EVERY = 1.0  # seconds between looks whether the token's file is still the same
LONGEST_TOKEN = 200  # bytes
SHORTEST_TOKEN = 20  # bytes
CODE_LASTS = 60.0  # seconds, for which a code that can be used once is good
OPEN_TO_ALL = ("/login", "/static/", "/favicon.ico")
CHANGES_NOTHING = ("/api/v1/check",)  # by POST, and still no change
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ALWAYS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]
WANTED = (
    b"host",
    b"origin",
    b"sec-fetch-site",
    b"sec-fetch-mode",
    b"authorization",
    b"cookie",
    b"x-queuectl",
    b"x-forwarded-proto",
)


class Token:
    """The secret in the file at `path`. It is looked at again, so that who removes the file, or writes another, locks all out."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._value = b""
        self._look_at = 0.0
        self._read()

    def value(self) -> bytes:
        """Return the token, b"" where nobody may come in: its file is gone, or others can read it."""
        if (clock := time.monotonic()) >= self._look_at:
            self._look_at = clock + LOOK_EVERY
            try:
                self._read()
            except (OSError, UnsafeSpool):
                self._value, self._seen = b"", None
        return self._value

    def _read(self) -> None:
        found = os.lstat(self.path)
        seen = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        if seen != self._seen:
            self._value, self._seen = read_token(self.path), seen


def read_token(path: str) -> bytes:
    """Return the token in the file. Raises UnsafeSpool where others may know it, OSError."""
    descriptor = os.open(path, READ)
    try:
        found = os.fstat(descriptor)
        content = os.read(descriptor, LONGEST_TOKEN + 1).strip()
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
        raise UnsafeSpool(f"{path} is no file of yours, and holds the key to the page: remove it, or name another: --token-file")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise UnsafeSpool(f"others can read {path}, which is the key to the page: rm it, and another is made")
    if not SHORTEST_TOKEN <= len(content) <= LONGEST_TOKEN or not content.isascii() or len(content.split()) != 1:
        raise UnsafeSpool(f"{path} holds no token of {SHORTEST_TOKEN} to {LONGEST_TOKEN} bytes: rm it, and another is made")
    return content


def make_token(path: str) -> None:
    """Let there be a token in the file, made anew where there is none. Raises UnsafeSpool, OSError."""
    spare = f"{path}.{os.getpid()}"
    if os.path.lexists(path):
        return
    durable.make_parents(path)
    durable.remove(spare)
    os.close(durable.write_new(spare, secrets.token_urlsafe(32).encode() + b"\n"))
    try:
        durable.move(spare, path)
    except FileExistsError:
        durable.remove(spare)  # RACE: another has just made it: that is ours, too


class Asked:
    """What the guard looks at in a request's headers; of one that stands twice, both with a NUL between, which nothing fits."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        found = {}
        for name, value in headers:
            if name in WANTED:
                found[name] = value if name not in found else found[name] + b"\0" + value
        self.get = found.get


class Guard:
    """Says who may ask what. `hosts` are what Host may say; `cookie` is the cookie's name, which tells ports apart.

    `behind_proxy`: whoever sends the requests is a proxy that tells in X-Forwarded-Proto whether TLS was spoken to it.
    """

    def __init__(
        self, token: Token, hosts: Iterable[str], cookie: str, *, read_only: bool = False, behind_proxy: bool = False
    ) -> None:
        self.token = token
        self.hosts = {host.lower().encode() for host in hosts}
        self.cookie = cookie.encode()
        self.read_only = read_only
        self.behind_proxy = behind_proxy
        self._codes: dict[bytes, float] = {}
        self._proof = (b"", b"")  # the token, and what the cookie of it is
        self._salt = secrets.token_bytes(32)  # it ends with us: whoever listens at our port then is sent it by a tab left open

    def refuse(self, scope: dict) -> Problem | None:
        """Return why the request is not answered, None where it is."""
        asked, path, method = Asked(scope["headers"]), scope["path"], scope["method"]
        host = asked.get(b"host", b"").lower()
        if host not in self.hosts and host.partition(b":")[0] not in self.hosts:
            return _not_ours(host)
        if problem := _from_elsewhere(asked, method, path) or (method not in SAFE and self._refuse_origin(asked, host)):
            return problem
        if path.startswith(OPEN_TO_ALL):
            return None if method in SAFE else _no_such_method(method)
        by_cookie = self._has_cookie(asked)
        if not by_cookie and not self._has_token(asked):
            return Problem(
                401, "who-are-you", "The token is missing, or not the right one", f"send `Authorization: Bearer TOKEN`: {HOW}"
            )
        return None if method in SAFE else self._refuse_change(asked, by_cookie, path)

    def _refuse_origin(self, asked: Asked, host: bytes) -> Problem | None:
        origin = asked.get(b"origin")
        ours = {b"http://" + host, b"https://" + host} if self.behind_proxy else {b"http://" + host}
        if origin is None or origin.lower() in ours:
            return None
        return Problem(403, "cross-site", "Another site asks", "Origin is not this page's: only it may ask for changes")

    def _refuse_change(self, asked: Asked, by_cookie: bool, path: str) -> Problem | None:
        if by_cookie and asked.get(b"x-queuectl") != b"1":
            return Problem(403, "csrf", "The header X-Queuectl is missing", "send `X-Queuectl: 1` beside the cookie")
        if self.read_only and path not in CHANGES_NOTHING:
            return Problem(403, "read-only", "This page only shows", "it was started with --read-only: use the command")
        return None

    def _has_token(self, asked: Asked) -> bool:
        kind, _, given = asked.get(b"authorization", b"").partition(b" ")
        return kind.lower() == b"bearer" and self._is_token(given.strip())

    def _is_token(self, given: bytes) -> bool:
        token = self.token.value()
        return bool(token) and hmac.compare_digest(given, token)

    def _has_cookie(self, asked: Asked) -> bool:
        for each in asked.get(b"cookie", b"").split(b";"):
            name, _, value = each.strip().partition(b"=")
            if name == self.cookie:
                proof = self._cookie_value()
                return bool(proof) and hmac.compare_digest(value, proof)
        return False

    def _cookie_value(self) -> bytes:
        """Return what the cookie of the token says, b"" where there is no token."""
        token = self.token.value()
        if self._proof[0] != token:
            said = b"cookie of " + self.cookie + self._salt
            self._proof = (token, hmac.digest(token, said, "sha256").hex().encode() if token else b"")
        return self._proof[1]

    def new_code(self) -> str:
        """Return a code that is good for one login, within a minute: other users can see what a browser is started with."""
        code = secrets.token_urlsafe(32)
        self._codes[code.encode()] = time.monotonic() + CODE_LASTS
        return code

    def login(self, scope: dict) -> list[tuple[bytes, bytes]] | None:
        """Return the headers that give the cookie to who brought the token, or a code; None where it is neither."""
        given = {word: values[0].encode("utf-8", "surrogateescape") for word, values in _query(scope).items()}
        good = self._is_token(given.get("token", b"")) or self._codes.pop(given.get("code", b""), 0.0) > time.monotonic()
        if not good or not self._cookie_value():
            return None
        said = b"%s=%s; HttpOnly; SameSite=Strict; Path=/" % (self.cookie, self._cookie_value())
        tls = self.behind_proxy and Asked(scope["headers"]).get(b"x-forwarded-proto", b"").lower() == b"https"
        return [(b"set-cookie", said + b"; Secure" if tls else said), (b"location", b"/"), (b"cache-control", b"no-store")]


HOW = "`queuectl web` prints a link with it, and says which file it lies in"


def _query(scope: dict) -> dict[str, list[str]]:
    try:
        return parse_qs(scope["query_string"].decode("ascii", "replace"), max_num_fields=10)
    except ValueError:
        return {}  # no link of ours has so many words


def _not_ours(host: bytes) -> Problem:
    shown = host[:100].decode("latin-1")
    return Problem(
        421, "wrong-host", "Nobody of that name is here", f"Host is {shown!r}: start `queuectl web` with --allow-host for it"
    )


def _no_such_method(method: str) -> Problem:
    return Problem(405, "wrong-method", "That can only be read", f"{method} is not for this: GET is")


def _from_elsewhere(asked: Asked, method: str, path: str) -> Problem | None:
    """Refuse what a browser says comes from another site: but a link to a page may be followed from anywhere."""
    site = asked.get(b"sec-fetch-site", b"none")
    followed = method == "GET" and asked.get(b"sec-fetch-mode") == b"navigate" and not path.startswith(("/api/", "/metrics"))
    if site in (b"same-origin", b"none") or followed:
        return None
    return Problem(403, "cross-site", "Another site asks", "Sec-Fetch-Site says so: only the page itself may ask")
