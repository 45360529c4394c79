// One prediction inside the model: layer by layer through a lens, the parts that its logit is a sum of, and its steps.
import { el, measured, number, say } from "../elements.js";
import { visible } from "../tokens.js";
import { post } from "./api.js";
import { choose } from "./fields.js";
import { percent, signed, strip } from "./reading.js";
import { failure, runAddress, skeleton } from "./shell.js";

/** @typedef {{token: string, probability: number}} Guess */
/** @typedef {{layer: string, position: number, top: Guess[], target: Guess & {rank: number}, kl: number}} Cell */
/** @typedef {{signal: AbortSignal, again: () => void, run: string, position: number, by: string, temperature: number, change: (change: Record<string, unknown>) => void}} About */

const SPLITS = { layer: "layers", head: "heads", neuron: "neurons", latent: "features" };
/** Words of the server for places, by what they are said as. @param {string} name */
const place = (name) => name.replace(/^(\D+?) (\d+)$/, (_, word, n) => `${say(word)} ${n}`);

/** @param {HTMLElement} host @param {Record<string, unknown>} asked @param {About} about */
export const lens = (host, asked, about) => filled(host, "/api/prompt/lens", asked, about, (/** @type {{tokens: string[], reading: Cell[]}} */ { tokens, reading }) => {
  const layers = [...new Set(reading.map(({ layer }) => layer))].reverse();
  const cell = (/** @type {Cell} */ one) => el("td", { style: { "--a": one.top[0].probability.toFixed(3) }, class: one.target.rank === 1 ? "first" : null, title: one.top.map(({ token, probability }) => `${visible(token)} ${percent(probability)}`).join("\n") + `\n${visible(one.target.token)}: ${say("rank {n}", one.target.rank)}, ${percent(one.target.probability)}` }, visible(one.top[0].token));
  const chosen = el("th", { scope: "col", class: "chosen", translate: "no" }, visible(tokens[about.position]));
  requestAnimationFrame(() => chosen.scrollIntoView({ block: "nearest", inline: "end" }));
  return [
    el("p", { class: "soft small" }, say("What each layer’s stream would say next, through the model’s own final norm and unembedding. Framed: the answer is first there already.")),
    el("div", { class: "lens", tabindex: "0", role: "region", "aria-label": say("Logit lens") }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, say("layer")), tokens.map((token, at) => (at === about.position ? chosen : el("th", { scope: "col", translate: "no" }, visible(token)))))),
      el("tbody", { translate: "no" }, layers.map((layer) => el("tr", {}, el("th", { scope: "row" }, place(layer)), reading.filter((one) => one.layer === layer).map(cell)))))),
  ];
});

/** @param {HTMLElement} host @param {Record<string, unknown>} asked @param {About} about */
export const parts = (host, asked, about) => filled(host, "/api/prompt/parts", { ...asked, by: about.by }, about, (/** @type {{parts: {part: string, score: number}[], value: number, gap: number, rest: number, n: number}} */ { parts, value, gap, rest, n }) => {
  const most = Math.max(...parts.map(({ score }) => Math.abs(score)), 1e-9);
  const named = (/** @type {string} */ part) => (/^\d+$/.test(part) ? el("a", { class: "label", href: runAddress(about.run, "features", part), translate: "no" }, "#" + part) : el("span", {}, place(part)));
  const line = (/** @type {{part: string, score: number}} */ { part, score }) => el("li", {}, el("span", { class: "two-sided", "aria-hidden": "true" }, el("i", { class: score > 0 ? "for" : "against", style: { "--w": (50 * Math.abs(score)) / most + "%" } })), el("span", { class: "num" }, signed(score)), named(part));
  return [
    el("div", { class: "options input-options" }, choose(say("Split into"), SPLITS, about.by, (by) => about.change({ by }))),
    el("p", { class: "soft small" }, say("What each part adds straight to the logits’ difference, at the final norm’s scale here; what it does by way of later layers is theirs.")),
    el("ol", { class: "shares" }, parts.map(line)),
    el("p", { class: "soft small" }, parts.length < n ? say("the other {n}: {}", number(n - parts.length), signed(rest)) + " · " : "", say("sum {} · gap {}", signed(value), measured(gap))),
  ];
});

/** Figures of a head, by what they are said as. */
export const FIGURES = { sink: "sink", moved: "moved by the sink", entropy: "entropy", distance: "distance" };

