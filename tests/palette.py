"""Make a picture small: a PNG that a browser took, written anew with a palette of its 256 commonest colours."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

MAGIC = b"\x89PNG\r\n\x1a\n"
COLOURS = 256
CHANNELS = {2: 3, 6: 4}  # of colour types: RGB, and RGB with alpha


def small(png: bytes) -> bytes:
    """Return the picture with at most 256 colours. It must have 8 bits a channel and not be interlaced, as screenshots are."""
    pieces = list(chunks(png))
    width, height, depth, kind, *_ = struct.unpack(">IIBBBBB", next(data for name, data in pieces if name == b"IHDR"))
    if depth != 8 or kind not in CHANNELS:
        return png
    size = CHANNELS[kind]
    lines = list(unfiltered(zlib.decompress(b"".join(data for name, data in pieces if name == b"IDAT")), width * size, size))
    count = Counter(line[i : i + size] for line in lines for i in range(0, len(line), size))
    palette = [colour for colour, _ in count.most_common(COLOURS)]
    number = {colour: nearest(colour, palette) for colour in count} | {colour: i for i, colour in enumerate(palette)}
    rows = b"".join(b"\0" + bytes(number[line[i : i + size]] for i in range(0, len(line), size)) for line in lines)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = b"".join(colour[:3] for colour in palette)
    return MAGIC + chunk(b"IHDR", header) + chunk(b"PLTE", colours) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(MAGIC)
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def nearest(colour: bytes, palette: list[bytes]) -> int:
    return min(range(len(palette)), key=lambda i: sum((a - b) ** 2 for a, b in zip(colour, palette[i], strict=True)))


def unfiltered(raw: bytes, width: int, size: int) -> Iterator[bytes]:
    """Yield the lines of pixels: the filters are those of the PNG specification, chapter 9."""
    above = bytes(width)
    for at in range(0, len(raw), width + 1):
        kind, line = raw[at], bytearray(raw[at + 1 : at + 1 + width])
        for i in range(width) if kind else ():
            left, corner = (line[i - size], above[i - size]) if i >= size else (0, 0)
            line[i] = (line[i] + predicted(kind, left, above[i], corner)) & 255
        above = bytes(line)
        yield above


def predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 1:
        return left
    if kind == 2:
        return up
    if kind == 3:
        return (left + up) // 2
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))
