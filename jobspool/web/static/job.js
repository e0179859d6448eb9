// A job: what it is, why it is where it is, what can be done, what was tried, what it prints, and its file.

import { get, jobPath, pageOf } from "./api.js";
import { KEYS, actionList, commandLine, perform } from "./actions.js";
import { atMost, h, keyed, s, say, set } from "./dom.js";
import { live } from "./live.js";
import { Log } from "./log.js";
import { mender } from "./mend.js";
import { makeEvent } from "./overview.js";
import { restate, stateMark } from "./rows.js";
import { complain, speak } from "./toast.js";
import { counted, handle, number, printable, printableLines, searchWord, sentence, since, size, span, timeOfDay, wholeTime } from "./words.js";

const MOST_ATTEMPTS = 50; // that show at once
const OWN = new Set(["command", "argv", "attempts", "name"]);

export function open(main, { id, signal, go }) {
  let name = handle(id);
  const mark = stateMark("pending", "…");
  const title = h("h1", { tabindex: -1 }, h("bdi", name));
  const human = h("p.jobname");
  const command = h("pre.command", { tabindex: 0, role: "region", "aria-label": "Command" }, h("code"));
  const why = h("p.why"), cure = h("p.cure"), gone = h("p.banner.inner", { hidden: true, role: "status" });
  const acts = h("section.actions", { "aria-labelledby": "acts" }, h("h2", { id: "acts" }, "What can be done"), h("div"));
  const editing = h("section.editing", { hidden: true }, h("h2", "Edit"), h("div"));
  const tries = h("section", {}, h("h2", "Attempts"), h("div.strip"), h("ol.attempts"), h("p.quiet"));
  const logs = h("section.logs", { "aria-labelledby": "log" }, h("div.bar", {}, h("h2", { id: "log" }, "Log"), h("div.which")), h("div.holder"));
  const words = h("section", {}, h("h2", "Details"), h("dl.words"));
  const events = h("section", {}, h("h2", "Changes"), h("ol.changes"));
  const file = h("section", {}, h("details.whole", {}, h("summary", "the job's file"), h("pre.file", { tabindex: 0, role: "region", "aria-label": "The job's file" })));
  const columns = h("div.columns.job", {}, h("div", {}, logs, tries), h("div", {}, acts, words, events));
  const body = [command, columns, file];
  main.append(h("header.jobhead", {}, h("div", {}, mark, title, human), why, cure, gone), command, editing, columns, file);
  for (const part of body) part.hidden = true; // until it is known what to say there

  let seen = null, log = null, which = null, drawnActions = "", chosen = null;

  async function look() {
    try {
      seen = await get(jobPath(id), { signal });
    } catch (error) {
      if (error.status === 404) tellGone();
      else if (error.status || live.link === "live") complain(error);
      return;
    }
    if (seen.row.id !== id) beCalled(seen.row.id);
    draw();
  }

  // Any part of an id that fits one job only names it, here too.
  function beCalled(whole) {
    id = whole;
    name = handle(id);
    say(title.firstChild, name);
    history.replaceState(null, "", pageOf(id));
  }

  function tellGone() {
    gone.hidden = false;
    say(gone, seen ? "This job has been removed. What you see is how it was." : `There is no job ${name} here (any more).`);
    restate(mark, "gone");
    acts.hidden = true;
  }

  function draw() {
    const { row, record } = seen, was = mark.querySelector(".word").textContent;
    const state = row.held && row.state === "pending" ? "held" : row.state;
    restate(mark, row.state, state);
    if (was !== "…" && was !== state) speak(`${name} is ${state}`);
    gone.hidden = true;
    for (const part of [...body, acts]) part.hidden = false;
    columns.classList.toggle("untried", !seen.attempts?.length && !seen.running);
    say(human, row.name ? printable(row.name) : "");
    human.hidden = !row.name;
    set(title, "title", printable(row.id));
    say(command.firstChild, row.problem ? `(no job: ${printable(row.problem)})` : printableLines(record.argv ? row.command : record.command ?? row.command));
    say(why, sentence(printable(seen.why)));
    drawCure();
    drawActions();
    drawAttempts();
    drawLog();
    drawWords();
    keyed(events.querySelector("ol"), [...(seen.events ?? [])].reverse().slice(0, 30), (event) => event.cursor ?? `${event.time} ${event.event}`, makeEvent);
    events.hidden = !seen.events?.length;
    say(file.querySelector("pre"), printableLines(seen.text ?? ""));
    say(file.querySelector("summary"), `the job's file, ${size(seen.size)}`);
  }

  function drawCure() {
    if (cure.dataset.is === (seen.cure ?? "")) return;
    cure.dataset.is = seen.cure ?? "";
    cure.replaceChildren(...(seen.cure ? seen.cure.split(", queuectl ").map((part, i) => commandLine(i ? `queuectl ${part}` : part)) : []));
  }

  function drawActions() {
    const text = JSON.stringify([seen.actions, live.readOnly]);
    if (text === drawnActions) return;
    drawnActions = text;
    const verb = document.activeElement?.closest(".acts li")?.dataset.key;
    acts.lastChild.replaceChildren(actionList(seen.actions ?? [], act));
    if (verb) acts.querySelector(`li[data-key="${verb}"] button`)?.focus();
  }

  function act(action) {
    if (action.verb === "edit") return edit();
    perform(id, action, { record: seen.record, then: (verb) => (verb === "rm" ? go("/jobs") : look()) });
  }

  function edit() {
    if (!editing.hidden) return editing.querySelector("textarea").focus();
    const close = () => {
      editing.hidden = true;
      editing.lastChild.replaceChildren();
      acts.querySelector('li[data-key="edit"] button, li button')?.focus();
    };
    editing.lastChild.replaceChildren(mender(seen, { done: () => { close(); look(); }, left: close }));
    editing.hidden = false;
    editing.scrollIntoView({ block: "nearest" });
  }

  // ---- attempts

  function drawAttempts() {
    const all = seen.attempts ?? [], running = seen.running;
    tries.hidden = !all.length && !running;
    const shown = all.slice(-MOST_ATTEMPTS);
    const longest = Math.max(0.001, ...shown.map((attempt) => attempt.duration ?? 0));
    tries.querySelector(".strip").replaceChildren(...(all.length + (running ? 1 : 0) > 1 ? [strip(shown, running)] : []));
    const items = shown.map((attempt, i) => ({ attempt, before: shown[i - 1], number: attempt.number ?? i + 1 }));
    if (running && !all.some((attempt) => attempt.number === running.attempt)) items.push({ attempt: { ...running, number: running.attempt, started: running.since, verdict: "processing" }, number: running.attempt, before: shown.at(-1) });
    items.reverse();
    keyed(tries.querySelector("ol"), items, (item) => String(item.number), makeAttempt, (element, item) => updateAttempt(element, item, longest));
    say(tries.querySelector("p"), all.length > shown.length ? `and ${number(all.length - shown.length)} earlier ones: in the job's file` : "");
  }

  function makeAttempt({ number: n }) {
    return h("li", {}, stateMark("pending"), h("button.plain.open", { type: "button", onclick: () => showLog(n, chosen?.stream, true) }, `attempt ${n}`),
      h("span.reason"), h("span.took"), h("span.when"), h("span.used"), h("progress", { max: 1, "aria-hidden": "true" }));
  }

  function updateAttempt(element, { attempt, before, number: n }, longest) {
    const [mark, button, reason, took, time, used, bar] = element.children;
    restate(mark, attempt.verdict === "processing" ? "processing" : attempt.verdict, attempt.verdict);
    set(button, "aria-current", n === which?.attempt ? "true" : null);
    say(reason, printable(attempt.reason ?? (attempt.verdict === "done" ? "exit 0" : attempt.text ?? "")));
    say(took, attempt.duration !== undefined ? span(attempt.duration) : attempt.verdict === "processing" ? `for ${span(Math.floor(since(attempt.started)))}` : "");
    const gap = before?.ended && attempt.started ? (Date.parse(attempt.started) - Date.parse(before.ended)) / 1000 : null;
    say(time, `${timeOfDay(attempt.started ?? attempt.ended)}${gap !== null && gap > 0.5 ? ` · +${span(gap)}` : ""}`);
    set(time, "title", wholeTime(attempt.started));
    say(used, [attempt.cpu !== undefined && attempt.cpu !== null ? `${span(attempt.cpu)} cpu` : "", attempt.memory ? size(attempt.memory) : "", attempt.worker ?? "",
      attempt.result !== undefined ? `result ${shortened(JSON.stringify(attempt.result))}` : ""].filter(Boolean).map(printable).join(" · "));
    bar.value = (attempt.duration ?? 0) / longest;
  }

  // ---- log

  function choices() {
    const all = (seen.attempts ?? []).slice(-MOST_ATTEMPTS).map((attempt, i) => ({ number: attempt.number ?? i + 1, logs: attempt.logs ?? {}, verdict: attempt.verdict }));
    if (seen.running && !all.some((each) => each.number === seen.running.attempt)) all.push({ number: seen.running.attempt, logs: seen.running.logs ?? { out: 0, err: 0 }, verdict: "processing", running: true });
    return all;
  }

  function drawLog() {
    const all = choices();
    logs.hidden = !all.length;
    if (!all.length) return;
    const last = all.at(-1);
    if (log && !last.running && which.running) log.ended();
    const text = JSON.stringify(all.map((each) => [each.number, Object.entries(each.logs).map(([stream, bytes]) => [stream, bytes !== null && (each.running || bytes)]), each.verdict]));
    if (logs.dataset.is === text) return;
    logs.dataset.is = text;
    // Who has chosen a log keeps it; who hasn't sees the last attempt, and of its streams the one that tells most.
    const mine = chosen && all.find((each) => each.number === chosen.attempt);
    show(mine ?? last, mine ? chosen.stream : undefined);
  }

  function showLog(attempt, stream, byHand) {
    const found = choices().find((each) => each.number === attempt);
    if (!found) return;
    if (byHand) chosen = { attempt, stream };
    show(found, stream);
    if (byHand) logs.scrollIntoView({ block: "nearest" });
  }

  function show(attempt, stream) {
    const streams = Object.entries(attempt.logs).filter(([, bytes]) => bytes !== null && bytes !== undefined);
    const names = streams.map(([name]) => name);
    const best = streams.find(([name, bytes]) => name === "err" && bytes > 0 && attempt.verdict !== "done" && attempt.verdict !== "processing") ?? streams.find(([, bytes]) => bytes > 0) ?? streams[0];
    const picked = names.includes(stream) ? stream : best?.[0] ?? "out";
    drawWhich(attempt, streams, picked);
    if (which && which.attempt === attempt.number && which.stream === picked && which.running === Boolean(attempt.running)) return;
    if (which && which.attempt === attempt.number && which.stream === picked && which.running) return void (which.running = false); // it has ended: it is all there
    which = { attempt: attempt.number, stream: picked, running: Boolean(attempt.running) };
    log?.close();
    const bytes = attempt.logs[picked] ?? 0;
    log = new Log({ id, attempt: attempt.number, stream: picked, bytes, running: which.running, label: `What attempt ${attempt.number} of ${name} printed (${STREAM[picked] ?? picked})` });
    logs.querySelector(".holder").replaceChildren(log.element);
    log.showEnd().catch(complain);
  }

  function drawWhich(attempt, streams, picked) {
    const all = choices();
    const pick = h("select", { "aria-label": "Attempt", onchange: () => showLog(Number(pick.value), chosen?.stream, true) }, all.toReversed().map((each) => h("option", { value: each.number, selected: each.number === attempt.number }, `attempt ${each.number} · ${each.verdict}`)));
    const tabs = streams.map(([name, bytes]) => h("button.tab", { type: "button", "aria-pressed": String(name === picked), onclick: () => showLog(attempt.number, name, true) }, STREAM[name] ?? name, attempt.running ? null : h("span.n", ` ${size(bytes)}`)));
    const again = logs.contains(document.activeElement) && document.activeElement.closest(".which") ? document.activeElement.textContent : null;
    logs.querySelector(".which").replaceChildren(all.length > 1 ? pick : "", h("span.tabs", {}, tabs));
    if (again !== null) ([...logs.querySelectorAll(".which button")].find((button) => button.textContent === again) ?? pick).focus();
  }

  // ---- words

  function drawWords() {
    const { record, row } = seen;
    const entries = [["id", row.id], ["in", `${row.state}/`], ["when", row.when], ["tries", row.tries]];
    for (const [word, value] of Object.entries(record ?? {})) if (!OWN.has(word)) entries.push([word, value]);
    keyed(words.querySelector("dl"), entries.filter(([, value]) => value), ([word]) => word, ([word]) => h("div", {}, h("dt", word), h("dd")), (element, [word, value]) => {
      const text = JSON.stringify(value);
      if (element.dataset.is === text) return;
      element.dataset.is = text;
      element.lastChild.replaceChildren(...valueOf(word, value));
    });
    if (seen.children?.length) keyedLinks(words, seen.children);
  }

  const soon = atMost(700, look, signal);
  live.addEventListener("change", ({ detail }) => {
    const isOurs = (detail.events ?? []).some((event) => event.job === id);
    if (isOurs || (detail.dropped && seen?.row.state !== "done")) soon();
  }, { signal });
  live.addEventListener("stale", () => soon(), { signal });
  live.addEventListener("status", () => seen?.running && soon(), { signal });
  const timer = setInterval(() => seen && !document.hidden && soon(), 5000);
  signal.addEventListener("abort", () => {
    clearInterval(timer);
    log?.close();
  });
  soon(0);

  const key = (verb) => () => {
    const action = seen?.actions?.find((each) => each.verb === verb && each.possible);
    if (action && !live.readOnly) act(action);
  };
  return { title: name, keys: { ...Object.fromEntries(Object.entries(KEYS).map(([verb, letter]) => [letter, key(verb)])), l: () => log?.focusSearch() }, search: "" };
}

