// Texts of a model in several versions side by side, and how far each moved.
import { el, known, measured, say, share } from "./elements.js";

/** @typedef {{prompt: string, text: string, finish: string, kl: number, equal: number, first_difference: number | null, perplexity: number}} Told */
/** @typedef {{name: string, metrics: Record<string, number | null>, texts: Told[]}} Version */
/** @typedef {[key: string, text: string, write: (value: number) => string]} Column */
/** @typedef {{value: number, low?: number | null, high?: number | null}} Figure */

/** @type {Column[]} */
const MOVED = [
  ["kl", "KL per token, nats", measured],
  ["equal", "equal next tokens", share],
  ["perplexity", "perplexity", measured],
];
/** @type {Column[]} */
const SWEPT = [
  ["effect", "effect", measured],
  ["kl", "KL per token, nats", measured],
  ["perplexity_ratio", "perplexity, × unsteered", measured],
  ["distinct_2", "distinct pairs", share],
  ["skills_lost", "skills lost", share],
];

/** @param {{model: string, versions: Version[]}} found - as the command line prints it; the untouched version first */
export function texts({ versions }) {
  const [untouched] = versions;
  return el("div", { class: "texts" }, untouched.texts.map((_, i) => prompt(versions, i)), el("div", { class: "scroll" }, table(MOVED, versions.map(({ name, metrics }) => ({ name, figures: Object.fromEntries(Object.entries(metrics).map(([key, value]) => [key, value === null ? null : { value }])) })))));
}

/** One prompt and what each version made of it. @param {Version[]} versions @param {number} i */
function prompt(versions, i) {
  return el(
    "section",
    { class: "texts-of" },
    el("p", { class: "given", dir: "auto", translate: "no" }, versions[0].texts[i].prompt),
    versions.map(({ name, texts }) => el("div", {}, el("p", { class: "eyebrow", translate: name === "untouched" ? null : "no" }, name === "untouched" ? say("untouched") : name), el("p", { dir: "auto", translate: "no" }, texts[i].text)))
  );
}

/** What strengths gave: figures of each, and a text. @param {{base: Swept, points: Swept[]}} result */
export function sweep({ base, points }) {
  const all = [base, ...points];
  return el("div", { class: "texts" }, el("div", { class: "scroll" }, table(SWEPT, all)), all.map(({ name, samples }) => el("section", { class: "texts-of" }, el("p", { class: "given", translate: "no" }, name), el("p", { dir: "auto", translate: "no" }, samples[0]?.text ?? ""))));
}

/** @typedef {{name: string, figures: Record<string, Figure>, samples: {text: string}[]}} Swept */

/**
 * Figures across, lines downwards; a figure that none has is left out.
 * @param {Column[]} columns @param {{name: string, figures: Record<string, Figure | null>}[]} lines
 */
function table(columns, lines) {
  const shown = columns.filter(([key]) => lines.some(({ figures }) => figures[key]));
  const head = el("tr", {}, el("th", { scope: "col" }, say("Version")), shown.map(([, text]) => el("th", { scope: "col" }, say(text))));
  const rows = lines.map(({ name, figures }) => {
    const cells = shown.map(([key, , write]) => {
      const { value = null, low = null, high = null } = figures[key] ?? {};
      const ends = known(low) && known(high) ? el("span", { class: "interval" }, ` [${write(low)}, ${write(high)}]`) : null;
      return el("td", {}, known(value) ? write(value) : "–", ends);
    });
    return el("tr", {}, el("th", { scope: "row", translate: "no" }, name), cells);
  });
  return el("table", { class: "evaluation" }, el("thead", {}, head), el("tbody", {}, rows));
}
