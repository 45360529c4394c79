// Test your own text: the feature's activation on each token of what is typed.
import { el, measured, say, signed, two } from "../elements.js";
import { bare, heatmap } from "../tokens.js";
import { post } from "./api.js";
import { button, failure, runAddress } from "./shell.js";

/** @import {FeatureDetail} from "../api.js" */
/** @typedef {{tokens: string[], latents: Record<string, number[]>, costs?: (number | null)[] | null}} Answer */

const LEAST = 0.01; // nats that are told
const PAUSE = 200; // milliseconds after the last key

/**
 * @param {string} run @param {FeatureDetail} feature
 * @param {{text: string}} settings - `text` keeps what was typed
 * @param {() => void} save - puts it into the address
 */
export function tryText(run, feature, settings, save) {
  const { latent, max } = feature;
  const shown = el("div", { class: "tried", "aria-live": "polite" });
  const field = el("textarea", { id: "try-text", rows: "1", spellcheck: "false", placeholder: say("Type a text to see where it fires"), on: { input: later } });
  field.value = settings.text;
  let timer = 0;
  /** @type {AbortController | null} */
  let asking = null;

  function later() {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE);
  }

  async function look() {
    settings.text = field.value;
    save();
    asking?.abort();
    if (!field.value) return void shown.replaceChildren();
    asking = new AbortController();
    try {
      show(await post(`/api${runAddress(run, "activations")}`, { text: field.value, latents: [latent], without: latent }, { signal: asking.signal }));
    } catch (/** @type {any} */ error) {
      if (error.name !== "AbortError") shown.replaceChildren(failure(error, look));
    }
  }

  /** @param {Answer} answer */
  function show({ tokens, latents, costs }) {
    const activations = latents[latent];
    const maximum = Math.max(0, ...activations);
    const peak = maximum > 0 ? activations.indexOf(maximum) : -1;
    const said = maximum > 0 ? say("Strongest here: {n}, {n} of its maximum.", measured(maximum), Math.round((100 * maximum) / (max || 1)) + " %") : say("It does not fire on this text.");
    shown.replaceChildren(heatmap({ tokens, activations, peak, maximum: maximum || 1 }, { scale: max ?? 1, full: true }), el("p", { class: "soft" }, said), maximum > 0 && costs ? effects(tokens, costs) : "");
  }

  /** The tokens that change most where the feature is taken out. @param {string[]} tokens @param {(number | null)[]} costs */
  function effects(tokens, costs) {
    const places = costs.map((cost, at) => ({ cost: cost ?? 0, at })).sort((a, b) => Math.abs(b.cost) - Math.abs(a.cost));
    const most = places.filter(({ cost }) => Math.abs(cost) >= LEAST).slice(0, 5);
    const sum = costs.reduce((/** @type {number} */ sum, cost) => sum + (cost ?? 0), 0);
    const about = say("Taken out, the text costs {n} nats more: by how much each token gets less likely", signed(sum));
    if (!most.length) return el("p", { class: "soft" }, say("Taking the feature out changes no token’s likelihood by {n} nats.", LEAST));
    return el("p", { class: "soft costs", title: about }, say("Without it:"), " ", most.flatMap(({ cost, at }) => [el("span", { class: "chip" }, bare(tokens[at])), el("span", {}, (cost > 0 ? "−" : "+") + two(Math.abs(cost))), " "]), say("nats of log-likelihood"));
  }

  function example() {
    const strongest = feature.passages.find(({ kind }) => kind === "top");
    field.value = strongest ? strongest.tokens.slice(Math.max(0, strongest.peak - 24), strongest.peak + 9).join("").replace(/<0x..>/g, "").trim() : "";
    look();
    field.focus();
  }

  if (field.value) look();
  return el("section", { class: "bench-part", "aria-labelledby": "try-title" }, el("div", { class: "bench-head" }, el("h3", { id: "try-title" }, el("label", { for: "try-text" }, say("Test your text"))), button("Its strongest passage", example, { class: "quiet" })), field, shown);
}
