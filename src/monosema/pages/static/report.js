// The report: opens the blocks, draws the plots, and ties list, map, keyboard and address together.
import { answerPage, asked } from "./answer.js";
import { keptCauses } from "./causes.js";
import { circuitPage } from "./circuit.js";
import { Embedded } from "./data.js";
import { byId as $, el, reword, save, say, tips } from "./elements.js";
import { featurePage, showStar } from "./feature.js";
import "./items.js";
import { keep, recall } from "./kept.js";
import { speak } from "./language.js";
import { maps, strips } from "./plots.js";
import { Search } from "./search.js";
import { FeatureList, LABELS, SORTS } from "./table.js";
import { theme } from "./theme.js";
import { tokenTip } from "./tokens.js";

const facts = JSON.parse($("facts").textContent);
reword(facts.words);
const WIDE = matchMedia("(min-width: 900px)");

const kept = recall(facts.title) || {};
/** @type {Set<number>} */
const stars = new Set(kept.stars || []);
const settings = Object.assign({ tab: "top", full: false, scale: "feature" }, kept.settings);
const remember = () => keep(facts.title, { stars: [...stars], settings });

/** @import {Index} from "./data.js" */

const source = new Embedded(document);
/** @type {Index} */
let index;
/** @type {Search} */
let search;
/** @type {FeatureList} */
let list;
/** @type {ReturnType<typeof maps> | undefined} */
let map;

speak($("language"), facts);

let ticket = 0;
/** @param {number} row */
async function open(row, { jump = false, quiet = false, focus = false } = {}) {
  const mine = ++ticket;
  list.choose(row);
  map?.choose(row);
  if (!quiet) {
    const hash = "#feature-" + index.latent[row];
    if (location.hash !== hash) history[jump ? "pushState" : "replaceState"](null, "", hash);
    document.body.classList.add("reading");
  }
  const feature = await source.feature(row).catch(fail);
  const items = facts.view === "items" ? (await source.block("items")).extra : null;
  if (!feature || mine !== ticket) return;
  const context = {
    index,
    settings,
    sides: facts.sides,
    view: facts.view,
    items,
    save: remember,
    open: (/** @type {number} */ other) => open(other, { focus: true }),
    step,
    close,
    starred: stars.has(feature.latent),
    onStar: () => star(feature.latent),
    causes: keptCauses(feature),
  };
  $("detail").replaceChildren(featurePage(feature, context));
  $("detail").scrollTop = 0;
  $("detail").dataset.latent = feature.latent;
  document.title = quiet ? facts.title : `${feature.latent} ${feature.label || ""} – ${facts.title}`;
  if (jump) $("features").scrollIntoView({ block: "start" });
  if (focus && !WIDE.matches) $("feature-title").focus({ preventScroll: true });
}

function close() {
  document.body.classList.remove("reading");
  history.replaceState(null, "", location.pathname + location.search);
  document.title = facts.title;
  $("rows").focus({ preventScroll: true });
}

/** @param {number} by */
function step(by) {
  const row = list.step(by);
  if (row !== null) open(row);
}

/** @param {number} latent */
function star(latent) {
  if (!stars.delete(latent)) stars.add(latent);
  remember();
  if (list.query.state === "starred") list.update({});
  else list.paint();
  starred();
  const button = $("detail").dataset.latent === String(latent) && $("detail").querySelector(".star");
  if (button) showStar(button, stars.has(latent));
}

function starred() {
  const option = $("state").querySelector("[value=starred]");
  option.textContent = say("my list ({n})", stars.size);
}

function controls() {
  const scored = Array.from(index.label_score).some(Number.isFinite);
  /** @type {Record<string, string | undefined>} */
  const sides = { share: facts.sides?.[1], lack: facts.sides?.[0] };
  for (const [value, [text]] of Object.entries(SORTS))
    if (!(value in sides && !facts.sides) && !(["margin", "score"].includes(value) && !scored)) $("sort").append(el("option", { value, hidden: value === "fit" }, say(text, sides[value])));
  for (const [value, [text]] of Object.entries(LABELS)) $("labels").append(el("option", { value }, say(text)));
  $("labels").parentElement.hidden = !scored;
  let timer = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, index.n > 20000 ? 120 : 0);
  });
  $("sort").addEventListener("change", () => list.update({ sort: $("sort").value }));
  $("state").addEventListener("change", () => list.update({ state: $("state").value }));
  $("labels").addEventListener("change", () => list.update({ label: $("labels").value }));
  $("density").addEventListener("change", () => {
    const [low, high] = $("density").value.split(" ").map(Number);
    list.update({ low, high });
  });
  $("tsv").addEventListener("click", () => save("features.tsv", list.tsv(), "text/tab-separated-values"));
  starred();
  return scored ? "margin" : "density";
}

/** @type {string | null} */
let before = null;

// Sorts by fit while something is searched for, unless the reader chooses otherwise; passages are opened by the first search.
async function look() {
  const text = $("search").value;
  const searching = text.trim() !== "";
  if (searching && before === null) [before, $("sort").value] = [$("sort").value, "fit"];
  else if (!searching && before !== null) [$("sort").value, before] = [$("sort").value === "fit" ? before : $("sort").value, null];
  $("sort").querySelector("[value=fit]").hidden = !searching;
  list.update({ text, sort: $("sort").value });
  if (searching && (await search.deepen().catch(fail))) list.update({});
}

