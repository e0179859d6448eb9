// The list of jobs: a page of fifty at a time, searched on the server.

import { get } from "./api.js";
import { atMost, eachSecond, h, say, set } from "./dom.js";
import { live } from "./live.js";
import { JobTable } from "./rows.js";
import { complain } from "./toast.js";
import { STATES, glyph, number, shortNumber } from "./words.js";

const LIMIT = 50;

export function open(main, { query, signal, go }) {
  const state = ["all", ...STATES].includes(query.get("state")) ? query.get("state") : "all";
  const q = query.get("q") ?? "", sort = query.get("sort") === "old" ? "old" : "new", after = query.get("after") ?? "";
  const table = new JobTable({ caption: `Jobs: ${state}` });
  const note = h("p.quiet", { role: "status" });
  const changed = h("button.plain.changed", { type: "button", hidden: true, onclick: () => look() });
  const first = h("a.button", { href: address({ state, q, sort }), hidden: !after }, "« first");
  const next = h("a.button", { hidden: true, rel: "next" }, `next ${LIMIT} »`);
  const tabs = h("nav.tabs", { "aria-label": "State" }, ["all", ...STATES].map((each) =>
    h("a", { href: address({ state: each, q, sort }), "aria-current": each === state ? "page" : null }, each !== "all" && h("span.glyph", { "aria-hidden": "true", class: each }, `${glyph(each)} `), each, h("span.n"))));
  const order = h("a.quiet.order", { href: address({ state, q, sort: sort === "new" ? "old" : "new" }) }, sort === "new" ? "newest first" : "oldest first");
  main.append(h("h1.unseen", { tabindex: -1 }, "Jobs"), h("div.bar", {}, tabs, h("span.gap"), changed, order), note, table.element, h("p.pages", {}, first, next));

  async function look() {
    try {
      const said = await get(`/jobs?${new URLSearchParams({ state, sort, limit: LIMIT, ...(q && { q }), ...(after && { after }) })}`, { signal });
      table.show(said.jobs);
      set(main, "aria-busy", null);
      changed.hidden = true;
      next.hidden = !said.next;
      if (said.next) next.href = address({ state, q, sort, after: said.next });
      say(note, found(said, q, state));
    } catch (error) {
      if (error.status === 400 || error.status === 422) say(note, error.message);
      else if (live.link === "live") complain(error);
    }
  }

  function tell() {
    for (const [i, each] of STATES.entries()) say(tabs.children[i + 1].querySelector(".n"), ` ${shortNumber(live.status?.counts?.[each] ?? 0)}`);
  }

  // A list that moves under somebody's hand is no list: then it says that it has changed, and waits.
  const isUsed = () => table.element.contains(document.activeElement) || table.element.matches(":hover") || Boolean(after);
  const soon = atMost(2000, async () => (isUsed() ? (changed.hidden = false) : look()), signal);
  live.addEventListener("change", ({ detail }) => {
    tell();
    table.heed(detail.events ?? []);
    say(changed, "changed: show (.)");
    soon();
  }, { signal });
  live.addEventListener("status", tell, { signal });
  live.addEventListener("stale", () => look(), { signal });
  const timer = setInterval(() => !isUsed() && !document.hidden && look(), 20_000);
  signal.addEventListener("abort", () => clearInterval(timer));
  eachSecond(() => table.tick(), signal);
  set(main, "aria-busy", "true");
  tell();
  look();
  return { title: q ? `Jobs: ${q}` : `Jobs: ${state}`, search: q, keys: { ".": look, n: () => !next.hidden && go(next.getAttribute("href")) } };
}

export function address(given) {
  const query = new URLSearchParams(Object.entries(given).filter(([name, value]) => value && !(name === "state" && value === "all") && !(name === "sort" && value === "new")));
  return `/jobs${query.size ? `?${query}` : ""}`;
}

function found({ jobs, next, searched, complete }, q, state) {
  if (!q) return jobs.length ? "" : state === "all" ? "no jobs here yet" : `nothing is ${state}`;
  const what = jobs.length ? `${number(jobs.length)}${next ? " and more" : ""} found` : "nothing found";
  return complete === false ? `${what} among ${number(searched)} that were looked at: the next page looks further` : what;
}
