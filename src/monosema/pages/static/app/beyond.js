// Sweep and baselines: how effect and fluency go with the strength, and what other means do at the same KL.
import { el, interval, measured, say, svg } from "../elements.js";
import { follow, get, post, remove } from "./api.js";
import { ALONG_UNTOUCHED, cardOf, newCard } from "./cards.js";
import { button, failure, status, toast } from "./shell.js";

/** @typedef {import("./cards.js").Card} Card */
/** @typedef {{value: number, low: number | null, high: number | null, n?: number}} Figure */
/** @typedef {{name: string, strength: number | null, figures: Record<string, Figure>, samples: {text: string}[]}} Point */
/** @typedef {{state: any, run: string, steering: {edits: any[]}}} Now */

const CONCEPTS = { "": "no concept", sentiment: "sentiment", french: "French", code: "code", name: "a name" };
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [560, 250, 52, 34];

/**
 * @param {HTMLElement} host @param {() => Now} now
 * @param {(cards: Card[]) => void} put @param {() => Card[]} cards
 * @param {(id: string) => unknown} keep - the id of the sweep that is shown, "" for none
 */
export function beyond(host, now, put, cards, keep) {
  const told = el("div", { class: "sweep" });
  const concept = el("select", { "aria-label": say("Effect on") }, Object.entries(CONCEPTS).map(([value, text]) => el("option", { value }, say(text))));
  /** @type {AbortController | null} */
  let working = null;

  const asked = (/** @type {Now} */ { state, run, steering }) => ({ run, steering, seed: state.seed, ...startOf(state) });
  const something = () => now().steering.edits.length || toast("Steer with something first: strengths are multiples of what it is now.");

  async function baselines() {
    if (!something()) return;
    status("Finding baselines of the same KL …");
    try {
      const { baselines: found, absent, kl } = await post("/api/steer/baselines", asked(now()));
      put([...cards().filter(({ kind }) => kind !== "spec"), ...found.map((/** @type {{name: string, edits: any[]}} */ one) => newCard({ kind: "spec", name: one.name, edits: one.edits, kl }))]);
      for (const { name, reason } of absent) toast(`${say(name)}: ${say(reason)}`);
    } catch (error) {
      toast(/** @type {Error} */ (error).message);
    } finally {
      status("");
    }
  }

  async function sweep() {
    if (!something()) return;
    const { state } = now();
    try {
      const { id } = await post("/api/jobs", { kind: "sweep", ...asked(now()), temperature: state.temperature, max_new_tokens: state.tokens, ...(concept.value ? { concept: concept.value } : {}) });
      keep(id);
      await shown(id);
    } catch (error) {
      told.replaceChildren(failure(error, sweep));
    }
  }

  // Shows a sweep, once it is done.
  async function shown(/** @type {string} */ id) {
    working?.abort();
    const mine = (working = new AbortController());
    const bar = el("progress", { max: 1, value: 0, "aria-label": say("Sweep") });
    const stop = button("Stop", () => (mine.abort(), remove(`/api/jobs/${id}`), keep(""), told.replaceChildren()), { class: "quiet" });
    told.replaceChildren(el("p", { class: "sweep-wait" }, say("Writing eight strengths with four seeds"), bar, stop));
    try {
      const { request } = await get(`/api/jobs/${id}`);
      concept.value = request.concept ?? "";
      for await (const { event, data } of follow(`/api/jobs/${id}/events`, { signal: mine.signal })) {
        if (event === "progress" && data.total) bar.value = data.done / data.total;
        if (event === "state" && data.state === "done") break;
        if (event === "state" && ["failed", "cancelled", "interrupted"].includes(data.state)) throw new Error(data.error || data.state);
      }
      const result = await settled(id);
      told.replaceChildren(...drawn(result, (factor) => load(request.steering.edits, factor)));
    } catch (error) {
      if (!mine.signal.aborted) told.replaceChildren(failure(error, () => shown(id)));
    }
  }

  // Takes a strength of the sweep over: what its steering adds is multiplied.
  function load(/** @type {Record<string, any>[]} */ edits, /** @type {number} */ factor) {
    const swept = cardsOf(edits).map((card) => (card.move === "add" ? { ...card, amount: Number((card.amount * factor).toPrecision(4)) } : card));
    put([...swept, ...cards().filter(({ kind }) => kind === "prompt" || kind === "spec")]);
    document.getElementById("columns")?.scrollIntoView({ block: "center" });
  }

  host.replaceChildren(el("div", { class: "beyond-row" },
    button("Sweep", sweep, { id: "sweep", title: say("Eight strengths and four seeds in one batch: effect and fluency against KL") }), el("label", { class: "soft small" }, say("effect on"), " ", concept),
    button("Baselines at the same KL", baselines, { id: "baselines", title: say("Columns of a random feature and a random direction, as strong as this steering (b)") })), told);
  return shown;
}

/** What costs, sweeps and baselines go on from: the prompt, or the first message of a chat. @param {{mode: string, said: string[], prompt: string}} state */
export const startOf = ({ mode, said, prompt }) => (mode === "chat" ? { messages: [{ role: "user", content: said[0] }] } : { prompt });

/** @param {Record<string, any>[]} edits */
export const cardsOf = (edits) => edits.flatMap((edit) => cardOf(edit) ?? []);

