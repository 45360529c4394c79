// The app's shell: the bar, where you are, keys, the status line, and what a view shows while it loads, fails or is empty.
import { byId as $, el, reword, say } from "../elements.js";
import { keep, recall } from "../kept.js";
import { speak } from "../language.js";
import { theme } from "../theme.js";

/** @import {Attributes, Child} from "../elements.js" */
/** @typedef {[text: string, address?: string | null, data?: boolean]} Crumb - `data` for a name that is never translated */
/** @typedef {Record<string, [run: (event: KeyboardEvent) => unknown, about: string]>} Keys */
/** @typedef {{text: string, href: string} | {command: string}} Action */

/**
 * What the server tells the page.
 * @type {{page: string, title: string, run?: string, latent?: number, runs: {name: string, folder: string}[], words: [string, string][], languages: Record<string, Record<string, string>>, language: string, names: Record<string, string>} & Record<string, any>}
 */
export const facts = JSON.parse($("facts").textContent);

// The run that pages without one of their own speak of: the address's, else the last one looked at, else the first.
export function currentRun() {
  const names = facts.runs.map(({ name }) => name);
  const wanted = [facts.run, new URLSearchParams(location.search).get("run"), recall("run")];
  return wanted.find((name) => names.includes(name)) ?? names[0] ?? null;
}

/** A run's folder, for code: the place that the server has it at. @template {string | null} Run @param {Run} run @returns {string | Run} */
export const folderOf = (run) => facts.runs.find(({ name }) => name === run)?.folder ?? run;

/** @param {string} run @param {(string | number)[]} rest */
export const runAddress = (run, ...rest) => ["/runs", encodeURIComponent(run), ...rest].join("/");

/**
 * The pages of the bar: what opens each by key after g, its name, and its address for a run.
 * @type {[key: string, page: string, text: string, address: (run: string | null) => string | null][]}
 */
const PAGES = [
  ["f", "features", "Features", (run) => run && runAddress(run, "features")],
  ["p", "prompt", "Prompt", (run) => "/prompt" + (run ? "?run=" + encodeURIComponent(run) : "")],
  ["s", "steer", "Steer", (run) => "/steer" + (run ? "?run=" + encodeURIComponent(run) : "")],
  ["i", "circuits", "Circuits", (run) => run && runAddress(run, "circuits")],
  ["c", "compare", "Compare", () => "/compare"],
  ["j", "jobs", "Jobs", () => "/jobs"],
];

/** @type {Map<string, {run: (event: KeyboardEvent) => unknown, about: string}>} By key, or two with a blank between. */
const keys = new Map();

/**
 * Draws the shell. `crumbs` lead from the run downwards; `code` gives Python that gives what the view shows.
 * @param {{crumbs?: Crumb[], keys?: Keys, code?: (() => string | null) | null, title?: string | null}} [view]
 */
export function shell({ crumbs = [], keys: own = {}, code = null, title = null } = {}) {
  reword(facts.words || []);
  speak($("language"), facts);
  theme($("theme"), () => document.dispatchEvent(new Event("theme")));
  const run = currentRun();
  if (facts.run) keep("run", facts.run);
  runSwitch(run);
  /** @param {string | null} address */
  const go = (address) => () => address && location.assign(address);
  $("pages").replaceChildren(
    ...PAGES.map(([, page, text, address]) => el("a", { href: address(run) || "/", "aria-current": page === facts.page || (page === "features" && facts.page === "feature") ? "page" : null, "data-go": page }, say(text)))
  );
  for (const [key, , text, address] of PAGES) keys.set("g " + key, { run: go(address(run)), about: text });
  keys.set("g r", { run: go("/"), about: "Runs" });
  keys.set("/", { run: search, about: "Search" });
  keys.set(".", { run: copyLink, about: "Copy the link to this view" });
  keys.set("t", { run: () => $("theme").click(), about: "Light or dark" });
  keys.set("?", { run: showKeys, about: "These keys" });
  bind(own);
  where(crumbs, title);
  $("tools").prepend(button("Copy link", copyLink, { title: say("The address holds the whole view (.)") }));
  if (code) $("tools").prepend(codeButton(code));
  $("keys").addEventListener("click", showKeys);
  document.addEventListener("keydown", pressed);
  jobs();
}

