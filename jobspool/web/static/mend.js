// Mend a job: its few words that are wrong most often as fields, or the whole file as text; then save, or save and try again.

import { call, jobPath, pageOf, post } from "./api.js";
import { commandLine } from "./actions.js";
import { h, say, set } from "./dom.js";
import { complain, toast } from "./toast.js";
import { handle, printable, quoted } from "./words.js";

const FIELDS = [
  { word: "cwd", label: "Directory", read: (text) => text },
  { word: "timeout", label: "Timeout (s)", read: Number, type: "number" },
  { word: "max_retries", label: "Retries", read: Number, type: "number" },
];

/**
 * Return a form that edits the job of `seen` (the answer to GET /jobs/ID). `done(verb)` is called when it was saved, `left()` when not;
 * where `isReplaced`, somebody else has changed it meanwhile, and what was typed stays.
 */
export function mender(seen, { done, left }) {
  const { attempts: _, ...record } = seen.record ?? {};
  const id = seen.row.id, name = handle(id);
  let etag = seen.etag;
  const isShell = !("argv" in record);
  const command = h("textarea.mono", { oninput: takeCommand, rows: rowsFor(isShell ? record.command : record.argv), spellcheck: "false", autocapitalize: "off", name: "command" });
  command.value = isShell ? record.command ?? "" : record.argv.join("\n");
  const fields = FIELDS.map(({ word, read, type = "text" }) => h("input.mono", { oninput: ({ target: { value } }) => put(word, value === "" ? undefined : read(value)), type, value: record[word] ?? "", name: word, step: "any", spellcheck: "false", autocomplete: "off" }));
  const whole = h("textarea.mono", { rows: 12, spellcheck: "false", name: "whole", "aria-label": `The job ${name} as JSON` });
  whole.value = Object.keys(record).length ? JSON.stringify(record, null, 2) : seen.text ?? "";
  const asText = h("details.whole", {}, h("summary", "the whole file, as JSON"), whole);
  asText.open = !Object.keys(record).length;
  const problem = h("p.problem", { role: "alert", hidden: true });
  const mayRetry = seen.actions?.some((action) => action.verb === "retry" && action.possible);
  const save = h("button", { type: "submit", class: mayRetry ? "" : "first" }, "Save");
  const saveAndRetry = mayRetry && h("button.first", { type: "submit", name: "retry" }, "Save and retry");
  const plain = h("div.fields", {},
    h("label.field.wide", {}, h("span", isShell ? "Command" : "Program and words, one a line"), command),
    FIELDS.map(({ label }, i) => h("label.field", {}, h("span", label), fields[i])));
  const form = h("form.mender", { "aria-label": `Edit ${name}`, onsubmit: submit, onkeydown: keyed },
    asText.open ? null : plain, asText, problem,
    h("p.buttons", {}, saveAndRetry, save, h("button.plain", { type: "button", onclick: left }, "Leave it"),
      commandLine(mayRetry ? `queuectl retry --edit ${quoted(name)}` : `queuectl edit ${quoted(name)}`)));

  // The text is what is saved. A field that is typed into goes into it at once, and no other with it: the text may have been changed, too.
  function put(word, value) {
    try {
      whole.value = JSON.stringify({ ...JSON.parse(whole.value), [word]: value }, null, 2);
    } catch (error) {
      tell(`not JSON: ${error.message}`);
    }
  }

  function takeCommand() {
    if (isShell) put("command", command.value);
    else put("argv", command.value.split("\n").filter((word, i, all) => word || i < all.length - 1));
  }

  function keyed(event) {
    if (event.key === "Escape") {
      event.stopPropagation();
      left();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit(saveAndRetry || save);
    }
  }

  async function submit(event) {
    event.preventDefault();
    const retries = Boolean(saveAndRetry) && event.submitter === saveAndRetry;
    problem.hidden = true;
    let next;
    try {
      next = JSON.parse(whole.value);
    } catch (error) {
      return tell(`not JSON: ${error.message}`);
    }
    try {
      const { data, headers } = await call("PATCH", jobPath(id), { record: next }, { headers: etag ? { "If-Match": etag } : {} });
      etag = headers.get("ETag") ?? data?.etag ?? etag;
      const isShown = location.pathname === pageOf(id);
      const undo = retries ? (await post(`${jobPath(id)}/retry`, { undo: data?.undo ?? null })).undo : data?.undo;
      toast(retries ? `${name} is saved, and tried again` : `${name} is saved`, { command: `queuectl ${retries ? "retry --edit" : "edit"} ${quoted(name)}`, undo, link: isShown ? null : { href: pageOf(id), text: "open it" }, then: () => done("undo") });
      done(retries ? "retry" : "edit");
    } catch (error) {
      if (error.status === 412) tell(`${error.message} What you typed stays here: leave it and open it again to see the other's.`);
      else if (error.status) tell(error.message);
      else complain(error);
    }
  }

  function tell(text) {
    problem.hidden = false;
    say(problem, printable(text));
    set(problem, "data-told", "yes");
  }

  queueMicrotask(() => (asText.open ? whole : command).focus());
  return form;
}

const rowsFor = (text) => Math.min(10, Math.max(2, Array.isArray(text) ? text.length + 1 : (text ?? "").split("\n").length + Math.floor((text ?? "").length / 90)));
