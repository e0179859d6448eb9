// The dead letter queue as a work place: what died of what, a look at each, mend it, try again or remove some or all, and undo.

import { get, jobPath, pageOf } from "./api.js";
import { KEYS, commandLine, perform, performOnDead } from "./actions.js";
import { ask } from "./ask.js";
import { atMost, eachSecond, h, keyed, say, set } from "./dom.js";
import { live } from "./live.js";
import { Log } from "./log.js";
import { mender } from "./mend.js";
import { JobTable } from "./rows.js";
import { complain } from "./toast.js";
import { ago, counted, handle, number, printable, quoted, sentence } from "./words.js";

const LIMIT = 50;

export function open(main, { query, signal, go }) {
  const reason = query.get("reason"), after = query.get("after") ?? "";
  const groups = h("ul.reasons.choose"), none = h("p.quiet.empty", { hidden: true }, "Nothing is dead. Jobs that used up their tries come here.");
  const table = new JobTable({ caption: "Dead jobs", choose: tellChosen });
  const chosenRetry = h("button", { type: "button", onclick: () => retry(chosen()) });
  const chosenPurge = h("button.danger", { type: "button", onclick: () => purge(chosen()) });
  const allRetry = h("button.first", { type: "button", onclick: () => retry(all()) });
  const allPurge = h("button.danger", { type: "button", onclick: () => purge(all()) });
  const line = h("p.cmdhold");
  const bar = h("div.bar.deadbar", {}, h("span.set", {}, allRetry, allPurge), h("span.set", {}, chosenRetry, chosenPurge), line);
  const panel = h("section.look", { hidden: true, "aria-label": "The job that is looked at" });
  const next = h("a.button", { hidden: true, rel: "next" }, `next ${LIMIT} »`);
  const note = h("p.quiet", { role: "status" });
  main.append(h("h1", { tabindex: -1 }, "Dead letter queue"), none,
    h("div.workplace", {}, h("nav", { "aria-label": "Reasons" }, groups), h("div", {}, bar, note, panel, table.element, h("p.pages", {}, next))));

  let found = { groups: [] }, log = null, looked = null;

  async function look() {
    try {
      const [there, jobs] = await Promise.all([get("/dead/groups", { signal }), get(`/jobs?${new URLSearchParams({ state: "dead", sort: "new", limit: LIMIT, ...(reason !== null && { reason }), ...(after && { after }) })}`, { signal })]);
      found = there;
      drawGroups();
      table.show(jobs.jobs);
      next.hidden = !jobs.next;
      if (jobs.next) next.href = `/dead?${new URLSearchParams({ ...(reason !== null && { reason }), after: jobs.next })}`;
      none.hidden = total() > 0 || jobs.jobs.length > 0;
      main.querySelector(".workplace").hidden = !none.hidden;
      say(note, there.complete === false ? "there are more than were read" : "");
      tellChosen(table.chosen);
      if (looked && !table.has(looked)) closePanel();
    } catch (error) {
      if (error.status || live.link === "live") complain(error);
    }
  }

  const total = () => found.groups.reduce((sum, group) => sum + group.count, 0);
  const countOf = () => (reason === null ? total() : found.groups.find((group) => group.reason === reason)?.count ?? 0);

  function drawGroups() {
    const items = [{ reason: null, count: total() }, ...found.groups];
    keyed(groups, items, (group) => (group.reason === null ? "*" : `= ${group.reason}`), () => h("li", {}, h("a.group", {}, h("b"), h("bdi"), h("span.when"))), (element, group) => {
      const [count, name, time] = element.firstChild.children;
      set(element.firstChild, "href", group.reason === null ? "/dead" : `/dead?reason=${encodeURIComponent(group.reason)}`);
      set(element.firstChild, "aria-current", group.reason === reason ? "page" : null);
      say(count, number(group.count));
      say(name, group.reason === null ? "all" : printable(group.reason));
      say(time, group.newest ? ago(group.newest) : "");
    });
  }

  // ---- some or all

  const all = () => (reason === null ? { which: { all: true }, count: countOf(), words: "--all", name: "all" } : { which: { reason }, count: countOf(), words: `--reason ${quoted(reason)}`, name: `“${printable(reason)}”` });
  function chosen() {
    const ids = table.chosen;
    return { which: { ids }, count: ids.length, words: ids.map((id) => quoted(handle(id))).join(" "), name: "these" };
  }
  const commandOf = (verb, { words, which }) => which.reason !== undefined
    ? `queuectl list --state dead --reason ${quoted(which.reason)} -q | queuectl ${verb === "retry" ? "retry" : "rm"} -`
    : which.ids ? `queuectl ${verb === "retry" ? "dlq retry" : "rm"} ${words}` : `queuectl dlq ${verb} --all`;

  const retry = (what) => performOnDead("retry", what.which, commandOf("retry", what), look);

  async function purge(what) {
    const sure = await ask({
      title: `Remove ${counted(what.count, "job")}?`, danger: true, verb: `Remove ${number(what.count)}`,
      text: "Their files and logs are removed. It can be undone for a minute.", command: () => commandOf("purge", what),
    });
    if (sure) await performOnDead("purge", what.which, commandOf("purge", what), look);
  }

  function tellChosen(ids) {
    const readOnly = live.readOnly;
    say(allRetry, reason === null ? `Retry all ${number(countOf())}` : `Retry these ${number(countOf())}`);
    say(allPurge, reason === null ? "Remove all" : "Remove these");
    say(chosenRetry, `Retry ${ids.length} chosen`);
    say(chosenPurge, `Remove ${ids.length}`);
    chosenRetry.parentElement.hidden = readOnly || !ids.length;
    allRetry.parentElement.hidden = readOnly || ids.length > 0 || !countOf();
    const command = commandOf("retry", ids.length ? chosen() : all());
    if (line.dataset.is !== command) {
      line.dataset.is = command;
      line.replaceChildren(commandLine(command));
    }
  }

  // ---- a look at one

  table.element.addEventListener("click", (event) => {
    const link = event.target.closest("a.open");
    const row = event.target.closest("tbody tr");
    if (!row || event.ctrlKey || event.metaKey || event.shiftKey || event.target.closest("input")) return;
    if (!link && getSelection().toString()) return; // somebody marks text
    event.preventDefault();
    event.stopPropagation();
    show(row.dataset.key);
  });

  async function show(id) {
    try {
      const seen = await get(jobPath(id), { signal });
      closePanel();
      looked = id;
      drawPanel(seen);
    } catch (error) {
      complain(error);
      if (error.status === 404) look();
    }
  }

  function drawPanel(seen) {
    const { row } = seen, name = handle(row.id);
    const last = seen.attempts?.at(-1);
    const holder = h("div.holder"), place = h("div.place");
    const button = (verb, label, what) => seen.actions?.some((each) => each.verb === verb && each.possible) && !live.readOnly && h("button", { type: "button", class: verb === "retry" ? "first" : verb === "rm" ? "danger" : "", onclick: what }, label, KEYS[verb] && h("kbd", { "aria-hidden": "true" }, KEYS[verb]));
    const doIt = (verb) => () => perform(row.id, seen.actions.find((each) => each.verb === verb), { record: seen.record, then: look });
    panel.replaceChildren(h("header", {}, h("h2", { tabindex: -1 }, h("bdi", name)), h("span.gap"), h("a.button", { href: pageOf(row.id) }, "all about it"), h("button.plain", { type: "button", "aria-label": "Close", onclick: () => { closePanel(); focusRow(row.id); } }, "✕")),
      h("p.why", sentence(printable(seen.why))),
      h("pre.command", { tabindex: 0, role: "region", "aria-label": "Command" }, h("code", row.problem ? printable(seen.text) : printable(row.command))), place,
      h("p.buttons.deeds", {}, button("retry", "Retry", doIt("retry")), button("edit", "Edit", () => mend(seen, place)), button("rm", "Remove", doIt("rm"))),
      holder);
    panel.hidden = false;
    for (const each of table.body.children) set(each, "aria-selected", null), each.classList.toggle("shown", each.dataset.key === row.id);
    panel.querySelector("h2").focus({ preventScroll: true });
    panel.scrollIntoView({ block: "start" });
    if (last) showLog(seen, last, holder);
  }

  function mend(seen, place) {
    if (place.firstChild) return place.querySelector("textarea").focus();
    const deeds = panel.querySelector(".deeds");
    const close = () => {
      place.replaceChildren();
      deeds.hidden = false;
    };
    deeds.hidden = true;
    place.replaceChildren(mender(seen, { done: (verb) => { close(); verb === "edit" ? show(seen.row.id) : look(); }, left: () => { close(); deeds.querySelector("button")?.focus(); } }));
  }

  function showLog(seen, attempt, holder) {
    const logs = Object.entries(attempt.logs ?? {}).filter(([, bytes]) => bytes > 0);
    const [stream, bytes] = logs.find(([name]) => name === "err") ?? logs[0] ?? [];
    if (!stream) return holder.replaceChildren(h("p.quiet", "it printed nothing"));
    log = new Log({ id: seen.row.id, attempt: attempt.number ?? seen.attempts.length, stream, bytes, running: false, label: `What ${handle(seen.row.id)} printed last` });
    holder.replaceChildren(log.element);
    log.showEnd().catch(complain);
  }

  function closePanel() {
    log?.close();
    log = looked = null;
    panel.hidden = true;
    panel.replaceChildren();
    for (const each of table.body.children) each.classList.remove("shown");
  }

  function focusRow(id) {
    [...table.body.children].find((row) => row.dataset.key === id)?.querySelector("a.open").focus();
  }

  const soon = atMost(1500, look, signal);
  live.addEventListener("change", ({ detail }) => {
    const isOurs = (detail.events ?? []).some((event) => event.to === "dead" || event.from === "dead");
    if (isOurs || detail.dropped) soon();
  }, { signal });
  live.addEventListener("stale", () => soon(), { signal });
  live.addEventListener("status", () => tellChosen(table.chosen), { signal });
  signal.addEventListener("abort", () => log?.close());
  eachSecond(() => {
    drawGroups();
    table.tick();
  }, signal);
  soon(0);

  const onFocused = (what) => () => {
    const id = JobTable.focused() ?? looked;
    if (id && !live.readOnly) what(id);
  };
  return {
    title: "Dead letter queue", search: "",
    keys: {
      r: onFocused((id) => performOnDead("retry", { ids: [id] }, `queuectl dlq retry ${quoted(handle(id))}`, look)),
      e: onFocused(async (id) => { await show(id); panel.querySelector(".place") && mend(await get(jobPath(id), { signal }), panel.querySelector(".place")); }),
      x: () => document.activeElement?.closest("tr[data-key]")?.querySelector("input[type=checkbox]")?.click(),
      n: () => !next.hidden && go(next.getAttribute("href")),
      Escape: () => { const id = looked; if (!id) return; closePanel(); focusRow(id); },
    },
  };
}
