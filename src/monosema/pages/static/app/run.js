// One run: what the report says of it, its charts, and while it trains the curves as they grow.
import { byId as $, el, known, number, say } from "../elements.js";
import { maps, strips } from "../plots.js";
import { get } from "./api.js";
import { curves } from "./curves.js";
import { chart } from "./charts.js";
import { about } from "./one.js";
import { jobOf, running } from "./running.js";
import { command, facts, folderOf, failure, runAddress, shell } from "./shell.js";

/** @import {StageCard} from "../api.js" */

const { run = "" } = facts;
const base = "/api" + runAddress(run);

const MEANS = {
  scored: "Each dot is a feature: how often it fires, and how well its label predicts it; pale dots do not stand above their controls.",
  plain: "Each dot is a feature: how often it fires, and how strongly.",
};

// The map of features: axes as a picture, dots on a canvas over it; a click opens the feature.
async function map() {
  const found = await get(`${base}/charts/map.json`);
  if (!found.latent?.length) return null;
  const alive = found.latent.map(() => 1);
  /** @type {Record<string, number[]>} */
  const columns = { density: found.density, [found.column]: found.height, label_margin: found.margin };
  /** @type {any} */
  const index = { ...found, ...columns, alive, n: alive.length, column: (/** @type {string} */ name) => columns[name], label: (/** @type {number} */ row) => found.labels[row] || "", tokens: () => [] };
  const scored = !found.log;
  const pictures = await Promise.all(
    found.areas.map(async (/** @type {number[]} */ [left, top, width, height], /** @type {number} */ i) => {
      const place = { left: `calc(${left}% - 8px)`, top: `calc(${top}% - 8px)`, width: `calc(${width}% + 16px)`, height: `calc(${height}% + 16px)` };
      return el("div", { class: "map " + (i ? "narrow" : "wide") }, await chart(`${base}/charts/${i ? "map-narrow" : "map"}.svg`), el("canvas", { "aria-hidden": "true", style: place }));
    })
  );
  const figure = el("figure", {}, el("figcaption", {}, say(scored ? "Which features are well described?" : "Strongest activation against density")), el("p", { class: "soft" }, say(scored ? MEANS.scored : MEANS.plain) + " " + say("Click a dot to read it.")), pictures);
  requestAnimationFrame(() => {
    const drawn = maps(figure.querySelectorAll("canvas"), index, found, (row) => location.assign(runAddress(run, "features", found.latent[row])));
    document.addEventListener("theme", () => drawn.paint());
  });
  return figure;
}

/** @param {string} name @param {string} title */
async function picture(name, title, means = "") {
  const drawn = await chart(`${base}/charts/${name}.svg`).catch(() => null);
  return drawn && el("figure", {}, el("figcaption", {}, say(title)), means ? el("p", { class: "soft" }, say(means)) : null, drawn);
}

/** Charts one after another, so that the page is there before they are. @param {HTMLElement} host */
async function plots(host) {
  const [left, right] = [el("div", { class: "stack" }), el("div", { class: "stack" })];
  const training = el("div", { class: "training" });
  host.append(training, el("div", { class: "feature-plots" }, left, right));
  curves(training, run);
  /** @param {HTMLElement} side @param {Promise<HTMLElement | null>} making */
  const add = async (side, making) => {
    try {
      const made = await making;
      if (made) side.append(made);
    } catch (/** @type {any} */ error) {
      if (error.status !== 404) side.append(failure(error));
    }
  };
  add(left, map());
  if ((await about(run)).sides) await add(right, picture("shares", "To which side features belong"));
  await add(right, picture("densities", "How often features fire"));
  await add(right, picture("losses", "What the rebuilt activations cost the model", "Cross-entropy in nats per token; shorter is better."));
}

/**
 * A run that has no features yet: what it is, how far it got, and what goes on with it. It is looked at again while it
 * is being made, and once its features are there the page is what it will be.
 * @param {HTMLElement} host
 */
async function unfinished(host) {
  const [told, job] = await Promise.all([about(run), jobOf(run)]);
  const live = told.live || job !== null;
  const training = el("div", { class: "training" });
  const table = el("table", { class: "made" });
  const means = told.problem || (live ? "This run is being made. Its curves appear as it trains; its features when they are described." : "This run is not finished. Going on from where it stopped:");
  host.append(
    el("div", { class: "head-line" }, el("h1", { translate: "no" }, told.title || run)),
    el("p", { class: "lede" }, say(means)),
    live ? "" : command(`monosema run ${told.folder}`),
    told.problem ? "" : running(run, job, told.live),
    training,
    table
  );
  stages(table, told.stages);
  curves(training, run);
  if (live) setTimeout(() => again(table), PAUSE);
}

const PAUSE = 2000; // milliseconds between two looks at a run that is being made

/** @param {HTMLElement} table @returns {Promise<void>} */
async function again(table) {
  const [told, job] = await Promise.all([get(base), jobOf(run)]).catch(() => [null, null]);
  if (told && ((!told.live && !job) || told.features !== null)) return location.reload();
  if (told) stages(table, told.stages);
  setTimeout(() => again(table), PAUSE);
}

/** @type {Record<string, string>} */
const STATES = { done: "done", waiting: "waits" };
/** @param {HTMLElement} table @param {StageCard[]} found */
function stages(table, found) {
  /** @param {StageCard} stage */
  const line = ({ name, state, seconds }) => el("tr", { class: STATES[state] ? state : "begun" }, el("td", {}, el("span", { class: "dots" }, el("i", { class: state === "waiting" ? "" : STATES[state] ? state : "begun" }))), el("th", { scope: "row" }, say(name)), el("td", {}, say(STATES[state] ?? "begun")), el("td", { class: "soft" }, state === "done" && known(seconds) ? say("{n} s", number(seconds)) : ""));
  table.replaceChildren(el("tbody", {}, found.map(line)));
}

const code = () => ["import monosema as ms", "", `run = ms.Run.open(${JSON.stringify(folderOf(run))})`, "print(run.summary())", "atlas = run.atlas()", "print(atlas.standing())"].join("\n");

async function start() {
  shell({ crumbs: [[run]], title: run, code });
  strips();
  const figures = document.querySelector(".headline");
  if (figures) figures.after(el("p", { class: "onward" }, el("a", { class: "action", href: runAddress(run, "features") }, say("Browse its features"))));
  if ($("plots")) plots($("plots"));
  else await unfinished($("unfinished")).catch((error) => $("unfinished").append(failure(error, () => location.reload())));
  document.documentElement.dataset.ready = "yes";
}

start();
