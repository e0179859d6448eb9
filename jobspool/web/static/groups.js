// Groups, schedules and batches: what is limited, what comes again and again, and how far what belongs together is.

import { get } from "./api.js";
import { commandLine } from "./actions.js";
import { atMost, eachSecond, h, keyed, say, set } from "./dom.js";
import { live } from "./live.js";
import { rowsOf } from "./overview.js";
import { complain } from "./toast.js";
import { STATES, ago, number, printable, searchWord, span, wholeTime } from "./words.js";

export function open(main, { signal }) {
  const parts = [batches(), groups(), schedules()];
  main.append(h("h1.unseen", { tabindex: -1 }, "Groups, schedules and batches"), ...parts.map((part) => part.element));
  const look = atMost(3000, async () => {
    try {
      await Promise.all(parts.map((part) => part.look(signal)));
    } catch (error) {
      if (error.status || live.link === "live") complain(error);
    }
  }, signal);
  for (const type of ["change", "stale"]) live.addEventListener(type, () => look(), { signal });
  const timer = setInterval(() => document.hidden || look(), 15_000);
  signal.addEventListener("abort", () => clearInterval(timer));
  eachSecond(() => parts.forEach((part) => part.tick()), signal);
  look(0);
  return { title: "Groups", search: "" };
}

const UNSEEN = "paused"; // a heading for a screen reader: its cells say it themselves

function table(title, heads, none, command) {
  const body = h("tbody"), empty = h("div.quiet.none", {}, h("p", none), commandLine(command));
  const grid = h("table.plain", {}, h("caption.unseen", title), h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, h(head === UNSEEN ? "span.unseen" : "span", head))))), body);
  const note = h("p.quiet");
  const element = h("section", {}, h("h2", title), h("div.scroll", {}, grid), empty, note);
  const labelled = (row) => {
    heads.forEach((head, i) => set(row.children[i], "data-head", head === UNSEEN ? "" : head)); // where there is room for one column only
    return row;
  };
  let tick = () => {};
  return {
    element,
    tick: () => tick(),
    show(answer, key, make, update) {
      const rows = rowsOf(answer);
      tick = () => keyed(body, rows, key, (row) => labelled(make(row)), update);
      say(note, answer.complete === false ? "of the newest jobs only" : "");
      empty.hidden = rows.length > 0;
      grid.hidden = !rows.length;
      tick();
    },
  };
}

const cells = (row, ...texts) => texts.forEach((text, i) => say(row.children[i + 1].firstElementChild ?? row.children[i + 1], text));
const link = (address, name) => h("th", { scope: "row" }, h("a.open", { href: address }, h("bdi", printable(name))));

function batches() {
  const shown = table("Batches", ["batch", "how far", "ended", "how"], "No job belongs to a batch.", "queuectl enqueue --batch film --array 1-100 ./frame.sh");
  return {
    element: shown.element,
    tick: shown.tick,
    async look(signal) {
      shown.show(await get("/batches", { signal }), (row) => row.batch, (row) => h("tr", {}, link(`/jobs?q=${encodeURIComponent(searchWord("batch", row.batch))}`, row.batch), h("td", {}, h("progress", { "aria-label": `how far ${printable(row.batch)} is` })), h("td.number"), h("td")), (element, row) => {
        const bar = element.querySelector("progress");
        bar.max = row.total || 1;
        bar.value = row.ended;
        say(element.children[2], `${number(row.ended)}/${number(row.total)}`);
        say(element.children[3], STATES.filter((state) => row[state]).map((state) => `${number(row[state])} ${state}`).join(", "));
      });
    },
  };
}

function groups() {
  const shown = table("Groups", ["group", "pending", "failed", "processing", "at once", "rate", "weight", UNSEEN], "No groups.", "queuectl group crawl --concurrency 2 --rate 10/m");
  return {
    element: shown.element,
    tick: shown.tick,
    async look(signal) {
      shown.show(await get("/groups", { signal }), (row) => row.group, (row) => h("tr", {}, link(`/jobs?q=${encodeURIComponent(searchWord("group", row.group))}`, row.group), ...Array.from({ length: 7 }, () => h("td"))), (element, row) =>
        cells(element, number(row.pending), number(row.failed), number(row.processing), row.concurrency ?? "any", row.rate ?? "any", row.weight ?? "1", row.paused ? "‖ paused" : ""));
    },
  };
}

function schedules() {
  const shown = table("Schedules", ["schedule", "when", "next", "unfinished", "command"], "No schedules.", 'queuectl schedule add nightly --cron "30 2 * * *" backup');
  return {
    element: shown.element,
    tick: shown.tick,
    async look(signal) {
      shown.show(await get("/schedules", { signal }), (row) => row.name, (row) => h("tr", {}, h("th", { scope: "row" }, h("bdi", printable(row.name))), h("td.mono"), h("td"), h("td"), h("td", {}, h("code"))), (element, row) => {
        const when = row.cron ?? (row.every ? `every ${span(row.every)}` : "");
        element.children[2].title = row.next?.[0] ? wholeTime(row.next[0]) : "";
        cells(element, printable(row.zone ? `${when} ${row.zone}` : when), row.problem ? printable(row.problem) : row.paused ? "‖ paused" : row.next?.[0] ? ago(row.next[0]) : "never", number(row.unfinished ?? 0),
          printable(row.job?.command ?? row.job?.argv?.join(" ") ?? ""));
      });
    },
  };
}
