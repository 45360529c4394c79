// Features on a prompt: its tokens shaded by the strongest feature on each, and token by token the strongest ones.
import { el, measured, say, share } from "./elements.js";
import { heatmap, labelled, visible } from "./tokens.js";

/** @typedef {{position: number, token: string, latent: number | null, activation: number | null, share: number | null, label: string | null}} Fired - a feature on a token; of a token without any, nulls */

const MOST = 8; // features of a token that are shown

/** @param {{rows: Fired[]}} data - by position, the strongest share of a feature's maximum first */
export function fired({ rows }) {
  const tokens = [...Map.groupBy(rows, (row) => row.position).values()];
  // At most 1: at an attention sink, which dictionaries are not trained on, features are far above their maxima.
  const values = tokens.map(([first]) => (first.share === null ? first.activation ?? 0 : Math.min(first.share, 1)));
  const most = Math.max(...values, 0);
  const passage = { tokens: tokens.map(([{ token }]) => token), activations: values, peak: values.indexOf(most), maximum: most };
  return el("section", { class: "fired" },
    el("h2", {}, say("Features on a prompt")),
    el("p", { class: "soft" }, say("Tokens are shaded by the strongest feature on each, as a share of the feature’s maximum.")),
    heatmap(passage, { scale: most, full: true }),
    el("div", { class: "scroll" }, el("table", { class: "evaluation" },
      el("thead", {}, el("tr", {}, ["token", "feature", "value", "of its maximum"].map((name) => el("th", { scope: "col" }, say(name))))),
      tokens.map((found) => el("tbody", {}, found.slice(0, MOST).map((row, i) => line(row, i === 0 ? Math.min(found.length, MOST) : 0)))))),
    tokens.some((found) => found.length > MOST) ? el("p", { class: "soft small" }, say("Of each token the {n} strongest features; the files in JSON and Parquet have all.", MOST)) : null);
}

/** @param {Fired} row @param {number} span - lines of the token that begins here; 0 within them */
function line({ token, latent, activation, share: part, label }, span) {
  const head = span ? el("th", { scope: "rowgroup", rowspan: span }, el("span", { class: "chip" }, visible(token))) : null;
  if (latent === null) return el("tr", {}, head, el("td", { class: "soft", colspan: 3 }, say("no feature")));
  return el("tr", {}, head, el("td", { class: "label", translate: "no" }, label ? labelled(label) : `#${latent}`), el("td", {}, measured(activation)), el("td", {}, share(part)));
}
