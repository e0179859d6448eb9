// Add jobs: type a command, paste or drop a file; checked as the command checks, while it is typed, with the command line that does the same.

import { call, pageOf, post } from "./api.js";
import { commandLine } from "./actions.js";
import { h, say, set } from "./dom.js";
import { live } from "./live.js";
import { complain, toast } from "./toast.js";
import { counted, handle, number, printable, size } from "./words.js";

const MOST_JOBS = 1000; // of one paste
const whole = (text) => (/^-?\d+$/.test(text) ? Number(text) : text);
const seconds = (text) => (text !== "" && Number.isFinite(Number(text)) ? Number(text) : text);
const list = (text) => text.split(",").map((word) => word.trim()).filter(Boolean);

const FIELDS = [
  { word: "name", label: "Name", hint: "for people" },
  { word: "priority", label: "Priority", read: whole, hint: "higher first; 0", mode: "numeric" },
  { word: "max_retries", label: "Retries", read: whole, hint: "3", mode: "numeric" },
  { word: "timeout", label: "Timeout", read: seconds, hint: "seconds", mode: "decimal" },
  { word: "cwd", label: "Directory", hint: "the spool's", mono: true },
  { word: "group", label: "Group" },
  { word: "batch", label: "Batch" },
  { word: "tags", label: "Tags", read: list, hint: "a, b" },
];

