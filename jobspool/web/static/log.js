// The log of an attempt: its end first, live while it runs, searched by the server as far as it is long, and never more in the
// page than a reader scrolls through.

import { dress, parsed } from "./ansi.js";
import { bytesOf, get, jobPath, url } from "./api.js";
import { h, inFrame, say, set } from "./dom.js";
import { number, printable, size } from "./words.js";

const WINDOW = 262_144; // bytes that are read at one go
const MOST_LINES = 4000; // in the page
const LONGEST_LINE = 65_536; // bytes after which a line that doesn't end is broken
const MOST_FOUND = 500;
const DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

/** Bytes into lines, each with the offset at which it begins; the last may be unfinished, and is taken anew with what comes. */
class Lines {
  done = []; // whole lines since the last take()
  open = null;

  constructor(offset) {
    this.end = offset;
    this.begin = offset;
    this.style = undefined;
    this.rest = new Uint8Array();
  }

  feed(bytes) {
    const all = new Uint8Array(this.rest.length + bytes.length);
    all.set(this.rest);
    all.set(bytes, this.rest.length);
    let from = 0;
    for (;;) {
      const newline = all.indexOf(10, from);
      const to = newline >= 0 && newline - from <= LONGEST_LINE ? newline : all.length - from > LONGEST_LINE ? from + LONGEST_LINE : -1;
      if (to < 0) break;
      this.done.push(this.#line(all.subarray(from, to), true));
      const next = to + (to === newline ? 1 : 0);
      this.begin += next - from;
      from = next;
    }
    this.rest = all.slice(from);
    this.end += bytes.length;
    this.open = this.rest.length ? this.#line(this.rest, false) : null;
  }

  #line(bytes, isWhole) {
    const line = parsed(DECODER.decode(bytes), this.style);
    if (isWhole) this.style = line.style;
    return { ...line, offset: this.begin };
  }

  take() {
    const done = this.done;
    this.done = [];
    return done;
  }

  /** Forget all but MOST_LINES of what was read: those around the offset `around`, or, where that is null, the last. */
  keep(around) {
    const extra = this.done.length - MOST_LINES;
    if (extra <= 0) return;
    const at = around === null ? extra : this.done.findIndex((line) => line.offset > around) - MOST_LINES / 2;
    const from = Math.min(extra, Math.max(0, at < -MOST_LINES / 2 ? extra : at));
    if (from < extra) {
      this.end = this.begin = this.done[from + MOST_LINES].offset;
      this.rest = new Uint8Array();
      this.open = null;
    }
    this.done = this.done.slice(from, from + MOST_LINES);
  }
}

/** One log in the page: `element`. close() ends what it does. */
export class Log {
  #lines = null;
  #start = 0; // of the window, in bytes
  #total = 0;
  #source = null;
  #stop = new AbortController();
  #window = new AbortController();
  #found = { matches: [], complete: true, at: -1, q: "" };
  #open = null; // the element of the unfinished line
  #atBottom = true;