const STREAM = { out: "output", err: "errors", log: "output and errors" };
const shortened = (text) => (text.length > 120 ? `${text.slice(0, 120)}…` : text);

function valueOf(word, value) {
  if (["after", "after_any", "after_fail"].includes(word)) return value.map((each) => h("a", { href: pageOf(each) }, h("bdi", handle(each))));
  if (word === "batch") return [h("a", { href: `/jobs?q=${encodeURIComponent(searchWord("batch", value))}` }, h("bdi", printable(value)))];
  if (word === "tags") return value.map((tag) => h("a.tag", { href: `/jobs?q=${encodeURIComponent(searchWord("tag", tag))}` }, h("bdi", printable(tag))));
  if (word === "when") return wholeTime(value).split(/ (?=\()/).map((time) => h("code.date", time));
  if (word === "env") return Object.entries(value).map(([variable, text]) => h("code.line", printable(`${variable}=${text}`)));
  return [h("code", h("bdi", printable(typeof value === "string" ? value : JSON.stringify(value))))];
}

function keyedLinks(words, children) {
  let line = words.querySelector(".children");
  if (!line) words.append((line = h("p.children")));
  if (line.dataset.is === children.join()) return;
  line.dataset.is = children.join();
  line.replaceChildren(`${counted(children.length, "job")} after it: `, ...children.slice(0, 20).map((each) => h("a", { href: pageOf(each) }, h("bdi", handle(each)))));
}

/** Return the attempts on one line of time. */
function strip(attempts, running) {
  const begin = Date.parse(attempts[0]?.started ?? attempts[0]?.ended ?? running.since);
  const end = Math.max(begin + 1, ...attempts.map((attempt) => Date.parse(attempt.ended)).filter(Boolean), running ? Date.now() : 0);
  const x = (time) => ((Date.parse(time) - begin) / (end - begin)) * 1000;
  const bars = attempts.map((attempt) => {
    const from = x(attempt.started ?? attempt.ended), to = x(attempt.ended);
    return s("rect", { class: attempt.verdict, x: Math.min(from, 994).toFixed(1), y: 0, width: Math.max(6, to - from).toFixed(1), height: 10 });
  });
  if (running) bars.push(s("rect", { class: "processing", x: Math.min(x(running.since), 994).toFixed(1), y: 0, width: Math.max(6, 1000 - x(running.since)).toFixed(1), height: 10 }));
  const words = `${counted(bars.length, "attempt")} in ${span((end - begin) / 1000)}`;
  return h("div", {}, h("div", { role: "img", "aria-label": words }, s("svg", { viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" }, bars)), h("p.xaxis", { "aria-hidden": "true" }, h("span", timeOfDay(new Date(begin).toISOString())), h("span", words), h("span", running ? "now" : timeOfDay(new Date(end).toISOString()))));
}
