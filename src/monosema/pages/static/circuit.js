// The page of a circuit, in report and app: the graph with a slider for its size, faithfulness beside a random circuit of
// that size, the connections of a node, and what was predicted against what was measured.
import { el, interval, known, number, say, share, svg, two } from "./elements.js";
import { along, called, drawing, most, part } from "./graph.js";
import { grouped, read, subgraph, written } from "./groups.js";

/** @import {Figure, Graph} from "./graph.js" */
/** @typedef {{n: number, at: string, picked: string[], groups: string[], table: boolean, query: string}} Settings */
/** @typedef {{size: number, n: number, faithfulness: Figure | null, random: Figure | null, predicted: number | null, measured: Figure | null, control: Figure | null, absent: string}} Tested */
/**
 * `feature` gives the address of a feature's page, null where there is none; `test` measures a part, null where nothing
 * can be computed (in a report).
 * @typedef {{settings: Settings, save: (settings: Partial<Settings>) => unknown, feature: (latent: number, run: string | null) => string | null, test: ((asked: {size: number, nodes: string[]}) => Promise<Tested>) | null}} Context
 */

const FIRST = 40; // edges or nodes that the page begins with
const WAIT = 350; // milliseconds of rest before something is measured

/** A size on the slider: few at fine steps, many at coarse ones. @param {number} n @param {number} all */
const toSlider = (n, all) => Math.round((1000 * Math.log1p(n)) / Math.log1p(all));
/** @param {number} at @param {number} all */
const fromSlider = (at, all) => Math.round(Math.expm1((at / 1000) * Math.log1p(all)));

/** The size that a page begins with: the smallest measured that keeps nine tenths, if that is not too many to see. @param {Graph} graph */
const start = (graph) => Math.min(graph.curve.find(({ faithfulness }) => faithfulness.value >= 0.9)?.size ?? FIRST, 150, most(graph));

/** @param {Figure | null} figure */
const withEnds = (figure) => (figure ? [el("b", {}, two(figure.value)), figure.n > 1 ? el("span", { class: "interval" }, " ", interval(figure.low, figure.high)) : ""] : ["–"]);

