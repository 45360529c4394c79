// The report: opens the blocks, draws the plots, and ties list, map, keyboard and address together.
(function (root) {
  "use strict";
  const monosema = root.monosema;
  const { el, number, plots, FeatureList, SORTS, Embedded } = monosema;
  const $ = (id) => document.getElementById(id);
  const facts = JSON.parse($("facts").textContent);
  const WIDE = root.matchMedia("(min-width: 900px)");

  // What a reader keeps: only in this browser, and only where it lets us (a file:// page may not).
  const memory = {
    name: "monosema:" + facts.title,
    read() {
      try {
        return JSON.parse(localStorage.getItem(this.name)) || {};
      } catch {
        return {};
      }
    },
    write(value) {
      try {
        localStorage.setItem(this.name, JSON.stringify(value));
      } catch {
        return;
      }
    },
  };
  const kept = Object.assign({ stars: [], theme: null, settings: {} }, memory.read());
  const stars = new Set(kept.stars);
  const settings = Object.assign({ tab: "top", full: false, scale: "feature" }, kept.settings);
  const save = () => memory.write({ stars: [...stars], theme: kept.theme, settings });

  monosema.save = (name, text, type) => {
    const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  let [list, map, source, index] = [null, null, null, null];

  function theme() {
    const dark = () => (kept.theme ? kept.theme === "dark" : root.matchMedia("(prefers-color-scheme: dark)").matches);
    const apply = () => {
      document.documentElement.style.colorScheme = dark() ? "dark" : "light";
      $("theme").setAttribute("aria-pressed", String(dark()));
      if (map) map.paint();
    };
    $("theme").addEventListener("click", () => {
      kept.theme = dark() ? "light" : "dark";
      save();
      apply();
    });
    root.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
    apply();
  }

  function runPlots() {
    for (const cell of document.querySelectorAll("[data-points]")) {
      const points = JSON.parse(cell.dataset.points);
      const ends = points.filter(Boolean).flat();
      if (!ends.length || points.every((point) => !point || point[0] === ends[0])) continue;
      const [low, high] = [Math.min(0, ...ends), Math.max(...ends)];
      cell.append(plots.strip(points, { domain: [low, cell.dataset.unit === "share" ? Math.max(1, high) : high || 1], width: 130 }));
    }
    for (const curve of facts.training) {
      const host = el("div", { class: "plot" });
      $("curves").append(el("figure", {}, el("figcaption", {}, curve.name), host));
      plots.curve(host, curve);
    }
    if (facts.scores.length) plots.compared($("scores-by-method"), facts.scores);
    if (facts.losses.length) plots.bars($("losses"), facts.losses, { format: (v) => v.toFixed(3), marked: ["ce_clean", "ce_spliced"], name: "Cross-entropy, nats per token" });
  }

  function featurePlots() {
    const rows = Array.from(index.latent.keys()).filter((row) => index.alive[row] && index.density[row] > 0);
    if (!rows.length) return void ($("feature-plots").hidden = true);
    const logs = rows.map((row) => Math.log10(index.density[row]));
    const [low, high] = [Math.floor(Math.min(...logs)), Math.ceil(Math.max(...logs)) || 0];
    const bins = Math.max(8, Math.min(48, (high - low || 1) * 8));
    const counts = new Array(bins).fill(0);
    for (const value of logs) counts[Math.min(bins - 1, Math.floor(((value - low) / (high - low || 1)) * bins))]++;
    plots.histogram($("densities"), {
      counts,
      low: 10 ** low,
      high: 10 ** (high > low ? high : low + 1),
      log: true,
      height: 220,
      name: `Density of ${rows.length} features`,
      x: { format: plots.tickShare, label: "density (share of tokens)" },
      y: { label: "features" },
      margin: { top: 26 },
    });
    if (facts.sides) sidesPlot(rows);
    const scored = rows.filter((row) => Number.isFinite(index.label_score[row]));
    const byScore = scored.length > 1;
    if (!byScore) $("map-title").textContent = "Strongest activation against density";
    const maxima = rows.map((row) => index.max[row]).filter((value) => value > 0);
    const most = byScore ? [Math.floor(10 * Math.min(0.9, ...scored.map((row) => index.label_score[row]))) / 10, 1] : [10 ** Math.floor(Math.log10(Math.min(...maxima))), 10 ** Math.ceil(Math.log10(Math.max(...maxima)))];
    map = plots.scatter($("map"), index, {
      rows: byScore ? scored : rows.filter((row) => index.max[row] > 0),
      X: index.density,
      Y: byScore ? index.label_score : index.max,
      yLabel: byScore ? "label score" + (index.scorer ? ` (${index.scorer})` : "") : "strongest activation",
      yDomain: most,
      yLog: !byScore,
      yFormat: (value) => (byScore ? (+value).toFixed(2) : number(value)),
      open: (row) => open(row, { jump: true }),
    });
  }

  function sidesPlot(rows) {
    const counts = new Array(40).fill(0);
    for (const row of rows) counts[Math.min(39, Math.floor(index.share[row] * 40))]++;
    plots.histogram($("sides"), {
      counts,
      low: 0,
      high: 1,
      height: 200,
      name: `Share of the decoder norm at ${facts.sides[1]}, of ${rows.length} features`,
      x: { ticks: [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1], format: (v) => String(+v.toFixed(3)), label: `share at ${facts.sides[1]}` },
      y: { log: true, label: "features" },
      margin: { top: 26, bottom: 46 },
    });
  }

  let ticket = 0;
  async function open(row, { jump = false, quiet = false, focus = false } = {}) {
    const mine = ++ticket;
    list.choose(row);
    if (map) map.choose(row);
    if (!quiet) {
      const hash = "#feature-" + index.latent[row];
      if (location.hash !== hash) history[jump ? "pushState" : "replaceState"](null, "", hash);
      document.body.classList.add("reading");
    }
    const feature = await source.feature(row).catch(fail);
    if (!feature || mine !== ticket) return;
    const context = {
      index,
      settings,
      sides: facts.sides,
      save,
      open: (other) => open(other, { focus: true }),
      step,
      close,
      starred: stars.has(feature.latent),
      onStar: () => star(feature.latent),
    };
    $("detail").replaceChildren(monosema.featurePage(feature, context));
    $("detail").scrollTop = 0;
    $("detail").dataset.latent = feature.latent;
    document.title = quiet ? facts.title : `${feature.latent} ${feature.label || ""} – ${facts.title}`;
    if (jump) $("features").scrollIntoView({ block: "start" });
    if (focus && !WIDE.matches) $("feature-title").focus({ preventScroll: true });
  }

  function close() {
    document.body.classList.remove("reading");
    history.replaceState(null, "", location.pathname + location.search);
    document.title = facts.title;
    $("rows").focus({ preventScroll: true });
  }

  function step(by) {
    const row = list.step(by);
    if (row !== null) open(row);
  }

  function star(latent) {
    if (!stars.delete(latent)) stars.add(latent);
    save();
    if (list.query.state === "starred") list.update({});
    else list.paint();
    starred();
    const button = $("detail").dataset.latent === String(latent) && $("detail").querySelector(".star");
    if (button) {
      button.textContent = stars.has(latent) ? "★" : "☆";
      button.setAttribute("aria-pressed", String(stars.has(latent)));
    }
  }

  function starred() {
    const option = $("state").querySelector("[value=starred]");
    option.textContent = `my list (${stars.size})`;
  }

  function controls() {
    for (const [value, [text]] of Object.entries(SORTS)) $("sort").append(el("option", { value }, text));
    if (!facts.sides) for (const value of ["share", "lack"]) $("sort").querySelector(`[value=${value}]`).remove();
    else $("sort").querySelector("[value=share]").textContent = `Share at ${facts.sides[1]}`;
    if (facts.sides) $("sort").querySelector("[value=lack]").textContent = `Share at ${facts.sides[0]}`;
    const scored = Array.from(index.label_score).some(Number.isFinite);
    if (!scored) {
      $("sort").querySelector("[value=score]").remove();
      $("score").parentElement.hidden = true;
    }
    let timer = null;
    $("search").addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => list.update({ text: $("search").value }), index.n > 20000 ? 120 : 0);
    });
    $("sort").addEventListener("change", () => list.update({ sort: $("sort").value }));
    $("state").addEventListener("change", () => list.update({ state: $("state").value }));
    $("score").addEventListener("change", () => list.update({ score: $("score").value === "" ? null : +$("score").value }));
    $("density").addEventListener("change", () => {
      const [low, high] = $("density").value.split(" ").map(Number);
      list.update({ low, high });
    });
    $("tsv").addEventListener("click", () => monosema.save("features.tsv", list.tsv(), "text/tab-separated-values"));
    starred();
    return scored ? "score" : "density";
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
    if (event.key === "Escape") {
      if (typing) typing.blur();
      else if (document.body.classList.contains("reading")) close();
      return;
    }
    if (typing && !(typing.id === "search" && ["ArrowDown", "ArrowUp", "Enter"].includes(event.key))) return;
    const actions = {
      "/": () => ($("search").focus(), $("search").select()),
      j: () => step(1),
      k: () => step(-1),
      ArrowRight: () => step(1),
      ArrowLeft: () => step(-1),
      s: () => list.chosen !== null && star(index.latent[list.chosen]),
    };
    const inList = event.target === $("rows") || (typing && typing.id === "search");
    if (inList) Object.assign(actions, { ArrowDown: () => step(1), ArrowUp: () => step(-1), Enter: () => list.chosen !== null && open(list.chosen, { focus: true }) });
    const inTabs = event.target.closest("[role=tablist]");
    const outside = event.target !== document.body && !event.target.closest("#features");
    if (!actions[event.key] || (event.key.startsWith("Arrow") && (inTabs || outside))) return;
    event.preventDefault();
    actions[event.key]();
  }

  function fromAddress({ jump }) {
    const match = /^#feature-(\d+)$/.exec(location.hash);
    const row = match ? index.rows.get(+match[1]) : undefined;
    if (row === undefined) {
      document.body.classList.remove("reading");
      return false;
    }
    open(row, { focus: true }).then(() => jump && $("features").scrollIntoView({ block: "start" }));
    return true;
  }

  // Where to begin: the first in the list that fires on words, and not on every page.
  function inviting() {
    const wordy = (row) => index.density[row] < 0.02 && index.tokens("top_tokens", row, 3).every((token) => /\p{L}{3}/u.test(token));
    return list.rows.slice(0, 500).find(wordy) ?? list.rows[0];
  }

  async function start() {
    theme();
    runPlots();
    source = new Embedded(document);
    index = await source.index();
    list = new FeatureList($("rows"), index, {
      stars,
      onStar: star,
      onOpen: (row) => open(row, { focus: true }),
      onChange: (rows) => {
        $("count").textContent = `${rows.length.toLocaleString("en-US")} of ${index.n.toLocaleString("en-US")}`;
        if (map) map.keep(rows.length === index.n ? null : new Set(rows));
      },
    });
    const sort = controls();
    $("sort").value = sort;
    list.update({ sort });
    featurePlots();
    list.update({});
    monosema.tips($("detail"));
    document.addEventListener("keydown", keys);
    root.addEventListener("hashchange", () => fromAddress({ jump: true }));
    if (!fromAddress({ jump: true }) && list.rows.length) await open(inviting(), { quiet: true });
    document.documentElement.dataset.ready = "yes";
  }

  function fail(error) {
    const old = typeof DecompressionStream === "undefined";
    $("trouble").hidden = false;
    $("trouble").textContent = old
      ? "This browser is too old to open the features (it has no DecompressionStream). Chromium 111, Firefox 120, Safari 17.5 or later can."
      : "The features could not be opened: " + error.message;
    console.error(error);
  }

  start().catch(fail);
})(typeof globalThis === "undefined" ? this : globalThis);
