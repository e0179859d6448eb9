// Elements. What comes from outside reaches them as text and as attributes only, never as markup.

/** Return a new element: h("a.open", {href, onclick, class}, ...children). null and false, children or attributes, are left out. */
export function h(tag, given = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElement(name), classes, given, children);
}

/** The same for SVG. */
export function s(tag, given = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), classes, given, children);
}

function filled(element, classes, given, children) {
  if (given instanceof Node || typeof given === "string" || Array.isArray(given)) [given, children] = [{}, [given, ...children]];
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") classes.push(...value.split(" ").filter(Boolean));
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  if (classes.length) element.classList.add(...classes);
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Let `element` show `text`; nothing is touched where it does already. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Let an attribute have a value, or be gone (null, false). */
export function set(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
}

/**
 * Let `parent` have one child for each item, in order. Children are known by key(item) and stay the same elements, so that
 * focus, selection and what a reader was told of stay too. make(item) makes one; update(element, item) brings it up to date.
 */
export function keyed(parent, items, key, make, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const name = key(item);
    const element = old.get(name) ?? make(item);
    old.delete(name);
    element.dataset.key = name;
    update?.(element, item);
    return element;
  });
  for (const gone of old.values()) gone.remove();
  wanted.forEach((element, i) => {
    if (parent.children[i] !== element) parent.insertBefore(element, parent.children[i] ?? null);
  });
}

/** Return a function that runs `what` once in the next frame, however often it is called before. */
export function inFrame(what) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      what();
    });
  };
}

const SETTLE = 350; // ms: the server answers a question that it has just answered in the same way for a quarter of a second

/**
 * Return a function that lets the async `what` run soon, however often it is called meanwhile, never beside itself, and not before
 * `gap` ms after it last ended. What it is called with is the wait until then, in ms.
 */
export function atMost(gap, what, signal) {
  let running = false, again = false, timer = 0, rested = 0;
  const go = async () => {
    timer = 0;
    running = true;
    again = false;
    try {
      await what();
    } finally {
      running = false;
      rested = performance.now() + gap;
      if (again) soon();
    }
  };
  const soon = (wait = SETTLE) => {
    if (running) again = true;
    else if (!timer && !signal?.aborted) timer = setTimeout(go, Math.max(wait, rested - performance.now()));
  };
  signal?.addEventListener("abort", () => clearTimeout(timer));
  return soon;
}

/** Call `what` each second while the page is seen, until the view is left. */
export function eachSecond(what, signal) {
  const timer = setInterval(() => document.hidden || what(), 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** Whether somebody types there, so that single keys mean letters. */
export function isTyping(target) {
  return target instanceof HTMLElement && (target.matches("input:not([type=checkbox],[type=radio]), textarea, select") || target.isContentEditable);
}
