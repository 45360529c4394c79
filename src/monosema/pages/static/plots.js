// Small drawings made in the browser from a feature's own numbers, and the map of features on a canvas.
// Larger charts come as SVG from Python (pages/charts.py).
import { el, known, number, place, say, share, svg, two } from "./elements.js";
import { bare, labelled } from "./tokens.js";

/** @import {FeatureBrief, Index} from "./data.js" */
/** @typedef {{points: (number[] | null)[], domain: [number, number]}} Strip - each point is value, low and high */
/** @typedef {{x: [number, number], y: [number, number], log: boolean, column: string, label: string}} MapFacts - ends of the axes, and the column that says a feature's height */

const EDGE = 8; // pixels of canvas around the plot area, so that dots on an axis are whole

/**
 * Columns of counts, stretched to the width there is: title(i) is the tooltip of one, `top` says the tallest's height,
 * ticks are texts below, from the left end to the right.
 * @param {number[]} counts
 * @param {{name: string, top: string, ticks: string[], title: (i: number) => string, log?: boolean, heat?: boolean}} look
 */
export function columns(counts, { name, top, ticks, title, log, heat }) {
  const most = Math.max(...counts);
  // On a logarithmic scale that begins at 0.6, a single count is still to be seen.
  /** @param {number} n */
  const height = (n) => (n <= 0 ? 0 : 100 * (log ? Math.log(n / 0.6) / Math.log(most / 0.6) : n / most));
  const bars = counts.map((n, i) => {
    if (!n) return null;
    const bar = svg("rect", { class: heat ? "pillar heated" : "pillar", x: i + 0.06, width: 0.88, y: 100 - height(n), height: height(n) }, svg("title", {}, title(i)));
    if (heat) bar.style.setProperty("--a", (0.25 + (0.75 * i) / counts.length).toFixed(2));
    return bar;
  });
  return el(
    "div",
    { class: "columns" },
    el("span", { class: "tick" }, top),
    svg("svg", { viewBox: `0 0 ${counts.length} 100`, preserveAspectRatio: "none", role: "img", "aria-label": name }, bars),
    el("div", { class: "tick ticks" }, ticks.map((text) => el("span", {}, text)))
  );
}

