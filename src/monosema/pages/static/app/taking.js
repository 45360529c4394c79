// What is taken away from the playground: code that gives the same texts, and files.
import { el, say } from "../elements.js";
import { editOf } from "./cards.js";
import { toast } from "./shell.js";

/** @typedef {import("./cards.js").Card} Card */

/** @param {unknown} value @returns {string} */
function python(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(/** @type {object} */ (value)).map(([key, one]) => `${JSON.stringify(key)}: ${python(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/** A word for the shell. @param {string} text */
const quoted = (text) => (/^[\w.,=+@:/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** An edit as the command line has it; null where it has no such form. @param {Card} card */
function short(card) {
  if (card.kind !== "latent") return null;
  const amount = card.unit === "kl" ? (card.solved ?? 0) : card.amount;
  const unit = card.unit === "kl" || card.unit === "max" ? "" : card.unit;
  const plus = amount < 0 ? "" : "+";
  const moves = { add: plus + amount + unit, scale: "x" + amount, ablate: "x0", set: amount + unit, cap: ".." + amount + unit };
  const places = { both: "", prompt: "@prompt", generated: "@generated", last: "@last" };
  return `${card.latent}=${moves[card.move]}${card.active && ["set", "cap"].includes(card.move) ? "?" : ""}${places[card.where]}`;
}

/**
 * Python and the command line that give the steered text.
 * @param {{mode: string, prompt: string, said: string[], seed: number, temperature: number, tokens: number}} state @param {string} run @param {Card[]} cards
 */
export function code(state, run, cards) {
  const on = cards.filter((card) => card.on);
  const prompt = state.mode === "chat" ? [{ role: "user", content: state.said[0] }] : state.prompt;
  const settings = `max_new_tokens=${state.tokens}, temperature=${state.temperature}, seed=${state.seed}`;
  const edits = on.map(short);
  const command = edits.includes(null)
    ? null
    : ["monosema", state.mode === "chat" ? "chat" : "complete", quoted(state.mode === "chat" ? state.said[0] : state.prompt), "--run", quoted(run), ...edits.flatMap((edit) => ["--steer", quoted(/** @type {string} */ (edit))]), "--tokens", state.tokens, "--temperature", state.temperature, "--seed", state.seed].join(" ");
  return [
    "from monosema.runs import Run, open_model",
    "from monosema.steering import Resolver, Steering, steered",
    "",
    `run = Run.open(${JSON.stringify(run)})`,
    "model = open_model(run.recipe)",
    `steering = Steering.from_dict(${python({ edits: on.map(editOf) })}, Resolver.of(run.folder))`,
    `prompt = ${python(prompt)}`,
    `print(model.generate(prompt, ${settings}))`,
    "with steered(model, steering):",
    `    print(model.generate(prompt, ${settings}))`,
    ...(command ? ["", "# " + command] : []),
  ].join("\n");
}

const FORMATS = [["toml", "TOML, for monosema complete --steering"], ["safetensors", "safetensors: the vectors"], ["gguf", "GGUF control vector of all tokens, for llama.cpp and repeng"]];

/** @param {() => {run: string, steering: {edits: unknown[]}}} now */
export function saveMenu(now) {
  const fetched = async (/** @type {string} */ format) => {
    const { run, steering } = now();
    if (!steering.edits.length) return toast("There is no steering to save: add a card.");
    const answer = await fetch(`/api/steer/save?format=${format}`, { method: "POST", headers: { "Content-Type": "application/json", "Accept-Language": document.documentElement.lang }, body: JSON.stringify({ run, steering }) });
    if (!answer.ok) return toast((await answer.json()).error.message);
    const link = el("a", { href: URL.createObjectURL(await answer.blob()), download: `steering.${format}` });
    link.click();
    URL.revokeObjectURL(link.getAttribute("href") ?? "");
  };
  /** @type {HTMLElement} */
  const menu = el("details", { class: "menu" }, el("summary", { class: "quiet" }, say("Save as file")),
    el("div", { class: "menu-list" }, FORMATS.map(([format, text]) => el("button", { type: "button", class: "quiet", on: { click: () => (menu.removeAttribute("open"), fetched(format)) } }, say(text)))));
  return menu;
}