  /** `label`: what it is called for a screen reader; `running`: whether more may come. */
  constructor({ id, attempt, stream, bytes, running, label }) {
    this.path = `${jobPath(id)}/attempts/${attempt}/${stream}`;
    this.#total = bytes ?? 0;
    this.running = running;
    this.#draw = inFrame(() => this.#flush());
    this.#build(label);
    addEventListener("pagehide", () => this.#unfollow(), { signal: this.#stop.signal });
  }

  #build(label) {
    this.text = h("div.lines");
    this.pane = h("div.log", { tabindex: 0, role: "region", "aria-label": label, onscroll: () => this.#scrolled() }, this.text);
    this.earlier = h("button.plain", { type: "button", hidden: true, onclick: () => this.#showEarlier() }, "earlier lines");
    this.later = h("button.plain", { type: "button", hidden: true, onclick: () => this.#toEnd() }, "to the end");
    this.follow = h("input", { type: "checkbox", onchange: () => this.#heedFollow() });
    this.follow.checked = this.running;
    this.wrap = h("input", { type: "checkbox", onchange: () => this.pane.classList.toggle("wrap", this.wrap.checked) });
    this.query = h("input", {
      type: "search", "aria-label": "Search this log", placeholder: "search log", spellcheck: "false", autocomplete: "off",
      oninput: () => this.#askSoon(), onkeydown: (event) => this.#keyed(event),
    });
    this.state = h("span.quiet.found", { role: "status" });
    const step = (name, by) => h("button.plain", { type: "button", "aria-label": `${name} match`, onclick: () => this.#step(by) }, by < 0 ? "↑" : "↓");
    this.steps = h("span.steps", { hidden: true }, step("previous", -1), step("next", 1));
    this.length = h("span.quiet");
    this.element = h("div.logbox", {},
      h("div.logbar", {}, this.query, this.steps, this.state, h("span.gap"), this.length,
        h("label.check", {}, this.follow, " follow"), h("label.check", {}, this.wrap, " wrap"),
        h("a.button", { href: url(`${this.path}?download=1`), download: "" }, "download")),
      h("div.logedge", {}, this.earlier), this.pane, h("div.logedge", {}, this.later));
  }

  /** Show the end of it, and what comes. */
  async showEnd() {
    await this.#show(Math.max(0, this.#total - WINDOW));
    this.#toBottom();
    this.#heedFollow();
  }

  #toEnd() {
    this.follow.checked = this.running;
    return this.showEnd();
  }

  focusSearch() {
    this.query.focus();
  }

  close() {
    this.#unfollow();
    this.#stop.abort();
    this.#window.abort();
  }

  // ---- a window of it

  /** Show what stands from the offset `from` on; of more lines than can be shown, those around the offset `around`. */
  async #show(from, around = null) {
    this.#unfollow();
    this.#window.abort();
    const signal = (this.#window = new AbortController()).signal;
    let part;
    try {
      part = this.#total ? await bytesOf(this.path, from, from + WINDOW, signal) : { bytes: new Uint8Array(), start: 0, total: 0 };
    } catch (error) {
      if (error.name !== "AbortError") this.#tellNothing(error);
      return;
    }
    this.#begin(part, around);
  }

  #begin({ bytes, start, total }, around = null) {
    this.#total = total;
    const skipped = start === 0 ? 0 : bytes.indexOf(10) + 1; // the line that the window begins in
    this.#start = start + skipped;
    this.#lines = new Lines(this.#start);
    this.#open = null;
    this.text.replaceChildren();
    this.#lines.feed(bytes.subarray(skipped));
    this.#lines.keep(around);
    this.#start = this.#lines.done[0]?.offset ?? this.#start;
    this.#flush();
    if (!total) this.text.replaceChildren(h("p.quiet.nothing", this.running ? "nothing printed yet" : "it printed nothing"));
  }

  #tellNothing(error) {
    const text = error.status === 404 ? (this.running ? "nothing printed yet" : "it printed nothing, or its log is gone") : error.message;
    this.text.replaceChildren(h("p.quiet.nothing", printable(text)));
    if (this.running) this.#begin({ bytes: new Uint8Array(), start: 0, total: 0 });
  }

  async #showEarlier() {
    const old = this.#start;
    this.follow.checked = false;
    await this.#show(Math.max(0, old - WINDOW / 2), old);
    this.#lineAt(old - 1)?.scrollIntoView({ block: "end" });
  }

  // ---- live

  #heedFollow() {
    if (!this.follow.checked) return this.#unfollow();
    if (!this.#isAtEnd()) return void this.showEnd();
    this.#toBottom();
    if (this.running) this.#listen();
  }

  #isAtEnd() {
    return this.#lines !== null && this.#lines.end >= this.#total;
  }

  #listen() {
    this.#unfollow();
    const source = (this.#source = new EventSource(url(`${this.path}/follow?offset=${this.#lines.end}`)));
    const take = (event) => this.#came(JSON.parse(event.data), source);
    for (const type of ["message", "data", "end", "ended"]) source.addEventListener(type, take);
    source.addEventListener("error", () => {
      source.close();
      if (source === this.#source) setTimeout(() => source === this.#source && this.running && this.#listen(), 1000);
    });
  }

  #unfollow() {
    this.#source?.close();
    this.#source = null;
  }

  #came(said, source) {
    if (source !== this.#source) return;
    if (said.data) {
      if (this.#total === 0) this.text.replaceChildren();
      this.#lines.feed(Uint8Array.from(atob(said.data), (char) => char.charCodeAt(0)));
      this.#total = Math.max(this.#total, this.#lines.end);
      this.#draw();
    }
    if (said.ended) this.ended();
  }

  /** Nothing more will come. */
  ended() {
    this.running = false;
    this.#unfollow();
    this.#draw();
  }

  // ---- drawing

  #draw;

  #flush() {
    if (!this.#lines) return;
    const whole = this.#lines.take();
    const shown = whole.slice(-MOST_LINES);
    this.#open?.remove();
    this.text.append(...shown.map(lineElement));
    this.#open = this.#lines.open ? lineElement(this.#lines.open) : null;
    if (this.#open) this.text.append(this.#open);
    this.#forgetFirst();
    this.#mark(shown.length + 1);
    this.#tell();
    if (this.follow.checked) this.#toBottom();
  }

  #forgetFirst() {
    const extra = this.text.childElementCount - MOST_LINES;
    if (extra <= 0) return;
    for (let i = 0; i < extra; i++) this.text.firstElementChild.remove();
    this.#start = Number(this.text.firstElementChild.dataset.at);
  }

  #tell() {
    this.earlier.hidden = this.#start <= 0;
    this.later.hidden = this.#isAtEnd();
    say(this.length, this.#total ? size(this.#total) : "");
    set(this.pane, "data-live", Boolean(this.#source));
  }

  #toBottom() {
    this.pane.scrollTop = this.pane.scrollHeight;
  }

  // Who scrolls up wants to read; who comes back to the end wants to follow.
  #scrolled() {
    const atBottom = this.pane.scrollHeight - this.pane.scrollTop - this.pane.clientHeight < 24;
    if (atBottom === this.#atBottom) return; // it was scrolled by what came
    this.#atBottom = atBottom;
    if (!this.running || !this.#isAtEnd()) return;
    this.follow.checked = atBottom;
    if (atBottom && !this.#source) this.#listen();
  }

  #lineAt(offset) {
    let found = null;
    for (const line of this.text.children) {
      if (Number(line.dataset.at) > offset) break;
      found = line;
    }
    return found;
  }

  // ---- search

  #timer = 0;

  #askSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), 250);
  }

  #keyed(event) {
    if (event.key === "Escape" && this.query.value) {
      event.stopPropagation();
      this.query.value = "";
      this.#ask();
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (this.query.value !== this.#found.q) this.#ask();
      else this.#step(event.shiftKey ? -1 : 1);
    }
  }

  async #ask() {
    clearTimeout(this.#timer);
    const q = this.query.value;
    this.#found = { matches: [], complete: true, at: -1, q };
    if (q) {
      try {
        const found = await get(`${this.path}/search?q=${encodeURIComponent(q)}&most=${MOST_FOUND}`, { signal: this.#stop.signal });
        if (q !== this.query.value) return; // somebody typed on
        this.#found = { ...found, at: -1, q };
      } catch (error) {
        if (error.name !== "AbortError") say(this.state, error.message);
        return;
      }
    }
    this.#mark(MOST_LINES);
    this.steps.hidden = !this.#found.matches.length;
    if (this.#found.matches.length) await this.#step(-1);
    else say(this.state, q ? "not found" : "");
  }

  async #step(by) {
    const { matches, complete } = this.#found;
    if (!matches.length) return;
    this.#found.at = this.#found.at < 0 ? (by < 0 ? matches.length - 1 : 0) : (this.#found.at + by + matches.length) % matches.length;
    const match = matches[this.#found.at];
    say(this.state, `${number(this.#found.at + 1)} of ${complete ? "" : "the first "}${number(matches.length)}`);
    await this.#go(match.offset);
  }

  async #go(offset) {
    this.follow.checked = false;
    if (offset < this.#start || offset >= this.#lines.end) await this.#show(Math.max(0, offset - WINDOW / 2), offset);
    for (const line of this.text.querySelectorAll(".here")) line.classList.remove("here");
    const line = this.#lineAt(offset);
    line?.classList.add("here");
    line?.scrollIntoView({ block: "center" });
  }

  /** Mark what was searched for in the last `most` lines. */
  #mark(most) {
    if (!("highlights" in CSS)) return;
    const marks = MARKS.get(this) ?? MARKS.set(this, []).get(this);
    const q = this.#found.q.toLowerCase();
    const lines = most >= MOST_LINES ? [...this.text.children] : [...this.text.children].slice(-most);
    if (most >= MOST_LINES) marks.length = 0;
    if (q) for (const line of lines) marks.push(...rangesOf(line, q));
    CSS.highlights.set("found", new Highlight(...marks.slice(-5000)));
  }
}

const MARKS = new WeakMap();

function* rangesOf(line, q) {
  const text = line.textContent.toLowerCase();
  const nodes = [];
  for (let at = text.indexOf(q); at >= 0; at = text.indexOf(q, at + q.length)) {
    if (!nodes.length) nodes.push(...textNodes(line));
    const range = new Range();
    const begin = place(nodes, at), end = place(nodes, at + q.length);
    if (!begin || !end) return;
    range.setStart(...begin);
    range.setEnd(...end);
    yield range;
  }
}

function textNodes(line) {
  const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT), nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  return nodes;
}

function place(nodes, at) {
  for (const node of nodes) {
    if (at <= node.length) return [node, at];
    at -= node.length;
  }
  return null;
}

function lineElement(line) {
  const element = h("div.ln", { "data-at": line.offset });
  for (const { text, style } of line.runs) {
    const shown = printable(text.replaceAll("\t", "        "));
    if (Object.keys(style).length) {
      const run = h("span", shown);
      dress(run, style);
      element.append(run);
    } else element.append(shown);
  }
  if (line.cut) element.append(h("span.dim", ` … ${number(line.cut)} more characters`));
  return element;
}
