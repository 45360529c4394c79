// The list of features where only what is in view is fetched and drawn: pages of rows, asked for as they come into view.
import { el, say } from "../elements.js";
import { ROW, featureRow } from "../row.js";

/** @import {FeatureList, FeatureRow} from "../api.js" */
/**
 * @typedef {object} Host
 * @property {(offset: number, limit: number, signal: AbortSignal) => Promise<FeatureList>} load
 * @property {(brief: FeatureRow, at: number) => void} onOpen
 * @property {(latent: number) => void} onStar
 * @property {(latent: number) => void} onMark
 * @property {(answer: FeatureList) => void} onChange
 * @property {(error: any) => void} onFail
 * @property {{has(latent: number): boolean}} stars
 * @property {{has(latent: number): boolean}} marks
 */

const PAGE = 100; // rows asked for at once
const AROUND = 4; // rows drawn above and below those in view

/** @param {number} at */
const waiting = (at) => el("div", { class: "row waiting", "aria-hidden": "true", style: { top: at * ROW + "px" } });

export class PagedList {
  #ending = new AbortController();

  /** @param {HTMLElement} host - the scrolling element @param {Host} back */
  constructor(host, back) {
    this.host = host;
    this.back = back;
    /** @type {Map<number, FeatureRow[] | Promise<FeatureRow[]>>} A page's rows, or the promise of them. */
    this.pages = new Map();
    this.total = 0;
    /** @type {number | null} */
    this.chosen = null; // latent
    this.at = -1; // its place, where known
    this.space = el("div", { class: "rows" }, Array.from({ length: 8 }, (_, at) => waiting(at)));
    host.replaceChildren(this.space);
    host.addEventListener("scroll", () => this.paint());
    new ResizeObserver(() => this.paint()).observe(host);
  }

  /** Begins anew, after a change of search, filter or order. Resolves to the answer's first page. @returns {Promise<FeatureList | null>} */
  async reset() {
    this.#ending.abort();
    this.#ending = new AbortController();
    const { signal } = this.#ending;
    this.host.setAttribute("aria-busy", "true");
    try {
      const answer = await this.back.load(0, PAGE, signal);
      if (signal.aborted) return null;
      this.pages = new Map([[0, answer.features]]);
      this.total = answer.total;
      this.space.style.height = this.total * ROW + "px";
      this.host.scrollTop = 0;
      this.at = answer.features.findIndex(({ latent }) => latent === this.chosen);
      this.paint();
      this.back.onChange(answer);
      return answer;
    } catch (error) {
      if (!signal.aborted) this.back.onFail(error);
      return null;
    } finally {
      if (!signal.aborted) this.host.removeAttribute("aria-busy");
    }
  }

  /** The rows of a page, from the server where they are not here yet. @param {number} number @returns {Promise<FeatureRow[]>} */
  async page(number) {
    const here = this.pages.get(number);
    if (here) return here;
    const { signal } = this.#ending;
    const coming = this.back.load(number * PAGE, PAGE, signal).then(({ features }) => features);
    this.pages.set(number, coming);
    try {
      const rows = await coming;
      if (signal.aborted) return [];
      this.pages.set(number, rows);
      this.paint();
      return rows;
    } catch (error) {
      this.pages.delete(number);
      if (!signal.aborted) this.back.onFail(error);
      return [];
    }
  }

  /** The feature at a place of the list, or null beyond its ends. @param {number} at */
  async one(at) {
    if (at < 0 || at >= this.total) return null;
    return (await this.page(Math.floor(at / PAGE)))[at % PAGE] ?? null;
  }

  paint() {
    const { scrollTop: top, clientHeight: height } = this.host;
    const first = Math.max(0, Math.floor(top / ROW) - AROUND);
    const last = Math.min(this.total, Math.ceil((top + height) / ROW) + AROUND);
    const lines = [];
    for (let at = first; at < last; at++) {
      const rows = this.pages.get(Math.floor(at / PAGE));
      lines.push(Array.isArray(rows) ? this.line(rows[at % PAGE], at) : waiting(at));
    }
    this.space.replaceChildren(...lines);
    for (let number = Math.floor(first / PAGE); number * PAGE < last; number++) if (!this.pages.has(number)) this.page(number);
    const active = this.space.querySelector("[aria-selected=true]");
    if (active) this.host.setAttribute("aria-activedescendant", active.id);
    else this.host.removeAttribute("aria-activedescendant");
  }

  /** @param {FeatureRow} brief @param {number} at */
  line(brief, at) {
    const { latent } = brief;
    const line = featureRow(brief, {
      at,
      of: this.total,
      chosen: latent === this.chosen,
      starred: this.back.stars.has(latent),
      why: brief.why ? [say(brief.why)] : null,
      onOpen: (event) => (event.ctrlKey || event.metaKey || event.shiftKey ? this.back.onMark(latent) : this.back.onOpen(brief, at)),
      onStar: this.back.onStar,
    });
    if (this.back.marks.has(latent)) line.classList.add("marked");
    return line;
  }

  // True where the answer's first page is all of it.
  get complete() {
    return this.total <= PAGE;
  }

  /** Puts a feature's new row, with what a search said of it, in the place of the old. @param {FeatureRow} row */
  renew(row) {
    for (const rows of this.pages.values()) {
      const at = Array.isArray(rows) ? rows.findIndex(({ latent }) => latent === row.latent) : -1;
      if (Array.isArray(rows) && at >= 0) rows[at] = { ...rows[at], ...row, fit: rows[at].fit, why: rows[at].why };
    }
    this.paint();
  }

  /** @param {number | null} latent */
  choose(latent, at = -1) {
    this.chosen = latent;
    this.at = at >= 0 ? at : this.place(latent);
    if (this.at >= 0) {
      const [top, bottom] = [this.at * ROW, (this.at + 1) * ROW];
      if (top < this.host.scrollTop) this.host.scrollTop = top - ROW;
      else if (bottom > this.host.scrollTop + this.host.clientHeight) this.host.scrollTop = bottom + ROW - this.host.clientHeight;
    }
    this.paint();
  }

  /** Where a feature stands in what was fetched; −1 where it is not there. @param {number | null} latent */
  place(latent) {
    for (const [number, rows] of this.pages) {
      const at = Array.isArray(rows) ? rows.findIndex((row) => row.latent === latent) : -1;
      if (at >= 0) return number * PAGE + at;
    }
    return -1;
  }

  /** The feature before or after the chosen one, with its place; null at the ends. @param {number} by */
  async step(by) {
    const at = this.at < 0 ? 0 : this.at + by;
    const brief = await this.one(at);
    return brief && { brief, at };
  }
}
