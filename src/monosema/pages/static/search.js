// The search: which features fit what was typed, how well, and why.
//
// A feature fits where every word is in its label, in a token that it fires on or promotes, or in its strongest passages.
// How well is a sum over words, as in `Atlas.search`: 1 + 3 · share for the token itself (its share of the activation),
// 2 for a whole word of the label and 1 for a part of one, ½ for a promoted token, and for passages 2 · the share of the
// strongest ones in which the feature is active on the word, and 0.3 · the share of those that have it anywhere.
import { lastAtMost } from "./data.js";
import { el, say } from "./elements.js";
import { bare, joined, plain } from "./tokens.js";

/** @import {Index, Passages} from "./data.js" */
/** @typedef {{field: string | null, whole: boolean, word: string}} Term */
/** @typedef {Term & {tokens: Set<number>, parts: Set<number>, passages: Map<number, Seen> | null}} Prepared */
/** @typedef {{active: number, anywhere: number, of: number}} Seen - strongest passages active on a word, those that have it, and all */
/** @typedef {{name?: string, fit: number, text: string | (string | HTMLElement)[]}} Reason */
/** @typedef {{fit: number, why: Reason[]}} Found */
/** @typedef {{passages(): Promise<Passages>}} Source */

const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u; // words may begin anywhere
const LETTER = /[\p{L}\p{N}]/u;

/** Terms of a search: words that must all occur; "quoted" wants a whole token or word; #17 wants that feature. @param {string} text */
function terms(text) {
  /** @type {Term[]} */
  const found = [];
  for (const match of text.toLowerCase().matchAll(/(?:(label|token|promotes|passage):)?(?:"([^"]*)"|(\S+))/g)) {
    const [, field, quoted, word] = match;
    if (quoted !== "") found.push({ field: field || null, whole: quoted !== undefined, word: quoted ?? word });
  }
  return found;
}