/** Adds keys of a view. @param {Keys} own */
function bind(own) {
  for (const [key, [run, about]] of Object.entries(own)) keys.set(key, { run, about });
}

/** Says where the reader is, in the crumbs and in the window's title. @param {Crumb[]} crumbs @param {string | null} [title] */
export function where(crumbs, title = null) {
  const parts = crumbs.flatMap(([text, address, data = true], i) => [
    i ? el("span", { class: "slash", "aria-hidden": "true" }, "›") : null,
    address ? el("a", { href: address, translate: data ? "no" : null }, text) : el("span", { "aria-current": "page", translate: data ? "no" : null }, text),
  ]);
  $("crumbs").replaceChildren(...parts.filter(Boolean));
  if (title) document.title = `${title} – monosema`;
}

/** @param {string | null} run */
function runSwitch(run) {
  const select = $("switch");
  select.hidden = facts.runs.length === 0;
  select.replaceChildren(...facts.runs.map(({ name }) => el("option", { value: name, selected: name === run }, name)));
  select.addEventListener("change", () => {
    const place = ["features", "feature"].includes(facts.page) ? ["features"] : facts.page === "circuits" ? ["circuits"] : [];
    if (["prompt", "steer"].includes(facts.page)) location.assign(`/${facts.page}?run=${encodeURIComponent(select.value)}`);
    else location.assign(runAddress(select.value, ...place));
  });
}

function search() {
  /** @type {HTMLInputElement | null} */
  const field = document.querySelector("[data-search], #search");
  if (field) return void (field.focus(), field.select());
  const run = currentRun();
  if (run) location.assign(runAddress(run, "features"));
}

/** @type {string | null} The first key of two, while the second is awaited. */
let first = null;

/** @param {any} event - of the keyboard */
function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const typing = event.target.closest("input:not([type=checkbox]):not([type=radio]):not([type=range]), select, textarea, [contenteditable]");
  if (event.key === "Escape") {
    if (typing) typing.blur();
    else keys.get("Escape")?.run(event);
    return;
  }
  if (typing || document.querySelector("dialog[open]")) return;
  const key = first ? `${first} ${event.key}` : event.key;
  first = !first && event.key === "g" ? "g" : null;
  if (first) return void setTimeout(() => (first = null), 1200);
  const found = keys.get(key);
  if (!found || found.run(event) === false) return;
  event.preventDefault();
}

function showKeys() {
  const lines = [...keys].map(([key, { about }]) => [el("dt", {}, key.split(" ").map((part) => el("kbd", {}, part))), el("dd", {}, say(about))]);
  dialog("Keys", el("dl", { class: "key-list" }, lines.flat()), el("p", {}, el("a", { href: "/help" }, say("Help: terms, controls, and the API"))));
}

/** A box over the page, closed by Esc or by its button. @param {string} title @param {Node[]} content */
export function dialog(title, ...content) {
  const box = el("dialog", { "aria-labelledby": "dialog-title" });
  box.append(el("header", {}, el("h2", { id: "dialog-title" }, say(title)), button("Close", () => box.close(), { class: "quiet" })), ...content);
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => void (event.target === box && box.close()));
  document.body.append(box);
  box.showModal();
  return box;
}

/** @param {string} text @param {(event: any) => unknown} handler @param {Attributes} [attributes] */
export function button(text, handler, attributes = {}) {
  return el("button", { type: "button", ...attributes, on: { click: handler } }, say(text));
}

/** Puts a text on the clipboard, and says so; where the browser refuses, shows it to be copied by hand. @param {string} text @param {string} said */
export async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    toast(said);
  } catch {
    dialog("Copy this", el("pre", { class: "code", translate: "no", tabindex: "0" }, text));
  }
}

const copyLink = () => copy(location.href, "Link copied.");

