// A feature's row in a list: its label and how far that stands above its controls, its strengths, what it fires on.
import { el, known, say, share, signed, two } from "./elements.js";
import { range, spark } from "./plots.js";
import { beside } from "./scores.js";
import { chip, labelled, legend } from "./tokens.js";

/** @import {FeatureRow} from "./api.js" */
/** @typedef {Omit<FeatureRow, "spark"> & {spark: ArrayLike<number>}} Brief - a feature's figures and label, texts of a few tokens, its histogram in 255 levels */

export const ROW = 66; // pixels, as in pages.css

/**
 * @param {Brief} brief
 * @param {object} place - `at` and `of` in the list; `why`: reasons for which a search found it
 * @param {number} place.at @param {number} place.of @param {boolean} [place.chosen] @param {boolean} [place.starred]
 * @param {(string | HTMLElement | null)[] | null} [place.why]
 * @param {(event: MouseEvent) => void} [place.onOpen] - without, the row only tells
 * @param {(latent: number) => void} [place.onStar]
 */
export function featureRow(brief, { at, of, chosen, starred, why, onOpen, onStar }) {
  const { latent, alive, label } = brief;
  /** @param {Event} event */
  const press = (event) => (event.stopPropagation(), onStar?.(latent));
  return el(
    "div",
    {
      class: "row" + (alive ? "" : " dead"),
      id: "row-" + latent,
      role: onOpen ? "option" : "listitem",
      "aria-selected": onOpen ? String(chosen) : null,
      "aria-posinset": at + 1,
      "aria-setsize": of,
      style: { top: at * ROW + "px" },
      on: onOpen ? { click: onOpen } : {},
    },
    el(
      "div",
      { class: "row-line" },
      el("span", { class: "id" }, String(latent)),
      el("span", { class: "label" + (label ? "" : " soft"), dir: "auto", title: legend(label) || label || null }, label ? labelled(label) : say("no label")),
      score(brief),
      onStar && el("span", { class: "star" + (starred ? " kept" : ""), title: starred ? say("Take from my list (s)") : say("Add to my list (s)"), on: { click: press } }, starred ? "★" : "☆")
    ),
    el("div", { class: "row-line low" }, why ? reasons(why) : [spark(brief.spark), chips(brief)], el("span", { class: "density" }, alive ? share(brief.density) : say("dead")))
  );
}

/** How far the score stands above its controls, in large; below it interval and controls on one line. @param {Brief} brief */
function score(brief) {
  const { label_score: value, label_margin: margin } = brief;
  if (!known(value)) return el("span", { class: "score", title: say("no score") }, "–");
  return el(
    "span",
    { class: "score" + (known(margin) && margin > 0 ? "" : " soft"), title: beside(brief) },
    el("span", { class: "soft plain" }, two(value)),
    el("b", {}, known(margin) ? signed(margin) : ""),
    range(brief)
  );
}

/** @param {(string | HTMLElement | null)[]} parts */
function reasons(parts) {
  return el("span", { class: "chips why", title: parts.map((part) => (part instanceof Node ? part.textContent : part) ?? "").join("") }, parts);
}

/** Tokens that say more than the label: what the feature promotes, where the label itself is the tokens it fires on. @param {Brief} brief */
function chips({ label_method: method, top_tokens: top, promoted }) {
  const told = /^(token lookup|top tokens)$/.test(method) && promoted.length;
  return el("span", { class: "chips", title: told ? say("promotes") : say("fires on") }, told ? "→ " : null, (told ? promoted : top).slice(0, 5).map(chip));
}
