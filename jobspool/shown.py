"""What a terminal is shown of what a job printed: its text and its colours, and nothing else that a terminal obeys.

Colours are SGR, `ESC [ numbers m`, of ECMA-48. All other control characters are made visible, as printable() does, so that no
sequence of theirs is left: a title, a clipboard, a cursor that goes back over lines. A carriage return within a line, as of a bar
that shows how far something is, begins a new one.
"""

from __future__ import annotations

import codecs
import re

from jobspool.say import CONTROLS, printable

COLOR = r"\x1b\[[0-9;:]{0,64}m"
PART = re.compile(rf"({COLOR})|(\r*\n)|(\r+)|(\t)|{CONTROLS}")
BEGUN = re.compile(r"(?:\x1b(?:\[[0-9;:]{0,64})?|\r+)\Z")  # what may become a colour, or a line's end, with what comes
ENDS_COLOR = re.compile(r"\x1b\[[0;]*m")


class Shown:
    """One stream, piece by piece. `colors`: whether its colours pass."""

    def __init__(self, colors: bool = True) -> None:
        self._colors = colors
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""  # what can't be told yet
        self.colored = False  # whether a colour stays behind what was returned

    def piece(self, content: bytes, last: bool = False) -> bytes:
        """Return what the terminal is to get for the next bytes; with `last`, what is left, too."""
        text = self._rest + self._decoder.decode(content, last)
        begun = None if last else BEGUN.search(text)
        text, self._rest = (text, "") if begun is None else (text[: begun.start()], begun.group())
        shown = text if text.isascii() and text.isprintable() else PART.sub(self._part, text)
        return shown.encode("utf-8", "backslashreplace")

    def _part(self, found: re.Match) -> str:
        color, end, back, tab = found.groups()
        if color:
            self.colored = self._colors and not ENDS_COLOR.match(color)
            return color if self._colors else ""
        if end or back:
            return "\n"
        return tab or printable(found.group())
