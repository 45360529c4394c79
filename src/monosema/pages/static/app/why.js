// "Why this token?": one row a method on the same tokens, each with the features that count most; rows come as they are done.
import { row } from "../answered.js";
import { el, measured, number, say } from "../elements.js";
import { signed, strip } from "../strips.js";
import { labelled, visible } from "../tokens.js";
import { stream } from "./api.js";
import { button, failure, runAddress } from "./shell.js";

/** @typedef {import("./reading.js").ReadToken} ReadToken */
/** @typedef {{latent: number, position: number, value: number, score: number, label: string, share: number | null}} FeatureShare */
/** @typedef {{name: string, title: string, about: string}} Method */

const SHOWN = 6;

/**
 * Asks by all methods and fills `host` as answers come. Aborting `signal` ends it; so does the button.
 * @param {HTMLElement} host @param {Record<string, unknown>} asked - body of the request
 * @param {{run: string, tokens: ReadToken[], methods: Method[], signal: AbortSignal, again: () => void, onPosition: (at: number) => void}} about
 * @param {(question: {position: number, target: string, foil: string | null, value: number}) => void} onQuestion
 */
export const answer = (host, asked, about, onQuestion) => ask(host, "/api/prompt/why", asked, about, (data) => answered(data, about), onQuestion);

/**
 * Fills `host` with a row a method, as the answers of a stream of events come.
 * @param {HTMLElement} host @param {string} path @param {Record<string, unknown>} asked
 * @param {{methods: Method[], signal: AbortSignal, again: () => void}} about
 * @param {(data: any) => (string | Node)[]} drawn - what an answer looks like
 * @param {(question: any) => void} onQuestion
 * @param {(event: string, data: any) => void} [onOther] - told of all other events
 */
export async function ask(host, path, asked, about, drawn, onQuestion, onOther = () => {}) {
  const stop = new AbortController();
  about.signal.addEventListener("abort", () => stop.abort());
  const rows = new Map(about.methods.map((method) => [method.name, row(method)]));
  const cancel = button("Stop", () => stop.abort(), { class: "quiet" });
  host.replaceChildren(...rows.values(), cancel);
  let waiting = [...rows.keys()];
  const working = () => waiting[0] && rows.get(waiting[0])?.classList.add("working");
  try {
    for await (const { event, data } of stream(path, asked, { signal: stop.signal })) {
      const mine = rows.get(data.method);
      if (event === "question") onQuestion(data);
      else if (event === "answer") mine?.append(...drawn(data));
      else if (event === "failed") mine?.append(el("p", { class: "soft refused" }, data.reason));
      else onOther(event, data);
      if (event === "answer" || event === "failed") {
        mine?.classList.replace("working", "done");
        waiting = waiting.filter((name) => name !== data.method);
      }
      working();
    }
  } catch (error) {
    if (about.signal.aborted) return;
    if (stop.signal.aborted) for (const name of waiting) rows.get(name)?.append(el("p", { class: "soft refused" }, say("Stopped.")));
    else host.replaceChildren(failure(error, about.again));
  }
  for (const one of rows.values()) one.classList.remove("working");
  cancel.remove();
}

/** @param {{tokens: number[], features: FeatureShare[], value: number, n: number, whole: number | null, rest: Record<string, number>, control: number | null, seconds: number}} data @param {{run: string, tokens: ReadToken[], onPosition: (at: number) => void}} about */
function answered({ tokens: scores, features, n, whole, rest, control, seconds }, { run, tokens, onPosition }) {
  const most = Math.max(...features.map(({ score }) => Math.abs(score)), 1e-9);
  const lines = features.slice(0, SHOWN).map((one) => {
    const link = el("a", { class: "label", href: runAddress(run, "features", String(one.latent)), translate: "no" }, one.label ? labelled(one.label) : `#${one.latent}`);
    const where = el("button", { type: "button", class: "chip where-token", title: say("Go to this token"), on: { click: () => onPosition(one.position) } }, visible(tokens[one.position].token));
    const side = el("span", { class: "two-sided", "aria-hidden": "true" }, el("i", { class: one.score > 0 ? "for" : "against", style: { "--w": (50 * Math.abs(one.score)) / most + "%" } }));
    return el("li", {}, side, el("span", { class: "num" }, signed(one.score)), link, where);
  });
  const sum = features.slice(0, SHOWN).reduce((all, { score }) => all + score, 0);
  /** @type {[string, number][]} */
  const totals = [[say("these {n}", lines.length), sum], ...(whole === null || n <= lines.length ? [] : [/** @type {[string, number]} */ ([say("the other {n} features", number(n - lines.length)), whole - sum])]), ...Object.entries(rest).map(([name, value]) => /** @type {[string, number]} */ ([say(name), value]))];
  return [
    strip(tokens.slice(0, scores.length), scores),
    lines.length ? el("ol", { class: "shares" }, lines) : el("p", { class: "soft" }, say("No feature is active here.")),
    !lines.length ? "" : el("dl", { class: "totals", title: say("Sums, in nats: those shown are the largest of many") }, totals.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", { class: "num", translate: "no" }, signed(value))))),
    el("p", { class: "soft small" }, el("span", {}, say("{} s", measured(seconds))), control === null ? null : [" · ", el("span", {}, say("random directions of the same size: {} nats", measured(control)))]),
  ];
}
