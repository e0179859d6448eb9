// The overview: what is there, what runs, what waits, what failed, how it went in the last hour, and what happens now.

import { get, pageOf, post } from "./api.js";
import { commandLine } from "./actions.js";
import { ask } from "./ask.js";
import { atMost, eachSecond, h, inFrame, keyed, say, set } from "./dom.js";
import { live } from "./live.js";
import { Plot, lastHour, roundTime } from "./plot.js";
import { howOf, restate, stateMark, whenOf } from "./rows.js";
import { complain, toast } from "./toast.js";
import { STATES, ago, counted, glyph, handle, number, printable, quoted, searchWord, shortNumber, since, span, timeOfDay, wholeTime } from "./words.js";

const MOST_EVENTS = 16; // that show
const SHOWN = 6; // jobs that wait
const WAITING = ["pending", "failed"];

export function open(main, { signal }) {
  const parts = [counts(), attention(), plots(), busy(), waiting(), failures(), elsewhere(), changes()];
  const [top, note, plot, workers, waits, failed, more, log] = parts;
  main.append(h("h1.unseen", { tabindex: -1 }, "Overview"), top.element, note.element, plot.element,
    h("div.columns", {}, h("div", {}, workers.element, waits.element), h("div", {}, failed.element, more.element)), log.element);

  const draw = inFrame(() => {
    top.draw(live.status);
    note.draw(live.status);
    workers.draw(live.status);
    log.draw();
  });
  const guarded = (what) => () => what().catch((error) => live.link === "live" && complain(error));
  const look = atMost(2000, guarded(async () => {
    await Promise.all([plot.look(signal), waits.look(signal), failed.look(signal), more.look(signal)]);
  }), signal);
  live.addEventListener("change", ({ detail }) => {
    log.take(detail);
    waits.take(detail.events ?? []);
    draw();
    look();
  }, { signal });
  live.addEventListener("status", draw, { signal });
  live.addEventListener("stale", () => look(), { signal });
  eachSecond(() => {
    for (const part of [workers, waits, failed, more]) part.tick();
    note.draw(live.status);
    if (Date.now() % 15_000 < 1000) look();
  }, signal);
  log.begin(signal);
  draw();
  look(0);
  return { title: "Overview" };
}

// ---- counts

function counts() {
  const cells = new Map();
  const element = h("ul.counts", { "aria-label": "Jobs by state" }, STATES.map((state) => {
    const value = h("b", "–");
    cells.set(state, value);
    return h("li", {}, h(`a.${state}`, { href: state === "dead" ? "/dead" : `/jobs?state=${state}` }, value,
      h("span", {}, h("span.glyph", { "aria-hidden": "true" }, `${glyph(state)} `), state)));
  }));
  return {
    element,
    draw(status) {
      for (const [state, value] of cells) {
        const count = status?.counts?.[state] ?? 0;
        say(value, shortNumber(count));
        set(value, "title", count >= 10000 ? number(count) : null);
        value.parentElement.classList.toggle("none", count === 0);
      }
    },
  };
}

// ---- the sentence, and what wants somebody

function attention() {
  const sentence = h("p.sentence");
  const cure = h("p.cure");
  const switchIt = h("button", { type: "button" });
  const element = h("section.now", { "aria-label": "Now" }, h("div", {}, sentence, cure), switchIt);
  switchIt.addEventListener("click", () => (live.status.paused ? resume() : pause()));
  let said = "";
  return {
    element,
    draw(status) {
      if (!status) return;
      say(sentence, sentenceOf(status));
      const what = cureOf(status);
      if (what !== said) {
        said = what;
        cure.replaceChildren(...(what ? [commandLine(what)] : []));
      }
      cure.hidden = !what;
      switchIt.hidden = status.read_only;
      say(switchIt, status.paused ? "Resume" : "Pause");
      element.classList.toggle("bad", Boolean(status.paused) || !status.workers.length);
    },
  };
}

function sentenceOf({ workers, supervisors, paused, counts: { pending = 0, failed = 0 } = {}, oldest_pending: oldest, next_due: next, complete }) {
  const busy = workers.filter((worker) => worker.state === "busy").length;
  const words = [];
  if (paused) words.push(`Paused${paused.reason ? ` (${printable(paused.reason)})` : ""}: nothing new starts.`);
  words.push(workers.length ? `${counted(workers.length, "worker")}${supervisors > 1 ? ` of ${supervisors} supervisors` : ""}, ${busy ? (busy === workers.length && busy > 1 ? "all busy" : `${busy} busy`) : "idle"}.` : "No worker is running.");
  if (pending) words.push(`${counted(pending, "job")} ${pending === 1 ? "is" : "are"} pending${oldest && since(oldest) > 1 ? `, the oldest for ${span(Math.floor(since(oldest)))}` : ""}.`);
  else words.push("Nothing is pending.");
  if (complete === false) words.push("It is still being counted.");
  if (failed && next) words.push(`The next retry is due ${since(next) < 0 ? ago(next) : "now"}.`);
  return words.join(" ");
}

