// Supernodes: nodes of a circuit under one name, and the graph of what was marked, in which each group is one node.
import { say } from "./elements.js";
import { ENDS } from "./graph.js";

/** @import {Graph, GraphNode, Part} from "./graph.js" */
/** @typedef {{name: string, nodes: string[]}} Group */

/** A group as the address holds it. @param {Group} group */
export const written = ({ name, nodes }) => `${name}=${nodes.join("|")}`;
/** @param {string} text @returns {Group} */
export function read(text) {
  const at = text.lastIndexOf("=");
  return { name: text.slice(0, at), nodes: text.slice(at + 1).split("|") };
}

/** Groups of the nodes that are shown: those at one token, or of one label. @param {Graph} graph @param {Part} shown @param {"token" | "label"} by @returns {Group[]} */
export function grouped(graph, shown, by) {
  /** @type {Map<string, string[]>} */
  const found = new Map();
  for (const i of shown.nodes) {
    const { kind, name, label, column } = graph.nodes[i];
    const key = by === "label" ? label : column === null ? "" : `${graph.tokens[column].trim()} @${column}`;
    if (key && !ENDS.includes(kind)) found.set(key, [...(found.get(key) ?? []), name]);
  }
  return [...found].flatMap(([name, nodes]) => (nodes.length > 1 ? [{ name, nodes }] : []));
}

/** The graph among marked nodes and groups; the weights of edges between two groups add up. @param {Graph} graph @param {Set<number>} picked @param {Group[]} groups @returns {Graph} */
export function subgraph(graph, picked, groups) {
  const index = new Map(graph.nodes.map(({ name }, i) => [name, i]));
  /** @type {Map<number, number>} */
  const place = new Map();
  /** @type {GraphNode[]} */
  const nodes = [];
  for (const group of groups) {
    const members = group.nodes.flatMap((name) => index.get(name) ?? []);
    if (!members.length) continue;
    for (const i of members) place.set(i, nodes.length);
    const inside = members.map((i) => graph.nodes[i]);
    const layer = Math.round(inside.reduce((sum, node) => sum + node.layer, 0) / inside.length);
    const predicted = inside.reduce((sum, node) => sum + (node.predicted ?? 0), 0);
    nodes.push({ name: group.name, kind: "group", layer, column: inside[0].column, label: say("{n} nodes", inside.length), latent: null, run: null, predicted, measured: null });
  }
  const ends = graph.nodes.flatMap(({ kind }, i) => (ENDS.includes(kind) ? [i] : []));
  for (const i of [...picked, ...ends]) {
    if (place.has(i)) continue;
    place.set(i, nodes.length);
    nodes.push(graph.nodes[i]);
  }
  /** @type {Map<string, number>} */
  const sums = new Map();
  for (const { source, target, weight } of graph.edges) {
    const [from, to] = [place.get(source), place.get(target)];
    if (from !== undefined && to !== undefined && from !== to) sums.set(`${from} ${to}`, (sums.get(`${from} ${to}`) ?? 0) + weight);
  }
  const edges = [...sums].map(([ends_, weight]) => ({ source: Number(ends_.split(" ")[0]), target: Number(ends_.split(" ")[1]), weight, name: "" }));
  edges.sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  return { ...graph, title: say("Marked and grouped"), unit: "edges", nodes, edges, total: edges.length, curve: [] };
}