/** Heights of a histogram in 255 levels, as a mark within a line of text. @param {ArrayLike<number>} values */
export function spark(values) {
  const [width, height] = [64, 16];
  const step = width / values.length;
  let path = "";
  Array.from(values).forEach((value, i) => {
    if (value) path += `M${(i * step).toFixed(1)} ${height}v${(-(value / 255) * height).toFixed(1)}h${(step * 0.8).toFixed(2)}V${height}z`;
  });
  return svg("svg", { class: "spark", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, svg("path", { d: path }));
}

/** A dot with its interval for each of a few values on one line; the first is ours, the others controls. @param {Strip} strip */
export function strip({ points, domain }) {
  const [width, height] = [120, 18];
  /** @param {number} value */
  const X = (value) => 5 + ((Math.min(domain[1], Math.max(domain[0], value)) - domain[0]) / (domain[1] - domain[0])) * (width - 10);
  const picture = svg("svg", { class: "strip", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  picture.append(svg("line", { class: "base", x1: 2, x2: width - 2, y1: 9, y2: 9 }));
  for (const [i, point] of Array.from(points.entries()).reverse()) {
    if (!point) continue;
    const [value, low, high] = point.map(X);
    const kind = i ? "other" : "ours";
    picture.append(svg("line", { class: kind, x1: low, x2: high, y1: 9, y2: 9 }), svg("circle", { class: kind, cx: value, cy: 9, r: i ? 3 : 4 }));
  }
  return picture;
}

/** Draws the strips of a page's tables, whose cells hold what they show. */
export function strips() {
  for (const cell of document.querySelectorAll("[data-strip]")) cell.append(strip(JSON.parse(cell.getAttribute("data-strip") ?? "")));
}

/** A label's interval on the line from 0 to 1, beside the highest of its controls. @param {FeatureBrief} brief */
export function range({ label_low: low, label_high: high, label_margin: margin }) {
  /** @param {number} value */
  const at = (value) => 100 * Math.min(1, Math.max(0, value)) + "%";
  if (!known(low) || !known(high)) return null;
  const bar = el("span", { class: "bar", style: { left: at(low), width: `max(3px, ${100 * (Math.min(1, high) - Math.max(0, low))}%)` } });
  return el("span", { class: "range" }, bar, !known(margin) ? null : el("span", { class: "floor", style: { left: at(low - margin) } }));
}

/**
 * Each feature a dot on the canvas that lies over the map's axes; the nearest to the pointer is named, and a click
 * opens it. x is logarithmic, y where `log` says so.
 * @param {HTMLCanvasElement} canvas
 * @param {Index} index
 * @param {MapFacts} map
 * @param {(row: number) => void} open
 */
function scatter(canvas, index, map, open) {
  const [density, heights] = [index.density, index.column(map.column)];
  const rows = Array.from(index.latent.keys()).filter((row) => index.alive[row] && density[row] > 0 && (map.log ? heights[row] > 0 : Number.isFinite(heights[row])));
  /** @param {[number, number]} ends @param {boolean} log @returns {(value: number) => number} */
  const along = ([low, high], log) => (log ? (value) => Math.log(value / low) / Math.log(high / low) : (value) => (value - low) / (high - low));
  const [X, Y] = [along(map.x, true), along(map.y, map.log)];
  const places = rows.map((row) => [X(density[row]), 1 - Y(heights[row])]); // in shares of the plot area
  const tip = el("div", { class: "tip", hidden: true });
  document.body.append(tip);
  /** @type {{at: [number, number][], chosen: number | null, kept: Set<number> | null, near: number | null}} */
  const state = { at: [], chosen: null, kept: null, near: null };

  function resize() {
    const [width, height] = [canvas.clientWidth - 2 * EDGE, canvas.clientHeight - 2 * EDGE];
    state.at = places.map(([x, y]) => [EDGE + x * width, EDGE + y * height]);
    paint();
  }

  function paint() {
    const pen = canvas.getContext("2d");
    if (!canvas.clientWidth || !pen) return;
    const ratio = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    pen.scale(ratio, ratio);
    const css = getComputedStyle(canvas);
    const [ink, heat, paper] = ["--dots", "--heat-strong", "--paper"].map((name) => colour(css.getPropertyValue(name)));
    const radius = rows.length > 8000 ? 1.5 : 2.2;
    const some = state.kept && state.kept.size < rows.length;
    for (const kept of [false, true])
      rows.forEach((row, i) => {
        if ((!state.kept || state.kept.has(row)) !== kept) return;
        const proven = map.log || index.label_margin[row] > 0;
        pen.globalAlpha = kept ? (some ? 0.85 : 0.42) * (proven ? 1 : 0.5) : 0.1;
        pen.fillStyle = kept && some ? heat : ink;
        pen.beginPath();
        pen.arc(...state.at[i], radius, 0, 7);
        pen.fill();
      });
    pen.globalAlpha = 1;
    for (const mark of [state.chosen, state.near]) {
      const i = mark === null ? -1 : rows.indexOf(mark);
      if (i < 0) continue;
      pen.beginPath();
      pen.arc(...state.at[i], 5, 0, 7);
      pen.fillStyle = heat;
      pen.strokeStyle = paper;
      pen.lineWidth = 2;
      pen.fill();
      pen.stroke();
    }
  }

  /** Canvas takes no light-dark(); the browser's own resolution of a colour does. @param {string} text */
  function colour(text) {
    const probe = el("span", { style: { color: text.trim(), display: "none" } });
    canvas.after(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  }

  /** @param {MouseEvent} event */
  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = 18 ** 2;
    /** @type {number | null} */
    let found = null;
    state.at.forEach(([px, py], i) => {
      if (state.kept && !state.kept.has(rows[i])) return;
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < best) [best, found] = [distance, i];
    });
    return found;
  }

  canvas.addEventListener("pointermove", (event) => {
    const found = nearest(event);
    const row = found === null ? null : rows[found];
    canvas.style.cursor = row === null ? "default" : "pointer";
    if (row === state.near) return;
    state.near = row;
    paint();
    if (row === null || found === null) return void (tip.hidden = true);
    tip.replaceChildren(
      el("b", {}, "#" + index.latent[row] + " "),
      el("span", { translate: "no" }, labelled(index.label(row))),
      el("span", { class: "soft" }, `${map.label} ${map.log ? number(heights[row]) : two(heights[row])} · ${say("density")} ${share(density[row])}`),
      el("span", { class: "mono" }, index.tokens("top_tokens", row, 4).map(bare).join("  "))
    );
    const box = canvas.getBoundingClientRect();
    const [x, y] = state.at[found];
    place(tip, { left: box.left + x, width: 0, top: box.top + y - 6, bottom: box.top + y + 6 });
  });
  canvas.addEventListener("pointerleave", () => {
    tip.hidden = true;
    state.near = null;
    paint();
  });
  canvas.addEventListener("click", (event) => {
    const found = nearest(event);
    tip.hidden = true;
    if (found !== null) open(rows[found]);
  });
  new ResizeObserver(resize).observe(canvas);
  resize();
  return {
    paint,
    /** @param {number | null} row */
    choose(row) {
      state.chosen = row;
      paint();
    },
    /** @param {Set<number> | null} kept - the dots that are lit, or null for all */
    keep(kept) {
      state.kept = kept;
      paint();
    },
  };
}

/**
 * The same map in several sizes, of which one is seen.
 * @param {Iterable<HTMLCanvasElement>} canvases @param {Index} index @param {MapFacts} map @param {(row: number) => void} open
 */
export function maps(canvases, index, map, open) {
  const all = Array.from(canvases, (canvas) => scatter(canvas, index, map, open));
  return {
    paint: () => all.forEach((one) => one.paint()),
    choose: (/** @type {number | null} */ row) => all.forEach((one) => one.choose(row)),
    keep: (/** @type {Set<number> | null} */ rows) => all.forEach((one) => one.keep(rows)),
  };
}
