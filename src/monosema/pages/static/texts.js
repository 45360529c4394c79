// Texts of a model in several versions side by side, and how far each moved.
import { el, known, measured, say, share } from "./elements.js";

/** @typedef {{prompt: string, text: string, finish: string, kl: number, equal: number, first_difference: number | null, perplexity: number}} Told */
/** @typedef {{name: string, metrics: Record<string, number | null>, texts: Told[]}} Version */

/** @param {{model: string, versions: Version[]}} found - as the command line prints it; the untouched version first */
export function texts({ versions }) {
  const [untouched] = versions;
  return el("div", { class: "texts" }, untouched.texts.map((_, i) => prompt(versions, i)), el("div", { class: "scroll" }, table(versions)));
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

/** @param {Version[]} versions */
function table(versions) {
  /** @type {[string, string, (value: number) => string][]} */
  const columns = [
    ["kl", "KL per token, nats", measured],
    ["equal", "equal next tokens", share],
    ["perplexity", "perplexity", measured],
  ];
  const head = el("tr", {}, el("th", { scope: "col" }, say("Version")), columns.map(([, text]) => el("th", { scope: "col" }, say(text))));
  const rows = versions.map(({ name, metrics }) => {
    const cells = columns.map(([key, , write]) => {
      const value = metrics[key];
      return el("td", {}, known(value) ? write(value) : "–");
    });
    return el("tr", {}, el("th", { scope: "row", translate: "no" }, name), cells);
  });
  return el("table", { class: "evaluation" }, el("thead", {}, head), el("tbody", {}, rows));
}