/**
 * Where heads look; a cell of the grid is a head. @param {HTMLElement} host @param {Record<string, unknown>} asked @param {About & {head: string, figure: string, weighted: boolean}} about
 */
export const attention = (host, asked, about) => {
  const head = /^a(\d+)\.h(\d+)$/.exec(about.head)?.slice(1).map(Number) ?? null;
  return filled(host, "/api/prompt/attention", { ...asked, head, weighted: about.weighted }, about, (/** @type {{tokens: string[], figures: Record<string, number[][]>, head: [number, number], looks: number[], first: number, map: number[][]}} */ { tokens, figures, head: [layer, at], looks, first, map }) => {
    const values = figures[about.figure];
    const most = Math.max(...values.flat(), 1e-9);
    const name = (/** @type {number} */ l, /** @type {number} */ h) => `a${l}.h${h}`;
    const cell = (/** @type {number} */ value, /** @type {number} */ l, /** @type {number} */ h) => el("td", {}, el("button", { type: "button", class: "head-cell", "aria-pressed": String(l === layer && h === at), style: { "--a": (value / most).toFixed(3) }, title: Object.entries(FIGURES).map(([key, said]) => `${say(said)} ${measured(figures[key][l][h])}`).join("\n"), on: { click: () => about.change({ head: name(l, h) }) } }, value.toFixed(2)));
    const shown = tokens.slice(first);
    return [
      el("div", { class: "options input-options" }, choose(say("Colour"), FIGURES, about.figure, (figure) => about.change({ figure })), el("label", {}, el("input", { type: "checkbox", checked: about.weighted, on: { change: (/** @type {Event} */ event) => about.change({ weighted: /** @type {HTMLInputElement} */ (event.target).checked }) } }), say("Weighed by what is taken"))),
      el("div", { class: "lens", tabindex: "0", role: "region", "aria-label": say("Heads") }, el("table", { translate: "no" },
        el("thead", {}, el("tr", {}, el("td", {}), values[0].map((_, h) => el("th", { scope: "col" }, "h" + h)))),
        el("tbody", {}, values.map((row, l) => el("tr", {}, el("th", { scope: "row" }, "a" + l), row.map((value, h) => cell(value, l, h))))))),
      el("h3", {}, say("Where {} looks from here", name(layer, at))),
      strip(tokens.map((token) => ({ token })), looks),
      el("div", { class: "lens pattern", tabindex: "0", role: "region", "aria-label": say("Attention pattern") }, el("table", { translate: "no" },
        el("thead", {}, el("tr", {}, el("td", {}), shown.map((token) => el("th", { scope: "col" }, el("span", {}, visible(token)))))),
        el("tbody", {}, map.map((row, q) => el("tr", {}, el("th", { scope: "row" }, visible(shown[q])), row.slice(0, q + 1).map((share, k) => el("td", { style: { "--a": share.toFixed(3) }, title: `${visible(shown[q])} → ${visible(shown[k])}: ${percent(share)}` }))))))),
      el("p", { class: "soft small" }, say("Rows look at columns. Where a head looks is no proof that it matters.")),
    ];
  });
};

/** @param {HTMLElement} host @param {Record<string, unknown>} asked @param {About} about */
export const steps = (host, asked, about) => filled(host, "/api/prompt/steps", { ...asked, temperature: about.temperature }, about, (/** @type {{name: string, formula: string, said: string}[]} */ found) => {
  const heat = el("input", { type: "number", min: "0.1", max: "10", step: "0.1", value: about.temperature });
  heat.addEventListener("change", () => heat.validity.valid && about.change({ temperature: Number(heat.value) }));
  return [
    el("div", { class: "options input-options" }, el("label", {}, say("Temperature"), " ", heat)),
    el("ol", { class: "steps" }, found.map(({ name, formula, said }) => el("li", {}, el("b", {}, place(name)), el("code", { translate: "no" }, formula), el("p", { class: "soft small", translate: "no" }, said)))),
  ];
});

/**
 * @template T
 * @param {HTMLElement} host @param {string} path @param {Record<string, unknown>} asked @param {About} about @param {(found: T) => Node[]} drawn
 */
async function filled(host, path, asked, { signal, again }, drawn) {
  host.replaceChildren(skeleton(6));
  try {
    host.replaceChildren(...drawn(await post(path, asked, { signal })));
  } catch (error) {
    if (!signal.aborted) host.replaceChildren(failure(error, again));
  }
}
