// What goes on, as the server tells it: one stream of events for the whole page, opened anew when it breaks, from where it was.

import { Problem, get, trouble, url } from "./api.js";

const FIRST_WAIT = 500, LONGEST_WAIT = 10_000; // ms before it is opened anew
const FIRST = 500; // ms that the first view waits for the stream: what it reads then is followed from there
const SILENT = 40_000; // ms without any message after which the server is taken for lost: it says every 15 s that it is alive
const PATIENCE = 10_000; // ms for which it is waited for how things stand, before it is tried again
const HIDDEN = 5000; // ms after which a page that nobody sees lets its connection go

/**
 * Events: "change" (detail: {events, dropped, counts}), "status", "link" (detail: live, lost, shut or waiting), and "stale": what
 * was read before may be wrong by now.
 */
export class Live extends EventTarget {
  status = null;
  link = "waiting";
  #cursor = null;
  #source = null;
  #wait = FIRST_WAIT;
  #timer = 0;
  #silence = 0; // the timer of it
  #missed = false;

  /** Return once it is known how things stand, or that nobody tells: then it is tried again and again. */
  async begin() {
    trouble.addEventListener("shut", () => this.#shut());
    document.addEventListener("visibilitychange", () => this.#seen());
    addEventListener("online", () => this.#again(0));
    addEventListener("pagehide", () => this.#rest()); // a page that is kept for "back" would keep its connection
    addEventListener("pageshow", (event) => event.persisted && this.#try());
    await this.#try();
    if (!this.#source) return;
    await new Promise((resolve) => {
      this.addEventListener("link", resolve, { once: true });
      setTimeout(() => {
        this.#missed ||= this.link !== "live";
        resolve();
      }, FIRST);
    });
  }

  get readOnly() {
    return this.status?.read_only ?? false;
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  async #look() {
    this.#takeStatus(await get("/status", { signal: AbortSignal.timeout(PATIENCE) }));
  }

  #takeStatus(status) {
    this.status = { ...this.status, ...status };
    this.#tell("status", this.status);
  }

  #open() {
    this.#close();
    const from = this.#cursor === null ? "" : `?cursor=${encodeURIComponent(this.#cursor)}`;
    const source = (this.#source = new EventSource(url(`/events${from}`)));
    source.addEventListener("open", () => this.#isOpen());
    source.addEventListener("change", (event) => this.#change(JSON.parse(event.data), event.lastEventId));
    source.addEventListener("status", (event) => this.#takeStatus(JSON.parse(event.data)));
    source.addEventListener("error", () => this.#broke());
    for (const type of ["open", "change", "status", "alive"]) source.addEventListener(type, () => this.#heard());
    this.#heard();
  }

  // A server that hangs breaks no connection: it is known by its silence.
  #heard() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#broke(), SILENT);
  }

  #close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#silence);
    this.#source?.close();
    this.#source = null;
  }

  #isOpen() {
    this.#wait = FIRST_WAIT;
    const was = this.link;
    this.#become("live");
    if (was === "lost" || this.#missed) this.#catchUp();
  }

  #catchUp() {
    this.#missed = false;
    this.#look().catch(() => this.#broke());
    this.#tell("stale");
  }

  #change(said, id) {
    this.#cursor = said.cursor ?? id ?? this.#cursor;
    if (said.counts && this.status) this.status.counts = said.counts;
    this.#tell("change", said);
    if (said.lost) this.#catchUp();
  }

  #broke() {
    this.#close();
    if (this.link === "shut") return;
    this.#become("lost");
    this.#again(this.#wait * (0.75 + Math.random() / 2));
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
  }

  #again(wait) {
    if (this.link === "live" || this.link === "shut") return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#try(), wait);
  }

  // A stream that is refused says no reason; a look at the status does.
  async #try() {
    try {
      await this.#look();
      this.#open();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#broke();
    }
  }

  #seen() {
    clearTimeout(this.#timer);
    if (!document.hidden) {
      if (!this.#source && this.link !== "shut") this.#try();
      return;
    }
    this.#timer = setTimeout(() => this.#rest(), HIDDEN);
  }

  #rest() {
    this.#missed = true;
    this.#close();
  }

  #shut() {
    this.#close();
    this.#become("shut");
  }

  #become(link) {
    if (this.link === link) return;
    this.link = link;
    this.#tell("link", link);
  }
}

export const live = new Live();
