// One prediction inside the model: layer by layer through a lens, the parts that its logit is a sum of, and where heads look.
import { el, measured, number, say } from "./elements.js";
import { choose } from "./fields.js";
import { percent, signed, strip } from "./strips.js";
import { visible } from "./tokens.js";

/** @typedef {{token: string, probability: number}} Guess */
/** @typedef {{layer: string, position: number, top: Guess[], target: Guess & {rank: number}, kl: number}} Cell */
/** @typedef {{tokens: string[], reading: Cell[]}} Read */
/** @typedef {{parts: {part: string, score: number}[], value: number, gap: number, rest: number, n: number}} Parts */
/** @typedef {{head: [number, number], looks: number[], first: number, map: number[][]}} Head */
/** @typedef {{tokens: string[], figures: Record<string, number[][]>}} Heads */

export const SPLITS = { layer: "layers", head: "heads", neuron: "neurons", latent: "features" };
/** Figures of a head, by what they are said as. */
export const FIGURES = { sink: "sink", moved: "moved by the sink", entropy: "entropy", distance: "distance" };

/** Words of the server for places, by what they are said as. @param {string} name */
export const place = (name) => name.replace(/^(\D+?) (\d+)$/, (_, word, n) => `${say(word)} ${n}`);
/** @param {number} layer @param {number} head */
export const nameOf = (layer, head) => `a${layer}.h${head}`;

/** A table that scrolls by itself. @param {string} name @param {HTMLElement} table */
const scrolled = (name, table, more = "") => el("div", { class: "lens" + more, tabindex: "0", role: "region", "aria-label": name }, table);

/** What each layer would say. @param {Read} read @param {number} position - the question's */
export function lensTable({ tokens, reading }, position) {
  const layers = [...new Set(reading.map(({ layer }) => layer))].reverse();
  const lines = layers.map((layer) => reading.filter((one) => one.layer === layer));
  const cell = (/** @type {Cell} */ one) => el("td", { style: { "--a": one.top[0].probability.toFixed(3) }, class: one.target.rank === 1 ? "first" : null, title: one.top.map(({ token, probability }) => `${visible(token)} ${percent(probability)}`).join("\n") + `\n${visible(one.target.token)}: ${say("rank {n}", one.target.rank)}, ${percent(one.target.probability)}` }, visible(one.top[0].token));
  const head = lines[0].map((one) => el("th", { scope: "col", class: one.position === position ? "chosen" : null, translate: "no" }, visible(tokens[one.position])));
  const chosen = head.find((_, i) => lines[0][i].position === position);
  requestAnimationFrame(() => chosen?.closest(".lens")?.scrollTo({ left: chosen.offsetLeft }));
  return [
    el("p", { class: "soft small" }, say("What each layer’s stream would say next, through the model’s own final norm and unembedding. Framed: the answer is first there already.")),
    scrolled(say("Logit lens"), el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, say("layer")), head)),
      el("tbody", { translate: "no" }, lines.map((line, i) => el("tr", {}, el("th", { scope: "row" }, place(layers[i])), line.map(cell)))))),
  ];
}

/**
 * The parts of a logit, by a list of what it can be split into.
 * @param {Parts} found @param {string} by @param {Record<string, string>} splits @param {(by: string) => unknown} change
 * @param {(latent: string) => string | null} address - of a feature's page
 */
export function partsList({ parts, value, gap, rest, n }, by, splits, change, address) {
  const most = Math.max(...parts.map(({ score }) => Math.abs(score)), 1e-9);
  const named = (/** @type {string} */ part) => {
    const latent = /^latent (\d+)$/.exec(part)?.[1];
    const href = latent === undefined ? null : address(latent);
    return href ? el("a", { class: "label", href, translate: "no" }, "#" + latent) : el("span", {}, place(part));
  };
  const line = (/** @type {{part: string, score: number}} */ { part, score }) => el("li", {}, el("span", { class: "two-sided", "aria-hidden": "true" }, el("i", { class: score > 0 ? "for" : "against", style: { "--w": (50 * Math.abs(score)) / most + "%" } })), el("span", { class: "num" }, signed(score)), named(part));
  return [
    el("div", { class: "options input-options" }, choose(say("Split into"), splits, by, change)),
    el("p", { class: "soft small" }, say("What each part adds straight to the logits’ difference, at the final norm’s scale here; what it does by way of later layers is theirs.")),
    el("ol", { class: "shares" }, parts.map(line)),
    el("p", { class: "soft small" }, parts.length < n ? say("the other {n}: {}", number(n - parts.length), signed(rest)) + " · " : "", say("sum {} · gap {}", signed(value), measured(gap))),
  ];
}

/**
 * A figure of every head; those that can be looked at are buttons. @param {Heads} heads @param {string} figure
 * @param {[number, number]} chosen @param {(name: string) => (() => unknown) | null} open - what a click on a head does
 */
export function headGrid({ figures }, figure, chosen, open) {
  const values = figures[figure];
  const most = Math.max(...values.flat(), 1e-9);
  const cell = (/** @type {number} */ value, /** @type {number} */ l, /** @type {number} */ h) => {
    const click = open(nameOf(l, h));
    const title = Object.entries(FIGURES).map(([key, said]) => `${say(said)} ${measured(figures[key][l][h])}`).join("\n");
    const shown = { class: "head-cell", style: { "--a": (value / most).toFixed(3) }, title };
    return el("td", {}, click ? el("button", { ...shown, type: "button", "aria-label": `${nameOf(l, h)} ${value.toFixed(2)}`, "aria-pressed": String(l === chosen[0] && h === chosen[1]), on: { click } }, value.toFixed(2)) : el("span", shown, value.toFixed(2)));
  };
  return scrolled(say("Heads"), el("table", { translate: "no" },
    el("thead", {}, el("tr", {}, el("td", {}), values[0].map((_, h) => el("th", { scope: "col" }, "h" + h)))),
    el("tbody", {}, values.map((row, l) => el("tr", {}, el("th", { scope: "row" }, "a" + l), row.map((value, h) => cell(value, l, h)))))));
}

/** Where a head looks. @param {string[]} tokens @param {Head} head */
export function lookedAt(tokens, { head: [layer, head], looks, first, map }) {
  const shown = tokens.slice(first);
  return [
    el("h3", {}, say("Where {} looks from here", nameOf(layer, head))),
    strip(tokens.map((token) => ({ token })), looks),
    scrolled(say("Attention pattern"), el("table", { translate: "no" },
      el("thead", {}, el("tr", {}, el("td", {}), shown.map((token) => el("th", { scope: "col" }, el("span", {}, visible(token)))))),
      el("tbody", {}, map.map((row, q) => el("tr", {}, el("th", { scope: "row" }, visible(shown[q])), row.slice(0, q + 1).map((share, k) => el("td", { style: { "--a": share.toFixed(3) }, title: `${visible(shown[q])} → ${visible(shown[k])}: ${percent(share)}` })))))), " pattern"),
    el("p", { class: "soft small" }, say("Rows look at columns. Where a head looks is no proof that it matters.")),
  ];
}
