// The list of features: search, filters, sorting, and only the rows that are in view.
import { el, say } from "./elements.js";
import { ROW, featureRow } from "./row.js";

/** @import {Index} from "./data.js" */
/** @import {Found, Search} from "./search.js" */
/** @typedef {{text: string, sort: string, state: string, low: number, high: number, label: string}} Query */
/** @typedef {{onOpen(row: number): void, onChange(rows: number[]): void, onStar(latent: number): void, stars: {has(latent: number): boolean}}} Host */

/** @type {Record<string, [string, string | null, number]>} */
export const SORTS = {
  fit: ["Fit to the search", "fit", -1],
  margin: ["Above controls", "label_margin", -1],
  score: ["Score", "label_score", -1],
  density: ["Density, common first", "density", -1],
  rare: ["Density, rare first", "density", 1],
  max: ["Strongest activation", "max", -1],
  share: ["Share at {}", "share", -1],
  lack: ["Share at {}", "share", 1],
  label: ["Label, A to Z", null, 1],
  latent: ["Number", "latent", 1],
};

/**
 * Which labels are shown, by how far their scores stand above their controls.
 * @type {Record<string, [string, (margin: number) => boolean]>}
 */
export const LABELS = {
  "": ["any", () => true],
  above: ["above controls", (margin) => margin > 0],
  below: ["not above controls", (margin) => margin <= 0],
  none: ["without a score", (margin) => !Number.isFinite(margin)],
};

export class FeatureList {
  /** @param {HTMLElement} host - the scrolling element @param {Index} index @param {Search} search @param {Host} back */
  constructor(host, index, search, { onOpen, onChange, onStar, stars }) {
    this.host = host;
    this.index = index;
    this.search = search;
    this.onOpen = onOpen;
    this.onChange = onChange;
    this.onStar = onStar;
    this.stars = stars;
    /** @type {number[]} */
    this.rows = [];
    /** @type {Map<number, Found>} */
    this.found = new Map();
    /** @type {Query} */
    this.query = { text: "", sort: "density", state: "alive", low: 0, high: 1, label: "" };
    /** @type {number | null} */
    this.chosen = null;
    this.space = el("div", { class: "rows" });
    host.replaceChildren(this.space);
    host.addEventListener("scroll", () => this.paint());
    new ResizeObserver(() => this.paint()).observe(host);
  }

  /** @param {Partial<Query>} change */
  update(change) {
    Object.assign(this.query, change);
    const { index, query } = this;
    const matched = query.text.trim() ? this.search.matcher(query.text) : null;
    this.found = new Map();
    const rows = [];
    for (let row = 0; row < index.n; row++) {
      const alive = index.alive[row] === 1;
      if (query.state === "alive" && !alive) continue;
      if (query.state === "dead" && alive) continue;
      if (query.state === "starred" && !this.stars.has(index.latent[row])) continue;
      if (alive && (index.density[row] < query.low || index.density[row] > query.high)) continue;
      if (!LABELS[query.label][1](index.label_margin[row])) continue;
      const found = matched && matched(row);
      if (matched && !found) continue;
      if (found) this.found.set(row, found);
      rows.push(row);
    }
    this.rows = this.sorted(rows);
    this.space.style.height = this.rows.length * ROW + "px";
    this.host.scrollTop = 0;
    this.paint();
    this.onChange(this.rows);
  }

  /** @param {number[]} rows */
  sorted(rows) {
    const [, name, sign] = SORTS[this.query.sort];
    const { index } = this;
    if (name === null) {
      /** @param {number} row */
      const key = (row) => this.search.labels[row] || "\uffff";
      return rows.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a - b));
    }
    const column = name === "fit" ? null : index.column(name);
    /** @param {number} row */
    const value = (row) => (column ? column[row] : (this.found.get(row)?.fit ?? 0));
    /** @param {number} row */
    const key = (row) => (Number.isFinite(value(row)) ? sign * value(row) : Infinity);
    return rows.sort((a, b) => key(a) - key(b) || a - b);
  }

  paint() {
    const [top, height] = [this.host.scrollTop, this.host.clientHeight];
    const first = Math.max(0, Math.floor(top / ROW) - 4);
    const last = Math.min(this.rows.length, Math.ceil((top + height) / ROW) + 4);
    const lines = [];
    for (let at = first; at < last; at++) lines.push(this.line(this.rows[at], at));
    if (!this.rows.length) lines.push(el("p", { class: "none" }, say("No feature fits. Shorten the search or loosen the filters.")));
    this.space.replaceChildren(...lines);
    const active = this.chosen !== null && this.space.querySelector("[aria-selected=true]");
    if (active) this.host.setAttribute("aria-activedescendant", active.id);
    else this.host.removeAttribute("aria-activedescendant");
  }

  /** @param {number} row @param {number} at */
  line(row, at) {
    const { index } = this;
    const brief = { ...index.brief(row), spark: index.sparkline(row), top_tokens: index.tokens("top_tokens", row), promoted: index.tokens("promoted", row) };
    return featureRow(brief, { at, of: this.rows.length, chosen: row === this.chosen, starred: this.stars.has(brief.latent), why: this.why(row), onOpen: () => this.onOpen(row), onStar: this.onStar });
  }

  /** Why a row was found, the weightiest reason first. @param {number} row */
  why(row) {
    return this.found.get(row)?.why.flatMap(({ text }, i) => [i ? " · " : null, text].flat()) ?? null;
  }

  /** @param {number | null} row */
  choose(row) {
    this.chosen = row;
    const at = row === null ? -1 : this.rows.indexOf(row);
    if (at >= 0) {
      const [top, bottom] = [at * ROW, (at + 1) * ROW];
      if (top < this.host.scrollTop) this.host.scrollTop = top - ROW;
      else if (bottom > this.host.scrollTop + this.host.clientHeight) this.host.scrollTop = bottom + ROW - this.host.clientHeight;
    }
    this.paint();
  }

  /** The row before or after the chosen one in the list as it stands. @param {number} by */
  step(by) {
    const at = this.chosen === null ? -1 : this.rows.indexOf(this.chosen);
    if (at < 0) return this.rows.length ? this.rows[0] : null;
    return this.rows[at + by] ?? null;
  }

  tsv() {
    const heads = ["latent", "alive", "label", "method", "score", "low", "high", "control", "above_controls", "density", "n_active", "mean_active", "max", "top_tokens", "promoted"];
    /** @param {unknown} text */
    const clean = (text) => String(text ?? "").replace(/\\/g, "\\\\").replace(/\t/g, "\\t").replace(/\n/g, "\\n").replace(/\r/g, "\\r");
    const lines = this.rows.map((row) => {
      const f = this.index.brief(row);
      const words = ["top_tokens", "promoted"].map((name) => JSON.stringify(this.index.tokens(name, row, 10)));
      return [f.latent, f.alive, f.label, f.label_method, f.label_score, f.label_low, f.label_high, f.label_control, f.label_margin, f.density, f.n_active, f.mean_active, f.max, ...words].map(clean).join("\t");
    });
    return [heads.join("\t"), ...lines].join("\n") + "\n";
  }
}