function cureOf(status) {
  if (status.paused) return "queuectl resume";
  return status.workers.length ? "" : "queuectl start --count 3 --detach";
}

async function pause() {
  const command = ({ reason }) => `queuectl pause${reason ? ` --reason ${quoted(reason)}` : ""}`;
  const given = await ask({ title: "Pause the spool?", text: "What runs goes on; nothing new starts.", verb: "Pause", fields: [{ name: "reason", label: "Why (may be left empty)" }], command });
  if (given) await done(() => post("/pause", given.reason ? { reason: given.reason } : {}), "paused", command(given));
}

const resume = () => done(() => post("/resume"), "resumed", "queuectl resume");

async function done(what, word, command) {
  try {
    await what();
    live.status.paused = word === "paused" ? { reason: "" } : null;
    live.status = { ...live.status, ...(await get("/status")) };
    live.dispatchEvent(new CustomEvent("status", { detail: live.status }));
    toast(`the spool is ${word}`, { command });
  } catch (error) {
    complain(error);
  }
}

// ---- plots

function plots() {
  const count = (value) => number(Math.round(value));
  const ended = new Plot({
    title: "ended a minute", unit: count,
    series: ["done", "failed", "dead"].map((name) => ({ name, of: (minute) => minute[name] })),
    line: { name: "added", of: (minute) => minute.added },
    sum: (minutes) => {
      const [all, done, bad] = [["added"], ["done"], ["failed", "dead"]].map((words) => minutes.reduce((sum, minute) => sum + words.reduce((part, word) => part + minute[word], 0), 0));
      return `${shortNumber(done)} done, ${shortNumber(bad)} failed, ${shortNumber(all)} added`;
    },
  });
  const waited = new Plot({
    title: "waited", unit: span, round: roundTime,
    series: [{ name: "mean", of: (minute) => (minute.claimed ? minute.waited / minute.claimed : 0) }],
    line: { name: "longest", of: (minute) => minute.longest_wait },
    sum: (minutes) => {
      const claimed = minutes.reduce((sum, minute) => sum + minute.claimed, 0);
      const sum = minutes.reduce((all, minute) => all + minute.waited, 0);
      return claimed ? `${span(sum / claimed)} on average, ${span(Math.max(...minutes.map((minute) => minute.longest_wait)))} at most` : "nothing began";
    },
  });
  const worked = new Plot({
    title: "work ended", unit: span, round: roundTime,
    series: [{ name: "work", of: (minute) => minute.busy }], // all the time of an attempt, in the minute in which it ended
    sum: (minutes) => `${span(minutes.reduce((sum, minute) => sum + minute.busy, 0))} of work, each attempt where it ended`,
  });
  const element = h("section.plots", { "aria-label": "The last hour" }, ended.element, waited.element, worked.element);
  return {
    element,
    async look(signal) {
      const { minutes } = await get("/rates", { signal });
      const hour = lastHour(minutes);
      for (const plot of [ended, waited, worked]) plot.draw(hour);
    },
  };
}

// ---- workers

function busy() {
  const list = h("ul.workers");
  const none = h("p.quiet", "none is running");
  let shown = [];
  const tick = () => keyed(list, shown, (worker) => String(worker.pid), makeWorker, updateWorker);
  return {
    element: h("section", {}, h("h2", "Workers"), list, none),
    draw(status) {
      shown = [...(status?.workers ?? [])].sort((a, b) => (b.state === "busy") - (a.state === "busy") || a.pid - b.pid).slice(0, 64);
      none.hidden = shown.length > 0;
      tick();
    },
    tick,
  };
}

function makeWorker() {
  return h("li", {}, stateMark("processing"), h("span.pid"), h("a.open", {}, h("bdi")), h("code.command", {}, h("bdi")), h("span.since"), h("span.text"), h("progress", { max: 100, "aria-label": "progress" }));
}

