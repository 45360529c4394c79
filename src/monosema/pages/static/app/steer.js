// The playground: completion and chat, unsteered and steered side by side, with cards that say what is changed.
import { el, measured, say } from "../elements.js";
import { keep } from "../kept.js";
import { get, post } from "./api.js";
import { adder } from "./adding.js";
import { beyond, cardsOf, startOf } from "./beyond.js";
import { areCards, cardElement, check, editOf, nameOf, newCard, specOf } from "./cards.js";
import { Line, figures, held, heldFigures, hovers, trouble, write } from "./columns.js";
import { modes, promptBox } from "./promptbox.js";
import { currentRun, empty, facts, folderOf, runAddress, shell } from "./shell.js";
import { View, choice, flag, ignored, json, list, number, text } from "./state.js";
import { code, saveMenu } from "./taking.js";

/** @typedef {import("./cards.js").Card} Card */
/** @typedef {import("./columns.js").Job} Job */
/** @typedef {{key: string, title: string, spec: import("./columns.js").Spec | null, before: string, card: Card | null, lines: Line[][], own: number}} Column */

const EXAMPLES = ["I thought the film was", "Once upon a time there was a", "On the first day of the week we"];
const isEdits = (/** @type {unknown} */ value) => typeof value === "object" && value !== null && !Array.isArray(value) && Object.values(value).every((one) => typeof one === "string" || Number.isFinite(one));

export const FIELDS = {
  run: text(),
  mode: choice(["text", "chat"]),
  prompt: text(EXAMPLES[0]),
  said: list(text(), ["How was your day?"]),
  changed: json({}, isEdits),
  cards: json(/** @type {Card[]} */ ([]), areCards),
  seed: number(0, { low: 0, high: 2 ** 31, whole: true }),
  temperature: number(0.7, { low: 0, high: 5 }),
  tokens: number(40, { low: 1, high: 500, whole: true }),
  samples: number(1, { low: 1, high: 4, whole: true }),
  same: flag(true),
  held: flag(),
  add: text(),
  sweep: text(),
};

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @type {View<typeof FIELDS>} */
let view;
let working = new AbortController();
/** @type {Column[]} */
let columns = [];
/** @type {Map<number, string>} */
const labels = new Map();
let chats = false;
/** @type {ReturnType<typeof adder>} */
let adding;

const run = () => view.state.run || currentRun() || "";
const steered = () => view.state.cards.filter((card) => card.kind === "latent" || card.kind === "direction");

