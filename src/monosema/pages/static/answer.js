// An answer as a report keeps it: a question about a next token, by many methods, and the prediction inside the model.
import { agreement, divided, judge, row, scored } from "./answered.js";
import { el, say } from "./elements.js";
import { choose } from "./fields.js";
import { FIGURES, SPLITS, headGrid, lensTable, lookedAt, nameOf, partsList } from "./inside.js";
import { tabs } from "./tabs.js";

/** @import {Answer, Judged, Question} from "./answered.js" */
/** @import {Head, Heads, Parts, Read} from "./inside.js" */
/**
 * As `answer_in_full` gives it, with the name that it is kept under.
 * @typedef {{name: string, model: string, target: string, question: Question, methods: {name: string, about: string}[], answers: Answer[], failed: Record<string, string>, judged?: Judged, lens?: Read, parts?: Record<string, Parts>, attention?: Heads & {heads: Head[]}, absent: Record<string, string>}} Kept
 */

/** A prompt and the answer that is asked about, in one line. @param {Kept} kept */
export function asked({ question, target }) {
  const [said, foil] = target.split(" rather than ").map((text) => el("span", { class: "chip", translate: "no" }, text));
  const prompt = question.pieces.filter(({ player }) => player !== null).map(({ text }) => text).join("").trim();
  return [el("span", { translate: "no" }, prompt), " → ", el("span", { class: "asked-about" }, said, foil ? [el("span", {}, say("rather than")), foil] : null)];
}

/**
 * The page of an answer, with its tabs.
 * @param {Kept} kept @param {{address: (latent: string) => string | null}} about - address: of a feature
 */
export function answerPage(kept, { address }) {
  const panel = el("div", { id: `answer-${kept.name}`, role: "tabpanel" });
  const bar = el("div");
  /** @type {Record<string, () => (string | Node)[]>} */
  const views = { input: () => methods(kept) };
  const { lens, parts, attention } = kept;
  if (lens) views.lens = () => lensTable(lens, lens.tokens.length - 1);
  if (parts) views.parts = () => [split(parts, address)];
  if (attention?.heads.length) views.attention = () => [heads(attention)];
  /** @type {Record<string, string>} */
  const names = { input: "Input", lens: "Lens", parts: "Logit in parts", attention: "Attention" };
  const open = (/** @type {string} */ tab) => {
    const here = bar.contains(document.activeElement);
    bar.replaceChildren(tabs(Object.fromEntries(Object.keys(views).map((one) => [one, names[one]])), tab, open, panel.id));
    panel.replaceChildren(...views[tab]());
    if (here) focus(bar, "[aria-selected=true]");
  };
  open("input");
  return el("div", { class: "why" }, bar, panel);
}

/** Keeps the focus on what was pressed, which was drawn anew. @param {HTMLElement} host @param {string} pressed */
const focus = (host, pressed) => /** @type {HTMLElement | null} */ (host.querySelector(pressed))?.focus();

/** @param {Kept} kept */
function methods({ model, question, methods, answers, failed, judged, absent }) {
  const rows = el("div", { class: "methods" }, methods.map(({ name, about }) => {
    const [one, answer] = [row({ name, title: name, about }), answers.find(({ method }) => method === name)];
    one.classList.add("done");
    one.append(...(answer ? scored(question.pieces, answer) : [el("p", { class: "soft refused" }, failed[name])]));
    return one;
  }));
  if (judged) judge(rows, judged);
  const missing = Object.values(absent).map((reason) => el("p", { class: "soft small" }, say(reason)));
  return [el("p", { class: "soft small" }, el("span", { translate: "no" }, model), " · ", el("span", {}, divided(question))), rows, judged && judged.methods.length > 1 ? agreement(judged) : "", ...missing];
}

/** @param {Record<string, Parts>} parts @param {(latent: string) => string | null} address */
function split(parts, address) {
  const splits = Object.fromEntries(Object.entries(SPLITS).filter(([by]) => by in parts));
  const host = el("div");
  const show = (/** @type {string} */ by) => host.replaceChildren(...partsList(parts[by], by, splits, show, address));
  show(Object.keys(splits)[0]);
  return host;
}

/** @param {Heads & {heads: Head[]}} attention */
function heads(attention) {
  const host = el("div");
  const kept = new Map(attention.heads.map((one) => [nameOf(...one.head), one]));
  const show = (/** @type {string} */ name, /** @type {string} */ figure) => {
    const head = /** @type {Head} */ (kept.get(name));
    const here = host.contains(document.activeElement) && document.activeElement?.matches(".head-cell");
    host.replaceChildren(
      el("div", { class: "options input-options" }, choose(say("Colour"), FIGURES, figure, (other) => show(name, other))),
      headGrid(attention, figure, head.head, (other) => (kept.has(other) ? () => show(other, figure) : null)),
      el("p", { class: "soft small" }, say("Heads with a frame can be opened: the {n} that look hardest from the last token at one that is not the first.", kept.size)),
      ...lookedAt(attention.tokens, head)
    );
    if (here) focus(host, "[aria-pressed=true]");
  };
  show([...kept.keys()][0], "sink");
  return host;
}
