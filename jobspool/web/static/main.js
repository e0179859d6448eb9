// The page: which view is shown, what single keys do, and how the link to the server is.

import { decoded } from "./api.js";
import { shown } from "./ask.js";
import { h, isTyping, say, set } from "./dom.js";
import { live } from "./live.js";
import { walk } from "./rows.js";
import { complain, speak, toast, undoLast } from "./toast.js";
import { number, printable } from "./words.js";
import * as add from "./add.js";
import * as dead from "./dead.js";
import * as groups from "./groups.js";
import * as job from "./job.js";
import * as jobs from "./jobs.js";
import * as overview from "./overview.js";

const VIEWS = [
  [/^\/$/, overview], [/^\/jobs$/, jobs], [/^\/job\/(.+)$/, job], [/^\/dead$/, dead], [/^\/groups$/, groups], [/^\/add$/, add],
];
const PLACES = { o: "/", j: "/jobs", d: "/dead", g: "/groups", a: "/add" };
const KEYS = [
  ["/", "search jobs"], ["g o", "overview"], ["g j", "jobs"], ["g d", "dead letter queue"], ["g g", "groups"], ["g a", "add a job"],
  ["j k", "down and up a list"], ["enter", "open"], [".", "show what has changed (jobs)"], ["x", "choose (dead)"], ["r", "retry"], ["e", "edit"], ["c", "cancel"], ["h", "hold"], ["y", "add it again"],
  ["l", "search the log"], ["n", "next page"], ["u", "undo what was done last"], ["t", "dark, light, or as the system"], ["esc", "close, leave"], ["?", "this"],
];

const main = document.getElementById("main");
const find = document.getElementById("find");
let view = {}, leaving = new AbortController();

// ---- views

function route(focuses = true) {
  leaving.abort();
  leaving = new AbortController();
  const path = location.pathname;
  const [pattern, module] = VIEWS.find(([each]) => each.test(path)) ?? [];
  main.replaceChildren();
  main.removeAttribute("aria-busy");
  const given = { query: new URLSearchParams(location.search), signal: leaving.signal, go };
  if (module) view = module.open(main, { ...given, id: decoded(pattern.exec(path)[1] ?? "") });
  else {
    main.append(h("h1", { tabindex: -1 }, "Nothing is here"), h("p", {}, h("a", { href: "/" }, "to the overview")));
    view = { title: "Nothing is here" };
  }
  main.dataset.view = module ? path.split("/")[1] || "overview" : "none";
  find.value = view.search ?? "";
  for (const link of document.querySelectorAll(".views a")) set(link, "aria-current", link.pathname === (path.startsWith("/job/") ? "/jobs" : path) ? "page" : null);
  tellTitle();
  if (focuses) (view.focus ?? main.querySelector("h1"))?.focus({ preventScroll: true });
  else view.focus?.focus();
}

/** Show another view, or the same with another query. */
function go(address) {
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  scrollTo(0, 0);
  route();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (link.origin !== location.origin || link.hasAttribute("download") || link.hash || !VIEWS.some(([each]) => each.test(link.pathname))) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
addEventListener("popstate", () => route());

find.form.addEventListener("submit", (event) => {
  event.preventDefault();
  const query = new URLSearchParams(location.pathname === "/jobs" ? location.search : "");
  query.delete("after");
  if (find.value.trim()) query.set("q", find.value.trim());
  else query.delete("q");
  go(`/jobs${query.size ? `?${query}` : ""}`);
});

// ---- keys

let waiting = 0; // until when a key follows "g"

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (isTyping(event.target)) event.target.blur();
    else view.keys?.Escape?.();
    return;
  }
  if (isTyping(event.target) || !hasKeys()) return;
  const what = meaning(event.key);
  if (!what) return;
  event.preventDefault();
  what();
});

function meaning(key) {
  if (waiting > performance.now()) {
    waiting = 0;
    return PLACES[key] && (() => go(PLACES[key]));
  }
  const own = view.keys?.[key];
  return own ?? {
    g: () => (waiting = performance.now() + 1500),
    j: () => walk(1), k: () => walk(-1), ArrowDown: null,
    "/": () => { find.focus(); find.select(); },
    "?": showKeys, u: () => undoLast() || speak("there is nothing to undo"), t: nextTheme,
  }[key];
}