/** @param {Graph} graph @param {Context} context */
export function circuitPage(graph, context) {
  const { settings, save } = context;
  const index = new Map(graph.nodes.map(({ name }, i) => [name, i]));
  const all = most(graph);
  let n = settings.n > 0 ? Math.min(settings.n, all) : start(graph);
  let at = index.get(settings.at) ?? -1;
  const picked = new Set(settings.picked.flatMap((name) => index.get(name) ?? []));
  let query = settings.query;
  let groups = settings.groups.map(read);
  const [stage, below, side, told, count] = [el("div", { class: "stage" }), el("div", { class: "below" }), el("aside", { class: "beside", "aria-label": say("The chosen node") }), el("p", { class: "kept", "aria-live": "polite" }), el("output", {})];
  const slider = el("input", { type: "range", min: 0, max: 1000, step: 1, value: toSlider(n, all), "aria-label": say("Size of the circuit") });
  const search = el("input", { type: "search", class: "finder-of-nodes", placeholder: say("find a node"), value: query, "aria-label": say("Find a node") });
  let [timer, turn] = [0, 0];

  const names = () => [...picked].map((i) => graph.nodes[i].name);
  const remember = () => save({ n, at: at < 0 ? "" : graph.nodes[at].name, picked: names(), groups: groups.map(written), query });
  const view = () => ({ at, picked, query, open: (/** @type {number} */ i) => choose(i === at ? -1 : i), pick });

  function draw() {
    const shown = part(graph, n);
    slider.setAttribute("aria-valuetext", String(n));
    count.textContent = graph.unit === "edges" ? say("{n} of {n} edges", number(n), number(graph.total)) : say("{n} of {n} nodes", number(n), number(graph.total));
    const focused = document.activeElement?.closest?.("[data-node]")?.getAttribute("data-node");
    const left = stage.querySelector(".wires")?.scrollLeft ?? 0;
    stage.replaceChildren(settings.table ? table(graph, shown, picked, pick) : drawing(graph, shown, view()));
    const wires = stage.querySelector(".wires");
    if (wires) wires.scrollLeft = left;
    if (focused) /** @type {HTMLElement | null} */ (stage.querySelector(`[data-node="${focused}"]`))?.focus();
    side.replaceChildren(...beside());
    below.replaceChildren(...together());
    guess();
  }

  // Between measured sizes the curve is read in a line, and said to be so, until the size itself has been measured.
  function guess() {
    const [kept, chance] = [along(graph.curve, n, "faithfulness"), along(graph.curve, n, "random")];
    const exact = graph.curve.find(({ size }) => size === n);
    told.replaceChildren(...(exact ? kept_(exact.faithfulness, exact.random) : kept === null ? [] : [say("keeps about {0} of the task; a random circuit of that size {1}", share(kept), chance === null ? "–" : share(chance))]));
    if (context.test) {
      clearTimeout(timer);
      timer = window.setTimeout(measure, WAIT);
    }
  }

  /** @param {Figure | null} kept @param {Figure | null} random @param {number | null} [of] */
  const kept_ = (kept, random, of = null) => [say("faithfulness") + " ", ...withEnds(kept), " · " + say("random circuit of that size") + " ", ...withEnds(random), of === null ? "" : " · " + (of === 1 ? say("measured on this prompt") : say("measured on {n} prompts", number(of)))];

  async function measure() {
    const mine = ++turn;
    try {
      const found = await context.test?.({ size: n, nodes: [] });
      if (mine !== turn || !found || !found.faithfulness) return;
      told.replaceChildren(...kept_(found.faithfulness, found.random, found.n));
    } catch {
      return; // the curve's figure stays
    }
  }

  /** @param {number} i */
  function choose(i) {
    at = i;
    remember();
    draw();
  }

  /** @param {number} i */
  function pick(i) {
    if (!picked.delete(i)) picked.add(i);
    remember();
    draw();
  }

  /** Marks the nodes of a group, and no others. @param {string[]} members */
  function mark(members) {
    picked.clear();
    for (const name of members) if (index.has(name)) picked.add(/** @type {number} */ (index.get(name)));
    remember();
    draw();
  }

  /** @param {import("./groups.js").Group[]} changed */
  function group(changed) {
    groups = changed;
    remember();
    draw();
  }

  // What is marked, and groups as one node each, with what flows between them.
  function together() {
    if (!picked.size && !groups.length) return [];
    const sub = subgraph(graph, picked, groups);
    const chosen = (/** @type {number} */ i) => (sub.nodes[i].kind === "group" ? mark(groups.find(({ name }) => name === sub.nodes[i].name)?.nodes ?? []) : choose(index.get(sub.nodes[i].name) ?? -1));
    const shown = { edges: sub.edges, nodes: new Set(sub.nodes.keys()) };
    const named = groups.map((one) => el("li", {}, el("button", { type: "button", class: "chip", on: { click: () => mark(one.nodes) } }, `${one.name} (${one.nodes.length})`), el("button", { type: "button", class: "quiet", "aria-label": say("Remove the group {}", one.name), on: { click: () => group(groups.filter((other) => other !== one)) } }, "×")));
    return [el("h2", {}, sub.title), el("ul", { class: "marks", translate: "no" }, named), settings.table ? table(sub, shown, new Set(), chosen) : drawing(sub, shown, { at: -1, picked: new Set(), query: "", open: chosen, pick: chosen })];
  }

  /** @param {number} i @param {number} weight @param {number} strongest @param {string} port */
  const connection = (i, weight, strongest, port) => el("li", {}, el("button", { type: "button", class: "quiet", on: { click: () => choose(i) } }, el("span", { translate: "no" }, graph.nodes[i].name + port), " ", graph.nodes[i].label), el("span", { class: "gauge " + (weight < 0 ? "hurts" : "helps"), style: { width: Math.max(2, (90 * Math.abs(weight)) / strongest) + "px" } }), el("span", { class: "value" }, number(weight)));

  function beside() {
    if (at < 0) return [el("p", { class: "soft" }, say("Click a node for its connections; Shift and click (or p) marks it for a test.")), ...marked(), ...scatter()];
    const node = graph.nodes[at];
    const { edges } = part(graph, n);
    const strongest = Math.max(1e-12, ...edges.filter(({ source, target }) => source === at || target === at).map(({ weight }) => Math.abs(weight)));
    const port = (/** @type {string} */ name) => /<.>$/.exec(name)?.[0] ?? "";
    const bySize = (/** @type {{weight: number}} */ a, /** @type {{weight: number}} */ b) => Math.abs(b.weight) - Math.abs(a.weight);
    const [into, out] = [edges.filter(({ target }) => target === at).sort(bySize), edges.filter(({ source }) => source === at).sort(bySize)];
    const address = node.latent === null ? null : context.feature(node.latent, node.run);
    return [
      el("h2", { translate: "no" }, node.name),
      node.label ? el("p", { dir: "auto" }, node.label) : null,
      address ? el("p", {}, el("a", { href: address }, say("Its feature"))) : null,
      el("p", { class: "soft" }, node.predicted === null ? null : say("predicted effect {0}", number(node.predicted)), node.measured ? [" · " + say("measured") + " ", ...withEnds(node.measured)] : null),
      el("p", {}, el("button", { type: "button", on: { click: () => pick(at) } }, picked.has(at) ? say("Unmark") : say("Mark for a test (p)"))),
      into.length ? el("h3", {}, say("Reads from")) : null,
      el("ol", { class: "connections" }, into.slice(0, 40).map((edge) => connection(edge.source, edge.weight, strongest, port(edge.name)))),
      out.length ? el("h3", {}, say("Read by")) : null,
      el("ol", { class: "connections" }, out.slice(0, 40).map((edge) => connection(edge.target, edge.weight, strongest, port(edge.name)))),
      ...marked(),
    ].filter((one) => one !== null);
  }

  function marked() {
    if (!picked.size) return [];
    const answer = el("div", { class: "answer", "aria-live": "polite" });
    const ask = el("button", { type: "button", class: "action" }, say("Test: ablate these"));
    ask.addEventListener("click", () => run(answer, ask));
    const predicted = [...picked].map((i) => graph.nodes[i].predicted).filter(known);
    return [
      el("h2", { class: "small" }, say("Marked ({n})", picked.size)),
      el("p", { class: "marks", translate: "no" }, [...picked].map((i) => el("button", { type: "button", class: "chip", title: called(graph.nodes[i]), on: { click: () => pick(i) } }, graph.nodes[i].name + " ×"))),
      el("p", { class: "soft" }, predicted.length ? say("predicted effect together {0}", number(predicted.reduce((sum, one) => sum + one, 0))) : null),
      naming(),
      context.test ? ask : el("p", { class: "soft" }, say(testable(graph) ? "To test them, open the run with monosema serve." : "This graph’s file doesn’t say which dictionaries it can be tested with.")),
      answer,
    ];
  }

  // The marked nodes as a group with a name.
  function naming() {
    const name = el("input", { type: "text", placeholder: say("Name of the group"), "aria-label": say("Name of the group"), maxlength: 60 });
    const form = el("form", { class: "naming" }, name, el("button", { type: "submit" }, say("Group these")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const called_ = name.value.trim() || say("group {n}", groups.length + 1);
      const members = names();
      picked.clear();
      group([...groups.filter((one) => one.name !== called_), { name: called_, nodes: members }]);
    });
    return form;
  }

  /** @param {HTMLElement} answer @param {HTMLButtonElement} ask */
  async function run(answer, ask) {
    ask.disabled = true;
    answer.textContent = say("Measuring …");
    try {
      const found = await context.test?.({ size: n, nodes: names() });
      if (found?.absent) answer.textContent = say(found.absent);
      else if (found) answer.replaceChildren(el("table", { class: "lines" }, [[say("predicted"), [number(found.predicted)]], [say("measured"), withEnds(found.measured)], [say(graph.unit === "edges" ? "random nodes of the same kinds" : "as many active latents at random"), withEnds(found.control)]].map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, /** @type {string} */ (name)), el("td", {}, value)))), el("p", { class: "soft" }, graph.unit === "edges" ? say("Loss of the metric when they are exchanged, on {n} prompts.", number(found.n)) : say("Loss of the metric when they are taken out of the whole model, on this prompt.")));
    } catch (error) {
      answer.replaceChildren(el("p", { class: "trouble" }, say(/** @type {Error} */ (error).message)));
    } finally {
      ask.disabled = false;
    }
  }

  function scatter() {
    const points = graph.nodes.flatMap(({ predicted, measured }, i) => (known(predicted) && measured ? [{ i, x: predicted, y: measured.value }] : []));
    return points.length < 3 ? [] : [el("h2", { class: "small" }, say("Predicted against measured effect of each node")), plot(points, graph, choose)];
  }

  slider.addEventListener("input", () => {
    n = fromSlider(Number(slider.value), all);
    draw();
  });
  slider.addEventListener("change", remember);
  search.addEventListener("input", () => {
    query = search.value;
    remember();
    draw();
  });
  const ways = [["", say("not grouped")], ...(graph.tokens.length ? [["token", say("by token")]] : []), ...(graph.nodes.some(({ kind, label }) => label && kind === "latent") ? [["label", say("by label")]] : [])];
  const sorts = el("select", { "aria-label": say("Group nodes") }, ways.map(([value, text]) => el("option", { value }, text)));
  sorts.addEventListener("change", () => group(sorts.value === "token" || sorts.value === "label" ? grouped(graph, part(graph, n), sorts.value) : []));
  const flip = el("button", { type: "button", class: "flip", "aria-pressed": String(settings.table), on: { click: () => toggle() } }, say("Table"));
  function toggle() {
    settings.table = !settings.table;
    flip.setAttribute("aria-pressed", String(settings.table));
    save({ table: settings.table });
    draw();
  }
  draw();
  // Where the drawing is wider than the window, it begins where its nodes are.
  requestAnimationFrame(() => {
    const [wires, knot] = [stage.querySelector(".wires"), stage.querySelector(".knot.latent:not(.out)")];
    if (wires && knot) wires.scrollLeft += knot.getBoundingClientRect().left - wires.getBoundingClientRect().left - wires.clientWidth / 2;
  });
  const facts = ["task", "model", "method", "ablation", "metric", "n", "split"].filter((name) => known(graph.about[name]) || typeof graph.about[name] === "string").map((name, i) => [i ? " · " : "", say(name), " ", el("span", { translate: "no" }, String(graph.about[name]))]);
  return el("section", { class: "circuit" }, el("p", { class: "soft" }, facts.flat()), el("div", { class: "sizer" }, el("label", {}, slider, count), told, search, ways.length > 1 ? sorts : null, flip), el("div", { class: "circuit-body" }, el("div", {}, stage, below), side), graph.curve.length > 1 ? curve(graph) : null, graph.notes.length ? el("ul", { class: "notes" }, graph.notes.map((note) => el("li", {}, say(note)))) : null);
}

