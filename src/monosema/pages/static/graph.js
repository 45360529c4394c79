// A circuit as a drawing: rows are layers from the embedding up to the logits, columns are heads or positions of a text.
import { el, say, svg } from "./elements.js";

/** @typedef {{value: number, low: number, high: number, n: number}} Figure */
/** @typedef {{name: string, kind: string, layer: number, column: number | null, label: string, latent: number | null, run: string | null, predicted: number | null, measured: Figure | null}} GraphNode */
/** @typedef {{source: number, target: number, weight: number, name: string}} GraphEdge */
/** @typedef {{size: number, faithfulness: Figure, random: Figure | null}} Kept */
/** @typedef {{title: string, unit: "edges" | "nodes", n_layers: number, nodes: GraphNode[], edges: GraphEdge[], total: number, tokens: string[], curve: Kept[], about: Record<string, any>, notes: string[]}} Graph */
/** @typedef {{nodes: Set<number>, edges: GraphEdge[]}} Part */

export const ENDS = ["embed", "token", "logits"]; // always there, and not counted
const [LEFT, TOP, ROW, WIDE, ROOM] = [58, 26, 74, 46, 700];

/** Places of nodes that are counted, by what matters most. @param {Graph} graph */
export const counted = ({ nodes }) => nodes.flatMap(({ kind }, i) => (ENDS.includes(kind) ? [] : [i]));

/** The most that can be shown of a graph, in its unit. @param {Graph} graph */
export const most = (graph) => (graph.unit === "edges" ? graph.edges.length : counted(graph).length);

/** The n most important edges, or nodes with the edges among them. @param {Graph} graph @param {number} n @returns {Part} */
export function part(graph, n) {
  if (graph.unit === "edges") {
    const edges = graph.edges.slice(0, n);
    return { edges, nodes: new Set(edges.flatMap(({ source, target }) => [source, target])) };
  }
  const nodes = new Set(counted(graph).slice(0, n));
  const in_ = (/** @type {number} */ i) => nodes.has(i) || ENDS.includes(graph.nodes[i].kind);
  const edges = graph.edges.filter(({ source, target }) => in_(source) && in_(target));
  for (const { source, target } of edges) nodes.add(source).add(target);
  return { edges, nodes };
}

/** What a curve says of a size, between its points in a line; null where it has none. @param {Kept[]} curve @param {number} size @param {"faithfulness" | "random"} what */
export function along(curve, size, what) {
  const points = curve.flatMap((kept) => (kept[what] ? [{ size: kept.size, value: kept[what].value }] : []));
  const after = points.findIndex((point) => point.size >= size);
  if (after < 0) return points.at(-1)?.value ?? null;
  const [low, high] = [points[Math.max(0, after - 1)], points[after]];
  return high.size === low.size ? high.value : low.value + ((high.value - low.value) * (size - low.size)) / (high.size - low.size);
}

/** Places of all nodes: those of one cell stand beside each other. @param {Graph} graph @param {Set<number>} shown */
function layout(graph, shown) {
  const columns = graph.tokens.length || Math.max(1, ...graph.nodes.map(({ column }) => 1 + (column ?? 0))) + 1;
  const width = Math.max(columns * WIDE, Math.min(columns * 84, ROOM));
  const row = Math.max(30, Math.min(ROW, 620 / (graph.n_layers + 1)));
  const rows = graph.n_layers + 2;
  /** @type {Map<string, number[]>} */
  const cells = new Map();
  // With positions only what is shown takes room; without, each component keeps its place.
  for (const [i, { layer, column, kind }] of graph.nodes.entries()) {
    if (graph.tokens.length && !shown.has(i)) continue;
    const at = column ?? (kind === "mlp" ? columns - 1 : -1);
    const cell = `${layer} ${at}`;
    cells.set(cell, [...(cells.get(cell) ?? []), i]);
  }
  /** @type {Map<number, [x: number, y: number]>} */
  const places = new Map();
  for (const [cell, found] of cells) {
    const [layer, column] = cell.split(" ").map(Number);
    const y = TOP + (graph.n_layers - layer) * row + row / 2;
    const per = Math.max(1, Math.floor(Math.sqrt(found.length * 2)));
    found.forEach((i, k) => {
      const [x0, step] = column < 0 ? [LEFT + width / 2, 16] : [LEFT + ((column + 0.5) * width) / columns, Math.min(14, width / columns / (per + 0.5))];
      const lines = Math.ceil(found.length / per);
      places.set(i, [x0 + ((k % per) - (Math.min(per, found.length) - 1) / 2) * step, y + (Math.floor(k / per) - (lines - 1) / 2) * 12]);
    });
  }
  return { places, width: width + LEFT + 10, height: TOP + rows * row + (graph.tokens.length ? 34 : 8), row, columns };
}

