// Data of the pages: blocks packed by pages/packing.py, opened when they are needed.
// A source has index() and feature(row); Embedded reads blocks that stand in the document itself.
import { say } from "./elements.js";

const VIEWS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int32: Int32Array, float32: Float32Array, float64: Float64Array };

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

// A block is u32 length of the head | head (JSON) | arrays; the head has [name, type, offset behind the head, count].
// Views are made onto the one buffer: offsets are multiples of 8, so no array is copied.
export async function unpack(text) {
  const packed = new Blob([bytesOf(text.trim())]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(packed).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const block = { extra: head.extra };
  for (const [name, kind, at, count] of head.arrays) block[name] = new VIEWS[kind](buffer, 4 + length + at, count);
  return block;
}

const known = (value) => (Number.isFinite(value) ? value : null);

// All features at a glance: columns by row, and words.
export class Index {
  constructor(block) {
    Object.assign(this, block);
    Object.assign(this, block.extra);
    this.n = this.latent.length;
    this.rows = new Map();
    this.latent.forEach((latent, row) => this.rows.set(latent, row));
  }
  ids(name, row) {
    const first = this[name + "_first"];
    return this[name].subarray(first[row], first[row + 1]);
  }
  tokens(name, row, most = 5) {
    return Array.from(this.ids(name, row).subarray(0, most), (id) => this.words[id]);
  }
  label(row) {
    return this.labels[row] || say("no label");
  }
  sparkline(row) {
    return this.spark.subarray(row * this.bins, (row + 1) * this.bins);
  }
  // What the list and the head of a feature's page need.
  brief(row) {
    return {
      latent: this.latent[row],
      alive: this.alive[row] === 1,
      density: known(this.density[row]),
      n_active: this.n_active[row],
      mean: known(this.mean[row]),
      mean_active: known(this.mean_active[row]),
      max: known(this.max[row]),
      label: this.labels[row],
      label_author: this.authors[this.author[row]],
      label_method: this.methods[this.method[row]],
      label_scorer: Number.isFinite(this.label_score[row]) ? this.scorer : "",
      label_score: known(this.label_score[row]),
      label_low: known(this.label_low[row]),
      label_high: known(this.label_high[row]),
      label_control: known(this.label_control[row]),
      label_random: known(this.label_random[row]),
      label_margin: known(this.label_margin[row]),
      ...(this.share ? { share: known(this.share[row]) } : {}),
    };
  }
}

export class Embedded {
  constructor(document) {
    this.document = document;
    this.open = new Map();
  }
  block(name) {
    if (!this.open.has(name)) {
      const element = this.document.getElementById("block-" + name);
      if (!element) throw new Error("This page has no block named " + name + ".");
      this.open.set(name, unpack(element.textContent));
    }
    return this.open.get(name);
  }
  async index() {
    if (!this.ready) this.ready = new Index(await this.block("index"));
    return this.ready;
  }
  // The text and all groups of features, for a search in all passages; the browser may paint between two groups.
  async passages() {
    const index = await this.index();
    const groups = [];
    for (let number = 0; number * index.group < index.n; number++) groups.push(await this.block("features-" + number));
    return { text: await this.block("text"), groups };
  }
  async feature(row) {
    const index = await this.index();
    const number = Math.floor(row / index.group);
    const [text, group] = await Promise.all([this.block("text"), this.block("features-" + number)]);
    return feature(index, text, group, row, row % index.group);
  }
}

function slice(block, name, at) {
  return block[name].subarray(block[name + "_first"][at], block[name + "_first"][at + 1]);
}

function pairs(index, group, words, numbers, at) {
  const values = slice(group, numbers, at);
  return Array.from(slice(group, words, at), (id, i) => [index.words[id], values[i] ?? null]);
}

function others(group, kind, at) {
  const first = group[kind + "_first"];
  const list = [];
  for (let i = first[at]; i < first[at + 1]; i++) list.push({ other: group[kind + "_other"][i], value: group[kind + "_value"][i] });
  return list;
}

// Ragged columns: NAME_first has one entry more than rows, and row i is NAME[NAME_first[i]] to NAME[NAME_first[i + 1]].
// Of passages, `on_count` has one entry each, and `on_place` and `on_level` as many as there are activations above 0.
// One feature with all that its page shows; the same object is what "JSON" exports.
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
    passages,
  });
}

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

function lastAtMost(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
