// What methods say of an answer: one row a method on the same words, how faithful each is, and how well they agree.
import { el, measured, say } from "./elements.js";
import { signed, strip } from "./strips.js";

/** @typedef {{text: string, player: number | null}} Piece */
/** @typedef {{pieces: Piece[], value: number, total: number, removal: keyof typeof REMOVALS}} Question */
/** @typedef {{method: string, scores: number[], gap: number | null, notes: Record<string, number>, rows: number, seconds: number}} Answer */
/** @typedef {Record<string, number>} Figures */
/** @typedef {{gains: Record<string, Figures>, reversed: Record<string, Figures>, methods: string[], agreement: (number | null)[][]}} Judged */

export const REMOVALS = { "": "by itself", twin: "counterfactual twin", mean: "mean embedding", zero: "embedding of zeros", unknown: "unknown token", mask: "hidden from attention" };

/** The heading of a method's row. @param {{name: string, title: string, about: string}} method */
export const row = ({ name, title, about }) => el("section", { class: "answer", "data-method": name }, el("h3", {}, el("span", {}, say(title)), el("small", {}, say(about))));

/** What is divided, and what stands for an absent part. @param {Question} question */
export const divided = ({ value, total, removal }) => say("{} nats with everything, {} with nothing; an absent one is: {}", signed(value), signed(value - total), say(REMOVALS[removal]));

/** A method's scores on the words, and what it took. @param {Piece[]} pieces @param {Answer} answer */
export function scored(pieces, { scores, gap, notes, rows, seconds }) {
  const line = strip(pieces.map(({ text }) => ({ token: text })), pieces.map(({ player }) => (player === null ? 0 : scores[player])));
  const facts = [say("sum {} nats", signed(scores.reduce((sum, one) => sum + one, 0))), gap === null ? "" : say("gap {}", measured(gap)), ...Object.entries(notes).map(([name, value]) => `${say(name)} ${measured(value)}`), rows === 1 ? say("1 pass") : say("{n} passes", rows), say("{} s", measured(seconds))];
  return [line, el("p", { class: "soft small facts" }, facts.filter(Boolean).flatMap((fact, i) => [i ? " · " : "", el("span", {}, fact)]))];
}

/** Puts each method's faithfulness into its row. @param {HTMLElement} rows @param {Judged} judged */
export function judge(rows, { gains, reversed }) {
  for (const [name, gain] of Object.entries(gains)) rows.querySelector(`[data-method="${name}"] .facts`)?.before(faithful(gain, reversed[name]));
}

/** @param {Figures} gain @param {Figures} back */
const faithful = (gain, back) =>
  el("p", { class: "small faithful" + (gain.aopc > 0 ? "" : " worse"), title: Object.entries(gain).map(([name, value]) => `${say(name)} ${signed(value)}`).join("\n") }, say("faithfulness {} nats above random orders; its order backwards {}", signed(gain.aopc), signed(back.aopc)));

/** @param {Judged} judged */
export const agreement = ({ methods, agreement }) =>
  el("section", { class: "agreement", tabindex: "0", "aria-label": say("Agreement of methods") }, el("h3", {}, say("Agreement of methods")), el("p", { class: "soft small" }, say("Kendall’s τ between the scores of two methods: 1 is the same order, 0 chance")), el("table", {},
    el("thead", {}, el("tr", {}, el("td", {}), methods.map((name) => el("th", { scope: "col", translate: "no" }, el("span", {}, name))))),
    el("tbody", {}, methods.map((name, i) => el("tr", {}, el("th", { scope: "row", translate: "no" }, name), agreement[i].map((tau) => el("td", { class: "num", style: { "--a": Math.max(0, tau ?? 0).toFixed(3) } }, tau === null ? "–" : tau.toFixed(2).replace("-", "−"))))))));
