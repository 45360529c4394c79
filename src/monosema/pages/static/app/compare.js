// Two runs side by side: figures with their difference, training curves, what of the recipe differs, a text in both.
import { el, known, number, say, two } from "../elements.js";
import { strip } from "../plots.js";
import { tabs } from "../tabs.js";
import { chip, labelled } from "../tokens.js";
import { get, path, post } from "./api.js";
import { chart } from "./charts.js";
import { about } from "./one.js";
import { button, empty, facts, failure, fill, folderOf, runAddress, shell } from "./shell.js";
import { View, choice, text } from "./state.js";

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @import {Measured} from "../api.js" */
/** @typedef {"figures" | "curves" | "matched" | "recipe" | "text"} Tab */

/** @type {Record<Tab, string>} */
const TABS = { figures: "Figures", curves: "Training", matched: "Matched features", recipe: "Recipe", text: "A text in both" };
export const FIELDS = { a: text(), b: text(), tab: choice(/** @type {Tab[]} */ (Object.keys(TABS))), text: text() };
const FIRED = 12; // features shown of a text

/** @type {View<typeof FIELDS>} */
let view;
const both = () => [view.state.a, view.state.b];

/** @param {"a" | "b"} which */
function chooser(which) {
  const names = facts.runs.map(({ name }) => name);
  /** @type {HTMLSelectElement} */
  const select = el("select", { class: "field", "aria-label": say(which === "a" ? "First run" : "Second run"), on: { change: () => view.set({ [which]: select.value }, { push: true }).then(show) } }, el("option", { value: "" }, say("choose a run")), names.map((name) => el("option", { value: name, selected: name === view.state[which], translate: "no" }, name)));
  return select;
}

/** @param {string} name */
async function header(name) {
  const told = await about(name);
  const what = [told.model, told.site, `${told.architecture ?? ""} ${known(told.n_latents) ? number(told.n_latents) : ""}`].filter(Boolean).join(" · ");
  return el("div", { class: "compared-run" }, el("p", { translate: "no" }, what), el("p", {}, el("a", { class: "quiet", href: runAddress(name) }, say("The run")), el("a", { class: "quiet", href: runAddress(name, "features") }, say("Its features"))));
}

/** @param {number | null | undefined} value @param {string} unit */
function written(value, unit) {
  if (!known(value)) return "–";
  const negative = value < 0 ? "−" : "";
  const size = Math.abs(value);
  return negative + (unit === "share" ? (100 * size).toFixed(1) + " %" : unit === "nats" ? size.toFixed(3) : size.toPrecision(3));
}

/** A difference: shares differ by points. @param {number | null | undefined} value @param {string} unit */
const gapOf = (value, unit) => (unit === "share" && known(value) ? say("{n} points", written(value, unit).replace(" %", "")) : written(value, unit));

/** @param {number | null} low @param {number | null} high @param {string} unit */
const range = (low, high, unit) => (known(low) && known(high) ? ` [${written(low, unit).replace(" %", "")}, ${written(high, unit).replace(" %", "")}]` : "");