/** True for a graph whose parts can be measured. @param {Graph} graph */
export const testable = (graph) => graph.unit === "edges" || typeof graph.about.dictionaries === "string";

/** The nodes and edges that are shown, for reading; nodes are marked here too. @param {Graph} graph @param {import("./graph.js").Part} shown @param {Set<number>} picked @param {(node: number) => void} pick */
function table(graph, { nodes, edges }, picked, pick) {
  const heads = (/** @type {string[]} */ names) => el("thead", {}, el("tr", {}, names.map((text) => el("th", { scope: "col" }, say(text)))));
  const lines = [...nodes].map((i) => {
    const { layer, column, predicted, measured } = graph.nodes[i];
    const mark = el("button", { type: "button", class: "chip", "aria-pressed": String(picked.has(i)), on: { click: () => pick(i) } }, say("mark"));
    const at = column === null ? "" : graph.tokens.length ? `${graph.tokens[column]} @${column}` : String(column);
    return el("tr", {}, el("th", { scope: "row", translate: "no" }, called(graph.nodes[i])), el("td", {}, String(layer)), el("td", { translate: "no" }, at), el("td", {}, known(predicted) ? number(predicted) : "–"), el("td", {}, measured ? withEnds(measured) : "–"), el("td", {}, mark));
  });
  const links = edges.map(({ source, target, weight, name }) => el("tr", {}, el("td", { translate: "no" }, called(graph.nodes[source])), el("td", { translate: "no" }, name.split("->")[1] ?? called(graph.nodes[target])), el("td", {}, number(weight))));
  return el("div", { class: "scroll wires", tabindex: "0", role: "region", "aria-label": say("The graph as tables") }, el("table", { class: "evaluation nodes" }, heads(["node", "layer", "place", "predicted", "measured", "mark"]), el("tbody", {}, lines)), el("table", { class: "evaluation edges" }, heads(["from", "to", "weight"]), el("tbody", {}, links)));
}

