// All runs as cards: what each is, how far it got and how well it did; two of them are compared.
import { byId as $, el, known, number, say, share } from "../elements.js";
import { get } from "./api.js";
import { command, empty, fill, folderOf, runAddress, shell } from "./shell.js";
import { View, choice, list, text } from "./state.js";

/** @import {Measured, RunCard, StageCard} from "../api.js" */

/** @type {Record<string, [text: string, order: (a: RunCard, b: RunCard) => number]>} */
const SORTS = {
  date: ["Newest first", (a, b) => b.changed - a.changed],
  name: ["Name", (a, b) => a.name.localeCompare(b.name)],
  fvu: ["FVU, best first", (a, b) => (a.metrics.fvu?.value ?? Infinity) - (b.metrics.fvu?.value ?? Infinity)],
};
/** @type {[key: string, name: string, text: (value: number) => string][]} */
const METRICS = [
  ["fvu", "FVU", number],
  ["loss_recovered", "Loss recovered", share],
  ["l0", "L0", number],
];
export const FIELDS = { sort: choice(Object.keys(SORTS)), pick: list(text()) };
/** @type {View<typeof FIELDS>} */
let view;
/** @type {RunCard[]} */
let runs = [];
let at = -1; // card that the keys are at

const picked = () => view.state.pick;

/** @param {string} name */
function pick(name) {
  const chosen = picked();
  const next = chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name].slice(-2);
  view.set({ pick: next });
  paint();
}

function paint() {
  const chosen = picked();
  const sorted = runs.toSorted(SORTS[view.state.sort][1]);
  $("cards").replaceChildren(...sorted.map((run) => card(run, chosen.includes(run.name))));
  const two = chosen.length === 2;
  $("compare").setAttribute("aria-disabled", String(!two));
  if (two) $("compare").href = "/compare?" + new URLSearchParams({ a: chosen[0], b: chosen[1] });
  else $("compare").removeAttribute("href");
}

/** @param {RunCard} run @param {boolean} chosen */
function card(run, chosen) {
  const facts = [run.model, run.site, [run.architecture, run.n_latents && say("{n} latents", number(run.n_latents))].filter(Boolean).join(" ")].filter(Boolean);
  return el(
    "article",
    { class: "run-card" + (chosen ? " chosen" : "") },
    el("h2", {}, el("a", { href: runAddress(run.name), translate: "no", "data-run": run.name }, run.name)),
    el("input", { type: "checkbox", class: "pick", checked: chosen, "aria-label": say("Choose {} to compare", run.name), on: { change: () => pick(run.name) } }),
    run.problem ? damaged(run) : [el("p", { class: "what" }, facts.flatMap((fact, i) => [i ? " · " : "", el("span", { translate: "no" }, fact)])), figures(run.metrics)],
    el("p", { class: "run-foot" }, run.stages.length ? dots(run.stages) : null, run.live ? el("span", { class: "live" }, say("working")) : null, el("span", { title: new Date(1000 * run.changed).toLocaleString() }, age(run.changed)))
  );
}

/** @param {RunCard} run */
function damaged(run) {
  return [el("p", { class: "trouble" }, run.problem ?? ""), command(`monosema run ${folderOf(run.name)}`)];
}

/** @param {Record<string, Measured>} metrics */
function figures(metrics) {
  const found = METRICS.filter(([key]) => metrics[key]);
  if (!found.length) return el("p", { class: "soft" }, say("Not evaluated yet."));
  return el("dl", {}, found.map(([key, name, text]) => el("div", {}, el("dt", {}, say(name)), el("dd", {}, text(metrics[key].value)), el("dd", { class: "interval" }, range(metrics[key], text)))));
}

/** @param {Measured} metric @param {(value: number) => string} text */
const range = ({ low, high, n }, text) => (known(low) && known(high) ? el("span", { class: "interval", title: n ? `n = ${number(n)}` : null }, `[${text(low).replace(" %", "")}, ${text(high).replace(" %", "")}]`) : "");

/** Stages as dots on a line. @param {StageCard[]} stages */
function dots(stages) {
  const done = stages.filter((stage) => stage.state === "done").length;
  /** @param {StageCard} stage */
  const name = ({ name, state: at }) => say(name) + ": " + say(at === "done" ? "done" : at === "waiting" ? "waits" : "begun");
  return el("span", { class: "dots", role: "img", "aria-label": say("{n} of {n} stages done", done, stages.length) }, stages.map((stage) => el("i", { class: stage.state === "waiting" ? "" : stage.state === "done" ? "done" : "begun", title: name(stage) })));
}

/** @type {[string, number][]} */
const AGES = [["{n} years ago", 31557600], ["{n} months ago", 2629800], ["{n} days ago", 86400], ["{n} hours ago", 3600], ["{n} minutes ago", 60]];
/** @param {number} changed */
function age(changed) {
  const seconds = Date.now() / 1000 - changed;
  const [text, size] = AGES.find(([, size]) => seconds >= 2 * size) ?? ["just now", 60];
  return say(text, Math.floor(seconds / size));
}

/** @param {number} by */
function walk(by) {
  /** @type {HTMLElement[]} */
  const links = [...document.querySelectorAll(".run-card h2 a")].filter((one) => one instanceof HTMLElement);
  if (!links.length) return;
  at = Math.min(links.length - 1, Math.max(0, at + by));
  links[at].focus();
}

const here = () => document.activeElement?.getAttribute("data-run") ?? "";

function page() {
  /** @type {HTMLSelectElement} */
  const select = el("select", { id: "sort", on: { change: () => (view.set({ sort: select.value }), paint()) } }, Object.entries(SORTS).map(([value, [text]]) => el("option", { value, selected: value === view.state.sort }, say(text))));
  return el(
    "div",
    { class: "column" },
    el(
      "div",
      { class: "head-line" },
      el("h1", {}, say("Runs")),
      el("div", { class: "head-tools" }, el("label", {}, el("span", { class: "soft" }, say("Sort"), " "), select), el("a", { id: "compare", class: "action", role: "link", "aria-disabled": "true", title: say("Choose two runs") }, say("Compare two")))
    ),
    el("div", { id: "cards", class: "run-cards" })
  );
}

async function start() {
  view = await View.open(FIELDS, paint);
  shell({
    crumbs: [[say("Runs"), null, false]],
    title: say("Runs"),
    code: () => runs.map(({ name }) => `run = ms.Run.open(${JSON.stringify(folderOf(name))})`).reduce((text, line) => `${text}\n${line}\nprint(run.summary())`, "import monosema as ms\n"),
    keys: { j: [() => walk(1), "Next run"], k: [() => walk(-1), "Previous run"], x: [() => here() && pick(here()), "Choose the run to compare"] },
  });
  await fill($("page"), async () => {
    ({ runs } = await get("/api/runs?limit=500"));
    if (!runs.length) return empty("There is no run here yet. This makes one with the embedded model, in a few minutes:", { command: "monosema run" });
    return page();
  });
  if (runs.length) paint();
  document.documentElement.dataset.ready = "yes";
}

start();
