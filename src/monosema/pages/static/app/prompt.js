// The prompt page: what the model reads, what it expects after each token, which features are active there, and why a token came.
import { REMOVALS } from "../answered.js";
import { el, measured, say, share } from "../elements.js";
import { FIGURES } from "../inside.js";
import { pieces, signed } from "../strips.js";
import { tabs } from "../tabs.js";
import { labelled, visible } from "../tokens.js";
import { post } from "./api.js";
import { PLAYERS, input } from "./input.js";
import { attention, lens, parts, steps } from "./inside.js";
import { modes, promptBox } from "./promptbox.js";
import { promptMenu } from "./promptmenu.js";
import { drawTokens, nextBars } from "./reading.js";
import { currentRun, facts, failure, folderOf, runAddress, shell, skeleton, status } from "./shell.js";
import { View, choice, flag, json, number, optional, text } from "./state.js";
import { answer } from "./why.js";

/** @typedef {import("./reading.js").ReadToken} ReadToken */
/** @typedef {{role: string, content: string}} Message */
/** @typedef {{latent: number, value: number, share: number | null, label: string, kl: number | null, effect: number | null}} ActiveFeature */

const EXAMPLES = [
  ["who gets it", "When Mary and John went to the store, John gave a drink to"],
  ["a later year", "The war lasted from the year 1732 to the year 17"],
  ["true or false", "The capital of Japan is Tokyo. This is"],
];
const CHAT = [{ role: "user", content: "What is the capital of France?" }];
const isChat = (/** @type {unknown} */ value) => Array.isArray(value) && value.length < 200 && value.every((one) => ["system", "user", "assistant"].includes(one?.role) && typeof one?.content === "string");

export const FIELDS = {
  run: text(),
  mode: choice(["text", "chat"]),
  text: text(EXAMPLES[0][1]),
  messages: json(CHAT, isChat),
  at: optional(number(0, { low: 0, high: 100000, whole: true })),
  target: text(),
  foil: text(),
  tab: choice(["features", "input", "lens", "parts", "attention", "steps"]),
  players: choice(Object.keys(PLAYERS)),
  removal: choice(Object.keys(REMOVALS)),
  twin: text(),
  every: flag(),
  by: choice(["layer", "head", "neuron", "latent"]),
  head: text(),
  figure: choice(Object.keys(FIGURES)),
  weighted: flag(),
  temperature: number(1, { low: 0.1, high: 10 }),
};
const TABS = { features: "Features", input: "Input", lens: "Lens", parts: "Logit in parts", attention: "Attention", steps: "Step by step" };

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @type {View<typeof FIELDS>} */
let view;
/** @type {{tokens: ReadToken[], chat: boolean, model: string, methods: import("./why.js").Method[], attribution: import("./input.js").Method[]} | null} */
let read = null;
let turn = new AbortController();
let question = new AbortController();

