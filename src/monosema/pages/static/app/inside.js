// One prediction inside the model, asked of the server: a lens, the parts of its logit, heads, and its steps.
import { el, say } from "../elements.js";
import { choose } from "../fields.js";
import { FIGURES, SPLITS, headGrid, lensTable, lookedAt, partsList, place } from "../inside.js";
import { post } from "./api.js";
import { failure, runAddress, skeleton } from "./shell.js";

/** @import {Head, Heads, Parts, Read} from "../inside.js" */
/** @typedef {{signal: AbortSignal, again: () => void, run: string, position: number, by: string, temperature: number, change: (change: Record<string, unknown>) => void}} About */

/** @param {HTMLElement} host @param {Record<string, unknown>} asked @param {About} about */
export const lens = (host, asked, about) => filled(host, "/api/prompt/lens", asked, about, (/** @type {Read} */ read) => lensTable(read, about.position));

/** @param {HTMLElement} host @param {Record<string, unknown>} asked @param {About} about */
export const parts = (host, asked, about) =>
  filled(host, "/api/prompt/parts", { ...asked, by: about.by }, about, (/** @type {Parts} */ found) => partsList(found, about.by, SPLITS, (by) => about.change({ by }), (latent) => runAddress(about.run, "features", latent)));

/**
 * Where heads look; a cell of the grid is a head. @param {HTMLElement} host @param {Record<string, unknown>} asked @param {About & {head: string, figure: string, weighted: boolean}} about
 */
export const attention = (host, asked, about) => {
  const head = /^a(\d+)\.h(\d+)$/.exec(about.head)?.slice(1).map(Number) ?? null;
  return filled(host, "/api/prompt/attention", { ...asked, head, weighted: about.weighted }, about, (/** @type {Heads & Head} */ found) => [
    el("div", { class: "options input-options" }, choose(say("Colour"), FIGURES, about.figure, (figure) => about.change({ figure })), el("label", {}, el("input", { type: "checkbox", checked: about.weighted, on: { change: (/** @type {Event} */ event) => about.change({ weighted: /** @type {HTMLInputElement} */ (event.target).checked }) } }), say("Weighed by what is taken"))),
    headGrid(found, about.figure, found.head, (name) => () => about.change({ head: name })),
    ...lookedAt(found.tokens, found),
  ]);
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
