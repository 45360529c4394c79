// What can be done about a run that is being made or was left: stop it, which keeps a checkpoint, or go on with it here.
import { el, say } from "../elements.js";
import { get, path, post, remove } from "./api.js";
import { button, status, toast } from "./shell.js";

/** The job that works on a run, or null. @param {string} run */
export async function jobOf(run) {
  const { jobs } = await get(path("jobs"));
  return jobs.find((/** @type {any} */ job) => job.request.run === run && ["waiting", "running"].includes(job.state)) ?? null;
}

/**
 * The buttons of a run.
 * @param {string} run
 * @param {{id: string} | null} job - of this server, that works on it
 * @param {boolean} live - whether any process works on it
 */
export function running(run, job, live) {
  if (job)
    return el(
      "p",
      { class: "run-tools" },
      button("Stop (a checkpoint is kept)", () => act(() => remove(path("jobs", job.id)), "Stopping: the checkpoint is written first.")),
      el("a", { class: "quiet", href: "/jobs?job=" + job.id }, say("Its log"))
    );
  if (live) return el("p", { class: "soft" }, say("It is being made by a process outside of this server; end it there with Ctrl-C."));
  return el("p", { class: "run-tools" }, button("Go on with it here", () => act(() => post(path("jobs"), { kind: "run", run, language: document.documentElement.lang }), "Going on."), { class: "action" }));
}

/** @param {() => Promise<any>} work @param {string} said */
async function act(work, said) {
  try {
    await work();
    status(said);
    setTimeout(() => location.reload(), 1500);
  } catch (/** @type {any} */ error) {
    toast(error.message, { detail: error.whatToDo, retry: () => act(work, said) });
  }
}
