// Which words an answer is owed to: one row a method on the same words, and how well methods agree.
import { REMOVALS, agreement, divided, judge, scored } from "../answered.js";
import { el, say } from "../elements.js";
import { choose } from "../fields.js";
import { ask } from "./why.js";

/** @typedef {{name: string, about: string, family: string, default: boolean}} Method */
/** @typedef {{players: string, removal: string, twin: string, every: boolean}} Choices */

export const PLAYERS = { tokens: "tokens", words: "words", sentences: "sentences", messages: "messages" };

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
  /** @type {import("../answered.js").Piece[]} */
  let pieces = [];
  const question = (/** @type {import("../answered.js").Question} */ found) => {
    pieces = found.pieces;
    told.textContent = divided(found);
  };
  const other = (/** @type {string} */ event, /** @type {import("../answered.js").Judged} */ data) => {
    if (event !== "judged") return;
    judge(rows, data);
    if (data.methods.length > 1) rows.after(agreement(data));
  };
  const body = { ...asked, players: chosen.players, removal: chosen.removal || null, twin: chosen.twin || null, methods: methods.map(({ name }) => name) };
  return ask(rows, "/api/prompt/attribute", body, { ...about, methods }, (answer) => scored(pieces, answer), question, other);
}
