// Which words an answer is owed to: one row a method on the same words, and how well methods agree.
import { el, measured, say } from "../elements.js";
import { signed, strip } from "./reading.js";
import { choose } from "./fields.js";
import { ask } from "./why.js";

/** @typedef {{name: string, about: string, family: string, default: boolean}} Method */
/** @typedef {{text: string, player: number | null}} Piece */
/** @typedef {Record<string, number>} Figures */
/** @typedef {{gains: Record<string, Figures>, reversed: Record<string, Figures>, methods: string[], agreement: (number | null)[][]}} Judged */
/** @typedef {{players: string, removal: string, twin: string, every: boolean}} Choices */

export const PLAYERS = { tokens: "tokens", words: "words", sentences: "sentences", messages: "messages" };
export const REMOVALS = { "": "by itself", twin: "counterfactual twin", mean: "mean embedding", zero: "embedding of zeros", unknown: "unknown token", mask: "hidden from attention" };

/**
 * @param {HTMLElement} host @param {Record<string, unknown>} asked @param {Choices} chosen
 * @param {{methods: Method[], signal: AbortSignal, again: () => void, change: (change: Partial<Choices>) => void}} about
 */
export function input(host, asked, chosen, about) {
  const methods = about.methods.filter((one) => chosen.every || one.default).map(({ name, about }) => ({ name, title: name, about }));
  const rows = el("div", { class: "methods" });
  const told = el("p", { class: "soft small" });
  const twin = el("input", { type: "text", class: "twin-box", value: chosen.twin, placeholder: say("The same text with other words, as many tokens long"), "aria-label": say("Counterfactual twin"), spellcheck: "false", autocomplete: "off" });
  twin.addEventListener("change", () => about.change({ twin: twin.value, removal: twin.value ? "twin" : "" }));
  host.replaceChildren(
    el("div", { class: "options input-options" },
      choose(say("Divided among"), PLAYERS, chosen.players, (players) => about.change({ players })),
      choose(say("An absent one is"), REMOVALS, chosen.removal, (removal) => about.change({ removal })),
      el("label", {}, el("input", { type: "checkbox", checked: chosen.every, on: { change: (/** @type {Event} */ event) => about.change({ every: /** @type {HTMLInputElement} */ (event.target).checked }) } }), say("All methods"))),
    el("label", { class: "twin" }, el("span", { class: "soft small" }, say("Counterfactual twin")), twin),
    told, rows);
  /** @type {Piece[]} */
  let pieces = [];
  /** @param {{scores: number[], value: number, total: number, gap: number | null, notes: Record<string, number>, rows: number, seconds: number}} data */
  const drawn = ({ scores, gap, notes, rows, seconds }) => {
    const line = strip(pieces.map(({ text }) => ({ token: text })), pieces.map(({ player }) => (player === null ? 0 : scores[player])));
    const facts = [say("sum {} nats", signed(scores.reduce((sum, one) => sum + one, 0))), gap === null ? "" : say("gap {}", measured(gap)), ...Object.entries(notes).map(([name, value]) => `${say(name)} ${measured(value)}`), say("{n} passes", rows), say("{} s", measured(seconds))];
    return [line, el("p", { class: "soft small facts" }, facts.filter(Boolean).flatMap((fact, i) => [i ? " · " : "", el("span", {}, fact)]))];
  };
  const question = (/** @type {{pieces: Piece[], value: number, total: number, removal: keyof typeof REMOVALS}} */ found) => {
    pieces = found.pieces;
    told.textContent = say("{} nats with everything, {} with nothing; an absent one is: {}", signed(found.value), signed(found.value - found.total), say(REMOVALS[found.removal]));
  };
  const other = (/** @type {string} */ event, /** @type {Judged} */ data) => {
    if (event !== "judged") return;
    for (const [name, gain] of Object.entries(data.gains)) rows.querySelector(`[data-method="${name}"] .facts`)?.before(faithful(gain, data.reversed[name]));
    if (data.methods.length > 1) rows.after(agreement(data));
  };
  const body = { ...asked, players: chosen.players, removal: chosen.removal || null, twin: chosen.twin || null, methods: methods.map(({ name }) => name) };
  return ask(rows, "/api/prompt/attribute", body, { ...about, methods }, drawn, question, other);
}

/** @param {Figures} gain @param {Figures} back */
const faithful = (gain, back) =>
  el("p", { class: "small faithful" + (gain.aopc > 0 ? "" : " worse"), title: Object.entries(gain).map(([name, value]) => `${say(name)} ${signed(value)}`).join("\n") }, say("faithfulness {} nats above random orders; its order backwards {}", signed(gain.aopc), signed(back.aopc)));

/** @param {Judged} judged */
const agreement = ({ methods, agreement }) =>
  el("section", { class: "agreement", tabindex: "0", "aria-label": say("Agreement of methods") }, el("h3", {}, say("Agreement of methods")), el("p", { class: "soft small" }, say("Kendall’s τ between the scores of two methods: 1 is the same order, 0 chance")), el("table", {},
    el("thead", {}, el("tr", {}, el("td", {}), methods.map((name) => el("th", { scope: "col", translate: "no" }, el("span", {}, name))))),
    el("tbody", {}, methods.map((name, i) => el("tr", {}, el("th", { scope: "row", translate: "no" }, name), agreement[i].map((tau) => el("td", { class: "num", style: { "--a": Math.max(0, tau ?? 0).toFixed(3) } }, tau === null ? "–" : tau.toFixed(2).replace("-", "−"))))))));