export function open(main, { signal }) {
  const text = h("textarea.mono", { id: "job-text", rows: 5, spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-describedby": "job-help job-problem", placeholder: "make all", oninput: changed });
  const inputs = FIELDS.map((field) => h(`input${field.mono ? ".mono" : ""}`, { type: "text", name: field.word, placeholder: field.hint, inputmode: field.mode, autocomplete: "off", spellcheck: "false", oninput: changed }));
  const id = h("input.mono", { type: "text", name: "id", placeholder: "automatic", autocomplete: "off", spellcheck: "false", oninput: changed });
  const start = h("input", { type: "datetime-local", name: "start", step: 1, oninput: changed });
  const file = h("input.unseen", { type: "file", id: "job-file", multiple: true, accept: ".json,.jsonl,.txt,application/json", onchange: () => takeFiles(file.files) });
  const problem = h("p.problem", { id: "job-problem", role: "status" });
  const same = h("p.cmdhold");
  const add = h("button.first", { type: "submit" }, "Add");
  const fields = h("div.fields", {}, FIELDS.map(({ label, word }, i) => h("label.field", { "data-word": word }, h("span", label), inputs[i])),
    h("label.field", { "data-word": "start" }, h("span", "Not before"), start), h("label.field", { "data-word": "id" }, h("span", "Id"), id));
  const added = h("ul.short");
  const form = h("form.adder", { onsubmit: submit, onkeydown: (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && (event.preventDefault(), form.requestSubmit()) },
    h("label.field.wide", { for: "job-text" }, h("span", "A command, or a job as JSON")), text,
    h("p.quiet", { id: "job-help" }, "Plain text is a shell command. ", h("code", '{"command": "make", "timeout": 60}'), " is a whole job; one such object a line adds many. Files can be dropped anywhere here, or ",
      file, h("label.aslink", { for: "job-file" }, "chosen"), "."),
    fields, problem, same, h("p.buttons", {}, add, h("button.plain", { type: "button", onclick: clear }, "Clear"), h("span.quiet", {}, h("kbd", "ctrl"), " ", h("kbd", "enter"))));
  main.append(h("h1", { tabindex: -1 }, "Add a job"), live.readOnly ? h("p.banner.inner", "This page is read-only: queuectl web was started so.") : form, h("section.added", { hidden: true }, h("h2", "Added"), added));
  if (live.readOnly) return { title: "Add", search: "" };

  let timer = 0, jobs = [], asked = 0;

  /** Return the jobs that stand there; raises NotJSON where one is none. */
  function read() {
    const given = text.value.trim();
    if (!given) return [];
    if (!/^(\{\s*["}]|\[\s*[\]{])/.test(given)) return [withFields({ command: given })];
    const records = parseMany(given);
    return records.length === 1 ? [withFields(records[0])] : records;
  }

  // The form's fields are words of the job; what the JSON says itself wins, and says so by being there.
  function withFields(record) {
    const job = { ...record };
    FIELDS.forEach(({ word, read = (given) => given }, i) => {
      if (inputs[i].value.trim() !== "" && !(word in job)) job[word] = read(inputs[i].value.trim());
    });
    return job;
  }

  const startTime = () => (start.value ? new Date(start.value).toISOString() : null);

  function changed() {
    clearTimeout(timer);
    timer = setTimeout(check, 250);
  }

  async function check() {
    const turn = ++asked;
    let said = null;
    try {
      jobs = read();
      if (jobs.length === 0) return tell("", null);
      if (jobs.length > MOST_JOBS) return tell(`${number(jobs.length)} jobs are too many for one paste: queuectl enqueue --from FILE takes any number`, null, true);
      if (jobs.length === 1) said = await post("/check", { job: jobs[0], start: startTime() }, { signal });
      for (const [i, job] of jobs.length > 1 ? jobs.entries() : []) {
        if (turn !== asked) return;
        await post("/check", { job, start: null }, { signal }).catch((error) => {
          error.message = `job ${i + 1}: ${error.message}`;
          throw error;
        });
        if (i >= 20) break; // the rest is checked when it is added
      }
      if (turn === asked) tell("", jobs.length === 1 ? said?.command : "queuectl enqueue --from FILE");
    } catch (error) {
      const { message, name, problem: found } = error instanceof NotJSON ? await inServersWords(error) : error;
      if (turn === asked && name !== "AbortError") tell(message, null, true, found);
    }
  }

  // What is wrong with a text is said in the words of the command, which no browser knows.
  async function inServersWords({ text: broken, at, message }) {
    try {
      await post("/check", new Blob([broken]), { signal });
    } catch (error) {
      return at && error.problem ? { message: `line ${at}: ${error.message}`, problem: error.problem } : error;
    }
    return { message };
  }

  function tell(message, command, bad = false, found = null) {
    const word = found?.key ?? found?.pointer?.split("/").filter(Boolean).pop();
    const isTyped = FIELDS.some((field, i) => field.word === word && inputs[i].value);
    say(problem, printable(isTyped ? message.replace(/, and no string$/, "") : message)); // a field has no quotes that could be left out
    problem.classList.toggle("bad", bad);
    for (const field of fields.children) set(field.querySelector("input"), "aria-invalid", bad && field.dataset.word === word ? "true" : null);
    set(text, "aria-invalid", bad && ![...fields.children].some((field) => field.dataset.word === word) ? "true" : null);
    const line = command ?? "";
    if (same.dataset.is !== line) {
      same.dataset.is = line;
      same.replaceChildren(...(line ? [commandLine(line)] : []));
    }
    say(add, jobs.length > 1 ? `Add ${number(jobs.length)}` : "Add");
  }

  async function submit(event) {
    event.preventDefault();
    clearTimeout(timer);
    ++asked;
    try {
      jobs = read();
    } catch {
      return check();
    }
    if (!jobs.length) {
      tell("type a command first, as: make all", null, true);
      return text.focus();
    }
    add.disabled = true;
    try {
      await addAll();
    } finally {
      add.disabled = false;
    }
  }

  async function addAll() {
    const rows = [];
    try {
      for (const job of jobs) rows.push(await addOne(job, jobs.length === 1));
      const [first] = rows;
      toast(rows.length === 1 ? `${handle(first.job.id)} is added` : `${counted(rows.length, "job")} added`, { command: first.command ?? same.dataset.is, link: { href: pageOf(first.job.id), text: "open it" } });
      clear();
      text.focus();
    } catch (error) {
      if (error.status === 0 || !error.status) complain(error);
      else tell(rows.length ? `${counted(rows.length, "job")} added; the next was refused: ${error.message}` : error.message, null, true, error.problem);
    }
    main.querySelector(".added").hidden = !(rows.length || added.children.length);
    added.prepend(...rows.slice(0, 50).reverse().map(({ job }) => h("li", { "data-key": job.id }, h("a.open", { href: pageOf(job.id) }, h("bdi", handle(job.id))), h("code.command", {}, h("bdi", printable(job.command))))));
    while (added.children.length > 50) added.lastChild.remove();
  }

  async function addOne(job, isOnly) {
    const own = isOnly && id.value.trim();
    const { data } = await call(own ? "PUT" : "POST", own ? `/jobs/${encodeURIComponent(own)}` : "/jobs", { job, start: isOnly ? startTime() : null });
    return { command: data.command, job: data.job ?? data.row ?? data };
  }

  function clear() {
    form.reset();
    jobs = [];
    tell("", null);
  }

  // ---- files

  async function takeFiles(files) {
    const most = live.status?.limits?.max_job_bytes ?? 1_048_576;
    const taken = [];
    for (const each of [...files].slice(0, MOST_JOBS)) {
      if (each.size > most) return tell(`${each.name} has ${size(each.size)}: a job's file has at most ${size(most)}`, null, true);
      taken.push({ name: each.name, text: (await each.text()).trim() });
    }
    const [first] = taken;
    text.value = taken.length === 1 ? first.text : taken.map(inOneLine).join("\n");
    id.value = taken.length === 1 ? idOf(first) : "";
    file.value = "";
    text.focus();
    await check();
  }

  signal.addEventListener("abort", () => clearTimeout(timer));
  return { title: "Add", search: "", focus: text, takeFiles };
}

/** Return the id that the file's name gives its job, as mv into pending/ would; "" where the job says its own, or it is none. */
function idOf({ name, text }) {
  return name.endsWith(".json") && text.startsWith("{") && recordIn(text)?.id === undefined ? name.slice(0, -5) : "";
}

/** Return the file's job as one line, with its id in it; what is no job, as it is. */
function inOneLine(file) {
  const record = recordIn(file.text), id = idOf(file);
  return record ? JSON.stringify(id ? { id, ...record } : record) : file.text;
}

function recordIn(text) {
  try {
    return text.startsWith("{") ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

class NotJSON extends Error {
  /** `at`: the number of the line that `text` is, where it is one of several. */
  constructor(text, cause, at) {
    super(`${at ? `line ${at} is ` : ""}not JSON: ${cause.message}`, { cause });
    this.text = text;
    this.at = at;
  }
}

/** Return the objects in a text: one, a list of them, or one a line. Raises NotJSON. */
export function parseMany(text) {
  try {
    const one = JSON.parse(text);
    return Array.isArray(one) ? one : [one];
  } catch (error) {
    const filled = text.split("\n").map((line, i) => [line.trim(), i + 1]).filter(([line]) => line);
    if (filled.length < 2 || !filled.every(([line]) => line.startsWith("{") && line.endsWith("}"))) throw new NotJSON(text, error);
    return filled.map(([line, at]) => {
      try {
        return JSON.parse(line);
      } catch (wrong) {
        throw new NotJSON(line, wrong, at);
      }
    });
  }
}
