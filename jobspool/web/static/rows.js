// A table of jobs: rows that stay the same elements while their words change, to be walked with j and k.

import { pageOf } from "./api.js";
import { h, keyed, say, set } from "./dom.js";
import { live } from "./live.js";
import { ago, glyph, handle, now, printable, since, span, wholeTime } from "./words.js";

/** A state, as a glyph, a word and a colour. */
export function stateMark(state, word = state) {
  return h(`span.state.${state}`, {}, h("span.glyph", { "aria-hidden": "true" }, glyph(state)), h("span.word", word));
}

/** Let the mark say another state. */
export function restate(mark, state, word = state) {
  if (mark.dataset.is === state + word) return;
  mark.dataset.is = state + word;
  mark.className = `state ${state}`;
  say(mark.children[0], glyph(state));
  say(mark.children[1], word);
}

/** What the time of a row means, in words: it grows old, the page says it anew. */
export function whenOf(row) {
  if (row.problem) return ago(row.when);
  if (row.held !== null && row.held !== undefined && (row.state === "pending" || row.state === "failed")) return "held";
  if (row.state === "processing") {
    const began = live.status?.workers?.find((worker) => worker.job === row.id)?.since;
    return began ? `for ${span(Math.floor(since(began)))}` : row.age;
  }
  if ((row.state === "pending" || row.state === "failed") && Date.parse(row.when) > now()) return `due ${ago(row.when)}`;
  if (row.state === "pending") return `for ${span(Math.floor(since(row.when)))}`;
  if (row.state === "failed") return "due now";
  return ago(row.when);
}

/** How it is, beside its state: why it failed, why it is held, how far it is. */
export function howOf(row) {
  if (row.problem) return row.problem;
  if (row.held && (row.state === "pending" || row.state === "failed")) return row.held;
  if (row.state === "processing") return [row.progress === null || row.progress === undefined ? "" : `${Math.round(row.progress)} %`, row.text ?? ""].filter(Boolean).join(" ");
  if (row.state === "done") return "";
  return row.reason ?? "";
}

export class JobTable {
  #rows = [];

  /** `caption`: what it is for a screen reader; `choose`: called when check boxes change, where there are any. */
  constructor({ caption, choose }) {
    this.choose = choose;
    this.body = h("tbody");
    const heads = ["state", "job", "command", "tries", "when", "how"].map((word) => h("th", { scope: "col", class: `c-${word}` }, word));
    if (choose) {
      this.all = h("input", { type: "checkbox", "aria-label": "Choose all that are shown", onchange: () => this.chooseAll(this.all.checked) });
      heads.unshift(h("th.c-check", { scope: "col" }, this.all));
    }
    this.element = h("table.jobs", {}, h("caption.unseen", caption), h("thead", {}, h("tr", {}, heads)), this.body);
  }

  get rows() {
    return this.#rows;
  }

  show(rows) {
    this.#rows = rows;
    keyed(this.body, rows, (row) => row.id, (row) => this.#make(row), (element, row) => this.#update(element, row));
    if (this.choose) this.#tellChosen();
  }

  /** Let the times be those of this moment. */
  tick() {
    for (const row of this.#rows) {
      const cell = this.#element(row.id)?.querySelector("td.when");
      if (cell) say(cell, whenOf(row));
    }
  }

  /** Let the rows that show have the states that events tell of. */
  heed(events) {
    for (const { job, to } of events) {
      const element = to && this.#element(job);
      if (element) restate(element.querySelector(".state"), to);
    }
  }

  has(id) {
    return Boolean(this.#element(id));
  }

  get chosen() {
    return [...this.body.children].filter((row) => row.querySelector("input")?.checked).map((row) => row.dataset.key);
  }

  chooseAll(whether) {
    for (const box of this.body.querySelectorAll("input[type=checkbox]")) box.checked = whether;
    this.#tellChosen();
  }

  /** The job whose row has the focus, or null. */
  static focused() {
    return document.activeElement?.closest("tr[data-key]")?.dataset.key ?? null;
  }

  #element(id) {
    return [...this.body.children].find((row) => row.dataset.key === id);
  }

  #make(row) {
    const name = handle(row.id);
    const box = this.choose && h("td.check", {}, h("input", { type: "checkbox", "aria-label": `Choose ${name}`, onchange: () => this.#tellChosen() }));
    return h("tr", {}, box,
      h("td.st", {}, stateMark(row.state)),
      h("th.job", { scope: "row" }, h("a.open", { href: pageOf(row.id), title: printable(row.id) }, h("bdi", name))),
      h("td.command", {}, h("span.name"), h("code", {}, h("bdi"))),
      h("td.tries"), h("td.when"), h("td.how"));
  }

  #update(element, row) {
    const cell = (name) => element.querySelector(`td.${name}`);
    restate(element.querySelector(".state"), row.state, row.held && row.state === "pending" ? "held" : row.state);
    const command = cell("command");
    say(command.querySelector(".name"), row.name ? printable(row.name) : "");
    say(command.querySelector("bdi"), row.problem ? "(no job)" : printable(row.command));
    say(cell("tries"), row.problem ? "" : row.tries ?? "");
    say(cell("when"), whenOf(row));
    set(cell("when"), "title", wholeTime(row.when));
    say(cell("how"), printable(howOf(row)));
    set(cell("how"), "title", printable(howOf(row)) || null);
    set(command, "title", row.problem ? null : printable(row.command));
  }

  #tellChosen() {
    const boxes = [...this.body.querySelectorAll("input[type=checkbox]")];
    const count = boxes.filter((box) => box.checked).length;
    this.all.checked = count > 0 && count === boxes.length;
    this.all.indeterminate = count > 0 && count < boxes.length;
    this.choose(this.chosen);
  }
}

/** Move the focus by one row up or down, from the first where none has it. Returns whether there was one. */
export function walk(by) {
  const links = [...document.querySelectorAll("main [data-key] a.open")].filter((link) => link.offsetParent !== null);
  if (!links.length) return false;
  const at = links.findIndex((link) => link.closest("[data-key]").contains(document.activeElement));
  const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by));
  links[next].focus();
  links[next].scrollIntoView({ block: "nearest" });
  return true;
}
