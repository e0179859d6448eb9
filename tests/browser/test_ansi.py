"""What a job prints, as a terminal would show it: the parser of the page, in the browser."""

import pytest

CASES = {
    "plain": ("hello", [["hello", {}]]),
    "red": ("\x1b[31mred\x1b[0m", [["red", {"fg": 1}]]),
    "reset by nothing": ("\x1b[1;31mx\x1b[my", [["x", {"bold": True, "fg": 1}], ["y", {}]]),
    "bright": ("\x1b[91;104mx", [["x", {"fg": 9, "bg": 12}]]),
    "256": (
        "\x1b[38;5;208mx\x1b[48;5;255my",
        [["x", {"fg": [255, 135, 0]}], ["y", {"fg": [255, 135, 0], "bg": [238, 238, 238]}]],
    ),
    "256 as one of 16": ("\x1b[38;5;9mx", [["x", {"fg": 9}]]),
    "24 bit": ("\x1b[38;2;1;2;3mx", [["x", {"fg": [1, 2, 3]}]]),
    "24 bit with colons": ("\x1b[38:2::1:2:3mx", [["x", {"fg": [1, 2, 3]}]]),
    "24 bit out of range": ("\x1b[38;2;1;2;300mx", [["x", {}]]),
    "what follows a colour": ("\x1b[38;5;9;1mx", [["x", {"fg": 9, "bold": True}]]),
    "weights": (
        "\x1b[2;3;4;7;9mx\x1b[22;23;24;27;29my",
        [["x", {"dim": True, "italic": True, "underline": True, "inverse": True, "strike": True}], ["y", {}]],
    ),
    "no underline with colon": ("\x1b[4mx\x1b[4:0my", [["x", {"underline": True}], ["y", {}]]),
    "progress": (" 10%\r 50%\r100% done", [["100% done", {}]]),
    "a shorter one over a longer one": ("abcdef\rxyz", [["xyzdef", {}]]),
    "erased": ("abcdef\r\x1b[Kxy", [["xy", {}]]),
    "line end of DOS": ("abc\r", [["abc", {}]]),
    "backspace": ("ab\bc", [["ac", {}]]),
    "cursor": ("\x1b[5Gx\x1b[2Dyz", [["   yz", {}]]),
    "title swallowed": ("\x1b]0;owned\x07x", [["x", {}]]),
    "link swallowed": ("\x1b]8;;http://x/\x1b\\text\x1b]8;;\x1b\\", [["text", {}]]),
    "unfinished": ("x\x1b[31", [["x", {}]]),
    "unfinished string": ("x\x1b]0;no end", [["x", {}]]),
    "screen swallowed": ("\x1b[2J\x1b[H\x1b[?25lx\x1b(B\x1b=y", [["xy", {}]]),
    "bell": ("a\x07b", [["ab", {}]]),
    "other controls": ("a\x01b", [["a\u00b7b", {}]]),
    "surrogates": ("\x1b[1m🦊🦊\r🐈", [["🐈🦊", {"bold": True}]]),
}


@pytest.fixture
def parse(view):
    view.open("/groups")
    script = "const done = arguments[2]; import('/static/ansi.js').then(({parsed}) => { const got = parsed(arguments[0], arguments[1] ?? undefined); done({...got, runs: got.runs.map(({text, style}) => [text, style])}) })"
    return lambda line, style=None: view.driver.execute_async_script(script, line, style)


def test_lines_are_shown_as_a_terminal_shows_them(parse):
    assert {name: parse(line)["runs"] for name, (line, _) in CASES.items()} == {name: runs for name, (_, runs) in CASES.items()}


def test_a_style_lasts_beyond_its_line(parse):
    first = parse("\x1b[32mgreen")
    assert parse("still", first["style"])["runs"] == [["still", {"fg": 2}]]


def test_a_line_without_end_is_cut_and_says_so(parse):
    got = parse("x" * 100_000)
    assert (len(got["runs"][0][0]), got["cut"]) == (20_000, 80_000)


def test_every_colour_can_be_read(view):
    view.open("/groups")
    script = """
      const done = arguments[0];
      import('/static/ansi.js').then(({legible}) => {
        const light = (rgb) => { const [r, g, b] = rgb.map((v) => (v <= 10 ? v / 3295 : ((v / 255 + .055) / 1.055) ** 2.4)); return .2126 * r + .7152 * g + .0722 * b; };
        const contrast = (a, b) => { const [low, high] = [light(a), light(b)].sort((x, y) => x - y); return (high + .05) / (low + .05); };
        const all = [0, 51, 102, 153, 204, 255], worst = [];
        for (const behind of [[247, 246, 242], [11, 13, 16], [205, 76, 70], [128, 128, 128]])
          for (const r of all) for (const g of all) for (const b of all) worst.push(contrast(legible([r, g, b], behind), behind));
        done(Math.min(...worst));
      })"""
    assert view.driver.execute_async_script(script) >= 4.5
