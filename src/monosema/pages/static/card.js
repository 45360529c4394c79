// A feature at a glance, where there is no room for its page: what it is, its strongest passages, what it makes likely.
import { el, say } from "./elements.js";
import { activationPlot, byline, figures, line, logits } from "./feature.js";
import { labelled, legend } from "./tokens.js";

/** @import {FeatureDetail} from "./api.js" */

const SHOWN = 6; // passages

/** @param {FeatureDetail} feature */
export function card(feature) {
  const passages = feature.passages.filter(({ kind }) => kind === "top").slice(0, SHOWN);
  return el(
    "article",
    { class: "feature at-a-glance", "aria-label": say("Feature {}", feature.latent) },
    el("p", { class: "eyebrow" }, say("Feature"), " ", el("b", {}, String(feature.latent))),
    el("h2", { dir: "auto", translate: feature.label ? "no" : null }, feature.label ? labelled(feature.label) : feature.alive ? say("No label yet") : say("Dead: it never fired on this text")),
    feature.label && legend(feature.label) ? el("p", { class: "legend" }, legend(feature.label)) : null,
    byline(feature),
    figures(feature),
    el(
      "div",
      { class: "feature-body" },
      el("div", { class: "feature-main" }, el("section", { class: "passages", "aria-label": say("Passages") }, el("div", { class: "passage-list" }, passages.map((passage) => line(passage, feature.max, false))))),
      el("div", { class: "feature-side" }, feature.alive ? activationPlot(feature) : null, logits(feature))
    )
  );
}