async function figures() {
  const [a, b] = both();
  const { metrics, ...told } = await get("/api/compare?" + new URLSearchParams({ a, b }));
  if (!metrics.length) return empty("There is no figure that both runs have. Evaluate them first:", { command: `monosema run ${folderOf(told.a.metrics.fvu ? b : a)}` });
  /** @type {Record<"key" | "name" | "unit" | "better" | "means", string>[]} */
  const glossary = facts.metrics;
  const named = new Map(glossary.map((metric) => [metric.key, metric]));
  const order = glossary.map(({ key }) => key);
  metrics.sort((/** @type {{metric: string}} */ one, /** @type {{metric: string}} */ other) => order.indexOf(one.metric) - order.indexOf(other.metric));
  const samePieces = told.a.model === told.b.model; // else losses are of different tokens
  const alike = told.a.model === told.b.model && told.a.site === told.b.site;
  /** @param {Measured} one @param {string} unit */
  const cell = (one, unit) => el("td", { title: one.n ? `n = ${number(one.n)} (${one.method})` : null }, el("b", {}, written(one.value, unit)), el("span", { class: "interval" }, range(one.low, one.high, unit)));
  /** @param {{metric: string, a: Measured, b: Measured, difference: {value: number, low: number, high: number}}} line */
  const row = ({ metric, a: first, b: second, difference: gap }) => {
    const { name, unit, better, means } = named.get(metric) ?? { name: metric, unit: "", better: "", means: "" };
    const pair = [first, second];
    const clear = gap.low > 0 || gap.high < 0;
    const good = alike && clear && better ? (gap.value > 0) === (better === "higher") : null;
    const points = pair.map((one) => [one.value, one.low ?? one.value, one.high ?? one.value]);
    const ends = points.flat().filter(known);
    return el(
      "tr",
      {},
      el("th", { scope: "row", title: say(means) }, say(name), better && (samePieces || unit !== "nats") ? el("small", {}, " " + (better === "lower" ? "↓" : "↑")) : null),
      pair.map((one) => cell(one, unit)),
      el("td", { class: "gap " + (good === null ? "" : good ? "better" : "worse") }, el("b", {}, gap.value > 0 ? "+" : "", gapOf(gap.value, unit)), el("span", { class: "interval" }, range(gap.low, gap.high, unit))),
      el("td", { class: "strip-cell" }, strip({ points: [points[1], points[0]], domain: [Math.min(0, ...ends), Math.max(unit === "share" ? 1 : 0, ...ends) || 1] }))
    );
  };
  return [
    alike ? null : el("p", { class: "soft" }, say("The two read different activations: each figure says how well a dictionary rebuilds its own."), samePieces ? null : " " + say("The models cut text into different tokens, so their losses can’t be compared.")),
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": say("Figures") },
      el("table", { class: "evaluation" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, say("Metric")), both().map((name) => el("th", { scope: "col", translate: "no" }, name)), el("th", { scope: "col" }, say("second − first")), el("th", { class: "strip-head", "aria-hidden": "true" }))), el("tbody", {}, metrics.map(row)))
    ),
    el("p", { class: "soft" }, say("Intervals of differences are those of two independent measurements; filled is the second run.")),
  ];
}

async function curves() {
  const [a, b] = both();
  const drawn = await Promise.all(["fvu", "l0", "dead"].map((name) => chart(path("runs", a, "charts", `curve-${name}.svg`) + "?with=" + encodeURIComponent(b)).catch(() => null)));
  const found = drawn.filter((one) => one !== null);
  return found.length ? el("div", { class: "curves" }, found.map((one) => el("figure", {}, one))) : empty("These runs have no training curves: their dictionaries were not trained here.");
}

/** @param {any} value @param {string} [prefix] @returns {[string, string][]} */
function flat(value, prefix = "") {
  return Object.entries(value).flatMap(([key, inner]) => (inner !== null && typeof inner === "object" && !Array.isArray(inner) ? flat(inner, `${prefix}${key}.`) : inner === null ? [] : [[prefix + key, Array.isArray(inner) ? inner.join(", ") : String(inner)]]));
}

async function recipe() {
  const [a, b] = (await Promise.all(both().map(about))).map((told) => new Map(flat(told.recipe)));
  const keys = [...new Set([...a.keys(), ...b.keys()])].filter((key) => a.get(key) !== b.get(key));
  if (!keys.length) return el("p", { class: "soft" }, say("The recipes are equal."));
  return el("div", { class: "scroll" }, el("table", { class: "evaluation lines" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, say("What differs")), both().map((name) => el("th", { scope: "col", translate: "no" }, name)))), el("tbody", { translate: "no" }, keys.map((key) => el("tr", {}, el("th", { scope: "row" }, key), [a, b].map((one) => el("td", {}, one.get(key) ?? "–")))))));
}

async function matched() {
  const [a, b] = both();
  const found = await get("/api/compare/features?" + new URLSearchParams({ a, b, limit: "200" }));
  /** @param {string} run @param {{latent: number, label: string}} feature */
  const name = (run, { latent, label }) => el("td", {}, el("a", { href: runAddress(run, "features", latent) }, el("span", { class: "id" }, String(latent)), " ", el("span", { class: "label", dir: "auto" }, label ? labelled(label) : say("no label"))));
  /** @param {...string} names */
  const head = (...names) => el("thead", {}, el("tr", {}, names.map((text) => el("th", { scope: "col", translate: both().includes(text) ? "no" : null }, both().includes(text) ? text : say(text)))));
  /** @param {string[]} heads @param {HTMLElement[]} lines */
  const table = (heads, lines) => el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": say("Matched features") }, el("table", { class: "evaluation matched" }, head(...heads), el("tbody", {}, lines)));
  return [
    el("p", { class: "soft" }, say("Features that are each other’s nearest by the cosine of their decoder directions. Of {n} features {n} have a partner above {n}; the nearest of random directions is at {n}.", number(found.of), number(found.above), found.threshold, two(found.chance))),
    el("div", { class: "in-both" }, table(["cosine", a, b], found.pairs.map((/** @type {any} */ pair) => el("tr", {}, el("td", {}, two(pair.cosine)), name(a, pair.a), name(b, pair.b)))), table(["nearest", "Only in the first"], found.only.map((/** @type {any} */ one) => el("tr", {}, el("td", {}, two(one.nearest)), name(a, one))))),
  ];
}

