// Scores beside their controls: chance, another feature's explanation (shuffled), random directions explained alike.
// The atlas keeps them beside each score, and the margin: the low end of the interval less the highest of them.
import { el, interval, known, number, say, signed, two } from "./elements.js";
import { strip } from "./plots.js";

/** @import {FeatureBrief} from "./data.js" */
/** @typedef {Record<string, any>} Score - of an explanation, as the atlas has it: scorer, value, low, high, control, random, margin, n */

/** @param {FeatureBrief} brief @returns {Score} */
const ofLabel = (brief) => ({ scorer: brief.label_scorer, value: brief.label_score, low: brief.label_low, high: brief.label_high, control: brief.label_control, random: brief.label_random, margin: brief.label_margin });
/** @param {Score} score */
const verdict = ({ margin }) => (!known(margin) ? say("no control") : margin > 0 ? say("{} above its controls", signed(margin)) : say("not above its controls"));

/** @param {Score} score @returns {string[]} */
function controls({ control, random, random_low: low, random_high: high }) {
  const shuffled = known(control) ? say("shuffled {}", two(control)) : say("no shuffled control");
  return [shuffled, known(random) ? say("random directions {} {}", two(random), interval(low, high)) : say("no random directions")];
}

/** One sentence about a label's score, for a tooltip. @param {FeatureBrief} brief */
export function beside(brief) {
  const score = ofLabel(brief);
  return [`${score.scorer} ${two(score.value)} ${interval(score.low, score.high)}`, ...controls(score), verdict(score)].join(" · ");
}

/** A label's score in its byline; `row` is the same score as the feature's page has it. @param {FeatureBrief} brief @param {Score} [row] */
export function headline(brief, row) {
  const score = { ...row, ...ofLabel(brief) };
  const { value, low, high, control, random } = score;
  /** @type {(number[] | null)[]} */
  const points = [[value, low ?? value, high ?? value], known(control) ? Array(3).fill(control) : null, known(random) ? [random, score.random_low ?? random, score.random_high ?? random] : null];
  return el(
    "span",
    { class: "scored", title: say("How well the label predicts the feature; hollow dots are its controls") },
    score.scorer,
    " ",
    el("b", { class: score.margin > 0 ? "proven" : null }, verdict(score)),
    el("span", {}, two(value)),
    el("span", { class: "soft" }, interval(low, high)),
    strip({ points, domain: [Math.min(0, ...points.flat().filter(known)), 1] }),
    known(score.margin) ? controls(score).map((text) => el("span", { class: "soft" }, text)) : null
  );
}

/** The same explanation by the other scorers, in a few words each; not by those that look at some of another's passages. @param {Score[]} scores @param {string} scorer */
export function others(scores, scorer) {
  /** @param {Score} score */
  const part = ({ scorer: name }) => scores.some((other) => name.startsWith(other.scorer + " ("));
  const rest = scores.filter((score) => score.scorer !== scorer && !part(score) && known(score.value));
  return rest.map((score) => el("span", { class: "soft", title: controls(score).join(" · ") }, `${score.scorer} ${two(score.value)} ${interval(score.low, score.high)}: ${verdict(score)}`));
}

/** @param {Score[]} scores */
export function table(scores) {
  /** @param {Score} score */
  const row = (score) => [
    el(
      "tr",
      { title: known(score.n) ? `n = ${number(score.n)}${score.interval ? ", " + score.interval : ""}` : null },
      el("th", { scope: "row" }, score.scorer),
      el("td", {}, el("b", {}, two(score.value)), el("span", { class: "soft" }, " " + interval(score.low, score.high)))
    ),
    el("tr", { class: "beside" }, el("td", { colspan: 2 }, [...(known(score.margin) ? controls(score) : []), verdict(score)].join(" · "))),
  ];
  return el("table", { class: "scores" }, el("tbody", {}, scores.filter((score) => known(score.value)).flatMap(row)));
}