/** A node's name for people: what it means where that is known. @param {GraphNode} node */
export const called = ({ name, label }) => (label ? `${name}: ${label}` : name);

/**
 * Draws the part of a graph; `open` is told which node was chosen, `pick` which one was marked.
 * @param {Graph} graph @param {Part} shown
 * @param {{at: number, picked: Set<number>, query: string, open: (node: number) => void, pick: (node: number) => void}} view
 */
export function drawing(graph, { nodes, edges }, { at, picked, query, open, pick }) {
  const { places, width, height, row, columns } = layout(graph, nodes);
  const strongest = Math.max(1e-12, ...edges.map(({ weight }) => Math.abs(weight)));
  const near = (/** @type {GraphEdge} */ { source, target }) => source === at || target === at;
  const lines = [...edges].reverse().flatMap((edge) => {
    const [from, to] = [places.get(edge.source), places.get(edge.target)];
    if (!from || !to) return [];
    const bend = Math.max(12, (from[1] - to[1]) / 2);
    const line = svg("path", { d: `M${from[0]} ${from[1] - 5}C${from[0]} ${from[1] - bend} ${to[0]} ${to[1] + bend} ${to[0]} ${to[1] + 5}`, class: `wire ${edge.weight < 0 ? "hurts" : "helps"} ${at >= 0 ? (near(edge) ? "near" : "far") : ""}`, "stroke-width": (0.5 + 4 * Math.sqrt(Math.abs(edge.weight) / strongest)).toFixed(2) });
    line.append(svg("title", {}, `${edge.name || `${graph.nodes[edge.source].name} → ${graph.nodes[edge.target].name}`}: ${edge.weight.toPrecision(3)}`));
    return [line];
  });
  const wanted = query.trim().toLowerCase();
  const dots = [...places].map(([i, [x, y]]) => {
    const node = graph.nodes[i];
    const lit = wanted && called(node).toLowerCase().includes(wanted);
    const state = `knot ${node.kind} ${nodes.has(i) ? "" : "out"} ${i === at ? "at" : ""} ${picked.has(i) ? "picked" : ""} ${lit ? "lit" : ""}`;
    const shape = ["mlp", "error", "group"].includes(node.kind) ? svg("rect", { x: x - 5, y: y - 5, width: 10, height: 10 }) : svg("circle", { cx: x, cy: y, r: 5.5 });
    const group = svg("g", { class: state, tabindex: nodes.has(i) ? 0 : -1, role: "button", "aria-label": called(node), "aria-pressed": String(picked.has(i)) }, svg("title", {}, called(node)), svg("circle", { cx: x, cy: y, r: 11, class: "grip" }), shape);
    group.addEventListener("click", (event) => (event.shiftKey ? pick(i) : open(i)));
    group.addEventListener("keydown", (event) => {
      if (!["Enter", " ", "p"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      event.key === "Enter" ? open(i) : pick(i);
    });
    if (node.kind === "group") group.append(svg("text", { x, y: y - 10, class: "axis named", "text-anchor": "middle", translate: "no" }, node.name.length > 12 ? node.name.slice(0, 11) + "…" : node.name));
    group.dataset.node = String(i);
    return group;
  });
  const named = Array.from({ length: graph.n_layers + 2 }, (_, i) => {
    const layer = i - 1;
    const text = layer < 0 ? (graph.tokens.length ? say("text") : say("embed")) : layer === graph.n_layers ? say("logits") : String(layer);
    return svg("text", { x: LEFT - 14, y: TOP + (graph.n_layers - layer) * row + row / 2 + 4, class: "axis", "text-anchor": "end" }, text);
  });
  const inner = width - LEFT - 10;
  const heads = graph.tokens.length ? graph.tokens : [...Array.from({ length: columns - 1 }, (_, i) => `h${i}`), "mlp"];
  const foot = heads.map((text, i) => svg("text", { x: LEFT + ((i + 0.5) * inner) / columns, y: graph.tokens.length ? height - 12 : 14, class: "axis token", "text-anchor": "middle", translate: "no" }, text.trim() || "·"));
  return el("div", { class: "scroll wires", tabindex: "0", role: "region", "aria-label": say("The graph: layers upwards") }, svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": graph.title }, ...named, ...foot, ...lines, ...dots));
}