/** A button that shows the Python of a view and copies it. @param {() => string | null} code */
function codeButton(code) {
  const show = () => {
    const text = code();
    if (!text) return toast("There is nothing to say in Python yet.");
    const box = dialog("As Python", el("pre", { class: "code", translate: "no", tabindex: "0" }, text), el("p", { class: "soft" }, say("This gives what the page shows.")));
    box.querySelector("header")?.insertBefore(button("Copy", () => copy(text, "Python copied."), { autofocus: true }), box.querySelector("header button"));
  };
  return button("As Python", show, { title: say("Code that gives the same result") });
}

/** The one line that tells of long work; an empty text clears it. @param {string} text */
export function status(text) {
  $("status").textContent = text && say(text);
}

/** A short notice; `retry` adds a button, and such a notice stays until it is answered. @param {string} text @param {{retry?: (() => unknown) | null, detail?: string}} [more] */
export function toast(text, { retry = null, detail = "" } = {}) {
  const notice = el("div", { class: "toast" + (retry ? " failed" : "") }, el("p", {}, say(text), detail ? el("small", {}, detail) : null));
  const away = () => notice.remove();
  if (retry) notice.append(button("Try again", () => (away(), retry())));
  notice.append(el("button", { type: "button", class: "quiet", "aria-label": say("Close"), on: { click: away } }, "×"));
  $("toasts").append(notice);
  if (!retry) setTimeout(away, 4000);
}

// What stands in a view's place while it loads: bars of its size, seen after 150 ms.
export function skeleton(lines = 6, height = 18) {
  const widths = [62, 94, 88, 76, 91, 55, 83, 70];
  const bars = Array.from({ length: lines }, (_, i) => el("span", { style: { width: widths[i % widths.length] + "%", height: height + "px" } }));
  return el("div", { class: "skeleton", "aria-busy": "true" }, el("span", { class: "unseen" }, say("Loading …")), bars);
}

/** A view without content: why, and the one action that fills it. @param {string} text @param {Action | null} [action] */
export function empty(text, action = null) {
  const act = !action ? null : "command" in action ? command(action.command) : el("a", { class: "action", href: action.href }, say(action.text));
  return el("div", { class: "empty" }, el("p", {}, say(text)), act);
}

/** A command of the terminal, with a button that copies it. @param {string} text */
export function command(text) {
  return el("div", { class: "command" }, el("code", { translate: "no" }, text), button("Copy", () => copy(text, "Command copied.")));
}

/** True where the same may succeed another time: not where the request itself was wrong. @param {{status?: number}} error */
const mayPass = ({ status = 0 }) => ![400, 404, 413, 422].includes(status);

/** A view that could not be shown: what was wrong, what to do, and another try where that may help. @param {any} error @param {(() => unknown) | null} [retry] */
export function failure(error, retry = null) {
  const { whatToDo: about } = error;
  return el("div", { class: "trouble", role: "alert" }, el("p", {}, say(error.message || String(error))), about ? el("p", { class: "soft" }, say(about)) : null, retry && mayPass(error) ? button("Try again", retry) : null);
}

/**
 * Shows what `make` resolves to in `host`: bars until then, and the failure if there is one.
 * @param {HTMLElement} host @param {() => Promise<Child | Child[] | void> | Child | Child[]} make @param {number} [lines]
 */
export async function fill(host, make, lines) {
  host.replaceChildren(skeleton(lines));
  try {
    const made = await make();
    host.replaceChildren(...[made].flat().filter((one) => one instanceof Node || typeof one === "string"));
  } catch (/** @type {any} */ error) {
    if (error.name === "AbortError") return;
    host.replaceChildren(failure(error, () => fill(host, make, lines)));
  }
}

// How many jobs run or wait stands in the bar.
async function jobs() {
  const link = document.querySelector("[data-go=jobs]");
  try {
    const answer = await fetch("/api/jobs");
    if (!answer.ok) return;
    const { jobs: found = [] } = await answer.json();
    const open = found.filter((/** @type {{state: string}} */ { state }) => ["running", "waiting"].includes(state)).length;
    if (open) link?.append(" ", el("span", { class: "count" }, String(open)));
  } catch {
    return; // the bar does without
  }
}
