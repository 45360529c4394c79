// The list of features: search, filters, sorting, and only the rows that are in view.
(function (root) {
  "use strict";
  const monosema = (root.monosema = root.monosema || {});
  const { el, number, share, chip, labelled, plots } = monosema;
  const ROW = 66;

  const SORTS = {
    score: ["Score, lower end", "label_low", -1],
    density: ["Density, common first", "density", -1],
    rare: ["Density, rare first", "density", 1],
    max: ["Strongest activation", "max", -1],
    share: ["Share at the second side", "share", -1],
    lack: ["Share at the first side", "share", 1],
    label: ["Label, A to Z", null, 1],
    latent: ["Number", "latent", 1],
  };

  // Terms of a search: words that must all occur; "quoted" or token:… wants one whole token; #17 wants that feature.
  function terms(text) {
    const found = [];
    for (const match of text.toLowerCase().matchAll(/(?:(label|token|promotes):)?(?:"([^"]*)"|(\S+))/g)) {
      const [, field, quoted, word] = match;
      found.push({ field: field || null, whole: quoted !== undefined, word: quoted ?? word });
    }
    return found;
  }

  function matcher(index, text) {
    const wanted = terms(text).map((term) => {
      const words = new Set();
      index.lowerWords.forEach((word, id) => {
        if (term.whole ? word === term.word || word.trim() === term.word : word.includes(term.word)) words.add(id);
      });
      return Object.assign(term, { words });
    });
    const has = (name, row, words) => words.size > 0 && index.ids(name, row).some((id) => words.has(id));
    return (row) =>
      wanted.every(({ field, whole, word, words }) => {
        if (/^#\d+$/.test(word)) return index.latent[row] === +word.slice(1);
        if (!field && /^\d+$/.test(word) && index.latent[row] === +word) return true;
        const inLabel = () => (whole ? index.lowerLabels[row].split(/\W+/u).includes(word) : index.lowerLabels[row].includes(word));
        if (field === "label") return inLabel();
        if (field === "token") return has("top_tokens", row, words);
        if (field === "promotes") return has("promoted", row, words);
        return inLabel() || has("top_tokens", row, words) || has("promoted", row, words);
      });
  }

  class FeatureList {
    // host: the scrolling element; onOpen(row), onChange(rows) are called back; stars is {has(latent)}.
    constructor(host, index, { onOpen, onChange, onStar, stars }) {
      Object.assign(this, { host, index, onOpen, onChange, onStar, stars });
      this.query = { text: "", sort: "score", state: "alive", low: 0, high: 1, score: null };
      this.chosen = null;
      this.space = el("div", { class: "rows" });
      host.replaceChildren(this.space);
      host.addEventListener("scroll", () => this.paint());
      new ResizeObserver(() => this.paint()).observe(host);
    }

    update(change) {
      Object.assign(this.query, change);
      const { index, query } = this;
      const fits = matcher(index, query.text);
      const rows = [];
      for (let row = 0; row < index.n; row++) {
        const alive = index.alive[row] === 1;
        if (query.state === "alive" && !alive) continue;
        if (query.state === "dead" && alive) continue;
        if (query.state === "starred" && !this.stars.has(index.latent[row])) continue;
        if (alive && (index.density[row] < query.low || index.density[row] > query.high)) continue;
        if (query.score !== null && !(index.label_score[row] >= query.score)) continue;
        if (fits(row)) rows.push(row);
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
        const key = (row) => index.lowerLabels[row] || "\uffff";
        return rows.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a - b));
      }
      const column = index[name];
      const key = (row) => (Number.isFinite(column[row]) ? sign * column[row] : Infinity);
      return rows.sort((a, b) => key(a) - key(b) || a - b);
    }

    paint() {
      const [top, height] = [this.host.scrollTop, this.host.clientHeight];
      const first = Math.max(0, Math.floor(top / ROW) - 4);
      const last = Math.min(this.rows.length, Math.ceil((top + height) / ROW) + 4);
      const lines = [];
      for (let at = first; at < last; at++) lines.push(this.line(this.rows[at], at));
      if (!this.rows.length) lines.push(el("p", { class: "none" }, "No feature fits. Shorten the search or loosen the filters."));
      this.space.replaceChildren(...lines);
      const active = this.chosen !== null && this.space.querySelector("[aria-selected=true]");
      if (active) this.host.setAttribute("aria-activedescendant", active.id);
      else this.host.removeAttribute("aria-activedescendant");
    }

    line(row, at) {
      const { index } = this;
      const latent = index.latent[row];
      const score = index.label_score[row];
      const known = Number.isFinite(score);
      const starred = this.stars.has(latent);
      const [low, high] = [index.label_low[row], index.label_high[row]].map((v) => Math.min(1, Math.max(0, v)));
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
          el("span", { class: "label" + (index.labels[row] ? "" : " soft"), dir: "auto", title: index.labels[row] || null }, labelled(index.label(row))),
          el(
            "span",
            { class: "score", title: known ? `score ${number(score)}, 95 % interval ${number(index.label_low[row])} to ${number(index.label_high[row])}` : "no score" },
            known ? score.toFixed(2) : "–",
            known && high >= low ? el("span", { class: "range" }, el("span", { style: { left: 100 * low + "%", width: Math.max(3, 100 * (high - low)) + "%" } })) : null
          ),
          el(
            "button",
            {
              class: "star",
              type: "button",
              tabindex: "-1",
              "aria-label": (starred ? "Take from" : "Add to") + " my list",
              "aria-pressed": String(starred),
              on: { click: (event) => (event.stopPropagation(), this.onStar(latent)) },
            },
            starred ? "★" : "☆"
          )
        ),
        el(
          "div",
          { class: "row-line low" },
          plots.spark(index.sparkline(row)),
          this.words(row),
          el("span", { class: "density" }, index.alive[row] ? share(index.density[row]) : "dead")
        )
      );
    }

    // Tokens that say more than the label: what the feature promotes, where the label itself is the tokens it fires on.
    words(row) {
      const { index } = this;
      const told = /^(token lookup|top tokens)$/.test(index.methods[index.method[row]]) && index.tokens("promoted", row).length;
      const [name, about] = told ? ["promoted", "promotes"] : ["top_tokens", "fires on"];
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
      const heads = ["latent", "alive", "label", "method", "score", "low", "high", "control", "density", "n_active", "mean_active", "max", "top_tokens", "promoted"];
      const clean = (text) => String(text ?? "").replace(/\\/g, "\\\\").replace(/\t/g, "\\t").replace(/\n/g, "\\n").replace(/\r/g, "\\r");
      const lines = this.rows.map((row) => {
        const f = this.index.brief(row);
        const words = ["top_tokens", "promoted"].map((name) => JSON.stringify(this.index.tokens(name, row, 10)));
        return [f.latent, f.alive, f.label, f.label_method, f.label_score, f.label_low, f.label_high, f.label_control, f.density, f.n_active, f.mean_active, f.max, ...words].map(clean).join("\t");
      });
      return [heads.join("\t"), ...lines].join("\n") + "\n";
    }
  }

  Object.assign(monosema, { FeatureList, SORTS, matcher });
})(typeof globalThis === "undefined" ? this : globalThis);
