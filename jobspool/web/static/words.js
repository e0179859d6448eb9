// What is said, in the words that the command uses too: states, ages, spans, sizes, and how an id is named.

export const STATES = ["pending", "processing", "done", "failed", "dead"];
const GLYPHS = { pending: "○", processing: "▸", done: "✓", failed: "↻", dead: "✕", interrupted: "◌", snoozed: "◔", held: "‖" };

export const glyph = (state) => GLYPHS[state] ?? "·";

// What a browser might obey (a change of the writing direction) or can't show is made visible, as the command does it.
// eslint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const SHORT = { "\n": "\\n", "\t": "\\t", "\r": "\\r" };

/** Return the text with each character that a screen might obey, or can't show, made visible. */
export function printable(text) {
  return String(text ?? "").replace(CONTROLS, (each) => {
    const code = each.charCodeAt(0);
    return SHORT[each] ?? (code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`);
  });
}

/** The same for a text of several lines: new lines and tabs stay. */
export const printableLines = (text) => String(text ?? "").split("\n").map((line) => line.split("\t").map(printable).join("\t")).join("\n");

/** Return the short way to name a job: the random end of an id that the queue made, else the id. */
export function handle(id) {
  return printable(/^\d{8}T\d{6}\.\d{6}-[0-9a-z]{6}$/.test(id) ? id.slice(23) : id);
}

// The browser's clock may be wrong: `skew` is what the server's is ahead of it, in ms.
let skew = 0;

/** Take up what the server's clock said in a Date header; a second either way is the header's own roughness. */
export function heedClock(date) {
  const ahead = Date.parse(date) + 500 - Date.now();
  if (Number.isFinite(ahead)) skew = Math.abs(ahead) < 2000 ? 0 : ahead;
}

/** Return the server's time, in ms since 1970. */
export const now = () => Date.now() + skew;

/** Return a length of time in seconds as people say it: 0.2 s, 8 s, 5 min, 3 h, 2 d. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  seconds = Math.max(0, seconds);
  if (seconds < 0.01) return seconds === 0 ? "0 s" : `${(seconds * 1000).toPrecision(1)} ms`;
  if (seconds < 1) return `${Number(seconds.toPrecision(2))} s`;
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return seconds < 10 ? `${Number(seconds.toFixed(1))} s` : `${Math.round(seconds)} s`;
}

export const since = (iso) => (now() - Date.parse(iso)) / 1000;

/** Return how long ago, or in what time, it is. */
export function ago(iso) {
  const seconds = since(iso);
  if (Number.isNaN(seconds)) return "";
  return seconds >= 0 ? `${span(Math.round(seconds))} ago` : `in ${span(Math.ceil(-seconds))}`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const whole = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** Return the time of day here; with the day where that isn't today. */
export function timeOfDay(iso) {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return "–";
  return date.toDateString() === new Date(now()).toDateString() ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
}

export const wholeTime = (iso) => (iso ? `${whole.format(new Date(iso))} (${iso})` : "");

const grouped = new Intl.NumberFormat("en-US");
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export const number = (value) => (value === null || value === undefined ? "–" : grouped.format(value));
export const shortNumber = (value) => (value < 10000 ? number(value) : compact.format(value).replace("K", "k"));
export const counted = (count, thing) => `${number(count)} ${thing}${count === 1 ? "" : "s"}`;

/** Return a number of bytes as people say it. */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  for (const [most, unit] of [[2 ** 30, "GB"], [2 ** 20, "MB"], [2 ** 10, "kB"]]) {
    if (bytes >= most) return `${(bytes / most).toPrecision(bytes / most >= 100 ? 3 : 2)} ${unit}`;
  }
  return `${bytes} B`;
}

/** Return the words as a sentence. */
export const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}` : "");

/** Return the word of a search, as `reason:"exit 2"`. */
export const searchWord = (name, text) => `${name}:${/[\s"']/.test(text) ? `"${text.replaceAll('"', '\\"')}"` : text}`;

/** Return the word as a shell takes it whole, quoted as a person would. */
export function quoted(word) {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  return word.includes("'") && !/["`\\!$]/.test(word) ? `"${word}"` : `'${word.replaceAll("'", "'\\''")}'`;
}
