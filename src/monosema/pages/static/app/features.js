// The features of a run: search, filter and sort on the left, the chosen feature on the right; several can be marked.
import { byId as $, el, number, say } from "../elements.js";
import { showStar } from "../feature.js";
import { get } from "./api.js";
import { listCode } from "./code.js";
import { exportMenu } from "./exports.js";
import { PagedList } from "./list.js";
import { VIEWED, feature } from "./one.js";
import { pressable } from "./passage.js";
import { button, copy, facts, folderOf, failure, runAddress, shell, skeleton, toast } from "./shell.js";
import { stars } from "./stars.js";
import { View, choice, list as several, number as numeric, text } from "./state.js";

/** @import {FeatureList} from "../api.js" */

const { run = "" } = facts;
const WIDE = matchMedia("(min-width: 900px)");
const NONE = 999999999; // a latent that no run has
/** @type {Record<string, [name: string, about: string]>} */
const MODES = {
  words: ["words", "A word of a label, or a token"],
  token: ["fires on", "A token that it fires on, such as Monday"],
  effect: ["promotes", "A token that it makes likelier, or less likely"],
  passage: ["passage", "Paste a text: which features fire on it?"],
  meaning: ["meaning", "What it is about, in your own words"],
};
const SORTS = { fit: "Fit to the search", margin: "Above controls", score: "Score", density: "Density, common first", rare: "Density, rare first", max: "Strongest activation", label: "Label, A to Z", latent: "Number" };
const DENSITIES = ["", "0.1,1", "0.01,0.1", "0.001,0.01", "0.0001,0.001", "0,0.0001"];
const latentField = numeric(-1, { low: -1, high: 2 ** 31, whole: true });
export const FIELDS = {
  q: text(),
  mode: choice(Object.keys(MODES)),
  sort: choice(["", ...Object.keys(SORTS)]),
  state: choice(["alive", "dead", "all", "starred"]),
  density: choice(DENSITIES),
  labels: choice(["any", "above", "below", "none"]),
  on: several(numeric(0, { low: 0, high: 2 ** 31, whole: true })),
  latents: several(latentField),
  at: latentField,
  with: latentField,
  ...VIEWED,
};

const kept = stars(run);
/** @type {Set<number>} */
const marks = new Set();
/** @type {PagedList} */
let list;
/** @type {View<typeof FIELDS>} */
let view;

/** The query of the list that the address asks for. @param {number} offset @param {number} limit */
function query(offset, limit) {
  const { q, mode, sort, state: shown, density, labels, latents, on } = view.state;
  const asked = new URLSearchParams({ offset: String(offset), limit: String(limit) });
  if (q.trim()) asked.set("q", q), asked.set("mode", mode);
  if (mode === "passage" && on.length) asked.set("on", on.join(","));
  if (sort && !(sort === "fit" && !q.trim())) asked.set("sort", sort);
  asked.set("alive", shown === "starred" || latents.length ? "all" : shown);
  if (density) asked.set("density", density);
  if (labels !== "any") asked.set("labels", labels);
  const of = latents.length ? latents : shown === "starred" ? [...kept, ...(kept.size ? [] : [NONE])] : [];
  if (of.length) asked.set("latents", of.join(","));
  return asked;
}

/** @type {import("./list.js").Host["load"]} */
const load = (offset, limit, signal) => get(`/api${runAddress(run, "features")}?${query(offset, limit)}`, { signal });

let ticket = 0;
/** Shows a feature beside the list; on a narrow page in its place, unless it is only the one that comes first. @param {number} latent @returns {Promise<void>} */
async function open(latent, { at = -1, focus = false, replace = false, first = false } = {}) {
  const mine = ++ticket;
  list.choose(latent, at);
  view.set({ at: latent }, { push: !replace });
  if (!first) document.body.classList.add("reading");
  await feature($("detail"), run, latent, {
    fresh: () => mine === ticket,
    open: (other) => open(other, { focus: true }),
    step,
    close,
    stars: kept,
    onStar: star,
    beside: view.state.with,
    alone: () => (view.set({ with: -1 }, { push: true }), open(latent, { replace: true })),
    settings: { ...view.state },
    save: (settings) => view.set(settings),
    changed: () => renew(latent),
  });
  if (mine === ticket && focus && !WIDE.matches) $("feature-title")?.focus({ preventScroll: true });
}

/** Asks anew for a feature's row, whose label has changed. @param {number} latent */
async function renew(latent) {
  const { features } = await get(`/api${runAddress(run, "features")}?alive=all&latents=${latent}`);
  if (features.length) list.renew(features[0]);
}