function oneText() {
  const shown = el("div", { class: "in-both" });
  const field = el("textarea", { rows: "2", "aria-label": say("Text"), placeholder: say("Type a text: which features fire on it in each?"), on: { input: later } });
  field.value = view.state.text;
  let timer = 0;
  function later() {
    clearTimeout(timer);
    timer = setTimeout(look, 300);
  }
  async function look() {
    view.set({ text: field.value });
    if (!field.value.trim()) return shown.replaceChildren();
    const columns = both().map(() => el("div", {}));
    shown.replaceChildren(...columns);
    await Promise.all(both().map((run, i) => fill(columns[i], () => fired(run, field.value), 5)));
  }
  if (field.value) look();
  return [field, shown];
}

/** @param {string} run @param {string} given */
async function fired(run, given) {
  const { tokens, latents, labels, maxima, active } = await post(path("runs", run, "activations"), { text: given, limit: FIRED });
  const strongest = Object.entries(/** @type {Record<string, number[]>} */ (latents)).map(([latent, values]) => ({ latent, values, most: Math.max(...values) }));
  /** @param {{latent: string, most: number}} one */
  const share = ({ latent, most }) => most / (maxima[latent] || 1);
  strongest.sort((one, other) => share(other) - share(one));
  const lines = strongest.map(({ latent, values, most }) => {
    return el("li", {}, el("a", { href: runAddress(run, "features", latent) }, el("span", { class: "id" }, latent), " ", el("span", { class: "label", dir: "auto" }, labels[latent] ? labelled(labels[latent]) : say("no label"))), el("span", { class: "value" }, chip(tokens[values.indexOf(most)]), " ", Math.round(100 * share({ latent, most })) + " %"));
  });
  return [el("p", { class: "soft" }, say("{n} features fire; nearest to their own maximum:", number(active))), el("ol", { class: "near" }, lines)];
}

/** @type {Record<Tab, () => Promise<any>>} */
const SHOW = { figures, curves, matched, recipe, text: async () => oneText() };

async function show() {
  const [a, b] = both();
  const heads = await Promise.all(both().map((name) => (name ? header(name).catch((error) => failure(error)) : "")));
  const panel = el("div", { id: "panel", role: "tabpanel", class: "panel" });
  /** @param {any} tab */
  const select = (tab) => view.set({ tab }, { push: true }).then(show);
  $("page").replaceChildren(
    el(
      "div",
      { class: "column" },
      el("div", { class: "head-line" }, el("h1", {}, say("Compare")), button("Swap", () => view.set({ a: b, b: a }, { push: true }).then(show), { class: "quiet" })),
      el("div", { class: "choosers" }, /** @type {("a" | "b")[]} */ (["a", "b"]).map((which, i) => el("div", {}, chooser(which), heads[i]))),
      a && b ? [tabs(TABS, view.state.tab, select, "panel"), panel].flat() : [empty(facts.runs.length < 2 ? "There is one run only. Make another to compare it with:" : "Choose two runs to compare.", facts.runs.length < 2 ? { command: "monosema run --out runs/second" } : null)]
    )
  );
  if (a && b) await fill(panel, SHOW[view.state.tab]);
}

const code = () => (both().every(Boolean) ? ["import monosema as ms", "", ...both().map((name, i) => `${"ab"[i]} = ms.Run.open(${JSON.stringify(folderOf(name))}).evaluation().dictionary.metrics`), "for name in a.keys() & b.keys():", "    print(name, a[name].value, b[name].value, b[name].value - a[name].value)"].join("\n") : null);

async function start() {
  view = await View.open(FIELDS, show);
  shell({ crumbs: [[say("Compare"), null, false]], title: say("Compare"), code });
  await show();
  document.documentElement.dataset.ready = "yes";
}

start();
