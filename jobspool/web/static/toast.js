// What was done, said once, with the command line that does the same, and the way back where there is one.

import { post } from "./api.js";
import { h, say } from "./dom.js";
import { counted, printable } from "./words.js";

const STAYS = 10_000; // ms; it waits while somebody is at it
const MOST = 4;

const shelf = document.getElementById("toasts");
const voice = document.getElementById("says");

/** Let a screen reader say it. */
export function speak(text) {
  voice.textContent = "";
  requestAnimationFrame(() => say(voice, text));
}

/** Show `text`; `command` is the command line, `undo` a token (or several) that takes it back, `then` is called when it was taken back. */
export function toast(text, { command, undo, link, bad = false, then } = {}) {
  const box = h(`div.toast${bad ? ".bad" : ""}`, {}, h("p", printable(text)), command && h("code.cmd", `$ ${printable(command)}`));
  const buttons = h("p.buttons");
  if (link) buttons.append(h("a.button", { href: link.href }, link.text));
  if (undo) buttons.append(h("button.undo", { type: "button", onclick: () => takeBack(box, undo, then) }, "Undo ", h("kbd", "u")));
  buttons.append(h("button.plain", { type: "button", "aria-label": "Dismiss", onclick: () => leave(box) }, "✕"));
  box.append(buttons);
  shelf.append(box);
  while (shelf.children.length > MOST) shelf.firstElementChild.remove();
  speak(`${text}${undo ? ". U undoes it." : ""}`);
  waitFor(box, bad ? STAYS * 2 : STAYS);
  return box;
}

/** Say what went wrong. */
export const complain = (error) => {
  if (error.name === "AbortError") return;
  toast(error.message, { bad: true });
  if (!error.problem) throw error; // a bug of ours: the console shows it
};

/** Take back what was done last and can be. Returns false where there is nothing. */
export function undoLast() {
  const button = [...shelf.querySelectorAll("button.undo:not(:disabled)")].at(-1);
  button?.click();
  return Boolean(button);
}

async function takeBack(box, tokens, then) {
  box.querySelector("button.undo").disabled = true;
  try {
    let count = 0;
    const refusals = [];
    for (const token of [tokens].flat()) {
      const { done, refused = [] } = await post(`/undo/${encodeURIComponent(token)}`);
      count += done;
      refusals.push(...refused);
    }
    leave(box);
    toast(refusals.length ? `${counted(count, "job")} put back; ${refusals.length} not: ${refusals[0].why}` : `${counted(count, "job")} put back`);
    then?.();
  } catch (error) {
    leave(box);
    complain(error);
  }
}

function waitFor(box, time) {
  let timer = setTimeout(() => leave(box), time);
  const hold = () => clearTimeout(timer);
  const go = () => {
    clearTimeout(timer);
    timer = setTimeout(() => leave(box), time / 2);
  };
  box.addEventListener("pointerenter", hold);
  box.addEventListener("focusin", hold);
  box.addEventListener("pointerleave", go);
  box.addEventListener("focusout", go);
}

function leave(box) {
  if (box.contains(document.activeElement)) document.getElementById("main").focus({ preventScroll: true });
  box.remove();
}
