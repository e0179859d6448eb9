// What a job prints, as a terminal would show it: lines of runs of text in a style. Colours and weights are kept, what moves the
// cursor up or talks to the terminal is swallowed, and a carriage return writes over its line, as progress bars do.

const PLAIN = Object.freeze({});
const LONGEST = 20_000; // characters of a line that are shown
// eslint-disable-next-line no-control-regex
const SPECIAL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;
// eslint-disable-next-line no-control-regex
const STRING = /^[\]PX^_][^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c|$)?/; // OSC, DCS, SOS, PM, APC: up to their end
const CSI = /^\[?([0-9:;<=>?]*)([ -/]*)([@-~])?/;

/** Return {runs: [{text, style}], style, cut}: the line in the style that the one before it left, and the style it leaves. */
export function parsed(line, style = PLAIN) {
  const cut = Math.max(0, line.length - LONGEST * 4);
  if (cut) line = line.slice(0, LONGEST * 4);
  if (!SPECIAL.test(line)) return { runs: line ? [{ text: line.slice(0, LONGEST), style }] : [], style, cut: cut + Math.max(0, line.length - LONGEST) };
  const row = new Row(style);
  for (let i = 0; i < line.length; ) {
    const found = row.takeSpecial(line, i);
    if (found) {
      i += found;
      continue;
    }
    const char = String.fromCodePoint(line.codePointAt(i));
    row.write(char);
    i += char.length;
  }
  return { runs: row.runs(), style: row.style, cut: cut + row.lost };
}

/** One line of a terminal that is as wide as it needs to be. */
class Row {
  chars = [];
  styles = [];
  at = 0;
  lost = 0;

  constructor(style) {
    this.style = style;
  }

  write(char) {
    if (this.at >= LONGEST) {
      this.lost++;
      return;
    }
    while (this.chars.length < this.at) this.#put(this.chars.length, " ", PLAIN);
    this.#put(this.at++, char, this.style);
  }

  #put(at, char, style) {
    this.chars[at] = char;
    this.styles[at] = style;
  }

  /** Obey what stands at `i`, and return how long it is; 0 where it is text. */
  takeSpecial(line, i) {
    const code = line.charCodeAt(i);
    if (code === 0x1b) return 1 + this.#escape(line.slice(i + 1, i + 4096));
    if (code === 0x9b) return 1 + this.#csi(line.slice(i + 1, i + 256));
    if (code === 0x0d) this.at = 0;
    else if (code === 0x08) this.at = Math.max(0, this.at - 1);
    else if (code === 0x7f || (code >= 0x80 && code < 0xa0) || (code < 0x20 && code !== 0x09 && code !== 0x07)) this.write("\u00b7");
    else return code === 0x07 ? 1 : 0;
    return 1;
  }

  #escape(rest) {
    if (rest[0] === "[") return this.#csi(rest);
    const string = STRING.exec(rest);
    if (string) return string[0].length;
    return /^[ -/]+[0-~]?|^[0-~]/.exec(rest)?.[0].length ?? 0;
  }

  #csi(rest) {
    const [whole, given, between, final] = CSI.exec(rest);
    if (final === "m" && !between && !/[<=>?]/.test(given)) this.style = styled(this.style, given);
    else if (final === "K") this.#erase(Number(given) || 0);
    else if (final === "G") this.at = Math.min(LONGEST, Math.max(0, (parseInt(given, 10) || 1) - 1));
    else if (final === "C") this.at = Math.min(LONGEST, this.at + (parseInt(given, 10) || 1));
    else if (final === "D") this.at = Math.max(0, this.at - (parseInt(given, 10) || 1));
    return whole.length;
  }

  #erase(how) {
    if (how === 0) this.chars.length = this.styles.length = Math.min(this.chars.length, this.at);
    else if (how === 2) this.chars.length = this.styles.length = 0;
    else for (let i = 0; i < Math.min(this.at + 1, this.chars.length); i++) this.#put(i, " ", PLAIN);
  }

  runs() {
    const runs = [];
    this.chars.forEach((char, i) => {
      const last = runs.at(-1);
      if (last && last.style === this.styles[i]) last.text += char;
      else runs.push({ text: char, style: this.styles[i] });
    });
    return runs;
  }
}

const WORDS = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const NOT = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"], 39: ["fg"], 49: ["bg"] };

