// Cards of a steering: what is changed, how, how much, and where; and the form in which API, files and addresses have them.
import { el, measured, say } from "../elements.js";
import { labelled } from "../tokens.js";
import { runAddress } from "./shell.js";

/**
 * @typedef {{
 *   kind: "latent" | "direction" | "prompt" | "spec", latent?: number, name?: string, positive?: string[], negative?: string[], text?: string, edits?: Record<string, unknown>[], kl?: number,
 *   move: "add" | "scale" | "set" | "ablate" | "cap", amount: number, unit: "max" | "norm" | "raw" | "kl", active: boolean,
 *   where: "both" | "prompt" | "generated" | "last", template: boolean, special: boolean, on: boolean, solved?: number | null
 * }} Card
 */

/** The measure that strengths and baselines are matched by, as a tooltip. */
export const ALONG_UNTOUCHED = "Nats a token along 16 tokens that the untouched model writes: one text for all, so that strengths and baselines are matched by it. Along the text that the steering itself writes, as below the columns and in a sweep, it is another figure.";

const MOVES = { add: "add", scale: "scale", set: "set to", ablate: "take out", cap: "cap at" };
const UNITS = { max: "× max", norm: "share of ‖x‖", raw: "raw", kl: "KL target" };
const WHERE = { both: "prompt and answer", generated: "answer", prompt: "prompt", last: "last token of the prompt" };
/** Range and step of the slider, by move, or by unit for additions. @type {Record<string, [number, number, number]>} */
const RANGES = { max: [-8, 8, 0.1], norm: [-1.5, 1.5, 0.02], raw: [-60, 60, 0.5], kl: [0.05, 3, 0.05], scale: [-2, 4, 0.1], set: [0, 4, 0.05], cap: [0, 2, 0.05] };

/** @param {Partial<Card>} given @returns {Card} */
export const newCard = (given) => ({ kind: "latent", move: "add", amount: given.kind === "direction" ? 1 : 2, unit: given.kind === "direction" ? "raw" : "max", active: false, where: "both", template: false, special: false, on: true, ...given });

/** @param {unknown} value */
export const areCards = (value) => Array.isArray(value) && value.length <= 64 && value.every((one) => one && ["latent", "direction", "prompt", "spec"].includes(one.kind) && one.move in MOVES && one.unit in UNITS && one.where in WHERE && Number.isFinite(one.amount) && typeof one.on === "boolean");

/**
 * The edits of cards that are on, as the API and files have them. An addition that aims at a KL is as strong as was solved.
 * @param {Card[]} cards
 */
export function specOf(cards) {
  return { edits: cards.filter((card) => card.on && card.kind !== "prompt").flatMap((card) => (card.kind === "spec" ? (card.edits ?? []) : [editOf(card)])) };
}

/** @param {Card} card */
export function editOf(card) {
  const what = card.kind === "latent" ? { latent: card.latent } : { direction: card.positive ? { name: card.name, positive: card.positive, negative: card.negative ?? [] } : card.name };
  const kl = card.unit === "kl";
  const amount = kl ? (card.solved ?? 0) : card.amount;
  const unit = kl ? (card.kind === "latent" ? "max" : "raw") : card.unit;
  const moves = { add: { add: amount, unit }, scale: { scale: amount }, ablate: { scale: 0 }, set: { clamp: [amount, amount], unit }, cap: { clamp: [null, amount], unit } };
  const places = { both: {}, prompt: { generated: null }, generated: { prompt: null }, last: { prompt: "last", generated: null } };
  return { ...what, ...moves[card.move], ...places[card.where], ...(card.active && ["set", "cap"].includes(card.move) ? { only_active: true } : {}), ...(card.template ? { template: true } : {}), ...(card.special ? { special: true } : {}) };
}

/** The card of an edit; null for an edit that no card makes. @param {Record<string, any>} edit @returns {Card | null} */
export function cardOf({ latent, direction, add, scale, clamp, unit = "max", ...rest }) {
  const named = typeof direction === "string" ? { name: direction } : direction?.positive ? direction : null;
  const what = latent !== undefined ? { kind: /** @type {const} */ ("latent"), latent } : named && { kind: /** @type {const} */ ("direction"), ...named };
  if (!what || Array.isArray(rest.prompt) || Array.isArray(rest.generated)) return null;
  const move = add !== undefined ? { move: "add", amount: add } : scale === 0 ? { move: "ablate" } : scale !== undefined ? { move: "scale", amount: scale } : clamp?.[0] === null ? { move: "cap", amount: clamp[1] } : { move: "set", amount: clamp?.[0] };
  const where = rest.prompt === "last" ? "last" : rest.prompt === null ? "generated" : rest.generated === null ? "prompt" : "both";
  const card = newCard({ ...what, .../** @type {Partial<Card>} */ (move), unit, where, active: !!rest.only_active, special: !!rest.special, template: !!rest.template });
  return areCards([card]) ? card : null;
}

/** In a few words, for a column's head and the terminal. @param {Card} card */
export const nameOf = (card) => (card.kind === "latent" ? `#${card.latent}` : (card.name ?? (card.text ?? "").slice(0, 40)));

/**
 * A card's element.
 * @param {Card} card
 * @param {{run: string, label: string, cost: number | null | undefined, failed: string, change: (change: Partial<Card>, how?: {quick?: boolean}) => void, duplicate: () => void, away: () => void}} about
 */
