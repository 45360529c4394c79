// What a notebook shows: one thing in an output cell, in a shadow of its own, so that neither's styles reach the other's.
import { card } from "./card.js";
import { byId, el, tips } from "./elements.js";
import { still } from "./feature.js";
import { fired } from "./fired.js";
import { Reader } from "./language.js";
import { featureRow } from "./row.js";
import { sweep, texts } from "./texts.js";
import { heatmap, tokenTip } from "./tokens.js";

/** @import {FeatureDetail, Passage} from "./api.js" */
/** @import {Brief} from "./row.js" */

/**
 * Views by name: they draw the JSON that a cell brings.
 * @type {Record<string, (data: any) => HTMLElement>}
 */
const VIEWS = {
  /** @param {{feature: FeatureDetail}} data */
  feature: ({ feature }) => card(feature),
  /** @param {{feature: FeatureDetail, sides: [string, string] | null, buckets: [number, number][]}} data */
  page: ({ feature, ...about }) => still(feature, about),
  /** @param {{passages: Passage[]}} data */
  heat: ({ passages }) => el("div", {}, passages.map((passage) => heatmap(passage, { scale: passage.maximum, full: true }))),
  /** @param {{features: Brief[], said: string}} data */
  features: ({ features, said }) => el("section", {}, el("p", { class: "soft" }, said), el("div", { class: "list still", role: "list" }, features.map((brief, at) => featureRow(brief, { at, of: features.length })))),
  fired,
  texts,
  sweep,
  /** @param {{title: string, lede: string, cards: {name: string, value: string, interval: string}[], stages: string}} data */
  run: ({ title, lede, cards, stages }) =>
    el(
      "section",
      {},
      el("h2", { translate: "no" }, title),
      el("p", { class: "lede" }, lede),
      el("dl", { class: "headline" }, cards.map(({ name, value, interval }) => el("div", {}, el("dt", {}, name), el("dd", {}, value), interval ? el("dd", { class: "interval" }, interval) : null))),
      el("p", { class: "soft" }, stages)
    ),
};

const DARK = "[data-jp-theme-light=false], .vscode-dark, .vscode-high-contrast, [data-theme=dark]";

/** Draws what the element with this id holds, once. @param {string} id */
export function draw(id) {
  const host = byId(id);
  if (!host || host.shadowRoot) return;
  const { view, data, style, languages, language } = JSON.parse(host.querySelector("script").textContent);
  const shown = el("div", { class: "notebook" }, VIEWS[view](data));
  const known = document.querySelector("[data-jp-theme-light], .vscode-light, .vscode-dark, .vscode-high-contrast, [data-theme]");
  if (known) host.style.colorScheme = document.querySelector(DARK) ? "dark" : "light";
  const root = host.attachShadow({ mode: "open" });
  root.append(el("style", {}, style), shown);
  tips(shown, ".t", tokenTip);
  new Reader(languages, shown).choose(language);
}