/** Return the style after ESC [ `given` m. Colours are 0 to 15, or [red, green, blue]. */
export function styled(style, given) {
  let next = { ...style };
  const words = given.split(";").map((word) => word.split(":"));
  for (let i = 0; i < words.length; i++) {
    const [code, ...more] = words[i].map((word) => (word === "" ? 0 : Number(word)));
    if (code === 0) next = {};
    else if (code === 4 && more[0] === 0) delete next.underline;
    else if (code === 21) next.underline = true;
    else if (WORDS[code]) next[WORDS[code]] = true;
    else if (NOT[code]) for (const word of NOT[code]) delete next[word];
    else if (code === 38 || code === 48) {
      const rest = more.length ? more : words.slice(i + 1, i + 5).map(([word]) => Number(word));
      const [colour, used] = extended(rest, more.length > 0);
      if (colour !== null) next[code === 38 ? "fg" : "bg"] = colour;
      if (!more.length) i += used;
    } else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code >= 100 && code <= 107) next.bg = code - 92;
  }
  return Object.keys(next).length ? next : PLAIN;
}

/** Return the colour that 5;N or 2;R;G;B names (null: none), and how many words it took. With colons a colour space may stand before R. */
function extended(rest, withColons) {
  if (rest[0] === 5) return [isByte(rest[1]) ? ofCube(rest[1]) : null, 2];
  if (rest[0] !== 2) return [null, 1];
  const rgb = withColons && rest.length >= 5 ? rest.slice(2, 5) : rest.slice(1, 4);
  return [rgb.length === 3 && rgb.every(isByte) ? rgb : null, 4];
}

const isByte = (value) => Number.isInteger(value) && value >= 0 && value <= 255;

/** Return one of the 256 colours: 16 of the theme, a cube of 6 x 6 x 6, and 24 greys. */
function ofCube(n) {
  if (n < 16) return n;
  if (n >= 232) return Array(3).fill(8 + (n - 232) * 10);
  const step = (value) => (value ? 55 + value * 40 : 0);
  return [step(Math.floor((n - 16) / 36)), step(Math.floor((n - 16) / 6) % 6), step((n - 16) % 6)];
}

// ---- as elements

const BASIC = [
  [46, 52, 60], [205, 76, 70], [95, 170, 95], [200, 155, 60], [90, 140, 215], [180, 110, 190], [70, 170, 180], [200, 206, 212],
  [110, 120, 130], [240, 128, 122], [127, 201, 139], [226, 180, 92], [125, 170, 240], [210, 150, 220], [100, 205, 215], [245, 247, 249],
]; // where both are given; one alone is a class of page.css, which knows the theme
const PAPER = { light: [247, 246, 242], dark: [11, 13, 16] }; // --log in page.css
const ENOUGH = 4.6; // of contrast, by WCAG 2

/** Let `element` look as the style says: by classes, and by custom properties where no class can know the colour. */
export function dress(element, style) {
  for (const word of ["bold", "italic", "underline", "strike"]) if (style[word]) element.classList.add(word);
  let { fg, bg } = style;
  if (style.inverse && fg === undefined && bg === undefined) return element.classList.add("inverse");
  if (style.inverse) [fg, bg] = [bg ?? BASIC[0], fg ?? BASIC[7]];
  if (bg !== undefined) return paint(element, fg ?? BASIC[0], bg);
  if (Array.isArray(fg)) {
    element.classList.add("rgb");
    for (const theme of ["light", "dark"]) element.style.setProperty(`--${theme}`, css(legible(fg, PAPER[theme])));
  } else if (fg !== undefined) element.classList.add(`f${style.bold && fg < 8 ? fg + 8 : fg}`);
  else if (style.dim) element.classList.add("dim");
}

function paint(element, fg, bg) {
  const behind = Array.isArray(bg) ? bg : BASIC[bg];
  const text = css(legible(Array.isArray(fg) ? fg : BASIC[fg], behind));
  element.classList.add("rgb", "painted");
  for (const theme of ["light", "dark"]) element.style.setProperty(`--${theme}`, text);
  element.style.setProperty("--behind", css(behind));
}

const css = (rgb) => `rgb(${rgb.map(Math.round).join(" ")})`;

/** Return the colour, moved towards white or black until it can be read on what is behind it. */
export function legible(rgb, behind) {
  const end = brightness(behind) > 0.18 ? 0 : 255;
  for (let part = 0; part <= 1; part += 0.05) {
    const mixed = rgb.map((value) => value + (end - value) * part);
    if (contrast(mixed, behind) >= ENOUGH) return mixed;
  }
  return [end, end, end];
}

function contrast(one, other) {
  const [low, high] = [brightness(one), brightness(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

function brightness(rgb) {
  const [r, g, b] = rgb.map((value) => (value <= 10 ? value / 3295 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
