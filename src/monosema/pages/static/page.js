// The report: opens the blocks, draws the plots, and ties list, map, keyboard and address together.
(function (root) {
  "use strict";
  const monosema = root.monosema;
  const { el, plots, FeatureList, SORTS, Embedded } = monosema;
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

  function strips() {
    for (const cell of document.querySelectorAll("[data-strip]")) cell.append(plots.strip(JSON.parse(cell.dataset.strip)));
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
    strips();
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
    if (facts.map) map = plots.scatter($("map").querySelector("canvas"), index, facts.map, (row) => open(row, { jump: true }));
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
