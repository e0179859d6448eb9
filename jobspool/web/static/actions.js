// What can be done to a job: the server says which and by which command line; here it is asked for what it needs, done, and told.

import { call, jobPath, pageOf, post } from "./api.js";
import { ask } from "./ask.js";
import { h } from "./dom.js";
import { live } from "./live.js";
import { complain, speak, toast } from "./toast.js";
import { counted, handle, printable, quoted } from "./words.js";

const SIGNALS = ["TERM", "INT", "HUP", "KILL", "USR1", "USR2", "STOP", "CONT"];
const PAST = {
  retry: "is tried again", cancel: "is cancelled", hold: "is held", release: "is released", front: "is next in line", back: "is last in line",
  kill: "got the signal", copy: "is added again", rm: "is removed", priority: "has its new priority",
};
const LABELS = {
  retry: "Retry", cancel: "Cancel", kill: "Signal", hold: "Hold", release: "Release", front: "Run next", back: "Run last",
  priority: "Priority", edit: "Edit", copy: "Again", rm: "Remove",
}; // short, as buttons are
export const KEYS = { retry: "r", edit: "e", cancel: "c", hold: "h", copy: "y" };

const QUESTIONS = {
  cancel: (name) => ({
    title: `Cancel ${name}?`, verb: "Cancel it", danger: true, fields: [{ name: "reason", label: "Why (may be left empty)" }],
    command: ({ reason }) => `queuectl cancel ${quoted(name)}${reason ? ` --reason ${quoted(reason)}` : ""}`,
  }),
  hold: (name) => ({
    title: `Hold ${name}`, verb: "Hold it", fields: [{ name: "reason", label: "Why (may be left empty)" }],
    command: ({ reason }) => `queuectl hold ${quoted(name)}${reason ? ` --reason ${quoted(reason)}` : ""}`,
  }),
  kill: (name) => ({
    title: `Send ${name} a signal`, verb: "Send it", fields: [{ name: "signal", label: "Signal", options: SIGNALS, value: "TERM" }],
    command: ({ signal }) => `queuectl kill -${signal} ${quoted(name)}`,
  }),
  priority: (name, record) => ({
    title: `Priority of ${name}`, verb: "Set it", fields: [{ name: "priority", label: "Higher runs first", type: "number", value: String(record?.priority ?? 0), required: true }],
    command: ({ priority }) => `queuectl priority ${quoted(name)} ${priority || "N"}`,
  }),
};

/** Do what `action` says to the job, having asked for what it takes; return whether it was done. `then` is called after it, and after its undo. */
export async function perform(id, action, { record, then } = {}) {
  const name = handle(id);
  const question = QUESTIONS[action.verb]?.(name, record);
  const given = question ? await ask(question) : {};
  if (!given) return false;
  try {
    const said = await request(id, action.verb, given);
    const command = said.command ?? (question ? question.command(given) : action.command);
    const link = action.verb === "copy" && said.job ? { href: pageOf(said.job.id), text: "open it" } : null;
    toast(`${name} ${PAST[action.verb] ?? `: ${action.verb}`}`, { command, undo: said.undo, link, then });
    then?.(action.verb);
    return true;
  } catch (error) {
    complain(error);
    return false;
  }
}

async function request(id, verb, given) {
  if (verb === "rm") {
    const { data, headers } = await call("DELETE", jobPath(id));
    return { undo: headers.get("X-Undo"), ...data };
  }
  if (verb === "priority") return (await call("PATCH", jobPath(id), { priority: Number(given.priority) })).data ?? {};
  const body = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== ""));
  return (await post(`${jobPath(id)}/${verb}`, body)) ?? {};
}

/** Retry or remove many dead jobs: `which` is {ids}, {reason} or {all: true}. */
export async function performOnDead(verb, which, command, then) {
  try {
    const { count, refused, undos } = await performOnAll(verb, which);
    const what = `${counted(count, "job")} ${verb === "retry" ? "tried again" : "removed"}`;
    const undo = undos.length ? undos.reverse() : null;
    toast(refused.length ? `${what}; ${refused.length} not: ${handle(refused[0].id)}: ${refused[0].why}` : what, { command, undo, then, bad: !count && refused.length > 0 });
    then?.();
  } catch (error) {
    complain(error);
  }
}

// The server does so many at once, and says how many are left.
async function performOnAll(verb, which) {
  const refused = [], undos = [];
  for (let count = 0; ; ) {
    const said = await post(`/dead/${verb}`, which);
    count += said.done;
    refused.push(...(said.refused ?? []));
    if (said.undo) undos.push(said.undo);
    if (!said.left || !said.done || which.ids) return { count, refused, undos };
    speak(`${counted(said.left, "job")} left`);
  }
}

/** A command line, to be copied. */
export function commandLine(command) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(command);
      speak("copied");
      button.textContent = "copied";
      setTimeout(() => (button.textContent = "copy"), 1500);
    } catch {
      getSelection().selectAllChildren(text); // no clipboard over plain http from elsewhere: it is marked to be copied by hand
    }
  };
  const text = h("code", { title: printable(command) }, printable(command));
  const button = h("button.plain.copy", { type: "button", onclick: copy, "aria-label": `Copy: ${printable(command)}` }, "copy");
  return h("span.cmdline", {}, h("span.prompt", { "aria-hidden": "true" }, "$ "), text, button);
}

/** The actions that are possible, as buttons, each beside the command line that does the same. */
export function actionList(actions, act) {
  if (live.readOnly) return h("p.quiet", "This page only shows; the command line does more.");
  const row = (action) => h("li", { "data-key": action.verb },
    h("button", { type: "button", class: action.verb === "rm" || action.verb === "cancel" ? "danger" : action.verb === "retry" ? "first" : "", onclick: () => act(action) },
      LABELS[action.verb] ?? action.label, KEYS[action.verb] && h("kbd", { "aria-hidden": "true" }, KEYS[action.verb])),
    commandLine(action.command));
  return h("ul.acts", {}, actions.filter((action) => action.possible).map(row));
}