function updateWorker(element, worker) {
  const [mark, pid, link, command, time, text, bar] = element.children;
  const isBusy = worker.state === "busy" && worker.job;
  restate(mark, isBusy ? "processing" : "idle", isBusy ? "busy" : "idle");
  say(pid, worker.name ?? `worker-${worker.pid}`);
  for (const each of [link, command, time]) each.hidden = !isBusy;
  if (isBusy) {
    set(link, "href", pageOf(worker.job));
    say(link.firstChild, handle(worker.job));
    say(command.firstChild, printable(worker.command ?? ""));
    say(time, worker.since ? span(Math.floor(since(worker.since))) : "");
    set(time, "title", worker.since ? wholeTime(worker.since) : null);
  }
  const told = isBusy && worker.progress !== null && worker.progress !== undefined;
  bar.hidden = !told;
  if (told) bar.value = worker.progress;
  text.hidden = !(isBusy && (worker.text || told));
  say(text, isBusy ? [told ? `${Math.round(worker.progress)} %` : "", printable(worker.text ?? "")].filter(Boolean).join(" ") : "");
}

// ---- what waits

function waiting() {
  const list = h("ul.short"), none = h("p.quiet", "nothing waits"), rest = h("p.quiet", {}, h("a", { href: "/jobs?state=pending" }, ""));
  let shown = [];
  const tick = () => {
    const running = new Set((live.status?.workers ?? []).map((worker) => worker.job)); // that list may be newer than this one
    keyed(list, shown.filter((row) => !running.has(row.id)).slice(0, SHOWN), (row) => row.id, makeShort, updateShort);
    none.hidden = list.children.length > 0;
  };
  return {
    element: h("section", {}, h("h2", "Waits"), list, none, rest),
    tick,
    take(events) {
      const gone = new Set(events.filter((event) => !WAITING.includes(event.to)).map((event) => event.job));
      for (const event of events) if (WAITING.includes(event.to)) gone.delete(event.job);
      shown = shown.filter((row) => !gone.has(row.id));
      tick();
    },
    async look(signal) {
      const [pending, failed] = await Promise.all(WAITING.map((state) => get(`/jobs?state=${state}&sort=old&limit=${2 * SHOWN}`, { signal })));
      const rows = [...pending.jobs, ...failed.jobs].filter((row) => WAITING.includes(row.state));
      shown = rows.sort((a, b) => Date.parse(a.when) - Date.parse(b.when)).slice(0, 2 * SHOWN); // some of them are taken before the next look
      const all = (pending.total ?? 0) + (failed.total ?? 0);
      tick();
      rest.hidden = all <= list.children.length;
      say(rest.firstChild, `all ${number(all)}`);
    },
  };
}

function makeShort(row) {
  return h("li", {}, stateMark(row.state), h("a.open", { href: pageOf(row.id) }, h("bdi", handle(row.id))), h("code.command", {}, h("bdi")), h("span.when"), h("span.how"));
}

function updateShort(element, row) {
  const [mark, , command, time, how] = element.children;
  restate(mark, row.state, row.held ? "held" : row.state);
  say(command.firstChild, row.problem ? "(no job)" : printable(row.name ? `${row.name}: ${row.command}` : row.command));
  say(time, whenOf(row));
  set(time, "title", wholeTime(row.when));
  say(how, printable(howOf(row)));
}

// ---- failures

function failures() {
  const list = h("ul.reasons"), none = h("p.quiet", "none in the last hour");
  let groups = [];
  return {
    element: h("section", {}, h("h2", "Failures of the last hour"), list, none),
    async look(signal) {
      groups = (await get("/failures", { signal })).groups;
      none.hidden = groups.length > 0;
      this.tick();
    },
    tick() {
      const most = Math.max(1, ...groups.map((group) => group.count));
      keyed(list, groups.slice(0, 8), (group) => group.reason, () => h("li", {}, h("progress", { "aria-hidden": "true" }), h("b"), h("a.open", {}, h("bdi")), h("span.when"), h("span.examples")), (element, group) => {
        const [bar, count, link, time, examples] = element.children;
        bar.max = most;
        bar.value = group.count;
        say(count, `${number(group.count)} ×`);
        set(link, "href", `/jobs?state=all&q=${encodeURIComponent(searchWord("reason", group.reason))}`);
        say(link.firstChild, printable(group.reason));
        set(link, "title", printable(group.reason));
        say(time, ago(group.last));
        keyed(examples, (group.examples ?? []).slice(-3), (id) => id, (id) => h("a", { href: pageOf(id), title: printable(id) }, h("bdi", handle(id))));
      });
    },
  };
}

// ---- groups, batches and schedules, where there are any

const OTHERS = 4; // of each that show

