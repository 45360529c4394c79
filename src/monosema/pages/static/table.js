// The list of features: search, filters, sorting, and only the rows that are in view.
import { el, say, share, signed, two } from "./elements.js";
import { range, spark } from "./plots.js";
import { beside } from "./scores.js";
import { chip, labelled, legend } from "./tokens.js";

const ROW = 66;

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

// Which labels are shown, by how far their scores stand above their controls.
export const LABELS = {
  "": ["any", () => true],
  above: ["above controls", (margin) => margin > 0],
  below: ["not above controls", (margin) => margin <= 0],
  none: ["without a score", (margin) => !Number.isFinite(margin)],
};

export class FeatureList {
  // host: the scrolling element; onOpen(row), onChange(rows) are called back; stars is {has(latent)}.
  constructor(host, index, search, { onOpen, onChange, onStar, stars }) {
    Object.assign(this, { host, index, search, onOpen, onChange, onStar, stars });
    this.query = { text: "", sort: "density", state: "alive", low: 0, high: 1, label: "" };
    this.chosen = null;
    this.space = el("div", { class: "rows" });
    host.replaceChildren(this.space);
    host.addEventListener("scroll", () => this.paint());
    new ResizeObserver(() => this.paint()).observe(host);
  }

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

  sorted(rows) {
    const [, name, sign] = SORTS[this.query.sort];
    const { index } = this;
    if (name === null) {
      const key = (row) => this.search.labels[row] || "\uffff";
      return rows.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a - b));
    }
    const value = name === "fit" ? (row) => this.found.get(row)?.fit ?? 0 : (row) => index[name][row];
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

  line(row, at) {
    const { index } = this;
    const latent = index.latent[row];
    const starred = this.stars.has(latent);
    return el(
      "div",
      {
        class: "row" + (index.alive[row] ? "" : " dead"),
        id: "row-" + latent,
        role: "option",
        "aria-selected": String(row === this.chosen),
        "aria-posinset": at + 1,
        "aria-setsize": this.rows.length,
        style: { top: at * ROW + "px" },
        on: { click: () => this.onOpen(row) },
      },
      el(
        "div",
        { class: "row-line" },
        el("span", { class: "id" }, String(latent)),
        el("span", { class: "label" + (index.labels[row] ? "" : " soft"), dir: "auto", title: legend(index.labels[row]) || index.labels[row] || null }, labelled(index.label(row))),
        this.score(row),
        el(
          "button",
          {
            class: "star",
            type: "button",
            tabindex: "-1",
            "aria-label": starred ? say("Take from my list") : say("Add to my list"),
            "aria-pressed": String(starred),
            on: { click: (event) => (event.stopPropagation(), this.onStar(latent)) },
          },
          starred ? "★" : "☆"
        )
      ),
      el("div", { class: "row-line low" }, this.found.has(row) ? this.why(row) : [spark(index.sparkline(row)), this.chips(row)], el("span", { class: "density" }, index.alive[row] ? share(index.density[row]) : say("dead")))
    );
  }

  // How far the score stands above its controls, in large; below it interval and controls on one line.
  score(row) {
    const brief = this.index.brief(row);
    if (brief.label_score === null) return el("span", { class: "score", title: say("no score") }, "–");
    const above = brief.label_margin > 0;
    return el(
      "span",
      { class: "score" + (above ? "" : " soft"), title: beside(brief) },
      el("span", { class: "soft plain" }, two(brief.label_score)),
      el("b", {}, brief.label_margin === null ? "" : signed(brief.label_margin)),
      range(brief)
    );
  }

  // Why a row was found, the weightiest reason first.
  why(row) {
    const parts = this.found.get(row).why.flatMap(({ text }, i) => [i ? " · " : null, text].flat());
    return el("span", { class: "chips why", title: parts.map((part) => part?.textContent ?? part).join("") }, parts);
  }

  // Tokens that say more than the label: what the feature promotes, where the label itself is the tokens it fires on.
  chips(row) {
    const { index } = this;
    const told = /^(token lookup|top tokens)$/.test(index.methods[index.method[row]]) && index.tokens("promoted", row).length;
    const [name, about] = told ? ["promoted", say("promotes")] : ["top_tokens", say("fires on")];
    return el("span", { class: "chips", title: about }, told ? "→ " : null, index.tokens(name, row).map(chip));
  }

  choose(row) {
    this.chosen = row;
    const at = this.rows.indexOf(row);
    if (at >= 0) {
      const [top, bottom] = [at * ROW, (at + 1) * ROW];
      if (top < this.host.scrollTop) this.host.scrollTop = top - ROW;
      else if (bottom > this.host.scrollTop + this.host.clientHeight) this.host.scrollTop = bottom + ROW - this.host.clientHeight;
    }
    this.paint();
  }

  // The row before or after the chosen one in the list as it stands.
  step(by) {
    const at = this.rows.indexOf(this.chosen);
    if (at < 0) return this.rows.length ? this.rows[0] : null;
    return this.rows[at + by] ?? null;
  }

  tsv() {
    const heads = ["latent", "alive", "label", "method", "score", "low", "high", "control", "above_controls", "density", "n_active", "mean_active", "max", "top_tokens", "promoted"];
    const clean = (text) => String(text ?? "").replace(/\\/g, "\\\\").replace(/\t/g, "\\t").replace(/\n/g, "\\n").replace(/\r/g, "\\r");
    const lines = this.rows.map((row) => {
      const f = this.index.brief(row);
      const words = ["top_tokens", "promoted"].map((name) => JSON.stringify(this.index.tokens(name, row, 10)));
      return [f.latent, f.alive, f.label, f.label_method, f.label_score, f.label_low, f.label_high, f.label_control, f.label_margin, f.density, f.n_active, f.mean_active, f.max, ...words].map(clean).join("\t");
    });
    return [heads.join("\t"), ...lines].join("\n") + "\n";
  }
}
