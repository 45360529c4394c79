// Data of the pages: blocks packed by pages/packing.py, opened when they are needed.
// A source has index() and feature(row); Embedded reads blocks that stand in the document itself.
import { say } from "./elements.js";

/** @import {FeatureDetail, FeatureRow, Near, Passage} from "./api.js" */

/** @typedef {Omit<FeatureRow, "top_tokens" | "promoted" | "spark" | "fit" | "why">} FeatureBrief */
/** @typedef {Uint8Array | Uint16Array | Uint32Array | Int32Array | Float32Array | Float64Array} Column */
/** @typedef {Record<string, any> & {extra: any}} Block - columns by name; `extra` is what JSON stood beside them */
/** @typedef {{text: Block, groups: Block[]}} Passages - the text, and all groups of features */

/** @type {Record<string, new (buffer: ArrayBuffer, at: number, count: number) => Column>} */
const VIEWS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int32: Int32Array, float32: Float32Array, float64: Float64Array };

/** @param {string} text @returns {Uint8Array<ArrayBuffer>} */
function bytesOf(text) {
  if ("fromBase64" in Uint8Array) return /** @type {any} */ (Uint8Array).fromBase64(text);
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/**
 * Opens a block: u32 length of the head | head (JSON) | arrays; the head has [name, type, offset behind the head, count].
 * Views are made onto the one buffer: offsets are multiples of 8, so no array is copied.
 * @param {string} text
 * @returns {Promise<Block>}
 */
async function unpack(text) {
  const packed = new Blob([bytesOf(text.trim())]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(packed).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  /** @type {Block} */
  const block = { extra: head.extra };
  for (const [name, kind, at, count] of head.arrays) block[name] = new VIEWS[kind](buffer, 4 + length + at, count);
  return block;
}

/** @param {number} value */
const known = (value) => (Number.isFinite(value) ? value : null);

/** All features at a glance: columns by row, and words. */
export class Index {
  /** @param {Block} block */
  constructor({ extra, ...columns }) {
    this.columns = columns;
    /** @type {Uint32Array} */
    this.latent = columns.latent;
    /** @type {Uint8Array} */
    this.alive = columns.alive;
    /** @type {Float32Array} */
    this.density = columns.density;
    /** @type {Float32Array} */
    this.label_score = columns.label_score;
    /** @type {Float32Array} */
    this.label_margin = columns.label_margin;
    /** @type {string[]} */
    this.labels = extra.labels;
    /** @type {string[]} */
    this.words = extra.words;
    /** @type {[number, number][]} */
    this.buckets = extra.buckets;
    /** @type {number} */
    this.group = extra.group;
    /** @type {number} */
    this.bins = extra.bins;
    /** @type {{methods: string[], authors: string[], scorer: string}} */
    this.makers = extra;
    this.n = this.latent.length;
    /** @type {Map<number, number>} */
    this.rows = new Map();
    this.latent.forEach((latent, row) => this.rows.set(latent, row));
  }

  /** A number of each feature. @param {string} name @returns {Float32Array} */
  column(name) {
    return this.columns[name];
  }

  /** @param {string} name @param {number} row @returns {Uint32Array} */
  ids(name, row) {
    const first = this.columns[name + "_first"];
    return this.columns[name].subarray(first[row], first[row + 1]);
  }

  /** @param {string} name @param {number} row @returns {string[]} */
  tokens(name, row, most = 5) {
    return Array.from(this.ids(name, row).subarray(0, most), (id) => this.words[id]);
  }

  /** @param {number} row */
  label(row) {
    return this.labels[row] || say("no label");
  }

  /** @param {number} row @returns {Uint8Array} */
  sparkline(row) {
    return this.columns.spark.subarray(row * this.bins, (row + 1) * this.bins);
  }

  /** What the list and the head of a feature's page need. @param {number} row @returns {FeatureBrief} */
  brief(row) {
    const { columns, makers } = this;
    const scored = Number.isFinite(columns.label_score[row]);
    return {
      latent: this.latent[row],
      alive: this.alive[row] === 1,
      density: known(columns.density[row]),
      n_active: columns.n_active[row],
      mean: known(columns.mean[row]),
      mean_active: known(columns.mean_active[row]),
      max: known(columns.max[row]),
      label: this.labels[row],
      label_author: makers.authors[columns.author[row]],
      label_method: makers.methods[columns.method[row]],
      label_scorer: scored ? makers.scorer : "",
      label_score: known(columns.label_score[row]),
      label_low: known(columns.label_low[row]),
      label_high: known(columns.label_high[row]),
      label_control: known(columns.label_control[row]),
      label_random: known(columns.label_random[row]),
      label_margin: known(columns.label_margin[row]),
      ...(columns.share ? { share: known(columns.share[row]) } : {}),
    };
  }
}

export class Embedded {
  /** @type {Index | null} */
  #index = null;
  /** @type {Map<string, Promise<Block>>} */
  #open = new Map();

  /** @param {Document} document */
  constructor(document) {
    this.document = document;
  }

  /** @param {string} name @returns {Promise<Block>} */
  block(name) {
    let block = this.#open.get(name);
    if (!block) {
      const element = this.document.getElementById("block-" + name);
      if (!element) throw new Error("This page has no block named " + name + ".");
      block = unpack(element.textContent ?? "");
      this.#open.set(name, block);
    }
    return block;
  }

  async index() {
    this.#index ??= new Index(await this.block("index"));
    return this.#index;
  }

  /** For a search in all passages; the browser may paint between two groups. @returns {Promise<Passages>} */
  async passages() {
    const index = await this.index();
    const groups = [];
    for (let number = 0; number * index.group < index.n; number++) groups.push(await this.block("features-" + number));
    return { text: await this.block("text"), groups };
  }

  /** @param {number} row @returns {Promise<FeatureDetail>} */
  async feature(row) {
    const index = await this.index();
    const number = Math.floor(row / index.group);
    const [text, group] = await Promise.all([this.block("text"), this.block("features-" + number)]);
    return feature(index, text, group, row, row % index.group);
  }
}

/** @param {Block} block @param {string} name @param {number} at */
function slice(block, name, at) {
  return block[name].subarray(block[name + "_first"][at], block[name + "_first"][at + 1]);
}

/** @param {Index} index @param {Block} group @param {string} words @param {string} numbers @param {number} at @returns {[string, number | null][]} */
function pairs(index, group, words, numbers, at) {
  const values = slice(group, numbers, at);
  return Array.from(slice(group, words, at), (id, i) => [index.words[id], values[i] ?? null]);
}

/** @param {Block} group @param {string} kind @param {number} at @returns {Near[]} */
function others(group, kind, at) {
  const first = group[kind + "_first"];
  const list = [];
  for (let i = first[at]; i < first[at + 1]; i++) list.push({ other: group[kind + "_other"][i], value: group[kind + "_value"][i] });
  return list;
}

/**
 * One feature with all that its page shows; the same object is what "JSON" exports.
 *
 * Ragged columns: NAME_first has one entry more than rows, and row i is NAME[NAME_first[i]] to NAME[NAME_first[i + 1]].
 * Of passages, `on_count` has one entry each, and `on_place` and `on_level` as many as there are activations above 0.
 * @param {Index} index @param {Block} text @param {Block} group
 * @param {number} row - in the index
 * @param {number} at - in the group
 * @returns {FeatureDetail}
 */
function feature(index, text, group, row, at) {
  const bins = index.bins;
  const passages = [];
  const [begin, end] = [group.passage_first[at], group.passage_first[at + 1]];
  let on = 0;
  for (let i = 0; i < begin; i++) on += group.on_count[i];
  const ranks = new Map();
  for (let i = begin; i < end; i++) {
    const kind = group.extra.kinds[group.kind[i]];
    const rank = ranks.get(kind) || 0;
    ranks.set(kind, rank + 1);
    passages.push(passage(index, text, group, i, on, kind, rank));
    on += group.on_count[i];
  }
  return Object.assign(index.brief(row), {
    row,
    histogram: { low: group.low[at], high: group.high[at], counts: Array.from(group.counts.subarray(at * bins, (at + 1) * bins)) },
    top_tokens: pairs(index, group, "top_tokens", "top_token_shares", at),
    promoted: pairs(index, group, "promoted", "promoted_logits", at),
    suppressed: pairs(index, group, "suppressed", "suppressed_logits", at),
    position_profile: Array.from(slice(group, "position_profile", at)),
    neighbours: { decoder: others(group, "decoder", at), coactivation: others(group, "coactivation", at) },
    explanations: group.extra.explanations[at],
    scores: group.extra.scores[at],
    votes: group.extra.votes[at],
    ...(group.extra.causes[at] ? { causes: group.extra.causes[at] } : {}),
    ...(group.extra.circuits[at].length ? { circuits: group.extra.circuits[at] } : {}),
    passages,
  });
}

/**
 * @param {Index} index @param {Block} text @param {Block} group
 * @param {number} i - of the passage
 * @param {number} on - of its first activation above 0
 * @param {string} kind @param {number} rank
 * @returns {Passage}
 */
function passage(index, text, group, i, on, kind, rank) {
  const [offset, length, maximum] = [group.offset[i], group.length[i], group.maximum[i]];
  const activations = new Array(length).fill(0);
  for (let j = on; j < on + group.on_count[i]; j++) activations[group.on_place[j]] = (group.on_level[j] / 255) * maximum;
  const span = lastAtMost(text.span_first, offset); // the span that the passage was cut from knows document and position
  return {
    kind,
    rank,
    document: text.span_document[span],
    position: text.span_position[span] + offset - text.span_first[span] + group.peak[i],
    peak: group.peak[i],
    maximum,
    tokens: Array.from(text.tokens.subarray(offset, offset + length), (id) => index.words[id]),
    activations,
  };
}

/** The last place of a sorted column whose value is at most this one. @param {Column} sorted @param {number} value */
export function lastAtMost(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