/** @param {string} text */
const wordsOf = (text) => text.split(/[^\p{L}\p{N}'’_-]+/u);

export class Search {
  /**
   * @param {Index} index
   * @param {Source} source - its passages are looked into once `deepen` has opened them
   */
  constructor(index, source) {
    this.index = index;
    this.source = source;
    /** @type {Text | null} */
    this.text = null;
    this.labels = index.labels.map((label) => plain(label).toLowerCase());
    this.words = index.words.map((word) => plain(word).toLowerCase());
  }

  /** Opens all passages; true where that was not done before. */
  async deepen() {
    if (this.text) return false;
    this.text = new Text(this.index, await this.source.passages());
    return true;
  }

  /** For what was typed: a function from row to what was found, or to null where the row doesn't fit. @param {string} typed @returns {(row: number) => Found | null} */
  matcher(typed) {
    const wanted = terms(typed).map((term) => this.prepared(term));
    return (row) => {
      let fit = 0;
      /** @type {Reason[]} */
      const why = [];
      for (const term of wanted) {
        const found = this.match(term, row);
        if (!found.length) return null;
        fit += found.reduce((sum, one) => sum + one.fit, 0);
        why.push(...found);
      }
      return { fit, why: why.sort((a, b) => b.fit - a.fit) };
    };
  }

  /** @param {Term} term @returns {Prepared} */
  prepared(term) {
    /** @type {Set<number>[]} */
    const [whole, parts] = [new Set(), new Set()];
    this.words.forEach((word, id) => {
      if (word === term.word || word.trim() === term.word) whole.add(id);
      else if (!term.whole && word.includes(term.word)) parts.add(id);
    });
    const passages = this.text && (!term.field || term.field === "passage") && !/^#?\d+$/.test(term.word) ? this.text.search(term.word) : null;
    return { ...term, tokens: whole, parts, passages };
  }

  /** @param {Prepared} term @param {number} row @returns {Reason[]} */
  match({ field, whole, word, tokens, parts, passages }, row) {
    const { index } = this;
    if (/^#\d+$/.test(word)) return index.latent[row] === +word.slice(1) ? [{ fit: 100, text: say("its number") }] : [];
    /** @type {Reason[]} */
    const found = [];
    /** @param {string} name @param {number} fit @param {Reason["text"]} text */
    const add = (name, fit, text) => (!field || field === name) && found.push({ name, fit, text });
    if (!field && index.latent[row] === +word && /^\d+$/.test(word)) found.push({ fit: 100, text: say("its number") });
    const label = this.labels[row];
    if (label.includes(word)) {
      if (wordsOf(label).includes(word)) add("label", 2, say("label"));
      else if (!whole) add("label", 1, say("label"));
    }
    const best = this.among("top_tokens", row, tokens, parts);
    if (best) {
      const share = index.columns.top_shares[index.columns.top_tokens_first[row] + best.at] / 255;
      const percent = say("{n} %", Math.round(100 * share));
      add("token", best.whole ? 1 + 3 * share : share, [say("fires on"), " ", chip(best.word), ` ${percent}`]);
    }
    const promoted = this.among("promoted", row, tokens, parts);
    if (promoted) add("promotes", promoted.whole ? 0.5 : 0.1, [say("promotes"), " ", chip(promoted.word)]);
    const seen = passages && passages.get(row);
    if (seen) {
      const { active, anywhere, of } = seen;
      const text = active ? say("active on it in {n} of {n} passages", active, of) : say("in {n} of {n} passages", anywhere, of);
      add("passage", (2 * active + 0.3 * anywhere) / of, text);
    }
    return found;
  }

  /** The first of a row's tokens that is the word, or else that has it as a part. @param {string} name @param {number} row @param {Set<number>} tokens @param {Set<number>} parts */
  among(name, row, tokens, parts) {
    if (!tokens.size && !parts.size) return null;
    const ids = this.index.ids(name, row);
    let at = tokens.size ? ids.findIndex((id) => tokens.has(id)) : -1;
    const whole = at >= 0;
    if (!whole && parts.size) at = ids.findIndex((id) => parts.has(id));
    return at < 0 ? null : { at, whole, word: this.index.words[ids[at]] };
  }
}

/** @param {string} token */
const chip = (token) => el("span", { class: "chip hit" }, bare(token));

/** The text of all passages, to be searched at once: tokens may be parts of a word, and of a character. */
class Text {
  /** @param {Index} index @param {Passages} passages */
  constructor(index, { text, groups }) {
    this.index = index;
    this.groups = groups;
    /** @type {Uint32Array} */
    this.tokens = text.tokens;
    const n = text.tokens.length;
    this.first = new Uint32Array(n + 1); // place in `joined` at which each token begins
    const parts = [];
    let length = 0;
    const ends = [...text.span_first, n];
    for (let s = 0; s + 1 < ends.length; s++) {
      parts.push("\u0000"); // no word runs over the end of a span
      length++;
      const words = Array.from(text.tokens.subarray(ends[s], ends[s + 1]), (id) => index.words[id]);
      for (const { from, to, text: written } of words.some((word) => word.includes("<0x")) ? joined(words) : words.map((word, i) => ({ from: i, to: i + 1, text: word }))) {
        const shown = (written.includes("<0x") ? plain(written) : written).toLowerCase();
        for (let i = from; i < to; i++) this.first[ends[s] + i] = length;
        parts.push(shown);
        length += shown.length;
      }
    }
    this.first[n] = length;
    this.joined = parts.join("");
  }

  /** By row. @param {string} word */
  search(word) {
    /** @type {Map<number, Seen>} */
    const rows = new Map();
    const places = this.places(word);
    if (!places.length) return rows;
    const n = this.tokens.length;
    const [on, before] = [new Uint8Array(n), new Uint32Array(n + 1)]; // tokens of the word, and its beginnings before each token
    for (const [from, to] of places) {
      on.fill(1, from, to);
      before[from + 1]++;
    }
    for (let i = 0; i < n; i++) before[i + 1] += before[i];
    this.groups.forEach((group, number) => {
      const tops = group.extra.kinds.indexOf("top");
      let at = 0; // of the passage's first activation
      for (let i = 0, row = number * this.index.group; i < group.offset.length; i++) {
        while (group.passage_first[row - number * this.index.group + 1] <= i) row++;
        const [offset, length, count] = [group.offset[i], group.length[i], group.on_count[i]];
        if (group.kind[i] === tops) {
          const seen = rows.get(row) || { active: 0, anywhere: 0, of: 0 };
          seen.of++;
          if (before[offset + length] > before[offset]) {
            seen.anywhere++;
            for (let j = at; j < at + count; j++)
              if (on[offset + group.on_place[j]]) {
                seen.active++;
                break;
              }
          }
          rows.set(row, seen);
        }
        at += count;
      }
    });
    for (const [row, { active, anywhere }] of rows) if (!active && anywhere < 2) rows.delete(row);
    return rows;
  }

  /** Tokens [from, to) of each occurrence of a word, which begins where a word begins. @param {string} word */
  places(word) {
    /** @type {[number, number][]} */
    const found = [];
    const anywhere = !LETTER.test(word[0]) || UNSPACED.test(word[0]);
    for (let at = this.joined.indexOf(word); at >= 0; at = this.joined.indexOf(word, at + word.length)) {
      if (!anywhere && LETTER.test(this.joined[at - 1])) continue;
      let from = lastAtMost(this.first, at);
      while (from > 0 && this.first[from - 1] === this.first[from]) from--; // tokens that share its first character
      found.push([from, lastAtMost(this.first, at + word.length - 1) + 1]);
    }
    return found;
  }
}