export function cardElement(card, { run, label, cost, failed, change, duplicate, away }) {
  const title = card.kind === "latent"
    ? el("a", { class: "label", translate: "no", href: runAddress(run, "features", String(card.latent)) }, label ? labelled(label) : say("feature"), " ", el("small", {}, `#${card.latent}`))
    : el("span", { class: "label", translate: "no" }, card.kind === "prompt" ? `“${card.text}”` : nameOf(card));
  const kinds = { latent: "feature", direction: "direction", prompt: "prompt", spec: "baseline" };
  const tool = (/** @type {string} */ text, /** @type {string} */ name, /** @type {() => void} */ run) => el("button", { type: "button", class: "quiet", "aria-label": say(name), title: say(name), on: { click: run } }, text);
  const head = el("header", {},
    el("label", { class: "toggle", title: say("On or off") }, el("input", { type: "checkbox", checked: card.on, "aria-label": say("On or off"), on: { change: (/** @type {any} */ event) => change({ on: event.target.checked }) } }), el("span", { class: "kind" }, say(kinds[card.kind]))),
    el("span", { class: "gap" }), tool("×2", "Duplicate ×2", duplicate), tool("×", "Remove", away));
  const plain = card.kind === "prompt" || card.kind === "spec";
  return el("article", { class: `steer-card ${card.kind}` + (card.on ? "" : " off"), "aria-label": card.kind === "latent" ? label || `#${card.latent}` : nameOf(card) },
    head, el("p", { class: "card-title" }, title),
    plain ? el("p", { class: "soft small" }, card.kind === "prompt" ? say("written before the prompt, in a column of its own") : card.kl === undefined ? say("as strong as the steering was, in a column of its own") : el("span", { title: say(ALONG_UNTOUCHED) }, say("KL along untouched text {}, as the steering had", measured(card.kl)))) : [controls(card, change), slider(card, change)],
    plain ? null : el("p", { class: "soft small cost", "aria-live": "polite", title: say(ALONG_UNTOUCHED) }, failed ? el("span", { class: "refused" }, failed) : costs(card, cost)));
}

/** @param {Card} card @param {number | null | undefined} cost */
function costs(card, cost) {
  if (!card.on) return say("off");
  if (card.unit === "kl" && card.solved === null) return say("no strength reaches this KL");
  const kl = cost === undefined || cost === null ? "…" : measured(cost);
  return card.unit === "kl" && card.solved ? say("{} × max · KL along untouched text {}", measured(card.solved), kl) : say("KL along untouched text {}", kl);
}

/** @param {Card} card @param {(change: Partial<Card>) => void} change */
function controls(card, change) {
  const pick = (/** @type {Record<string, string>} */ options, /** @type {string} */ value, /** @type {string} */ name, /** @type {(value: any) => void} */ chosen) =>
    el("select", { "aria-label": say(name), on: { change: (/** @type {any} */ event) => chosen(event.target.value) } }, Object.entries(options).map(([key, text]) => el("option", { value: key, selected: key === value }, say(text))));
  const sized = card.move !== "ablate" && card.move !== "scale";
  const units = Object.fromEntries(Object.entries(UNITS).filter(([unit]) => (unit !== "kl" || card.move === "add") && (unit !== "max" || card.kind === "latent")));
  return el("div", { class: "card-controls" },
    pick(MOVES, card.move, "Move", (move) => change({ move, amount: move === "add" ? 2 : 1, unit: card.unit === "kl" && move !== "add" ? "max" : card.unit })),
    sized ? pick(units, card.unit, "Unit", (unit) => change({ unit, amount: { max: 2, norm: 0.3, raw: card.kind === "direction" ? 1 : 10, kl: 0.5 }[/** @type {"max"} */ (unit)], solved: undefined })) : null,
    pick(WHERE, card.where, "Where", (where) => change({ where })),
    el("details", { class: "menu" }, el("summary", { class: "quiet", "aria-label": say("More places") }, "…"),
      el("div", { class: "menu-list" },
        check("template tokens too", card.template, (template) => change({ template })),
        check("special tokens too", card.special, (special) => change({ special })),
        ["set", "cap"].includes(card.move) ? check("only where it is active", card.active, (active) => change({ active })) : null)));
}

/** @param {string} text @param {boolean} on @param {(on: boolean) => void} change */
export const check = (text, on, change) => el("label", { class: "toggle" }, el("input", { type: "checkbox", checked: on, on: { change: (/** @type {any} */ event) => change(event.target.checked) } }), say(text));

/** @param {Card} card @param {(change: Partial<Card>, how?: {quick?: boolean}) => void} change */
function slider(card, change) {
  if (card.move === "ablate") return null;
  const [low, high, step] = RANGES[card.move === "add" ? card.unit : card.move === "scale" ? "scale" : card.unit === "max" ? card.move : card.unit];
  const name = say("Strength, {}", card.move === "scale" ? say("factor") : say(UNITS[card.unit]));
  const number = el("input", { type: "number", class: "field strength-number", step, value: card.amount, "aria-label": name });
  const range = el("input", { type: "range", min: low, max: high, step, value: card.amount, "aria-label": name });
  const put = (/** @type {number} */ value, /** @type {boolean} */ quick) => {
    if (!Number.isFinite(value)) return;
    number.value = range.value = String(value);
    change({ amount: value, ...(card.unit === "kl" ? { solved: undefined } : {}) }, { quick });
  };
  range.addEventListener("input", () => put(Number(range.value), true));
  range.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const way = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
    if (!way || !event.shiftKey) return;
    event.preventDefault();
    put(Math.round((Number(range.value) + way * 10 * step) / step) * step, true);
  });
  number.addEventListener("change", () => put(Number(number.value), true));
  return el("div", { class: "card-slider" }, range, number, card.move === "scale" ? el("span", { class: "soft small" }, "×") : null);
}