/** Faithfulness by size on a logarithmic axis, with the random circuit. @param {Graph} graph */
function curve(graph) {
  const [width, height, left, bottom] = [560, 210, 40, 30];
  const last = Math.max(...graph.curve.map(({ size }) => size));
  const x = (/** @type {number} */ size) => left + ((width - left - 10) * Math.log1p(size)) / Math.log1p(last);
  const values = graph.curve.flatMap(({ faithfulness, random }) => [faithfulness.value, random?.value ?? 0]);
  const [low, high] = [Math.min(0, ...values), Math.max(1, ...values)];
  const y = (/** @type {number} */ value) => 10 + (height - bottom - 10) * (1 - (Math.max(low, Math.min(high, value)) - low) / (high - low));
  const line = (/** @type {"faithfulness" | "random"} */ what) => {
    const points = graph.curve.filter((kept) => kept[what]);
    const band = [...points.map((kept) => `${x(kept.size)},${y(/** @type {Figure} */ (kept[what]).high)}`), ...points.map((kept) => `${x(kept.size)},${y(/** @type {Figure} */ (kept[what]).low)}`).reverse()].join(" ");
    return [svg("polygon", { points: band, class: "band " + what }), svg("polyline", { points: points.map((kept) => `${x(kept.size)},${y(/** @type {Figure} */ (kept[what]).value)}`).join(" "), class: "line " + what })];
  };
  const ticks = [1, 10, 100, 1000, 10000, 100000].filter((size) => size < last).concat(last);
  return el("figure", { class: "faithful" }, el("figcaption", {}, say("Faithfulness by size, beside random circuits, with 95 % intervals")), svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": say("Faithfulness by size, beside random circuits, with 95 % intervals") }, ...[0, 0.5, 1].flatMap((value) => [svg("line", { x1: left, x2: width - 10, y1: y(value), y2: y(value), class: "grid" }), svg("text", { x: left - 6, y: y(value) + 4, class: "axis", "text-anchor": "end" }, String(value))]), ...ticks.map((size) => svg("text", { x: x(size), y: height - 10, class: "axis", "text-anchor": size === last ? "end" : "middle" }, number(size))), ...line("random"), ...line("faithfulness")));
}

/** @param {{i: number, x: number, y: number}[]} points @param {Graph} graph @param {(node: number) => void} open */
function plot(points, graph, open) {
  const [size, edge] = [260, 30];
  const span = (/** @type {number[]} */ values) => [Math.min(0, ...values), Math.max(1e-9, ...values)];
  const [[x0, x1], [y0, y1]] = [span(points.map(({ x }) => x)), span(points.map(({ y }) => y))];
  const at = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) => edge + ((size - edge - 8) * (value - low)) / (high - low);
  const dots = points.map(({ i, x, y }) => {
    const dot = svg("circle", { cx: at(x, x0, x1), cy: size - at(y, y0, y1), r: 3.5, class: "dot" }, svg("title", {}, `${called(graph.nodes[i])}: ${number(x)} → ${number(y)}`));
    dot.addEventListener("click", () => open(i));
    return dot;
  });
  return svg("svg", { viewBox: `0 0 ${size} ${size}`, width: size, height: size, role: "img", "aria-label": say("Predicted against measured effect of each node") }, svg("line", { x1: edge, x2: size - 8, y1: size - at(0, y0, y1), y2: size - at(0, y0, y1), class: "grid" }), svg("line", { x1: at(0, x0, x1), x2: at(0, x0, x1), y1: 8, y2: size - edge, class: "grid" }), svg("text", { x: size - 8, y: size - 8, class: "axis", "text-anchor": "end" }, say("predicted")), svg("text", { x: 4, y: 14, class: "axis" }, say("measured")), ...dots);
}
