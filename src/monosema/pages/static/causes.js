// What a feature does to the model's predictions, beside other features drawn at random and a random direction; and its
// places in the circuits that name it.
import { el, number, say, signed } from "./elements.js";
import { chip } from "./tokens.js";

/** @import {CausesOf, FeatureDetail, Place} from "./api.js" */

/** Figures by name: how they are called, and what they mean. @returns {[string, string, string][]} */
const figures = () => [
  ["input", say("Input score"), say("Share of its strongest passages whose token at the peak is one that the feature promotes (Arad et al. 2025). High: it tells of the input")],
  ["output", say("Output score"), say("After “From my experience,” with the feature amplified: probability of the likeliest token that it promotes, less for a low rank (Arad et al. 2025). High: it steers")],
  ["confidence", say("Δ token confidence"), say("By how many nats the likeliest next token’s probability moves when the feature is amplified there (Wang et al. 2025)")],
  ["loss", say("Loss without it"), say("Nats by which the next token gets less likely when the feature is taken out wherever it fires in its strongest passages; mean over those tokens, interval over passages")],
  ["kl", say("KL without it"), say("Divergence of the next-token distributions, with the feature from without it, in nats on those tokens")],
];

/** @param {number[]} sorted */
const middle = (sorted) => sorted[sorted.length >> 1];

/** @param {{value: number, low?: number | null, high?: number | null, n?: number | null}} figure */
const withEnds = ({ value, low, high, n }) => [el("b", {}, number(value)), n !== 1 ? el("span", { class: "soft" }, ` [${number(low)}, ${number(high)}]`) : null];

/** The box of a feature's causes. @param {CausesOf} causes */
export function causesBox(causes) {
  const { figures: found, others, absent } = causes;
  /** @param {[string, string, string]} row */
  const row = ([name, called, about]) => {
    const head = el("tr", { title: about }, el("th", { scope: "row" }, called), el("td", {}, found[name] ? withEnds(found[name]) : el("span", { class: "soft" }, say(absent[name] ?? "not measured"))));
    const drawn = others[name] ?? [];
    if (!found[name] || !drawn.length) return [head];
    const less = drawn.filter((value) => value < found[name].value).length;
    const beside = say("others {n} ({n} to {n}), {n} of {n} smaller", number(middle(drawn)), number(drawn[0]), number(drawn[drawn.length - 1]), less, drawn.length);
    const random = found["random_" + name];
    return [head, el("tr", { class: "beside" }, el("td", { colspan: 2 }, el("span", {}, beside), random ? [" · ", el("span", {}, say("a random direction {n}", number(random.value)))] : null))];
  };
  /** @param {[string, number][]} tokens */
  const changes = (tokens) => el("p", { class: "changes" }, tokens.slice(0, 6).flatMap(([token, by]) => [el("span", { class: "change" }, chip(token), el("span", { class: "soft" }, signed(100 * by) + " %")), " "]));
  return el(
    "section",
    { class: "box causes" },
    el("h3", { title: say("What the feature does to the model’s predictions, beside {n} features drawn at random", causes.drawn.length) }, say("Causes")),
    el("table", { class: "scores" }, el("tbody", {}, figures().flatMap(row))),
    causes.raised.length ? [el("h4", { title: say("Points of probability that tokens lose when the feature is taken out, mean over the tokens on which it fires") }, say("makes likelier where it fires")), changes(causes.raised)] : null,
    causes.lowered.length ? [el("h4", {}, say("makes less likely where it fires")), changes(causes.lowered)] : null,
    causes.tokens ? el("p", { class: "soft" }, say("Taken out on {n} tokens of {n} passages.", causes.tokens, causes.passages)) : null
  );
}

/** The box of a feature's places in circuits; none where no circuit names it. @param {Place[]} places @param {(circuit: string) => string | null} address @param {(latent: number, run: string | null) => string | null} feature */
export function circuitsBox(places, address, feature) {
  if (!places.length) return null;
  /** @param {string | null} href @param {string} text */
  const link = (href, text) => (href === null ? el("span", { translate: "no" }, text) : el("a", { href, translate: "no" }, text));
  /** @param {Place} place */
  const shown = ({ circuit, title, node, predicted, measured, edges }) => [
    el("p", {}, link(address(circuit), title || circuit), " ", el("span", { class: "soft", translate: "no" }, node)),
    el("p", { class: "soft" }, [say("predicted {n}", number(predicted)), measured ? say("measured {n} [{n}, {n}]", number(measured.value), number(measured.low), number(measured.high)) : ""].filter(Boolean).join(" · ")),
    el(
      "ol",
      { class: "near" },
      edges.map((edge) => el("li", {}, el("span", { title: edge.label || null }, edge.into ? "← " : "→ ", link(edge.latent === null || edge.latent === undefined ? null : feature(edge.latent, edge.run ?? null), edge.other), edge.label ? el("span", { class: "label soft", translate: "no" }, " " + edge.label) : null), el("span", { class: "value" }, number(edge.weight, 2))))
    ),
  ];
  return el("section", { class: "box circuits-of" }, el("h3", { title: say("Circuits found in this model that name this feature: its effect there, and its strongest edges") }, say("In circuits")), places.flatMap(shown));
}

/** Causes and places in circuits that a report has kept. @param {FeatureDetail & {causes?: any, circuits?: any[]}} feature */
export const keptCauses = (feature) => [feature.causes ? causesBox(feature.causes) : null, circuitsBox(feature.circuits ?? [], () => null, () => null)];
