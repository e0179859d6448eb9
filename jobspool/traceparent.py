"""The trace that a job is a part of, as W3C's Trace Context writes it: https://www.w3.org/TR/trace-context/.

TRACEPARENT is `00-TRACE-SPAN-FLAGS`, in hexadecimal digits: 16 bytes, 8 bytes, and one byte whose lowest bit is 1 where spans are
kept. TRACESTATE is what tracers of several makers add. As names of the environment both are OpenTelemetry's:
https://opentelemetry.io/docs/specs/otel/context/env-carriers/. Whoever adds a job while they are set puts it, by its `env`, into
that trace.
"""

from __future__ import annotations

import re
from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PARENT, STATE = "TRACEPARENT", "TRACESTATE"
FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.S)
MEMBER = r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
STATES = re.compile(rf"[ \t]*(?:{MEMBER})?[ \t]*(?:,[ \t]*(?:{MEMBER})?[ \t]*){{0,31}}")
LONGEST_STATE = 512  # characters, that everybody passes on

# trace, span: hexadecimal digits. sampled: whether its spans are kept.
Context = namedtuple("Context", "trace span sampled")


def read(text: object) -> Context | None:
    """Return what a TRACEPARENT says, None where it is none. One of a version to come may say more, which is left."""
    found = FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None or (found[1] == "00" and found[5]):
        return None
    return Context(found[2], found[3], bool(int(found[4], 16) & 1))


def written(context: Context) -> str:
    """Return the TRACEPARENT that says so."""
    return f"00-{context.trace}-{context.span}-{'01' if context.sampled else '00'}"


def joined(record: dict, environment: Mapping[str, str]) -> dict:
    """Return the record of a job that is being added: with the environment's trace, where that is one and the job has none."""
    env = record.get("env", {})
    parent, state = environment.get(PARENT), environment.get(STATE, "")
    if not isinstance(env, dict) or PARENT in env or read(parent) is None:
        return record
    own = {PARENT: parent}
    if state and len(state) <= LONGEST_STATE and STATES.fullmatch(state):
        own[STATE] = state
    return {**record, "env": {**own, **env}}
