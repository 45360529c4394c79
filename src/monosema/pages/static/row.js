// A feature's row in a list: its label and how far that stands above its controls, its strengths, what it fires on.
import { el, say, share, signed, two } from "./elements.js";
import { range, spark } from "./plots.js";
import { beside } from "./scores.js";
import { chip, labelled, legend } from "./tokens.js";

export const ROW = 66; // pixels, as in pages.css

// brief: figures and label of the feature, {top_tokens, promoted} texts of a few tokens, spark its histogram in 255 levels.
// place: {at, of} in the list; why: reasons for which a search found it, texts and elements.
export function featureRow(brief, { at, of, chosen, starred, why, onOpen, onStar }) {
  const { latent, alive, label } = brief;
  const press = (event) => (event.stopPropagation(), onStar(latent));
  return el(
    "div",
    {
      class: "row" + (alive ? "" : " dead"),
      id: "row-" + latent,
      role: "option",
      "aria-selected": String(chosen),
      "aria-posinset": at + 1,
      "aria-setsize": of,
      style: { top: at * ROW + "px" },
      on: { click: onOpen },
    },
    el(
      "div",
      { class: "row-line" },
      el("span", { class: "id" }, String(latent)),
      el("span", { class: "label" + (label ? "" : " soft"), dir: "auto", title: legend(label) || label || null }, label ? labelled(label) : say("no label")),
      score(brief),
      el("button", { class: "star", type: "button", tabindex: "-1", "aria-label": starred ? say("Take from my list") : say("Add to my list"), "aria-pressed": String(starred), on: { click: press } }, starred ? "★" : "☆")
    ),
    el("div", { class: "row-line low" }, why ? reasons(why) : [spark(brief.spark), chips(brief)], el("span", { class: "density" }, alive ? share(brief.density) : say("dead")))
  );
}

// How far the score stands above its controls, in large; below it interval and controls on one line.
function score(brief) {
  if (brief.label_score === null) return el("span", { class: "score", title: say("no score") }, "–");
  const above = brief.label_margin > 0;
  return el(
    "span",
    { class: "score" + (above ? "" : " soft"), title: beside(brief) },
    el("span", { class: "soft plain" }, two(brief.label_score)),
    el("b", {}, brief.label_margin === null ? "" : signed(brief.label_margin)),
    range(brief)
  );
}

function reasons(parts) {
  return el("span", { class: "chips why", title: parts.map((part) => part?.textContent ?? part ?? "").join("") }, parts);
}

// Tokens that say more than the label: what the feature promotes, where the label itself is the tokens it fires on.
function chips({ label_method: method, top_tokens: top, promoted }) {
  const told = /^(token lookup|top tokens)$/.test(method) && promoted.length;
  return el("span", { class: "chips", title: told ? say("promotes") : say("fires on") }, told ? "→ " : null, (told ? promoted : top).slice(0, 5).map(chip));
}
