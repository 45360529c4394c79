// One run: what the report says of it, its charts, and while it trains the curves as they grow.
import { el, known, number, say, share } from "../elements.js";
import { maps, strip } from "../plots.js";
import { get } from "./api.js";
import { curves } from "./curves.js";
import { chart } from "./charts.js";
import { about } from "./one.js";
import { command, facts, failure, runAddress, shell } from "./shell.js";

const $ = (id) => document.getElementById(id);
const { run } = facts;
const base = "/api" + runAddress(run);

const MEANS = {
  scored: "Each dot is a feature: how often it fires, and how well its label predicts it; pale dots do not stand above their controls.",
  plain: "Each dot is a feature: how often it fires, and how strongly.",
};

// The map of features: axes as a picture, dots on a canvas over it; a click opens the feature.
async function map() {
  const found = await get(`${base}/charts/map.json`);
  if (!found.latent?.length) return null;
  const index = {
    ...found,
    n: found.latent.length,
    alive: found.latent.map(() => 1),
    [found.column]: found.height,
    label_margin: found.margin,
    label: (row) => found.labels[row] || "",
    tokens: () => [],
  };
  const scored = !found.log;
  const pictures = await Promise.all(
    found.areas.map(async ([left, top, width, height], i) => {
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

async function picture(name, title, means = "") {
  const drawn = await chart(`${base}/charts/${name}.svg`).catch(() => null);
  return drawn && el("figure", {}, el("figcaption", {}, say(title)), means ? el("p", { class: "soft" }, say(means)) : null, drawn);
}

// Charts one after another, so that the page is there before they are.
async function plots(host) {
  const [left, right] = [el("div", { class: "stack" }), el("div", { class: "stack" })];
  const training = el("div", { class: "training" });
  host.append(training, el("div", { class: "feature-plots" }, left, right));
  curves(training, run);
  const add = async (side, making) => {
    try {
      const made = await making;
      if (made) side.append(made);
    } catch (error) {
      if (error.status !== 404) side.append(failure(error));
    }
  };
  add(left, map());
  await add(right, picture("shares", "To which side features belong"));
  await add(right, picture("densities", "How often features fire"));
  await add(right, picture("losses", "What the rebuilt activations cost the model", "Cross-entropy in nats per token; shorter is better."));
}

// A run that has no features yet: what it is, how far it got, and the command that goes on.
async function unfinished(host) {
  const told = await about(run);
  const training = el("div", { class: "training" });
  host.append(
    el("div", { class: "head-line" }, el("h1", { translate: "no" }, told.title || run)),
    el("p", { class: "lede" }, say(told.problem ? told.problem : told.live ? "This run is being made. Its curves appear as it trains; its features when they are described." : "This run is not finished. Going on from where it stopped:")),
    told.live ? "" : command(`monosema run ${told.folder}`),
    training,
    el("table", { class: "stages" }, el("tbody", {}, told.stages.map(({ name, state, seconds }) => el("tr", {}, el("th", { scope: "row" }, say(name)), el("td", {}, say({ done: "done", waiting: "waits" }[state] ?? "begun")), el("td", { class: "soft" }, known(seconds) ? say("{n} s", number(seconds)) : "")))))
  );
  curves(training, run);
}

const code = () => ["import monosema as ms", "", `run = ms.Run.open(${JSON.stringify(facts.folder || run)})`, "print(run.summary())", "atlas = run.atlas()", "print(atlas.standing())"].join("\n");

function start() {
  shell({ crumbs: [[run]], title: run, code });
  for (const cell of document.querySelectorAll("[data-strip]")) cell.append(strip(JSON.parse(cell.dataset.strip)));
  const figures = document.querySelector(".headline");
  if (figures) figures.after(el("p", { class: "onward" }, el("a", { class: "action", href: runAddress(run, "features") }, say("Browse its features"))));
  if ($("plots")) plots($("plots"));
  else unfinished($("unfinished")).catch((error) => $("unfinished").append(failure(error, () => location.reload())));
}

start();
