// Help: the keys of all pages, and the API as its description tells it.
import { el, say } from "../elements.js";
import { get } from "./api.js";
import { fill, shell } from "./shell.js";

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Keys by page: [name, [[keys, what they do], …]]. @type {[string, [string, string][]][]} */
const KEYS = [
  ["Everywhere", [["/", "Search"], ["g r", "Runs"], ["g f", "Features"], ["g p", "Prompt"], ["g s", "Steer"], ["g c", "Compare"], ["g j", "Jobs"], [".", "Copy the link to this view"], ["t", "Light or dark"], ["?", "These keys"], ["Esc", "Close"]]],
  ["Runs", [["j", "Next run"], ["k", "Previous run"], ["Enter", "Open"], ["x", "Choose the run to compare"]]],
  ["List of features", [["j ]", "Next feature"], ["k [", "Previous feature"], ["s", "Keep the feature in my list"], ["x", "Mark the feature"]]],
  ["One feature", [["j ]", "Next feature"], ["k [", "Previous feature"], ["1 … 9 0", "A tenth of the passages"], ["f", "Full context"], ["c", "Test your text"], ["y", "Steer here"], ["e", "Label it"], ["s", "Keep the feature in my list"]]],
];

/** @param {[string, [string, string][]]} group */
function keyGroup([name, keys]) {
  const lines = keys.map(([key, about]) => [el("dt", {}, key.split(" ").map((part) => (part === "…" ? "…" : el("kbd", {}, part)))), el("dd", {}, say(about))]);
  return el("section", {}, el("h3", {}, say(name)), el("dl", { class: "key-list" }, lines.flat()));
}

// The routes that the server describes, as one table; those that only read are links.
async function routes() {
  const { paths } = await get("/api/openapi.json");
  const lines = Object.entries(/** @type {Record<string, Record<string, any>>} */ (paths)).flatMap(([path, methods]) => Object.entries(methods).map(([method, about]) => line(path, method, about)));
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": say("The API") }, el("table", { class: "routes", translate: "no" }, el("tbody", {}, lines)));
}

/** @param {string} path @param {string} method @param {any} about - as OpenAPI has it */
function line(path, method, about) {
  const needs = (about.parameters || []).filter((/** @type {any} */ one) => one.in === "query").map((/** @type {any} */ one) => one.name);
  const plain = method === "get" && !path.includes("{");
  return el(
    "tr",
    {},
    el("td", {}, el("b", { class: "method " + method }, method.toUpperCase())),
    el("th", { scope: "row" }, plain ? el("a", { href: path }, path) : path, needs.length ? el("small", {}, " ?" + needs.join(" ")) : null),
    el("td", {}, (about.description || about.summary || "").split("\n")[0])
  );
}

async function start() {
  shell({ crumbs: [[say("Help"), null, false]], title: say("Help") });
  $("key-groups").append(...KEYS.map(keyGroup));
  await fill($("routes"), routes);
  document.documentElement.dataset.ready = "yes";
}

start();