function elsewhere() {
  const element = h("section", { hidden: true }, h("h2", {}, h("a", { href: "/groups" }, "Groups, batches and schedules")));
  const list = h("ul.short.sums");
  element.append(list);
  let looked = 0, items = () => [];
  return {
    element,
    tick() {
      keyed(list, items(), (item) => item.key, () => h("li", {}, h("bdi"), h("progress"), h("span.when")), (row, item) => {
        const [name, bar, text] = row.children;
        say(name, printable(item.name));
        bar.hidden = !item.max;
        if (item.max) Object.assign(bar, { max: item.max, value: item.value, ariaLabel: item.label });
        say(text, item.text);
      });
    },
    async look(signal) {
      if (Date.now() - looked < 10_000) return;
      looked = Date.now();
      const [groups, batches, schedules] = (await Promise.all(["/groups", "/batches", "/schedules"].map((path) => get(path, { signal })))).map(rowsOf);
      const busiest = [...groups].sort((a, b) => jobsOf(b) - jobsOf(a)).slice(0, OTHERS);
      const open = batches.filter((each) => each.ended < each.total).slice(0, OTHERS);
      const next = schedules.filter((each) => each.next?.length).sort((a, b) => a.next[0].localeCompare(b.next[0])).slice(0, OTHERS);
      items = () => [...busiest.map(groupItem), ...open.map(batchItem), ...next.map(scheduleItem)];
      element.hidden = !items().length;
      this.tick();
    },
  };
}

const jobsOf = (group) => group.processing + group.pending + group.failed;

function groupItem({ group, concurrency, processing, pending, failed, paused }) {
  const running = concurrency ? `${number(processing)} of ${number(concurrency)} running` : `${number(processing)} running`;
  const text = [paused && "‖ paused", running, `${number(pending + failed)} waiting`].filter(Boolean).join(", ");
  return { key: `g ${group}`, name: group, value: processing, max: concurrency, label: "how many run", text };
}

function batchItem({ batch, ended, total }) {
  return { key: `b ${batch}`, name: batch, value: ended, max: total, label: "how far", text: `${number(ended)} of ${number(total)}` };
}

const scheduleItem = ({ name, next }) => ({ key: `s ${name}`, name, text: `next ${ago(next[0])}` });

/** Return the rows of an answer that is a list, or has one in it. */
export const rowsOf = (answer) => (Array.isArray(answer) ? answer : Object.values(answer).find(Array.isArray) ?? []);

// ---- what happens

function changes() {
  const list = h("ol.changes");
  const note = h("span.quiet");
  let events = [], seen = 0, dropped = 0;
  // What the stream tells may have been read before, and the other way round: the place in the journal says which is which.
  const merge = (more) => {
    const known = new Set(events.map((event) => event.cursor));
    const fresh = more.filter((event) => !event.cursor || !known.has(event.cursor)).map((event) => ({ ...event, key: event.cursor || `${event.time}:${seen++}` }));
    events = [...fresh.reverse(), ...events].sort(newestFirst).slice(0, MOST_EVENTS);
  };
  return {
    element: h("section.happens", {}, h("h2", {}, "Changes ", note), list, h("p.quiet", {}, "the same in a terminal: ", commandLine("queuectl events -f"))),
    take(said) {
      merge(said.events ?? []);
      dropped = said.dropped ?? 0;
    },
    async begin(signal) {
      try {
        const said = await get(`/events?last=${MOST_EVENTS}`, { signal });
        merge(said.events ?? []);
        this.draw();
      } catch (error) {
        if (error.name !== "AbortError") say(note, error.message);
      }
    },
    draw() {
      say(note, dropped ? `${number(dropped)} more just now` : live.status?.journal === false ? "the journal is off: queuectl config --key journal_bytes" : "");
      keyed(list, events, (event) => event.key, makeEvent);
    },
  };
}

const placeOf = (event) => event.cursor?.split(":").map(Number) ?? [];

function newestFirst(a, b) {
  const [number, offset] = placeOf(a), [other, others] = placeOf(b);
  return number === undefined || other === undefined ? 0 : other - number || others - offset;
}

export function makeEvent(event) {
  const to = event.to ?? (event.event === "removed" ? "gone" : event.from ?? "");
  const who = event.by === "command" ? `${event.user ?? ""} ${event.command ? `queuectl ${event.command}` : ""}`.trim() : event.by === "hand" ? "by hand" : event.worker ?? event.by ?? "";
  return h("li", {}, h("time", { datetime: event.time, title: wholeTime(event.time) }, timeOfDay(event.time)), stateMark(to, event.to ?? event.event),
    h("a.open", { href: pageOf(event.job) }, h("bdi", handle(event.job))),
    h("span.what", printable([event.event, event.reason && event.reason !== "exit 0" ? event.reason : "", event.duration !== undefined && event.duration !== null ? span(event.duration) : ""].filter(Boolean).join(" · "))),
    h("span.who", printable(who)));
}
