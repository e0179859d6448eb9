// Questions: a dialog with the few fields that an action takes, and the command line that they make.

import { h, say } from "./dom.js";
import { printable } from "./words.js";

/**
 * Ask, and return what was given, by name; null where it was left. `fields`: {name, label, value, type, options, hint};
 * `command(values)`: the command line that does the same.
 */
export function ask({ title, text, fields = [], command, verb, danger = false }) {
  const inputs = fields.map(input);
  const line = h("code.cmd");
  const values = () => Object.fromEntries(fields.map((field, i) => [field.name, inputs[i].value]));
  const show = () => command && say(line, `$ ${printable(command(values()))}`);
  const form = h("form", { method: "dialog", oninput: show, onsubmit: () => dialog.close("yes") },
    h("h2", { id: "asked" }, title), text && h("p", text),
    fields.map((field, i) => h("label.field", {}, h("span", field.label), inputs[i], field.hint && h("small.quiet", field.hint))),
    command && h("p.cmdline", {}, line),
    h("p.buttons", {}, h("button", { type: "submit", class: danger ? "danger" : "first" }, verb),
      h("button.plain", { type: "button", onclick: () => dialog.close("") }, "Leave it")));
  const dialog = h("dialog", { "aria-labelledby": "asked" }, form);
  return shown(dialog, show).then((said) => (said === "yes" ? values() : null));
}

function input({ value = "", type = "text", options, name, ...more }) {
  if (options) return h("select", { name }, options.map((each) => h("option", { value: each, selected: each === value }, each)));
  return h("input", { name, type, value, autocomplete: "off", spellcheck: "false", min: more.min, max: more.max, placeholder: more.placeholder, required: more.required });
}

/** Show a dialog, and return what it was closed with, once it is gone and focus is where it was. */
export function shown(dialog, ready) {
  const before = document.activeElement;
  document.body.append(dialog);
  ready?.();
  return new Promise((resolve) => {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close(""));
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before?.isConnected) before.focus({ preventScroll: true });
      resolve(dialog.returnValue);
    });
    dialog.showModal();
  });
}