// The columns that the cards ask for: unsteered, steered, and one for each prompt or baseline to compare with.
function asked() {
  const { cards, held } = view.state;
  const spec = specOf(steered());
  const beside = cards.filter((card) => card.on && (card.kind === "prompt" || card.kind === "spec"));
  return [
    { key: "plain", title: "unsteered", spec: null, before: "", card: null },
    { key: "steered", title: "steered", spec: spec.edits.length ? spec : null, before: "", card: null },
    ...(held && spec.edits.length ? [{ key: "held", title: "attention frozen", spec, before: "", card: null }] : []),
    ...beside.map((card, i) => ({ key: "beside" + i, title: nameOf(card), spec: card.kind === "spec" ? specOf([card]) : null, before: card.text ?? "", card })),
  ].map((column, i) => ({ ...column, own: view.state.same ? 0 : 1000 * i, lines: /** @type {Line[][]} */ ([]) }));
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let pricing;

/** Draws the columns and writes their texts, all over or from one turn of a chat on. */
async function go() {
  working.abort();
  working = new AbortController();
  const { signal } = working;
  columns = asked();
  drawColumns();
  busy(true);
  // The model is one: the texts' first tokens come before their price.
  clearTimeout(pricing);
  pricing = setTimeout(price, 400);
  const turns = view.state.mode === "chat" ? view.state.said.length : 1;
  for (let turn = 0; turn < turns && !signal.aborted; turn++) {
    /** @type {Job[]} */
    const jobs = columns.filter(({ key }) => key !== "held").flatMap((column) => (column.lines[turn] ?? []).flatMap((line, sample) => (given(column, turn) === undefined ? [{ key: column.key, title: column.title, spec: column.spec, seed: seedOf(column, turn, sample), prompt: promptOf(column, turn), line }] : [])));
    await write(jobs, { run: run(), temperature: view.state.temperature, max_new_tokens: view.state.tokens }, { signal, onPlace: told, onDelta: later, onTrouble: failed });
    if (!signal.aborted) await holdAttention(turn);
  }
  if (signal.aborted) return;
  busy(false);
  strips();
  document.documentElement.dataset.written = "yes";
}

/** Reads the unsteered text of a turn again with attention frozen, where that is asked for. @param {number} turn */
async function holdAttention(turn) {
  const [plain, column] = [columns[0], columns.find(({ key }) => key === "held")];
  for (const [sample, line] of (column?.lines[turn] ?? []).entries()) {
    const job = { key: "held", title: "", spec: column?.spec ?? null, seed: 0, prompt: promptOf(plain, turn), line };
    const written = plain.lines[turn][sample].deltas;
    if (written.length) await held(job, run(), written).catch((error) => failed(job, error.message));
  }
}

/** What a reader has written in the place of an answer. @param {Column} column @param {number} turn */
const given = (column, turn) => /** @type {string | undefined} */ (/** @type {Record<string, unknown>} */ (view.state.changed)[`${column.key}:${turn}`]);

/** @param {Column} column @param {number} turn @param {number} sample */
const seedOf = (column, turn, sample) => view.state.seed + column.own + sample + 101 * Number(/** @type {Record<string, unknown>} */ (view.state.changed)[`again:${column.key}:${turn}`] ?? 0);

/** @param {Column} column @param {number} turn @returns {import("./columns.js").Prompt} */
function promptOf(column, turn) {
  const { mode, prompt, said } = view.state;
  if (mode === "text") return column.before ? `${column.before} ${prompt}` : prompt;
  const before = column.before ? [{ role: "system", content: column.before }] : [];
  const talk = said.slice(0, turn + 1).flatMap((content, i) => [{ role: "user", content }, ...(i < turn ? [{ role: "assistant", content: given(column, i) ?? column.lines[i][0].text }] : [])]);
  return [...before, ...talk];
}

/** @param {boolean} on */
function busy(on) {
  $("stop").hidden = !on;
  $("columns").setAttribute("aria-busy", String(on));
  document.documentElement.dataset.written = "no";
  if (on) told(0);
}

/** @param {number} place */
const told = (place) => ($("place").textContent = place ? say("{n} before you", place) : "");

let painted = 0;
const later = () => (painted ||= requestAnimationFrame(() => ((painted = 0), strips())));

function stop() {
  working.abort();
  busy(false);
  strips();
}

/** @param {Job} job @param {string} message */
function failed(job, message) {
  const host = document.querySelector(`[data-column="${job.key}"] .column-trouble`);
  host?.replaceChildren(trouble(message));
}

// The columns, empty.
function drawColumns() {
  const { mode, samples, said, prompt } = view.state;
  $("columns").replaceChildren(...columns.map((column) => {
    const away = column.card ? el("button", { type: "button", class: "quiet", "aria-label": say("Remove"), on: { click: () => put(view.state.cards.filter((card) => card !== column.card)) } }, "×") : null;
    const body = mode === "chat" ? said.flatMap((content, turn) => chatTurn(column, content, turn)) : Array.from({ length: samples }, (_, i) => sample(column, prompt, i));
    return el("section", { class: "text-column " + column.key, "data-column": column.key, "aria-label": say(column.title) },
      el("header", {}, el("h2", { translate: column.card ? "no" : null }, column.card ? column.title : say(column.title)), away),
      el("div", { class: "column-trouble" }), el("div", { class: "column-body" }, body), el("div", { class: "column-foot" }));
  }));
  strips();
}

/** @param {Column} column @param {string} prompt @param {number} i */
function sample(column, prompt, i) {
  const line = new Line();
  column.lines[0] = [...(column.lines[0] ?? []), line];
  const shown = column.before ? `${column.before} ${prompt}` : prompt;
  return el("div", { class: "sample" }, i ? el("hr") : null, el("span", { class: "given", dir: "auto", translate: "no" }, shown), line.body);
}

/** @param {Column} column @param {string} content @param {number} turn */
function chatTurn(column, content, turn) {
  const line = new Line();
  column.lines[turn] = [line];
  const own = given(column, turn);
  if (own !== undefined) line.body.textContent = own;
  const mark = (/** @type {Record<string, unknown>} */ more) => view.set({ changed: { ...view.state.changed, ...more } }, { push: true }).then(go);
  const again = (/** @type {Column[]} */ some) => mark(Object.fromEntries(some.flatMap((one) => [[`again:${one.key}:${turn}`, Number(/** @type {Record<string, unknown>} */ (view.state.changed)[`again:${one.key}:${turn}`] ?? 0) + 1]])));
  const edit = () => {
    const area = el("textarea", { rows: "3", "aria-label": say("Answer") });
    area.value = own ?? line.text;
    line.body.replaceWith(area);
    area.focus();
    area.addEventListener("change", () => mark({ [`${column.key}:${turn}`]: area.value }));
  };
  const tool = (/** @type {string} */ sign, /** @type {string} */ name, /** @type {() => void} */ run) => el("button", { type: "button", class: "quiet", "aria-label": say(name), title: say(name), on: { click: run } }, sign);
  return [
    el("div", { class: "message user", dir: "auto", translate: "no" }, content),
    el("div", { class: "message assistant" }, line.body, el("div", { class: "message-tools" }, tool("✎", "Edit this answer", edit), tool("↻", "Write this side anew", () => again([column])), tool("⇄", "Write all sides anew", () => again(columns)))),
  ];
}

// The figures below each column.
function strips() {
  const plain = columns[0]?.lines.flat() ?? [];
  for (const column of columns) document.querySelector(`[data-column="${column.key}"] .column-foot`)?.replaceChildren(column.key === "held" ? heldFigures(column.lines.flat()) : figures(column.key === "plain" ? plain : column.lines.flat(), plain));
}

// Cards.

/** @param {Card[]} cards @param {{quick?: boolean}} [how] */
async function put(cards, { quick = false } = {}) {
  await view.set({ cards }, { push: !quick });
  if (!quick) drawCards();
  soon();
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
const soon = () => (clearTimeout(timer), (timer = setTimeout(solveThenGo, 180)));

/** @type {(number | null | undefined)[]} */
let costs = [];
/** @type {string[]} */
let refusals = [];

function drawCards() {
  const { cards } = view.state;
  const change = (/** @type {number} */ i) => (/** @type {Partial<Card>} */ more, /** @type {{quick?: boolean}} */ how = {}) => put(view.state.cards.map((card, n) => (n === i ? { ...card, ...more } : card)), how);
  $("cards").replaceChildren(...cards.map((card, i) => cardElement(card, {
    run: run(),
    label: labels.get(card.latent ?? -1) ?? "",
    cost: costs[i],
    failed: refusals[i] ?? "",
    change: change(i),
    duplicate: () => put(view.state.cards.toSpliced(i, 0, structuredClone(card))),
    away: () => put(view.state.cards.toSpliced(i, 1)),
  })));
  if (!cards.length) $("cards").append(recipes());
}

/** @type {Map<string, Promise<{latent: number, label: string} | undefined>>} */
const fired = new Map();

/** The feature that fires most on a word alone, if any does. @param {string} word */
function firing(word) {
  const found = fired.get(word) ?? get(`/api${runAddress(run(), "features")}?${new URLSearchParams({ q: word, mode: "token", limit: "1" })}`).then(({ features: [one] }) => (one?.top_tokens.some((/** @type {string} */ token) => token.trim() === word) ? one : undefined), () => undefined);
  fired.set(word, found);
  return found;
}

// Without cards: three to begin with, of words that a feature fires on.
function recipes() {
  const begin = (/** @type {string} */ title, /** @type {string} */ word, /** @type {string} */ prompt, /** @type {Partial<Card>} */ more) =>
{
    const starter = el("li", { hidden: true }, el("button", { type: "button", class: "recipe", on: { click: async () => {
      const one = await firing(word);
      if (!one) return;
      labels.set(one.latent, one.label);
      if (view.state.mode === "text") await view.set({ prompt });
      promptBoxes();
      put([newCard({ latent: one.latent, ...more })]);
    } } }, say(title)));
    firing(word).then((one) => ((starter.hidden = !one), (begun.hidden &&= !one)));
    return starter;
  };
  const begun = el("p", { hidden: true }, say("Or begin with one of these:"));
  return el("div", { class: "empty-steering" }, el("p", {}, say("Nothing is steered yet, so both columns are the same: they draw the same noise. Add a feature below.")), begun,
    el("ul", {}, begin("More of “Monday”", "Monday", "On the first day of the week we", { amount: 2 }), begin("Money wherever it goes", "money", "Once upon a time there was a", { amount: 2 }), begin("Without “the”", "the", "I thought the film was", { move: "ablate" })));
}

// What each card costs now, in KL.
async function price() {
  const own = view.state.cards;
  const steerings = own.map((card) => (card.on && (card.kind === "latent" || card.kind === "direction") && !(card.unit === "kl" && card.solved === undefined) ? { edits: [editOf(card)] } : null));
  if (!steerings.some(Boolean)) return ($("cost").textContent = "");
  try {
    const answer = await post("/api/steer/cost", { run: run(), ...startOf(view.state), steerings: [...steerings, specOf(steered())] });
    if (own !== view.state.cards) return;
    costs = answer.costs.map((/** @type {{kl: number | null}} */ one) => one.kl);
    refusals = answer.costs.map((/** @type {{problem: string | null}} */ one) => one.problem ?? "");
    const whole = costs.at(-1);
    $("cost").textContent = whole === null || whole === undefined ? "" : say("KL along untouched text {} in all", measured(whole));
    [...$("cards").querySelectorAll(".cost")].forEach((host) => {
      const i = [...$("cards").children].indexOf(/** @type {Element} */ (host.closest(".steer-card")));
      host.replaceChildren(refusals[i] ? el("span", { class: "refused" }, refusals[i]) : costs[i] === null ? "" : say("KL along untouched text {}", measured(costs[i])));
    });
  } catch (error) {
    $("cost").textContent = /** @type {Error} */ (error).message;
  }
}

// Cards that aim at a KL are solved first.
async function solveThenGo() {
  const open = view.state.cards.filter((card) => card.on && card.unit === "kl" && card.solved === undefined);
  if (open.length) {
    const solved = await Promise.all(open.map((card) => post("/api/steer/solve", { run: run(), ...startOf(view.state), kl: card.amount, steering: { edits: [editOf({ ...card, solved: 1 })] } }).then((answer) => answer.strength, () => null)));
    await view.set({ cards: view.state.cards.map((card) => (open.includes(card) ? { ...card, solved: solved[open.indexOf(card)] } : card)) });
    drawCards();
  }
  return go();
}

// The form.
function promptBoxes() {
  const { mode, prompt, said } = view.state;
  $("mode").hidden = !chats && mode === "text";
  $("examples").hidden = mode === "chat";
  $("mode").replaceChildren(...modes({ text: "Completion", chat: "Chat" }, mode, (mode) => again({ mode })));
  const boxes = mode === "text" ? [box(prompt, say("Prompt"), (value) => ({ prompt: value }))] : said.map((content, i) => el("div", { class: "turn" }, el("span", { class: "soft" }, say("user")), box(content, say("Message {n}", i + 1), (value) => ({ said: said.map((one, n) => (n === i ? value : one)) })), said.length > 1 ? el("button", { type: "button", class: "quiet", "aria-label": say("Remove"), on: { click: () => again({ said: said.toSpliced(i, 1), changed: {} }) } }, "×") : null));
  const more = () => {
    view.set({ said: [...view.state.said, ""] });
    promptBoxes();
    [...$("prompt-text").querySelectorAll("textarea")].at(-1)?.focus();
  };
  const adding = mode === "chat" ? [el("button", { type: "button", class: "quiet", on: { click: more } }, say("+ message"))] : [];
  $("prompt-text").replaceChildren(...boxes, ...adding);
}

/** @param {string} value @param {string} name @param {(value: string) => Partial<import("./state.js").State<typeof FIELDS>>} change */
const box = (value, name, change) => promptBox(value, name, { send: (typed) => again(change(typed)), keep: (typed) => view.set(change(typed)) }, { rows: "1" });

function options() {
  const { seed, temperature, tokens, samples, same } = view.state;
  const field = (/** @type {"seed" | "temperature" | "tokens" | "samples"} */ name, /** @type {string} */ title, /** @type {number} */ value, /** @type {number} */ step) => {
    const { low, high } = FIELDS[name].values;
    return el("label", {}, say(title), el("input", { type: "number", id: "option-" + name, min: low, max: high, step, value, on: { change: (/** @type {any} */ event) => event.target.validity.valid && again({ [name]: Number(event.target.value) }) } }));
  };
  $("options").replaceChildren(field("seed", "seed", seed, 1), field("temperature", "temperature", temperature, 0.1), field("tokens", "tokens", tokens, 1), field("samples", "samples", samples, 1),
    check("same noise", same, (on) => again({ same: on })), check("attention frozen", view.state.held, (on) => again({ held: on })));
}

/** Changes the state, and writes anew. @param {Partial<import("./state.js").State<typeof FIELDS>>} change */
async function again(change) {
  await view.set(change, { push: true });
  if ("mode" in change || "said" in change) promptBoxes();
  options();
  go();
}

// Features that a link brings: 17 or 17:2.5, with commas between; false where one of them is none.
async function brought() {
  const { add, cards } = view.state;
  const more = add.split(",").flatMap((one) => {
    const [latent, amount] = one.split(":").map(Number);
    return one && Number.isInteger(latent) && latent >= 0 ? [newCard({ latent, ...(Number.isFinite(amount) ? { amount } : {}) })] : [];
  });
  if (add) await view.set({ add: "", cards: [...cards, ...more] });
  return !add || more.length === add.split(",").length;
}

// What a link to a sweep brings where it says no cards: those of the sweep, and what it went on from.
async function swept() {
  const { sweep, cards } = view.state;
  if (!sweep || cards.length) return;
  const { request } = await get(`/api/jobs/${encodeURIComponent(sweep)}`).catch(() => ({}));
  if (!request?.steering) return;
  const before = request.messages ? { mode: /** @type {const} */ ("chat"), said: request.messages.filter((/** @type {any} */ { role }) => role === "user").map((/** @type {any} */ { content }) => content) } : { mode: /** @type {const} */ ("text"), prompt: request.prompt };
  await view.set({ ...before, run: request.run, cards: cardsOf(request.steering.edits), seed: request.seed, temperature: request.temperature, tokens: request.max_new_tokens });
}

async function readLabels() {
  const wanted = view.state.cards.flatMap(({ latent }) => (latent === undefined || labels.has(latent) ? [] : [latent]));
  if (!wanted.length) return;
  const answer = await get(`/api${runAddress(run(), "features")}?${new URLSearchParams({ latents: wanted.join(","), alive: "all", limit: "100" })}`).catch(() => ({ features: [] }));
  for (const { latent, label } of answer.features) labels.set(latent, label);
  drawCards();
}

function draw() {
  promptBoxes();
  options();
  drawCards();
  readLabels();
  return go();
}

async function start() {
  const lost = await ignored(FIELDS, location);
  view = await View.open(FIELDS, draw);
  const seed = () => again({ seed: view.state.seed + 1, changed: {} });
  shell({
    crumbs: [[run(), run() ? runAddress(run()) : null], [say("Steer"), null, false]],
    code: () => code(view.state, folderOf(run()) ?? "", steered()),
    title: say("Steer"),
    keys: { "+": [() => adding.focus(), "Add a feature"], r: [seed, "New seed"], b: [() => $("baselines")?.click(), "Baselines"], Escape: [stop, "Stop"], Enter: [go, "Run"] },
  });
  if (!facts.runs.length) return void $("cards").replaceChildren(empty("There is no run to steer with.", { command: "monosema run" }));
  keep("run", run());
  if (!(await brought())) lost.push("add");
  if (lost.length) $("ask").before(el("p", { class: "ignored", role: "status" }, say("Of the link, this can’t be read and was left out: {}", lost.join(", "))));
  await swept();
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const [area] = $("prompt-text").querySelectorAll("textarea");
    again(view.state.mode === "text" ? { prompt: area.value } : {});
  });
  $("stop").addEventListener("click", stop);
  $("examples").replaceChildren(...EXAMPLES.map((prompt) => el("button", { type: "button", class: "quiet", translate: "no", on: { click: () => (view.set({ mode: "text", prompt }, { push: true }).then(draw)) } }, prompt + " …")));
  adding = adder($("adding"), run(), (card, label) => {
    if (label) labels.set(card.latent ?? -1, label);
    put([...view.state.cards, card]);
  });
  $("steering-tools").append(saveMenu(() => ({ run: run(), steering: specOf(steered()) })));
  const shown = beyond($("beyond"), () => ({ state: view.state, run: run(), steering: specOf(steered()) }), put, () => view.state.cards, (sweep) => view.set({ sweep }));
  hovers($("columns"));
  post("/api/prompt", { run: run(), text: "a", top: 1 }).then((about) => ((chats = about.chat), promptBoxes()), () => {});
  if (view.state.sweep) shown(view.state.sweep);
  await draw();
  document.documentElement.dataset.ready = "yes";
}

start();