/**
 * Keeps the feature beside the list one of those that it holds: else the first is opened, and none where none fits.
 * @param {FeatureList | null} answer
 */
async function follow(answer) {
  const { chosen } = list;
  if (!answer || (chosen !== null && answer.total && (await holds(chosen)))) return;
  if (answer.total) return open(answer.features[0].latent, { at: 0, replace: true, first: true });
  ticket++;
  list.choose(null);
  view.set({ at: -1 });
  document.body.classList.remove("reading");
  $("detail").replaceChildren(el("p", { class: "none" }, say("No feature fits, so none is shown here.")));
}

/** @param {number} latent */
async function holds(latent) {
  const asked = query(0, 1);
  const of = asked.get("latents")?.split(",");
  if (list.place(latent) >= 0 || list.complete) return list.place(latent) >= 0;
  if (of && !of.includes(String(latent))) return false;
  asked.set("latents", String(latent));
  const { total } = await get(`/api${runAddress(run, "features")}?${asked}`).catch(() => ({ total: 0 }));
  return total > 0;
}

function close() {
  document.body.classList.remove("reading");
  $("rows").focus({ preventScroll: true });
}

/** @param {number} by */
async function step(by) {
  const next = await list.step(by);
  if (next) open(next.brief.latent, { at: next.at, replace: true });
}

/** @param {number} latent */
function star(latent) {
  kept.toggle(latent);
  if (view.state.state === "starred") list.reset();
  else list.paint();
  for (const button of document.querySelectorAll(`#detail [data-latent="${latent}"] .star`)) showStar(button, kept.has(latent));
  counted();
}

const counted = () => ($("state").querySelector("[value=starred]").textContent = say("my list ({n})", kept.size));

/** @param {number} latent */
function mark(latent) {
  if (!marks.delete(latent)) marks.add(latent);
  list.paint();
  showMarks();
}

function showMarks() {
  const all = [...marks];
  $("marked").hidden = !all.length;
  const steer = `/steer?run=${encodeURIComponent(run)}&add=${all.join(",")}`;
  $("marked").replaceChildren(
    el("b", {}, say("{n} marked", number(all.length))),
    el("a", { class: "quiet", href: steer }, say("Steer with these")),
    all.length === 2 ? button("Side by side", () => side(all), { class: "quiet" }) : "",
    exportMenu(run, all),
    button("Keep in my list", () => (all.forEach((latent) => kept.has(latent) || star(latent)), unmark()), { class: "quiet" }),
    button("Copy link to these", () => copyList(all), { class: "quiet" }),
    button("Clear", unmark, { class: "quiet" })
  );
}

// A list is in its address, since stars are in this browser only.
/** @param {number[]} latents */
const copyList = (latents) => copy(`${location.origin}${runAddress(run, "features")}?latents=${latents.join(",")}`, "Link copied.");

function unmark() {
  marks.clear();
  list.paint();
  showMarks();
}

/** @param {number[]} pair */
function side([first, second]) {
  view.set({ with: second }, { push: true });
  open(first);
}

const AGAIN = 2000; // milliseconds until a list that is not whole yet is asked for again
let again = 0;
/** What the answer says beside its rows: how many fit, and where none does, which filters to loosen. @param {FeatureList} answer */
function changed(answer) {
  const { total, of, note, removed, mode, waits } = answer;
  clearTimeout(again);
  if (waits) again = setTimeout(() => list.reset().then(follow), AGAIN);
  $("count").textContent = say("{n} of {n}", number(total), number(of)) + (note ? " · " + say(note) : "");
  $("rows").hidden = total === 0;
  $("nothing").hidden = total > 0;
  if (total) return;
  const { state: shown, q } = view.state;
  const reasons = Object.entries(removed).map(([name, n]) => el("li", {}, say(FILTERS[name] || name), " ", el("span", { class: "soft" }, number(n))));
  $("nothing").replaceChildren(
    el(
      "div",
      { class: "empty" },
      el("p", {}, shown === "starred" && !kept.size ? say("Your list is empty: press s on a feature to keep it.") : mode === "token" && q ? say("No feature has this token among those that it fires on most.") : say("No feature fits.")),
      ["token", "effect"].includes(mode) && /\S\s+\S/.test(q) ? el("p", { class: "soft" }, say("This search takes one token, such as Monday; for several words, search by words or a passage.")) : null,
      reasons.length > 1 ? [el("p", { class: "soft" }, say("Each filter alone leaves out:")), el("ul", {}, reasons)] : null,
      button("Show all features", () => change({ q: "", state: "all", density: "", labels: "any", latents: [] }, true), { class: "action" })
    )
  );
}