/** A job's result; the event that it is done comes a moment before it can be had. @param {string} id */
async function settled(id) {
  for (let tries = 0; ; tries++) {
    try {
      return await get(`/api/jobs/${id}/result`);
    } catch (error) {
      if (tries >= 10) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** @param {{points: Point[], base: Point}} result @param {(factor: number) => void} load */
function drawn(result, load) {
  const { points, base } = result;
  const measure = points.some(({ figures }) => figures.effect) ? "effect" : "perplexity_ratio";
  const titles = { effect: "effect", perplexity_ratio: "perplexity, × unsteered" };
  const samples = el("div", { class: "sweep-samples" });
  const show = (/** @type {Point} */ point) => samples.replaceChildren(el("h3", {}, say("{} × the strength", point.name), " ", button("Load it", () => load(point.strength ?? 1), { class: "quiet" })), ...point.samples.map(({ text }) => el("p", { dir: "auto", translate: "no" }, text)));
  /** @type {[string, string, string][]} */
  const all = [["kl", "KL along its texts", ALONG_UNTOUCHED], ["effect", "effect", ""], ["perplexity_ratio", "perplexity, × unsteered", ""], ["distinct_3", "distinct triples", ""]];
  const measures = all.filter(([name]) => points.some(({ figures }) => figures[name]));
  const texts = points.find(({ figures }) => figures.kl?.n)?.figures.kl.n;
  const cell = (/** @type {Figure | undefined} */ figure) => el("td", { class: "num" }, figure ? [measured(figure.value), " ", el("small", {}, interval(figure.low, figure.high))] : "–");
  const row = (/** @type {Point} */ point) => el("tr", {}, el("th", { scope: "row" }, point === base ? say("unsteered") : button(`× ${point.name}`, () => show(point), { class: "quiet" })), ...measures.map(([name]) => cell(point.figures[name])));
  show(points[Math.min(3, points.length - 1)]);
  return [
    el("div", { class: "sweep-body" },
      el("figure", {}, el("figcaption", {}, say(titles[measure]), " ", el("span", { class: "soft" }, say("against KL along its texts"))), curve(points, measure, show)),
      samples),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": say("The sweep as a table") }, el("table", { class: "sweep-table" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, say("strength")), measures.map(([, title, about]) => el("th", { scope: "col", title: about ? say(about) : null }, say(title))))), el("tbody", {}, row(base), points.map(row)))),
    texts ? el("p", { class: "soft small" }, say("Intervals of 95 %, each over {n} texts.", texts)) : "",
  ];
}

/** A figure of each point against its KL, with intervals; a click shows the texts. @param {Point[]} points @param {string} measure @param {(point: Point) => void} show */
function curve(points, measure, show) {
  const known = points.filter(({ figures }) => figures.kl && figures[measure]);
  const xs = known.map(({ figures }) => figures.kl.value);
  const ys = known.flatMap(({ figures }) => [figures[measure].low ?? figures[measure].value, figures[measure].high ?? figures[measure].value, figures[measure].value]);
  const [right, low, high] = [Math.max(...xs, 1e-6), Math.min(...ys, measure === "effect" ? 0 : 1), Math.max(...ys, 1e-6)];
  const x = (/** @type {number} */ value) => LEFT + (value / right) * (WIDTH - LEFT - 24);
  const y = (/** @type {number} */ value) => 14 + ((high - value) / (high - low || 1)) * (HEIGHT - BOTTOM - 14);
  const ticks = [0, 0.5, 1].map((part) => part * right);
  /** @type {[number, number][]} */
  const taken = [];
  // A point's strength beside it, above those of points that are too near.
  const label = (/** @type {Point} */ point) => {
    const at = x(point.figures.kl.value);
    const end = at > WIDTH - 70;
    let up = y(point.figures[measure].value) - 9;
    while (taken.some(([left, top]) => Math.abs(left - at) < 52 && Math.abs(top - up) < 13)) up -= 13;
    taken.push([at, up]);
    return svg("text", { translate: "no", x: end ? at - 9 : at + 9, y: up, "text-anchor": end ? "end" : "start" }, `× ${point.name}`);
  };
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "sweep-curve", role: "group", "aria-label": say("The sweep") },
    ...[low, (low + high) / 2, high].flatMap((value) => [svg("line", { class: "grid", x1: LEFT, x2: WIDTH - 14, y1: y(value), y2: y(value) }), svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, measured(value))]),
    ...ticks.map((value) => svg("text", { x: x(value), y: HEIGHT - 10, "text-anchor": "middle" }, measured(value))),
    ...known.map((point) => {
      const figure = point.figures[measure];
      const dot = svg("g", { role: "button", tabindex: 0, "aria-label": `× ${point.name}` },
        figure.low !== null && figure.high !== null ? svg("line", { class: "whisker", x1: x(point.figures.kl.value), x2: x(point.figures.kl.value), y1: y(figure.low), y2: y(figure.high) }) : "",
        svg("circle", { cx: x(point.figures.kl.value), cy: y(figure.value), r: 6 }), label(point), svg("title", {}, `× ${point.name}`));
      dot.addEventListener("click", () => show(point));
      dot.addEventListener("keydown", (event) => (/** @type {KeyboardEvent} */ (event).key === "Enter" || /** @type {KeyboardEvent} */ (event).key === " ") && (event.preventDefault(), show(point)));
      return dot;
    }));
}
