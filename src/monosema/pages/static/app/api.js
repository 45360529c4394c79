// The app's API: JSON there and back, and events as they come. What goes wrong is an ApiError that says what was wrong
// and, where that is known, what to do; what the reader typed is never touched, so that the same can be asked again.
import { say } from "../elements.js";

export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status - of the answer; 0 where there was none
   * @param {string} [whatToDo]
   */
  constructor(message, status, whatToDo = "") {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.whatToDo = whatToDo;
  }
}

/** @typedef {{signal?: AbortSignal}} Asking */
/** @typedef {{id: string, event: string, data: any}} ServerEvent */

/** @param {string} path @param {Asking} [how] @returns {Promise<any>} */
export const get = (path, how) => json("GET", path, undefined, how);
/** @param {string} path @param {unknown} body @param {Asking} [how] @returns {Promise<any>} */
export const post = (path, body, how) => json("POST", path, body, how);
/** @param {string} path @param {Asking} [how] @returns {Promise<any>} */
export const remove = (path, how) => json("DELETE", path, undefined, how);

/**
 * The path of the API with names of any characters put in: path("runs", run, "features", 17).
 * @param {(string | number)[]} parts
 */
export const path = (...parts) => "/api/" + parts.map(encodeURIComponent).join("/");

/** @param {string} method @param {string} path @param {unknown} body @param {Asking} [how] */
async function json(method, path, body, how) {
  const answer = await ask(method, path, body, how);
  return answer.status === 204 ? null : answer.json();
}

/**
 * @param {string} method @param {string} path @param {unknown} body @param {Asking} [how] @param {Record<string, string>} [more]
 */
async function ask(method, path, body, { signal } = {}, more = {}) {
  const headers = { "Accept-Language": document.documentElement.lang, ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...more };
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(say("The server does not answer."), 0, say("See whether monosema serve still runs, then try again; what you typed is kept."));
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

/** @param {Response} answer */
async function refusal(answer) {
  const { error } = await answer.json().catch(() => ({ error: null }));
  return new ApiError(error?.message ?? say("The server could not do this ({n}).", answer.status), answer.status, error?.what_to_do);
}

/**
 * The events of a request, one after another. To end it: abort the signal, or leave the loop. An event named error is thrown.
 * @param {string} path
 * @param {unknown} [body] - with one, it is posted
 * @param {Asking & {after?: string}} [how] - `after`: the id of the last event seen
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* stream(path, body, { after, ...how } = {}) {
  yield* told(await ask(body === undefined ? "GET" : "POST", path, body, how, wanted(after)));
}

/** @param {string} [after] @returns {Record<string, string>} */
const wanted = (after) => ({ Accept: "text/event-stream", ...(after ? { "Last-Event-ID": after } : {}) });

/** @param {Response} answer */
async function* told(answer) {
  if (!answer.body) return;
  for await (const one of events(answer.body.pipeThrough(new TextDecoderStream()))) {
    if (one.event === "error") throw new ApiError(one.data?.message ?? String(one.data), 500, one.data?.what_to_do);
    yield one;
  }
}

/**
 * The events of something that goes on, such as a job or a run's training: after a lost connection, from the last one
 * seen. It ends where the server says that there is no more (204), or when the loop is left.
 * @param {string} path
 * @param {Asking & {after?: string, wait?: number}} [how] - `wait`: milliseconds before the first new try, twice as many before each next
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* follow(path, { after, wait = 500, ...how } = {}) {
  for (let pause = wait; ; pause = Math.min(2 * pause, 15000)) {
    try {
      const answer = await ask("GET", path, undefined, how, wanted(after));
      if (answer.status === 204) return;
      for await (const one of told(answer)) {
        [after, pause] = [one.id || after, wait];
        yield one;
      }
    } catch (error) {
      if (how.signal?.aborted || (error instanceof ApiError && error.status > 0)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/**
 * Server-sent events out of a text that comes in pieces.
 * @param {ReadableStream<string> | AsyncIterable<string>} pieces
 * @returns {AsyncGenerator<ServerEvent>}
 */
export async function* events(pieces) {
  let [rest, id, event, data] = ["", "", "", /** @type {string[]} */ ([])];
  for await (const piece of pieces) {
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? ["", "", ""];
      if (name === "data") data.push(value);
      else if (name === "event") event = value;
      else if (name === "id") id = value;
      else if (line === "") {
        if (data.length) yield { id, event: event || "message", data: parsed(data.join("\n")) };
        [event, data] = ["", []];
      }
    }
  }
}

/** @param {string} data */
function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}
