// Plots of the last hour, one bar a minute: SVG of our own, a line that tells the minute under the pointer, and a table for who can't see it.

import { h, s, say } from "./dom.js";
import { now, timeOfDay } from "./words.js";

export const MINUTES = 60;

/** Return the last 60 minutes, oldest first, from the server's buckets, which may leave out empty ones. */
export function lastHour(buckets) {
  const byMinute = new Map(buckets.map((each) => [Math.floor((typeof each.at === "number" ? each.at * 1000 : Date.parse(each.at)) / 60_000), each]));
  const last = Math.floor(now() / 60_000);
  return Array.from({ length: MINUTES }, (_, i) => {
    const minute = last - MINUTES + 1 + i;
    const found = byMinute.get(minute) ?? {};
    const filled = Object.fromEntries(["added", "claimed", "done", "failed", "dead", "waited", "longest_wait", "busy"].map((word) => [word, found[word] ?? 0]));
    return { ...filled, time: new Date(minute * 60_000).toISOString() };
  });
}

/**
 * A plot. `series`: [{name, of: minute => number}] of bars that stand on each other; `line`: the same for a line above them, or null;
 * `unit`: number => text; `round`: number => the one the axis ends at, which is no less; `sum`: minutes => the sentence that says what is seen.
 */
export class Plot {
  constructor({ title, series, line, unit, sum, round = roundNumber }) {
    Object.assign(this, { series, line, unit, sum, round, minutes: [], drawn: "" });
    this.svg = s("svg", { viewBox: `0 0 ${MINUTES} 100`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" });
    this.top = h("span.ytop");
    this.read = h("span.read");
    this.image = h("div.canvas", { role: "img", onpointermove: (event) => this.#point(event), onpointerleave: () => this.#point(null) }, this.svg, this.top);
    this.body = h("tbody");
    const names = [...series, ...(line ? [line] : [])];
    const key = names.length > 1 && h("span.key", {}, names.map((each) => h("span", {}, h(`i.${each.name.replaceAll(" ", "-")}`, { "aria-hidden": "true" }), each.name)));
    this.details = h("details.figures", { ontoggle: () => this.#fill() }, h("summary", "as a table"),
      h("div.scroll", { tabindex: 0, role: "region", "aria-label": `${title}, as a table` },
        h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "minute"), names.map((each) => h("th", { scope: "col" }, each.name)))), this.body)));
    this.element = h("figure.plot", {}, h("figcaption", {}, h("span.title", title), key, this.read), this.image,
      h("p.xaxis", { "aria-hidden": "true" }, h("span", "1 h ago"), h("span", "30 min ago"), h("span", "now")), this.details);
  }

  /** Draw these minutes. Nothing is touched where they are drawn already. */
  draw(minutes) {
    const text = JSON.stringify(minutes);
    if (text === this.drawn) return;
    this.drawn = text;
    this.minutes = minutes;
    const most = this.round(this.#top(minutes));
    this.svg.replaceChildren(...this.#bars(most), ...(this.line ? [this.#path(most)] : []));
    say(this.top, this.unit(most));
    const sentence = this.sum(minutes);
    this.image.setAttribute("aria-label", sentence);
    say(this.read, sentence);
    this.#fill();
  }

  #top(minutes) {
    return Math.max(...minutes.map((minute) => Math.max(total(this.series, minute), this.line?.of(minute) ?? 0)));
  }

  #bars(most) {
    const bars = [];
    this.minutes.forEach((minute, i) => {
      let y = 100;
      for (const { name, of } of this.series) {
        const height = (of(minute) / most) * 100;
        if (height <= 0) continue;
        const shown = Math.max(height, 1.5); // what is there is seen
        y -= shown;
        bars.push(s("rect", { class: name.replaceAll(" ", "-"), x: i + 0.12, y: y.toFixed(2), width: 0.76, height: shown.toFixed(2) }));
      }
    });
    return bars;
  }

  #path(most) {
    const points = this.minutes.map((minute, i) => `${i + 0.5},${Math.max(0, 100 - (this.line.of(minute) / most) * 98).toFixed(2)}`);
    return s("polyline", { class: this.line.name.replaceAll(" ", "-"), points: points.join(" "), "vector-effect": "non-scaling-stroke" });
  }

  #point(event) {
    const box = this.image.getBoundingClientRect();
    const minute = event && this.minutes[Math.min(MINUTES - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * MINUTES)))];
    if (!minute) return say(this.read, this.sum(this.minutes));
    const values = [...this.series, ...(this.line ? [this.line] : [])].map((each) => `${each.name} ${this.unit(each.of(minute))}`);
    say(this.read, `${timeOfDay(minute.time).slice(-8, -3)}  ${values.join(" · ")}`);
  }

  #fill() {
    if (!this.details.open) return this.body.replaceChildren();
    const names = [...this.series, ...(this.line ? [this.line] : [])];
    this.body.replaceChildren(...this.minutes.toReversed().map((minute) =>
      h("tr", {}, h("th", { scope: "row" }, timeOfDay(minute.time).slice(-8, -3)), names.map((each) => h("td", this.unit(each.of(minute)))))));
  }
}

const total = (series, minute) => series.reduce((sum, each) => sum + each.of(minute), 0);

/** Return the round number that is just above. */
export function roundNumber(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((top) => top >= most * 0.999);
}

const TIMES = [90, 120, 180, 240, 300, 600, 900, 1200, 1800, 2700, 3600, 7200, 10_800, 14_400, 21_600, 43_200, 86_400]; // s, above a minute

/** The same of seconds, in whole ms, s, min, h or d, as span() says them. */
export function roundTime(most) {
  if (most <= 0.01) return Math.max(1, Math.ceil(most * 1000)) / 1000;
  if (most <= 60) return Math.min(60, roundNumber(most));
  return TIMES.find((time) => time >= most) ?? Math.ceil(most / 86_400) * 86_400;
}