const run = () => view.state.run || currentRun();
const prompt = () => (view.state.mode === "chat" ? { messages: view.state.messages } : { text: view.state.text });
/** A token as the address and the API have it: its text, or its id where it has none that can be written. @param {{id: number, token: string}} token */
const named = ({ id, token }) => (/<0x|^#\d+$/.test(token) ? "#" + id : token);
/** @param {string} name */
const asked = (name) => (/^#\d+$/.test(name) ? Number(name.slice(1)) : name);

// Reads the prompt anew.
async function reading() {
  turn.abort();
  turn = new AbortController();
  const { signal } = turn;
  status("Reading …");
  try {
    const answer = await post("/api/prompt", { run: run(), ...prompt(), top: 12 }, { signal });
    read = answer;
    $("told").textContent = say("{n} tokens · {} · {} s", answer.tokens.length, answer.model, measured(answer.seconds));
    form();
    look();
  } catch (error) {
    if (signal.aborted) return;
    read = null;
    $("tokens").replaceChildren(failure(error, reading));
    for (const id of ["why", "next", "features"]) $(id).replaceChildren();
  } finally {
    if (!signal.aborted) status("");
  }
}

/** The chosen position: the address's, else the last. */
const position = () => Math.min(view.state.at ?? Infinity, /** @type {NonNullable<typeof read>} */ (read).tokens.length - 1);

// Shows the chosen position: its tokens, the next token, features, and why.
function look() {
  if (!read) return;
  question.abort();
  question = new AbortController();
  const [at, tokens] = [position(), read.tokens];
  const following = tokens[at + 1];
  const target = view.state.target || (following ? named(following) : named(tokens[at].next[0]));
  const runnerUp = tokens[at].next.find((one) => named(one) !== target);
  const foil = view.state.foil || (runnerUp ? named(runnerUp) : "");
  drawTokens($("tokens"), tokens, at, choose, { target: tokens.at(-1)?.next[0].token });
  const aim = (/** @type {string} */ field) => (/** @type {{id: number, token: string}} */ token) => ask({ [field]: named(token) });
  $("next").replaceChildren(
    el("h2", {}, say("After"), " ", el("span", { class: "chip" }, visible(tokens[at].token))),
    nextBars(tokens[at].next, { target: shown(target, tokens), foil: shown(foil, tokens) }, aim("target"), aim("foil")),
    el("p", { class: "soft small" }, el("span", {}, say("entropy {} nats", measured(tokens[at].entropy))), following ? [" · ", el("span", {}, say("the text goes on with “{}”", visible(following.token))), " · ", el("span", {}, say("surprise {} nats", measured(following.surprise)))] : null)
  );
  const body = { run: run(), ...prompt(), at, target: asked(target), foil: foil ? asked(foil) : "" };
  features({ ...body, position: at });
  why(body, target, foil);
}

/** The text of a token that is named by its id. @param {string} name @param {ReadToken[]} tokens */
const shown = (name, tokens) => tokens.flatMap((token) => [token, ...token.next]).find((token) => named(token) === name)?.token ?? name;

/** @param {number} at */
const choose = (at) => ask({ at: at === (read?.tokens.length ?? 0) - 1 ? null : at, target: "", foil: "" });

/** @param {Partial<import("./state.js").State<typeof FIELDS>>} change */
async function ask(change) {
  await view.set(change, { push: true });
  look();
}

/** @param {Record<string, unknown>} body */
async function features(body) {
  const { signal } = question;
  const host = $("features");
  if (!host.childElementCount) host.replaceChildren(skeleton(5));
  try {
    const found = await post("/api/prompt/features", body, { signal });
    host.replaceChildren(el("h2", {}, say("Features on this token")), found.features.length ? featureTable(found) : el("p", { class: "soft" }, found.read ? say("No feature is active here.") : say("Dictionaries read no special tokens, so no feature is active here.")));
  } catch (error) {
    if (!signal.aborted) host.replaceChildren(failure(error, look));
  }
}

const FEW = 12;
let [byEffect, every] = [false, false];

/** @param {{features: ActiveFeature[], site: string}} found @returns {HTMLElement} */
function featureTable(found) {
  const redraw = () => $("features").querySelector("table")?.replaceWith(featureTable(found));
  const effect = (/** @type {ActiveFeature} */ one) => Math.abs(one.effect ?? one.kl ?? 0);
  const rows = byEffect ? found.features.toSorted((a, b) => effect(b) - effect(a)) : found.features;
  const most = Math.max(...rows.map(effect), 1e-9);
  const line = (/** @type {ActiveFeature} */ one) =>
    el("tr", {},
      el("td", { class: "num" }, measured(one.value), el("span", { class: "tiny-bar", title: say("{} of its maximum", share(one.share)) }, el("i", { style: { width: 100 * Math.min(1, one.share ?? 0) + "%" } }))),
      el("td", { class: "what" }, el("a", { class: "label", translate: "no", href: runAddress(run() ?? "", "features", String(one.latent)) }, one.label ? labelled(one.label) : `#${one.latent}`), " ", steerLink(one.latent)),
      el("td", { class: "num", title: one.kl === null ? null : say("moves the next token’s distribution by {} nats", measured(one.kl)) }, one.effect === null ? (one.kl === null ? "–" : measured(one.kl)) : signed(one.effect), el("span", { class: "tiny-bar" }, el("i", { class: (one.effect ?? 0) < 0 ? "against" : "", style: { width: (100 * effect(one)) / most + "%" } }))));
  const head = (/** @type {string} */ title, /** @type {boolean} */ mine, /** @type {string} */ about) =>
    el("th", { scope: "col", "aria-sort": mine === byEffect ? "descending" : "none" }, el("button", { type: "button", class: "quiet", title: say(about), on: { click: () => ((byEffect = mine), redraw()) } }, say(title)));
  return el("table", { class: "active-features" },
    el("thead", {}, el("tr", {}, head("value", false, "Activation on this token; the bar is its share of the feature’s maximum"), el("th", { scope: "col" }, say("feature")), head("effect", true, "Change of the question’s value, in nats, when the feature is taken out on this token"))),
    el("tbody", {}, (every ? rows : rows.slice(0, FEW)).map(line)),
    every || rows.length <= FEW ? null : el("tfoot", {}, el("tr", {}, el("td", { colspan: "3" }, el("button", { type: "button", class: "quiet more", on: { click: () => ((every = true), redraw()) } }, say("All {n}", rows.length))))));
}

/** @param {number} latent */
const steerLink = (latent) => el("a", { class: "quiet steer-it", href: `/steer?run=${encodeURIComponent(run() ?? "")}&add=${latent}`, title: say("Steer with this feature") }, say("steer"));

/** @param {Record<string, unknown>} body @param {string} target @param {string} foil */
function why(body, target, foil) {
  if (!read) return;
  const tokens = read.tokens;
  const at = Number(body.at);
  const box = el("input", { type: "text", class: "foil-box", value: shown(foil, tokens), "aria-label": say("Rather than"), list: "foils", spellcheck: "false", autocomplete: "off" });
  const options = el("datalist", { id: "foils" }, tokens[at].next.map(({ token }) => el("option", { value: token })));
  box.addEventListener("change", () => ask({ foil: /** @type {HTMLInputElement} */ (box).value }));
  const head = el("h2", {}, el("span", {}, say("Why")), el("span", { class: "chip target" }, visible(shown(target, tokens))), el("span", {}, say("after")), el("span", { class: "chip" }, visible(tokens[at].token)), el("span", {}, say("rather than")), box, options);
  const panel = el("div", { id: "answers", role: "tabpanel" });
  const { tab, by, temperature, players, removal, twin, every, head: looked, figure, weighted } = view.state;
  $("why").replaceChildren(head, tabs(TABS, tab, (tab) => redraw({ tab }), "answers"), panel);
  const about = { signal: question.signal, again: look, run: run() ?? "", position: at, by, temperature, change: redraw };
  if (tab === "features") byFeatures(panel, body, at);
  if (tab === "input") input(panel, body, { players, removal, twin, every }, { ...about, methods: read.attribution });
  if (tab === "lens") lens(panel, body, about);
  if (tab === "parts") parts(panel, body, about);
  if (tab === "attention") attention(panel, body, { ...about, head: looked, figure, weighted });
  if (tab === "steps") steps(panel, body, about);
}

/** Shows the answer to the same question in another way. @param {Record<string, unknown>} change */
async function redraw(change) {
  await view.set(change, { push: true });
  look();
}

/** @param {HTMLElement} host @param {Record<string, unknown>} body @param {number} at */
function byFeatures(host, body, at) {
  if (!read) return;
  const figure = el("p", { class: "soft small" });
  const rows = el("div", { class: "methods" });
  host.replaceChildren(figure, rows);
  answer(rows, { ...body, most: 12 }, { run: run() ?? "", tokens: read.tokens.slice(0, at + 1), methods: read.methods, signal: question.signal, again: look, onPosition: choose }, (said) => {
    figure.textContent = said.foil === null ? say("log p = {} nats", measured(said.value)) : say("log-odds {} nats: what is above 0 speaks for {}, what is below 0 for {}", signed(said.value), visible(said.target), visible(said.foil));
  });
}

// The form: a text, or the messages of a chat where the model knows them.
function form() {
  const { mode, messages } = view.state;
  const chat = Boolean(read?.chat) || mode === "chat";
  $("mode").hidden = !chat;
  $("mode").replaceChildren(...modes({ text: "Text", chat: "Chat" }, mode, (mode) => again({ mode })));
  if (document.activeElement instanceof HTMLElement && $("prompt-text").contains(document.activeElement)) return;
  $("prompt-text").replaceChildren(...(mode === "chat" ? chatBoxes(messages) : [box(view.state.text, say("Prompt"), (value) => ({ text: value }))]));
}

/** @param {string} value @param {string} name @param {(value: string) => Partial<import("./state.js").State<typeof FIELDS>>} change */
const box = (value, name, change) => promptBox(value, name, { send: (typed) => again(change(typed)), keep: (typed) => view.set(change(typed)) }, { rows: "2", "data-search": name === say("Prompt") });

/** @param {Message[]} messages */
function chatBoxes(messages) {
  const put = (/** @type {number} */ i, /** @type {Partial<Message>} */ change) => ({ messages: messages.map((one, n) => (n === i ? { ...one, ...change } : one)) });
  const lines = messages.map((one, i) => {
    const role = el("select", { "aria-label": say("Role"), on: { change: (/** @type {Event} */ event) => again(put(i, { role: /** @type {HTMLSelectElement} */ (event.target).value })) } }, ["system", "user", "assistant"].map((value) => el("option", { value, selected: value === one.role }, say(value))));
    const away = messages.length > 1 ? el("button", { type: "button", class: "quiet", "aria-label": say("Remove"), on: { click: () => again({ messages: messages.filter((_, n) => n !== i) }) } }, "×") : null;
    return el("div", { class: "turn" }, role, box(one.content, say(one.role), (content) => put(i, { content })), away);
  });
  const last = messages.at(-1)?.role;
  const more = el("button", { type: "button", class: "quiet", on: { click: () => again({ messages: [...messages, { role: last === "user" ? "assistant" : "user", content: "" }] }) } }, say("+ message"));
  return [...lines, more];
}

/** Changes the prompt, and reads it. @param {Partial<import("./state.js").State<typeof FIELDS>>} change */
async function again(change) {
  const same = JSON.stringify(prompt());
  await view.set(change, { push: true });
  if (JSON.stringify(prompt()) !== same) await view.set({ at: null, target: "", foil: "" });
  if (document.activeElement instanceof HTMLElement && $("mode").contains(document.activeElement) === false && !("text" in change)) document.activeElement.blur();
  form();
  await reading();
}

/** @param {number} by */
function step(by) {
  if (!read) return;
  const all = pieces(read.tokens);
  const now = all.findIndex(({ from, to }) => from <= position() && position() < to);
  const next = all[Math.min(all.length - 1, Math.max(0, now + by))];
  if (next) choose(next.to - 1);
}

function code() {
  const { state } = view;
  const given = state.mode === "chat" ? JSON.stringify(state.messages) : JSON.stringify(state.text);
  const where = state.at === null ? "" : `, position=${state.at}`;
  const precise = state.tab !== "features";
  return [
    ...(precise ? ["import monosema as ms"] : []),
    ...(state.tab === "input" ? ["from monosema import attribution"] : precise ? ["from monosema.attribution import lenses"] : []),
    `from monosema.runs import Run${precise ? "" : ", open_model"}`,
    `from monosema.server.reading import ${precise ? "" : "DictionaryReading, "}PromptReading, Question`,
    ...(precise ? [] : ["from monosema.server.why import answers"]),
    "",
    `run = Run.open(${JSON.stringify(folderOf(run()))})`,
    precise ? 'model = ms.load_model(run.recipe.model.name, dtype="float32")' : "model = open_model(run.recipe)",
    `reading = PromptReading(model, ${given})`,
    `question = Question.about(reading${where})`,
    "print(reading.tokens_read()[question.position].next)",
    ...(precise ? ["ids = reading.ids[: question.position + 1]"] : []),
    ...CODE[state.tab](state),
  ].join("\n");
}

/** What follows the question, by tab. @type {Record<string, (state: import("./state.js").State<typeof FIELDS>) => string[]>} */
const CODE = {
  features: () => ["features = DictionaryReading(reading, run.dictionary())", "print(features.with_effects(question.position, question))", "for answer in answers(features, question):", "    print(answer)"],
  input: ({ players, removal, twin, every }) => [
    `asked = attribution.ask(model, ids, target=question.target, foil=question.foil${twin ? `, twin=${JSON.stringify(twin)}` : ""})`,
    `players = attribution.tokens_of(model, asked, ${JSON.stringify(players)}${removal ? `, ${JSON.stringify(removal)}` : ""})`,
    "game = attribution.Game(model, asked, players)",
    `for method in attribution.methods_named(${every ? '["all"]' : ""}):`,
    "    print(attribution.attribute(game, method))",
  ],
  lens: () => ["print(lenses.read_lens(model, lenses.Lens(), ids, range(len(ids)), question.target).to_dict())"],
  parts: ({ by }) => [`print(lenses.logit_parts(model, ids, question.target, question.foil, by="${by}"${by === "latent" ? ", dictionary=run.dictionary()" : ""}).largest(40))`],
  attention: ({ head }) => ["from monosema.attribution.attention import read_attention", "", "found = read_attention(model, ids)", "for name, values in found.figures().items():", "    print(name, values)", ...(head ? [`print(found.pattern[${(/\d+/g.exec(head) ?? [0])[0]}, ${(/h(\d+)/.exec(head) ?? [0, 0])[1]}])`] : [])],
  steps: ({ temperature }) => [`for step in lenses.prediction_steps(model, ids, temperature=${temperature.toFixed(2)}):`, "    print(step.name, step.formula, step.said)"],
};

async function start() {
  view = await View.open(FIELDS, () => (form(), reading()));
  shell({
    crumbs: [[run() ?? "", run() ? runAddress(run() ?? "") : null], [say("Prompt"), null, false]],
    code,
    title: say("Prompt"),
    keys: { ArrowLeft: [() => step(-1), "Token before"], ArrowRight: [() => step(1), "Token after"] },
  });
  if (!facts.runs.length) return;
  $("examples").replaceChildren(...EXAMPLES.map(([name, value]) => el("button", { type: "button", class: "quiet", on: { click: () => again({ text: value, mode: "text" }) } }, say(name))));
  $("told").after(promptMenu(() => ({ run: run(), ...prompt() })));
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const area = $("prompt-text").querySelector("textarea");
    again(view.state.mode === "text" && area ? { text: area.value } : {});
  });
  $("tokens").replaceChildren(skeleton(2, 22));
  form();
  await reading();
  document.documentElement.dataset.ready = "yes";
}

start();