const hasKeys = () => localStorage.getItem("queuectl-keys") !== "off";

function showKeys() {
  const box = h("input", { type: "checkbox", onchange: () => (box.checked ? localStorage.removeItem("queuectl-keys") : localStorage.setItem("queuectl-keys", "off")) });
  box.checked = hasKeys();
  const dialog = h("dialog.keys", { "aria-labelledby": "keys-title" }, h("form", { method: "dialog" }, h("h2", { id: "keys-title" }, "Keys"),
    h("dl", {}, KEYS.map(([keys, what]) => h("div", {}, h("dt", {}, keys.split(" ").map((key) => h("kbd", key))), h("dd", what)))),
    h("label.check", {}, box, " single keys are shortcuts"), h("p.buttons", {}, h("button.first", { autofocus: true }, "Close"))));
  shown(dialog);
}

document.getElementById("keys").addEventListener("click", showKeys);

// ---- files that are dropped: they go to the form, wherever that happens, and never in the page's place

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
const takesFiles = () => !live.readOnly && !document.querySelector("dialog[open], .mender"); // an edit would be lost

addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  if (takesFiles()) document.body.classList.add("dropping");
  else event.dataTransfer.dropEffect = "none";
});
addEventListener("dragleave", (event) => event.relatedTarget === null && document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (!takesFiles()) return;
  if (!view.takeFiles) go("/add");
  view.takeFiles(event.dataTransfer.files).catch(complain);
});

// ---- dark and light

const theme = document.getElementById("theme");

function nextTheme() {
  const themes = ["auto", "dark", "light"];
  const next = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  localStorage.setItem("queuectl-theme", next);
  tellTheme();
}

function tellTheme() {
  const is = document.documentElement.dataset.theme ?? "auto";
  say(theme, { auto: "◐", dark: "●", light: "○" }[is]);
  set(theme, "aria-label", `Colours: ${is === "auto" ? "as the system" : is}`);
  set(theme, "title", `colours: ${is === "auto" ? "as the system" : is}`);
}

theme.addEventListener("click", nextTheme);

// ---- the link

const WORDS = { live: "live", lost: "no link", shut: "let out", waiting: "connecting" };

function tellLink() {
  const link = document.getElementById("link"), banner = document.getElementById("banner");
  link.dataset.is = live.status?.paused && live.link === "live" ? "paused" : live.link;
  say(link.querySelector(".word"), live.link === "live" ? (live.status?.paused ? "paused" : live.status?.read_only ? "live, read-only" : "live") : WORDS[live.link]);
  const text = {
    lost: "The server can't be reached. What you see may be old; it is tried again by itself.",
    shut: "This browser isn't let in any more. Open the link again that `queuectl web` prints.",
  }[live.link] ?? printable(live.status?.trouble ?? "");
  banner.hidden = !text;
  say(banner, text);
}

function tellTitle() {
  const { processing = 0, dead: died = 0 } = live.status?.counts ?? {};
  const news = [processing && `▸${processing}`, died && `✕${died}`].filter(Boolean).join(" ");
  document.title = `${printable(view.title ?? "")}${news ? ` ${news}` : ""} · queuectl`;
  const badge = document.getElementById("dead-count");
  badge.hidden = !died;
  say(badge, number(died));
}

function tellFoot() {
  const { spool, version, user } = live.status ?? {};
  say(document.getElementById("foot"), [spool && printable(spool), version && `queuectl ${version}`, user && printable(user)].filter(Boolean).join("  ·  "));
}

live.addEventListener("link", ({ detail }) => {
  tellLink();
  if (detail === "lost") speak("the server can't be reached");
});
live.addEventListener("status", () => {
  tellLink();
  tellTitle();
  tellFoot();
});
live.addEventListener("change", tellTitle);
addEventListener("unhandledrejection", ({ reason }) => reason?.name !== "AbortError" && toast(`a bug of this page: ${reason?.message ?? reason}`, { bad: true }));

tellTheme();
live.begin().catch(complain).finally(() => route(false));
