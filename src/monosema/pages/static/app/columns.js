// Columns of text that are written side by side: tokens as they come, those that were edited underlined, those whose
// distribution moved tinted, and below each what the steering did to it.
import { el, measured, say, tips } from "../elements.js";
import { percent } from "../strips.js";
import { visible } from "../tokens.js";
import { post, remove, stream } from "./api.js";
import { failure } from "./shell.js";

/** @typedef {{edits: Record<string, unknown>[]}} Spec */
/** @typedef {{role: string, content: string}} Message */
/** @typedef {string | Message[]} Prompt */
/** @typedef {{row: number, token: number, text: string, edited: boolean, finish: string | null, p?: number, untouched_p?: number, kl?: number, free?: number, likely?: [string, number][], untouched?: [string, number][], prompt_edited?: number[]}} Delta */
/** @typedef {{key: string, title: string, spec: Spec | null, seed: number, prompt: Prompt, line: Line}} Job */

/** Nats of KL at a token of the full tint. */
const MOVED = 2;
const LIKELY = 5;

// A text that is being written.
export class Line {
  constructor() {
    this.body = el("p", { class: "written", dir: "auto", translate: "no" });
    /** @type {Delta[]} */
    this.deltas = [];
    /** @type {string | null} */
    this.finish = null;
  }

  /** @param {Delta} delta */
  add(delta) {
    this.deltas.push(delta);
    this.finish = delta.finish;
    this.body.classList.toggle("ended", delta.finish !== null);
    if (!delta.text) return;
    const moved = Math.min(1, (delta.kl ?? 0) / MOVED);
    const span = el("span", { class: "g" + (delta.edited ? " edited" : "") + (moved > 0.04 ? " moved" : ""), style: { "--k": moved.toFixed(3) }, tabindex: delta.likely ? "-1" : null }, delta.text);
    Object.assign(span, { delta });
    this.body.append(span);
  }

  get text() {
    return this.deltas.map(({ text }) => text).join("");
  }

  // What the bottom strip says of the text; of nothing, nothing.
  figures() {
    const tokens = this.deltas.map(({ token }) => token);
    const kls = this.deltas.flatMap(({ kl }) => (kl === undefined ? [] : [kl]));
    const under = this.deltas.flatMap(({ p, untouched_p: other }) => (other ?? p) === undefined ? [] : [Math.log(Math.max(1e-12, /** @type {number} */ (other ?? p)))]);
    return {
      tokens: tokens.length,
      kl: kls.length ? mean(kls) : null,
      perplexity: under.length ? Math.exp(-mean(under)) : null,
      distinct2: distinct(tokens, 2),
      distinct3: distinct(tokens, 3),
    };
  }
}

/**
 * Reads a written text again, steered, with each head's attention held where the untouched model has it.
 * @param {Job} job @param {string} run @param {Delta[]} written - the text
 */
export async function held({ prompt, spec, line }, run, written) {
  const { tokens } = await post("/api/steer/held", { run, steering: spec, written: written.map(({ token }) => token), likely: LIKELY, ...(typeof prompt === "string" ? { prompt } : { messages: prompt }) });
  for (const [i, token] of tokens.entries()) line.add({ row: 0, edited: false, finish: null, ...token, text: written[i].text });
}

/** @param {number[]} values */
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The share of n-grams that are not repeated; null for a text too short. @param {number[]} tokens @param {number} n */
function distinct(tokens, n) {
  const total = tokens.length - n + 1;
  return total < 4 ? null : new Set(Array.from({ length: total }, (_, i) => tokens.slice(i, i + n).join())).size / total;
}

/**
 * Writes all jobs at once; those with one prompt and seed are rows of one request, so that they share their noise and go
 * in lockstep. Ends when all have ended, or `signal` is aborted.
 * @param {Job[]} jobs @param {Record<string, unknown>} settings - run, temperature, max_new_tokens
 * @param {{signal: AbortSignal, onPlace: (place: number) => void, onDelta: () => void, onTrouble: (job: Job, message: string) => void}} on
 */
export async function write(jobs, settings, on) {
  /** @type {Map<string, Job[]>} */
  const groups = new Map();
  for (const job of jobs) {
    const key = JSON.stringify([job.prompt, job.seed]);
    groups.set(key, [...(groups.get(key) ?? []), job]);
  }
  await Promise.all(Array.from(groups.values(), (group) => together(group, settings, on)));
}

