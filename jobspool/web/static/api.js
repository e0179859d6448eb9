// The server's API: what it answers, or a Problem in its own words.

import { heedClock } from "./words.js";

const ROOT = "/api/v1";

/** What went wrong: `status` (0: the server can't be reached), `message` for people, `problem` as the server sent it. */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answers ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

export const trouble = new EventTarget(); // "shut": this browser isn't let in any more

/** Return the id as a URL has it: percent-encoded bytes, also of names that are no UTF-8 (which JSON has as lone surrogates). */
export function encoded(id) {
  return id.replace(/[\ud800-\udbff][\udc00-\udfff]|[^]/g, (each) => {
    const code = each.charCodeAt(0);
    if (each.length === 1 && code >= 0xdc80 && code <= 0xdcff) return `%${(code - 0xdc00).toString(16).toUpperCase()}`;
    return each.length === 1 && code >= 0xd800 && code <= 0xdfff ? "%EF%BF%BD" : encodeURIComponent(each);
  });
}

/** Return the id that a path of a page names: the opposite of encoded(). */
export function decoded(path) {
  const bytes = [];
  for (let i = 0; i < path.length; i++) {
    const hex = path[i] === "%" && path.slice(i + 1, i + 3);
    if (hex && /^[0-9a-f]{2}$/i.test(hex)) {
      bytes.push(parseInt(hex, 16));
      i += 2;
    } else bytes.push(...new TextEncoder().encode(path[i]));
  }
  const whole = Uint8Array.from(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(whole);
  } catch {
    return surrogated(whole);
  }
}

function surrogated(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; ) {
    const length = [4, 3, 2, 1].find((most) => isWhole(bytes.subarray(i, i + most), most));
    text += length ? new TextDecoder().decode(bytes.subarray(i, i + length)) : String.fromCharCode(0xdc00 + bytes[i]);
    i += length ?? 1;
  }
  return text;
}

function isWhole(bytes, length) {
  try {
    return bytes.length === length && [...new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)].length === 1;
  } catch {
    return false;
  }
}

export const jobPath = (id) => `/jobs/${encoded(id)}`;
export const pageOf = (id) => `/job/${encoded(id)}`;
export const url = (path) => ROOT + path;

/** Return the answer to a request, its JSON in `data`; a Blob as `body` is sent as it is. Raises Problem. */
export async function call(method, path, body, { headers = {}, signal } = {}) {
  const given = { Accept: "application/json", "X-Queuectl": "1", ...headers };
  if (body !== undefined) given["Content-Type"] = "application/json";
  const answer = await reached(ROOT + path, { method, headers: given, body: body === undefined || body instanceof Blob ? body : JSON.stringify(body), signal });
  const data = answer.status === 204 ? null : await answer.json().catch(nothing);
  return { data, headers: answer.headers, status: answer.status };
}

function nothing(error) {
  if (error.name === "AbortError") throw error; // the view was left while it came
  return null;
}

export const get = async (path, options) => (await call("GET", path, undefined, options)).data;
export const post = async (path, body = {}, options) => (await call("POST", path, body, options)).data;

/** Return a part of a log: its bytes, from `start` on, and how long the whole is. Raises Problem. */
export async function bytesOf(path, from, to, signal) {
  const answer = await reached(ROOT + path, { headers: { Range: `bytes=${from}-${to - 1}` }, signal }, [416]);
  if (answer.status === 416) return { bytes: new Uint8Array(), start: from, total: from };
  const [, start, total] = /bytes (\d+)-\d+\/(\d+)/.exec(answer.headers.get("Content-Range") ?? "") ?? [null, 0, NaN];
  const bytes = new Uint8Array(await answer.arrayBuffer());
  return { bytes, start: Number(start), total: Number.isNaN(Number(total)) ? bytes.length : Number(total) };
}

async function reached(address, options, fine = []) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin", cache: "no-store", redirect: "error", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "the server can't be reached" });
  }
  heedClock(answer.headers.get("Date"));
  if (answer.ok || fine.includes(answer.status)) return answer;
  if (answer.status === 401) trouble.dispatchEvent(new Event("shut"));
  throw new Problem(answer.status, (await answer.json().catch(() => null)) ?? {});
}
