// One feature with all that is known of it, and what can be tried on it: the report's page with the app's tools in it.
import { el, say, tips } from "../elements.js";
import { featurePage } from "../feature.js";
import "../items.js";
import { tokenTip } from "../tokens.js";
import { get } from "./api.js";
import { exportMenu } from "./exports.js";
import { labelling, voting } from "./labelling.js";
import { MOST, nudge } from "./nudge.js";
import { button, fill, runAddress, skeleton } from "./shell.js";
import { choice, flag, number, text } from "./state.js";
import { tryText } from "./try.js";

/** @import {FeatureDetail, FeatureRow, RunDetail} from "../api.js" */
/** @import {Context} from "../feature.js" */
/** @import {State} from "./state.js" */
/** @import {Stars} from "./stars.js" */
/**
 * What a page gives: `fresh` is false once another feature was asked for; `settings` and `save` keep a view in the
 * address; `changed` is told of a new label.
 * @typedef {{fresh(): boolean, open(latent: number): void, step(by: number): void, close(): void, alone(): void, onStar(latent: number): void, stars: Stars, settings: State<typeof VIEWED>, save(settings: State<typeof VIEWED>): void, changed?(): void, beside?: number}} Options
 */

/** Fields of an address for what is chosen and typed on a feature's page. */
export const VIEWED = { tab: text("top"), scale: choice(["feature", "passage"]), full: flag(), text: text(), prompt: text(), strength: number(1, { low: -MOST, high: MOST }) };
/** @type {Map<string, Promise<RunDetail & {items?: any}>>} */
const runs = new Map();

/** A run as the server tells it, asked for once. @param {string} run */
export function about(run) {
  const asked = runs.get(run) ?? get("/api" + runAddress(run)).catch((error) => (runs.delete(run), Promise.reject(error)));
  runs.set(run, asked);
  return asked;
}

/** Shows a feature in `host`, and beside it another where one is given. @param {HTMLElement} host @param {string} run @param {number} latent @param {Options} options @returns {Promise<void>} */
export async function feature(host, run, latent, options) {
  const { beside = -1 } = options;
  if (!host.querySelector("article")) host.replaceChildren(skeleton(9));
  await fill(host, async () => {
    const others = beside >= 0 && beside !== latent ? [beside] : [];
    const pages = await Promise.all([latent, ...others].map((one, i) => page(run, one, { ...options, second: i > 0, again: () => (options.changed?.(), feature(host, run, latent, options)) })));
    if (!options.fresh()) throw Object.assign(new Error(), { name: "AbortError" });
    host.scrollTop = 0;
    return others.length ? el("div", { class: "side-by-side" }, pages) : pages;
  });
  if (!host.dataset.tips) tips(host, ".t", tokenTip);
  host.dataset.tips = "yes";
}

/** Causes of a feature, whose module comes after the page. @param {string} run @param {FeatureDetail} found */
function causes(run, found) {
  const host = el("div", { class: "causes-of" });
  import("./causes.js").then(({ causesOf }) => host.replaceChildren(...causesOf(run, found)));
  return host;
}

/** @param {string} run @param {number} latent @param {Options & {second: boolean, again(): void}} options */
async function page(run, latent, options) {
  /** @type {[FeatureDetail, RunDetail & {items?: any}]} */
  const [found, told] = await Promise.all([get(`/api${runAddress(run, "features", latent)}`), about(run)]);
  const labels = await near(run, found);
  const { settings } = options;
  const save = () => options.save(pick(settings));
  /** @type {Context} */
  const context = {
    index: { rows: { get: (other) => other }, label: (other) => labels.get(other) || say("no label"), buckets: told.position_buckets },
    settings,
    sides: told.sides,
    view: told.of_items ? "items" : "passages",
    items: told.items,
    save,
    open: options.open,
    step: options.step,
    close: options.close,
    starred: options.stars.has(latent),
    onStar: () => options.onStar(latent),
    address: (other) => runAddress(run, "features", other),
    suffix: options.second ? "-second" : "",
    tools: [
      options.second ? button("Close", options.alone, { class: "quiet" }) : "",
      el("a", { class: "quiet", href: runAddress(run, "features", latent), title: say("This feature on a page of its own") }, "⤢"),
      exportMenu(run, latent),
    ],
    panels: found.alive && !told.of_items && !options.second ? [el("div", { class: "bench" }, tryText(run, found, settings, save), nudge(run, found, settings, save))] : [],
    evidence: found.alive ? [labelling(run, found, options.again)] : [],
    causes: found.alive && !told.of_items ? causes(run, found) : null,
    vote: (explanation) => voting(run, found, explanation),
  };
  const article = featurePage(found, context);
  article.dataset.latent = String(latent);
  return article;
}

/** @param {State<typeof VIEWED>} settings */
const pick = ({ tab, scale, full, text, prompt, strength }) => ({ tab, scale, full, text, prompt, strength });

/** Labels of the features that are near. @param {string} run @param {FeatureDetail} feature @returns {Promise<Map<number, string>>} */
async function near(run, { neighbours }) {
  const others = [...new Set(Object.values(neighbours).flatMap((list) => list.map(({ other }) => other)))];
  if (!others.length) return new Map();
  const { features } = await get(`/api${runAddress(run, "features")}?alive=all&limit=${others.length}&sort=latent&latents=${others.join(",")}`);
  return new Map(features.map((/** @type {FeatureRow} */ { latent, label }) => [latent, label]));
}
