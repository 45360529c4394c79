// A prompt's tokens as chips: an underline for how open the next token is, template and special tokens folded away.
import { el, measured, say } from "../elements.js";
import { percent, pieces } from "../strips.js";
import { visible } from "../tokens.js";

/** @typedef {{id: number, token: string, probability: number}} NextToken */
/** @typedef {{id: number, token: string, role: string, surprise: number | null, entropy: number, next: NextToken[]}} ReadToken */
/** @typedef {import("../tokens.js").Piece} Piece */

/** Roles of tokens that nobody wrote; runs of more than a few are folded into one chip. */
const GIVEN = ["special", "template", "padding"];
const FOLDED = 3;
/** Entropy, in nats, of the fullest underline: a choice among about 150 equally likely tokens. */
const OPEN = 5;

/**
 * Draws the tokens; the one at `at` is chosen. `onChoose` is told the position of a token that is clicked.
 * @param {HTMLElement} host @param {ReadToken[]} tokens @param {number} at @param {(at: number) => void} onChoose
 * @param {{target?: string | null}} [more] - target: what is asked about, shown behind the chosen token where it isn't in the text
 */
export function drawTokens(host, tokens, at, onChoose, { target = null } = {}) {
  const line = el("div", { class: "read", dir: "auto", translate: "no" });
  const all = pieces(tokens);
  for (let i = 0; i < all.length; ) {
    let end = i;
    while (end < all.length && GIVEN.includes(tokens[all[end].from].role)) end++;
    const within = all.slice(i, end).some(({ from, to }) => from <= at && at < to);
    if (end - i > FOLDED && !within) line.append(folded(all.slice(i, end), tokens, at, onChoose));
    else for (const piece of all.slice(i, Math.max(end, i + 1))) line.append(...token(piece, tokens, at, onChoose));
    i = Math.max(end, i + 1);
  }
  if (target !== null) line.append(el("span", { class: "expected", title: say("The likeliest next token") }, visible(target)));
  host.replaceChildren(line);
}

/** @param {Piece[]} some @param {ReadToken[]} tokens @param {number} at @param {(at: number) => void} onChoose */
function folded(some, tokens, at, onChoose) {
  const open = el("button", { type: "button", class: "fold", title: say("Show what the template wrote") }, say("{n} template tokens", some.length));
  open.addEventListener("click", () => open.replaceWith(...some.flatMap((piece) => token(piece, tokens, at, onChoose))));
  return open;
}

/** @param {Piece} piece @param {ReadToken[]} tokens @param {number} at @param {(at: number) => void} onChoose */
function token(piece, tokens, at, onChoose) {
  const last = tokens[piece.to - 1];
  const chosen = piece.from <= at && at < piece.to;
  const open = Math.min(1, last.entropy / OPEN);
  const chip = el("button", {
    type: "button",
    class: "tok" + (GIVEN.includes(last.role) ? " given" : "") + (piece.text.trim() === "" ? " blank" : ""),
    "aria-pressed": String(chosen),
    "data-at": piece.to - 1,
    style: { "--e": (100 * open).toFixed(0) + "%" },
    title: say("surprise {} · entropy {} nats", measured(tokens[piece.from].surprise), measured(last.entropy)),
    on: { click: () => onChoose(piece.to - 1) },
  }, visible(piece.text));
  return piece.text.includes("\n") ? [chip, el("br")] : [chip];
}

/**
 * The likeliest next tokens as bars. A click on one asks about it; its second button makes it the foil.
 * @param {NextToken[]} next @param {{target: string | null, foil: string | null}} asked
 * @param {(token: NextToken) => void} onTarget @param {(token: NextToken) => void} onFoil
 */
export function nextBars(next, asked, onTarget, onFoil) {
  const most = Math.max(...next.map(({ probability }) => probability), 1e-9);
  return el("ul", { class: "bars" }, next.map((one) => {
    const role = one.token === asked.target ? "target" : one.token === asked.foil ? "foil" : "";
    return el("li", { class: role },
      el("button", { type: "button", class: "bar-row", title: say("Ask why this one"), "aria-pressed": String(role === "target"), on: { click: () => onTarget(one) } },
        el("span", { class: "chip" }, visible(one.token)),
        el("span", { class: "bar", "aria-hidden": "true" }, el("i", { style: { width: (100 * one.probability) / most + "%" } })),
        el("span", { class: "num" }, percent(one.probability))),
      el("button", { type: "button", class: "quiet foil-it", title: say("Ask rather than this one"), "aria-label": say("Rather than “{}”", visible(one.token)), "aria-pressed": String(role === "foil"), disabled: role === "target", on: { click: () => onFoil(one) } }, "≠"));
  }));
}
