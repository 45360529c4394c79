// Jobs: what runs, waits and has ended, with its progress and log; the server keeps them, so a reload loses nothing.
import { el, known, number, say } from "../elements.js";
import { follow, get, path, post, remove } from "./api.js";
import { bar } from "./bar.js";
import { button, currentRun, empty, fill, runAddress, shell, toast } from "./shell.js";
import { View, text } from "./state.js";

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
export const FIELDS = { job: text() };
const LIVE = ["waiting", "running"];
const STATES = { waiting: "waits", running: "running", done: "done", failed: "failed", cancelled: "cancelled", interrupted: "interrupted" };

/** @typedef {{id: string, kind: string, title: string, request: any, state: keyof typeof STATES, created: number, started: number | null, ended: number | null, done: number, total: number | null, said: string, error: string | null}} Job */

/** @type {View<typeof FIELDS>} */
let view;
/** Jobs by id, with what follows each. @type {Map<string, {job: Job, card: HTMLElement, log: string[], following: AbortController | null}>} */
const all = new Map();

/** Where a job's result is to be seen. @param {Job} job */
function result({ id, kind, request }) {
  if (request.run && kind !== "sweep") return el("a", { class: "action", href: runAddress(request.run) }, say("To the run"));
  return el("a", { class: "action", href: kind === "sweep" ? "/steer?" + new URLSearchParams({ run: request.run ?? "", sweep: id }) : path("jobs", id, "result") }, say("To the result"));
}

/** @param {Job} job */
function times({ created, started, ended }) {
  const clock = (/** @type {number} */ at) => new Date(1000 * at).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  const took = known(started) ? (ended ?? Date.now() / 1000) - /** @type {number} */ (started) : null;
  return el("span", { class: "soft" }, clock(created), took === null ? "" : [" · ", say("{n} s", number(Math.round(took)))]);
}

/** Draws a job's card anew. @param {string} id */
function paint(id) {
  const one = all.get(id);
  if (!one) return;
  const { job, card, log } = one;
  const live = LIVE.includes(job.state);
  const open = view.state.job === id;
  card.className = "job " + job.state;
  card.replaceChildren(
    el("div", { class: "job-head" }, el("h2", { dir: "auto" }, say(job.title || job.kind)), el("span", { class: job.state === "running" ? "live" : "job-state" }, say(STATES[job.state])), times(job)),
    live || job.state === "interrupted" ? bar(job.done, job.total, job.said, job.started) : "",
    job.error ? el("p", { class: "job-error" }, say(job.error)) : "",
    job.state === "interrupted" ? el("p", { class: "soft" }, say("The server ended before this was done. What is finished of it is kept.")) : "",
    el(
      "div",
      { class: "job-tools" },
      job.state === "done" ? result(job) : "",
      live ? button("Cancel", () => act(() => remove(path("jobs", id)))) : "",
      ["interrupted", "failed", "cancelled"].includes(job.state) ? button("Go on", () => act(() => post(path("jobs", id, "resume"), {})), { class: "action" }) : "",
      live ? "" : button("Remove", () => act(() => remove(path("jobs", id))), { class: "quiet" }),
      button(open ? "Hide the log" : "Log", () => toggle(id), { class: "quiet", "aria-expanded": String(open) })
    ),
    open ? el("pre", { class: "code log", tabindex: "0", translate: "no", "aria-label": say("Log") }, log.join("\n") || say("Nothing was said yet.")) : ""
  );
}

/** @param {string} id */
function toggle(id) {
  view.set({ job: view.state.job === id ? "" : id });
  for (const other of all.keys()) paint(other);
  listen(id);
}

/** @param {() => Promise<any>} work */
async function act(work) {
  try {
    await work();
  } catch (/** @type {any} */ error) {
    toast(error.message, { detail: error.whatToDo, retry: () => act(work) });
  }
  await again();
}

/** Follows the events of a job: of one that goes on, or whose log is open. @param {string} id */
async function listen(id) {
  const one = all.get(id);
  if (!one || one.following || !(LIVE.includes(one.job.state) || view.state.job === id)) return;
  one.following = new AbortController();
  one.log = [];
  try {
    for await (const { event, data } of follow(path("jobs", id, "events"), { signal: one.following.signal })) {
      if (event === "log") one.log.push(data.line);
      else Object.assign(one.job, data);
      paint(id);
      if (event === "state" && !LIVE.includes(data.state)) break;
    }
  } catch (/** @type {any} */ error) {
    if (error.name !== "AbortError") console.warn(error);
  }
  one.following = null;
}

/** The cards of the jobs that the server has. */
async function look() {
  const { jobs } = await get(path("jobs"));
  for (const [id, one] of all)
    if (!jobs.some((/** @type {Job} */ job) => job.id === id)) {
      one.following?.abort();
      all.delete(id);
    }
  for (const job of /** @type {Job[]} */ (jobs)) {
    const one = all.get(job.id) ?? { job, card: el("article", { id: "job-" + job.id }), log: [], following: null };
    one.job = job;
    all.set(job.id, one);
    paint(job.id);
    listen(job.id);
  }
  const cards = jobs.map((/** @type {Job} */ job) => all.get(job.id)?.card);
  const run = currentRun();
  const none = empty("No job has run yet. Sweeps of the playground, and runs that are gone on with, appear here.", run ? { text: "To the playground", href: "/steer?run=" + encodeURIComponent(run) } : null);
  return cards.length ? cards : [none];
}

const again = async () => $("jobs").replaceChildren(...(await look()));

async function start() {
  view = await View.open(FIELDS, () => all.forEach((_, id) => (paint(id), listen(id))));
  const code = () => ["import httpx", "", `for job in httpx.get("${location.origin}/api/jobs").json()["jobs"]:`, '    print(job["title"], job["state"], job["done"], job["total"])'].join("\n");
  shell({ crumbs: [[say("Jobs"), null, false]], title: say("Jobs"), code });
  await fill($("page"), () => el("div", { class: "column" }, el("div", { class: "head-line" }, el("h1", {}, say("Jobs"))), el("div", { id: "jobs", class: "jobs" })), 4);
  await fill($("jobs"), look, 4);
  setInterval(() => document.hidden || again().catch(() => null), 5000);
  document.documentElement.dataset.ready = "yes";
}

start();