/** @param {any} event - of the keyboard */
function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape") {
    if (typing) typing.blur();
    else if (document.body.classList.contains("reading")) close();
    return;
  }
  if (typing && !(typing.id === "search" && ["ArrowDown", "ArrowUp", "Enter"].includes(event.key))) return;
  /** @type {Record<string, () => unknown>} */
  const actions = {
    "/": () => ($("search").focus(), $("search").select()),
    j: () => step(1),
    k: () => step(-1),
    ArrowRight: () => step(1),
    ArrowLeft: () => step(-1),
    s: () => list.chosen !== null && star(index.latent[list.chosen]),
  };
  const inList = event.target === $("rows") || (typing && typing.id === "search");
  if (inList) Object.assign(actions, { ArrowDown: () => step(1), ArrowUp: () => step(-1), Enter: () => list.chosen !== null && open(list.chosen, { focus: true }) });
  const inTabs = event.target.closest("[role=tablist]");
  const outside = event.target !== document.body && !event.target.closest("#features");
  if (!actions[event.key] || (event.key.startsWith("Arrow") && (inTabs || outside))) return;
  event.preventDefault();
  actions[event.key]();
}

/** @param {{jump: boolean}} how */
function fromAddress({ jump }) {
  const match = /^#feature-(.*)$/.exec(location.hash);
  const row = match ? index.rows.get(Number(match[1] || NaN)) : undefined;
  if (row === undefined) {
    document.body.classList.toggle("reading", Boolean(match));
    if (match) missing(match[1], jump);
    return Boolean(match);
  }
  open(row, { focus: true }).then(() => jump && $("features").scrollIntoView({ block: "start" }));
  return true;
}

/** An address of a feature that is not on this page. @param {string} name @param {boolean} jump */
function missing(name, jump) {
  ticket++;
  const [first, last] = [index.latent[0], index.latent[index.n - 1]];
  const about = say("There is no feature {} on this page: it has {n}, from {n} to {n}.", name, index.n.toLocaleString("en-US"), first, last);
  const back = el("button", { type: "button", on: { click: close } }, say("‹ List"));
  $("detail").replaceChildren(el("div", { class: "feature" }, el("p", { class: "trouble", role: "alert" }, about), el("p", { class: "back" }, back)));
  delete $("detail").dataset.latent;
  list.choose(null);
  if (jump) $("features").scrollIntoView({ block: "start" });
}

// Where to begin: the first in the list that fires on words, and not on every page.
function inviting() {
  /** @param {number} row */
  const wordy = (row) => index.density[row] < 0.02 && index.tokens("top_tokens", row, 3).every((token) => /\p{L}{3}/u.test(token));
  return list.rows.slice(0, 500).find(wordy) ?? list.rows[0];
}

// Each answer is drawn when it is first opened.
function answers() {
  const pages = facts.answers.map((/** @type {import("./answer.js").Kept} */ kept, /** @type {number} */ i) => {
    const box = el("details", {}, el("summary", {}, asked(kept)));
    const address = (/** @type {string} */ latent) => (index.rows.has(Number(latent)) ? "#feature-" + latent : null);
    const draw = () => box.open && box.childElementCount < 2 && box.append(answerPage(kept, { address }));
    box.addEventListener("toggle", draw);
    box.open = i === 0;
    return box;
  });
  if (pages.length) $("answers")?.append(el("h2", {}, say("Why this token?")), ...pages);
}

// Each circuit is drawn when it is first opened.
function circuits() {
  const pages = facts.circuits.map((/** @type {import("./graph.js").Graph} */ graph, /** @type {number} */ i) => {
    const box = el("details", {}, el("summary", {}, graph.title));
    const draw = () => {
      if (!box.open || box.childElementCount > 1) return;
      const settings = { n: 0, at: "", picked: [], groups: [], table: false, query: "" };
      const feature = (/** @type {number} */ latent, /** @type {string | null} */ run) => (run === null && index.rows.has(latent) ? "#feature-" + latent : null);
      box.append(circuitPage(graph, { settings, save: () => null, feature, test: null }));
    };
    box.addEventListener("toggle", draw);
    box.open = i === 0;
    return box;
  });
  $("circuits")?.append(...pages);
}

async function start() {
  theme($("theme"), () => map?.paint());
  strips();
  index = await source.index();
  search = new Search(index, source);
  list = new FeatureList($("rows"), index, search, {
    stars,
    onStar: star,
    onOpen: (row) => open(row, { focus: true }),
    onChange: (rows) => {
      $("count").textContent = say("{n} of {n}", rows.length.toLocaleString("en-US"), index.n.toLocaleString("en-US"));
      map?.keep(rows.length === index.n ? null : new Set(rows));
    },
  });
  const sort = controls();
  $("sort").value = sort;
  list.update({ sort });
  if (facts.map) map = maps(/** @type {NodeListOf<HTMLCanvasElement>} */ (document.querySelectorAll(".map canvas")), index, facts.map, (row) => open(row, { jump: true }));
  list.update({});
  tips($("detail"), ".t", tokenTip);
  answers();
  circuits();
  document.addEventListener("keydown", keys);
  addEventListener("hashchange", () => fromAddress({ jump: true }));
  if (!fromAddress({ jump: true }) && list.rows.length) await open(inviting(), { quiet: true });
  document.documentElement.dataset.ready = "yes";
}

/** @param {Error} error */
function fail(error) {
  const old = typeof DecompressionStream === "undefined";
  $("trouble").hidden = false;
  $("trouble").textContent = old
    ? say("This browser is too old to open the features (it has no DecompressionStream). Chromium 111, Firefox 120, Safari 17.5 or later can.")
    : say("The features could not be opened: {}", error.message);
  console.error(error);
}

start().catch(fail);