/** @type {Record<string, string>} */
const FILTERS = { alive: "Show", density: "Density", labels: "Labels", search: "Search", list: "my list", score: "Score", margin: "Above controls" };

// Puts the address into the controls.
function arrive() {
  const { q, mode, sort, state: shown, density, labels } = view.state;
  $("search").value = q;
  $("search").placeholder = say(MODES[mode][1]);
  for (const radio of $("modes").querySelectorAll("input")) radio.checked = radio.value === mode;
  $("sort").querySelector("[value=fit]").hidden = !q.trim();
  $("sort").value = sort || (q.trim() ? "fit" : "margin");
  $("state").value = shown;
  $("density").value = density;
  $("labels").value = labels;
  pressable($("tokens"), run, mode === "passage" ? q : "", view.state.on, (on) => change({ on }, true)).catch(() => null); // the list tells of what is wrong
  $("share-list").hidden = shown !== "starred" || !kept.size;
  return list.reset();
}

function controls() {
  $("modes").append(
    ...Object.entries(MODES).map(([value, [text, about]]) => el("label", { title: say(about) }, el("input", { type: "radio", name: "mode", value, on: { change: () => change({ mode: value, q: $("search").value }, true) } }), el("span", {}, say(text))))
  );
  $("sort").append(...Object.entries(SORTS).map(([value, text]) => el("option", { value }, say(text))));
  let timer = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => change({ q: $("search").value, sort: "", on: [] }), ["passage", "meaning"].includes(view.state.mode) ? 400 : 120);
  });
  for (const name of ["sort", "state", "density", "labels"]) $(name).addEventListener("change", () => change({ [name]: $(name).value }, true));
  $("search").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    /** @type {Record<string, () => unknown>} */
    const acts = { ArrowDown: () => step(1), ArrowUp: () => step(-1), Enter: () => list.one(Math.max(0, list.at)).then((brief) => brief && open(brief.latent, { at: Math.max(0, list.at), focus: true })) };
    const act = acts[event.key];
    if (act) event.preventDefault(), act();
  });
  $("rows").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    /** @type {Record<string, () => unknown>} */
    const acts = { ArrowDown: () => step(1), ArrowUp: () => step(-1), Enter: () => list.chosen !== null && open(list.chosen, { at: list.at, focus: true }) };
    const act = acts[event.key];
    if (act) event.preventDefault(), act();
  });
  $("actions").append(button("Copy link to my list", () => copyList([...kept]), { id: "share-list", class: "quiet" }), exportMenu(run, () => query(0, 500)));
  counted();
}

/** @param {Partial<import("./state.js").State<typeof FIELDS>>} values */
async function change(values, push = false) {
  await view.set(values, { push });
  await arrive().then(follow);
}

async function start() {
  view = await View.open(FIELDS, () => arrive().then(() => void (view.state.at >= 0 && view.state.at !== list.chosen && open(view.state.at, { replace: true }))));
  shell({
    crumbs: [
      [run, runAddress(run)],
      [say("Features"), null, false],
    ],
    title: say("Features of {}", run),
    code: () => listCode(view.state, folderOf(run), [...kept]),
    keys: {
      j: [() => step(1), "Next feature"],
      k: [() => step(-1), "Previous feature"],
      "]": [() => step(1), "Next feature"],
      "[": [() => step(-1), "Previous feature"],
      s: [() => list.chosen !== null && star(list.chosen), "Keep the feature in my list"],
      x: [() => list.chosen !== null && mark(list.chosen), "Mark the feature"],
      Escape: [() => (document.body.classList.contains("reading") && !WIDE.matches ? close() : null), "Close"],
    },
  });
  list = new PagedList($("rows"), { load, onOpen: (brief, at) => open(brief.latent, { at, focus: true }), onStar: star, onMark: mark, onChange: changed, onFail: failed, stars: kept, marks });
  controls();
  $("detail").replaceChildren(skeleton(9));
  const answer = await arrive();
  const { at } = view.state;
  if (at >= 0) await open(at, { replace: true });
  else await follow(answer);
  if (WIDE.matches) $("search").focus();
  document.documentElement.dataset.ready = "yes";
}

/** @param {any} error */
function failed(error) {
  if (list.pages.size) return toast(error.message, { retry: () => list.reset(), detail: error.whatToDo });
  $("rows").hidden = true;
  $("nothing").hidden = false;
  $("nothing").replaceChildren(failure(error, () => (($("rows").hidden = false), arrive())));
}

start();