/** @param {Job[]} jobs @param {Record<string, unknown>} settings @param {Parameters<typeof write>[2]} on */
async function together(jobs, settings, on) {
  const [{ prompt, seed }] = jobs;
  const asked = { ...settings, seed, likely: LIKELY, steerings: jobs.map(({ spec }) => spec), ...(typeof prompt === "string" ? { prompt } : { messages: prompt }) };
  let id = "";
  // A reader that only leaves is waited for; one that stops says so.
  on.signal.addEventListener("abort", () => id && remove(`/api/generate/${id}`).catch(() => {}));
  try {
    for await (const { event, data } of stream("/api/generate", asked, { signal: on.signal })) {
      if (event === "start") id = data.id;
      else if (event === "place") on.onPlace(data.place);
      else if (event === "delta") {
        on.onPlace(0);
        jobs[data.row].line.add(data);
        on.onDelta();
      } else if (event === "end") for (const row of data.rows) if (row.unmatched?.length) on.onTrouble(jobs[row.row], say("{} was not applied: none of these tokens is one that its place names.", row.unmatched.join(", ")));
    }
  } catch (error) {
    if (on.signal.aborted) return;
    for (const job of jobs) if (job.spec || jobs.every(({ spec }) => !spec)) on.onTrouble(job, /** @type {Error} */ (error).message);
    if (jobs.some(({ spec }) => !spec) && jobs.some(({ spec }) => spec)) await together(jobs.filter(({ spec }) => !spec), settings, on);
  }
}

/**
 * The figures below a column, beside those of the unsteered text.
 * @param {Line[]} lines @param {Line[]} plain - of the unsteered column
 */
export function figures(lines, plain) {
  const [own, other] = [lines, plain].map((some) => some.map((line) => line.figures()).filter(({ tokens }) => tokens > 0));
  if (!own.length) return el("dl", { class: "strip-figures" });
  const over = (/** @type {"kl" | "perplexity" | "distinct2" | "distinct3"} */ name, of = own) => {
    const known = of.flatMap((one) => (one[name] === null ? [] : [/** @type {number} */ (one[name])]));
    return known.length ? mean(known) : null;
  };
  const base = lines === plain ? null : over("perplexity", other);
  const perplexity = over("perplexity");
  /** @type {[string, string, string][]} */
  const shown = [
    ...(lines === plain ? [] : [/** @type {[string, string, string]} */ (["KL along this text", measured(over("kl")), "How far the next-token distributions are from the untouched model’s, in nats a token, along the text of this column. Baselines are matched by the KL along untouched text, and may differ here: each writes a text of its own."])]),
    lines === plain || base === null || perplexity === null
      ? ["perplexity", measured(perplexity), "Of this text under the untouched model"]
      : ["perplexity", "× " + measured(perplexity / base), "Of this text under the untouched model, in multiples of the unsteered text’s"],
    ["distinct pairs", over("distinct2") === null ? "–" : percentOf(over("distinct2")), "Share of pairs of tokens that are not repeated: low where the text goes round in circles"],
    ["distinct triples", over("distinct3") === null ? "–" : percentOf(over("distinct3")), "Share of triples of tokens that are not repeated"],
  ];
  return strip(shown);
}

/** The figures below the column of attention frozen. @param {Line[]} lines */
export function heldFigures(lines) {
  const about = "The unsteered text, read by the steered model with each head’s attention held where the untouched model has it: what is left does not go through where heads look.";
  const over = (/** @type {"kl" | "free"} */ name) => {
    const known = lines.flatMap(({ deltas }) => deltas.map((delta) => delta[name] ?? 0));
    return known.length ? mean(known) : null;
  };
  return strip([["KL, attention frozen", measured(over("kl")), about], ["KL, attention free", measured(over("free")), "On the same text, in nats a token"]]);
}

/** Figures in a row: names, values, and what each is. @param {[string, string, string][]} shown */
function strip(shown) {
  return el("dl", { class: "strip-figures" }, shown.map(([name, value, about]) => el("div", { title: say(about) }, el("dt", {}, say(name)), el("dd", { translate: "no" }, value))));
}

/** @param {number | null} value */
const percentOf = (value) => Math.round(100 * (value ?? 0)) + " %";

/** The box beside a token: its probabilities, steered and untouched. @param {HTMLElement} host */
export function hovers(host) {
  tips(host, ".g", (/** @type {HTMLElement & {delta: Delta}} */ { delta }) => {
    const untouched = new Map(delta.untouched ?? []);
    const all = [...new Set([...(delta.likely ?? []), ...(delta.untouched ?? [])].map(([token]) => token))].slice(0, 7);
    const likely = new Map(delta.likely ?? []);
    const cell = (/** @type {number | undefined} */ p) => el("td", { class: "num" }, p === undefined ? "·" : percent(p));
    const rows = all.map((token) => el("tr", {}, el("th", { scope: "row" }, visible(token)), cell(likely.get(token)), delta.untouched ? cell(untouched.get(token)) : null));
    return [
      el("b", {}, JSON.stringify(delta.text)),
      delta.kl === undefined ? "" : el("span", { class: "soft" }, say("KL {} nats", measured(delta.kl))),
      delta.edited ? el("span", { class: "soft" }, say("written from an edited token")) : "",
      el("table", { class: "both" }, delta.untouched ? el("thead", {}, el("tr", {}, el("td", {}), el("th", { scope: "col" }, say("here")), el("th", { scope: "col" }, say("untouched")))) : null, el("tbody", {}, rows)),
    ];
  });
}

/** What stands in a column that could not be written. @param {string} message */
export const trouble = (message) => failure({ message });
