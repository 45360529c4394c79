// Circuits of a run: the list of them, or one, whose address holds size, chosen and marked nodes.
import { circuitPage, testable } from "../circuit.js";
import { el, number, say } from "../elements.js";
import { get, path, post } from "./api.js";
import { empty, facts, fill, folderOf, runAddress, shell } from "./shell.js";
import { View, flag, list, number as figure, text } from "./state.js";

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const { run = "", circuit = null } = facts;
export const FIELDS = { n: figure(0, { low: 0, whole: true }), at: text(), picked: list(text()), groups: list(text()), table: flag(), query: text() };
/** @type {View<typeof FIELDS>} */
let view;

/** @param {import("../api.js").CircuitCard} card */
function entry({ name, title, edges, nodes, about, problem }) {
  const told = problem ?? [about.method, about.task && say("{n} prompts of {}", number(about.n), about.task), say("{n} edges", number(edges)), say("{n} nodes", number(nodes))].filter(Boolean).join(" · ");
  return el("li", { class: "run-card" }, el("h2", {}, problem ? name : el("a", { translate: "no", href: runAddress(run, "circuits", encodeURIComponent(name)) }, title || name)), el("p", { class: problem ? "trouble" : "what" }, told));
}

async function listed() {
  const { circuits } = await get(path("runs", run, "circuits"));
  if (!circuits.length) return empty("No circuit has been found in this run’s model yet. Find one:", { command: `monosema circuit ioi --run ${folderOf(run)}` });
  return el("div", { class: "column" }, el("div", { class: "head-line" }, el("h1", {}, say("Circuits"))), el("ul", { class: "run-cards" }, circuits.map(entry)));
}

/** @param {string} name */
async function one(name) {
  const graph = await get(path("runs", run, "circuits", name));
  const shown = circuitPage(graph, {
    settings: { ...view.state },
    save: (settings) => view.set(settings),
    feature: (latent, other) => (other === null || facts.runs.some((/** @type {{name: string}} */ one) => one.name === other) ? runAddress(other ?? run, "features", latent) : null),
    test: testable(graph) ? (asked) => post(path("runs", run, "circuits", name, "test"), asked) : null,
  });
  return el("div", { class: "column wide" }, el("h1", { translate: "no" }, graph.title), shown);
}

const show = () => fill($("content"), () => (circuit === null ? listed() : one(circuit)));
const code = () => (circuit === null ? null : ["from monosema.circuits import ShownGraph", "", `graph = ShownGraph.read(${JSON.stringify(`${folderOf(run)}/circuits/${circuit}`)})`, "for kept in graph.curve:", "    print(kept.size, kept.faithfulness, kept.random)"].join("\n"));

async function start() {
  view = await View.open(FIELDS, show);
  /** @type {import("./shell.js").Crumb[]} */
  const crumbs = [[run, runAddress(run)], [say("Circuits"), circuit === null ? null : runAddress(run, "circuits"), false]];
  if (circuit !== null) crumbs.push([circuit]);
  shell({ crumbs, title: `${circuit ?? say("Circuits")} – ${run}`, code, keys: circuit === null ? {} : { v: [() => /** @type {HTMLElement | null} */ (document.querySelector(".flip"))?.click(), "Table or graph"] } });
  await show();
  document.documentElement.dataset.ready = "yes";
}

start();
