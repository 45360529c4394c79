// Plots, drawn as SVG (the map of features on a canvas), redrawn when their width changes.
(function (root) {
  "use strict";
  const monosema = (root.monosema = root.monosema || {});
  const { el, number, share, compact, place, bare } = monosema;

  function svg(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes || {})) if (value !== null && value !== undefined) element.setAttribute(name, value);
    element.append(...children.flat().filter(Boolean));
    return element;
  }

  function niceTicks(low, high, wanted) {
    const raw = (high - low) / Math.max(1, wanted) || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
    const ticks = [];
    for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-6; value += step) ticks.push(Math.abs(value) < step / 1e6 ? 0 : value);
    return ticks;
  }

  function logTicks(low, high) {
    const ticks = [];
    for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.log10(high) + 1e-9; power++) ticks.push(10 ** power);
    return ticks;
  }

  // Ticks of a short logarithmic axis: 1, 2 and 5 of each power where there is room, else the powers alone.
  function steps(low, high) {
    const powers = logTicks(low / 10, high);
    const factors = powers.length > 3 ? [1] : [1, 2, 5];
    return powers.flatMap((power) => factors.map((factor) => factor * power)).filter((tick) => tick >= low && tick <= high);
  }

  const tickShare = (value) => +(100 * value).toPrecision(2) + " %";
  const linear = ([a, b], [from, to]) => (value) => from + ((value - a) / (b - a || 1)) * (to - from);
  const logarithmic = ([a, b], range) => {
    const scale = linear([Math.log10(a), Math.log10(b)], range);
    return (value) => scale(Math.log10(value));
  };

  // Axes and scales: draw(frame) adds the marks. x and y: {domain, ticks, format, log, label}.
  function frame(host, { height, x, y, name, margin = {} }, draw) {
    const m = Object.assign({ top: 12, right: 14, bottom: 34, left: 44 }, margin);
    const paint = () => {
      const width = host.clientWidth;
      if (!width) return;
      const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name });
      const X = (x.log ? logarithmic : linear)(x.domain, [m.left, width - m.right]);
      const Y = (y.log ? logarithmic : linear)(y.domain, [height - m.bottom, m.top]);
      for (const tick of y.ticks || niceTicks(...y.domain, height / 45))
        picture.append(
          svg("line", { class: "grid", x1: m.left, x2: width - m.right, y1: Y(tick), y2: Y(tick) }),
          svg("text", { class: "tick", x: m.left - 6, y: Y(tick) + 3.5, "text-anchor": "end" }, (y.format || compact)(tick))
        );
      const ticks = x.ticks || niceTicks(...x.domain, width / 110);
      ticks.forEach((tick, i) => {
        const anchor = X(tick) > width - m.right - 12 && i === ticks.length - 1 ? "end" : "middle";
        picture.append(svg("text", { class: "tick", x: X(tick), y: height - m.bottom + 16, "text-anchor": anchor }, (x.format || compact)(tick)));
      });
      if (x.label) picture.append(svg("text", { class: "axis", x: width - m.right, y: height - 3, "text-anchor": "end" }, x.label));
      if (y.label) picture.append(svg("text", { class: "axis", x: 2, y: Math.max(10, m.top - 14) }, y.label));
      draw({ picture, X, Y, width, height, m });
      host.replaceChildren(picture);
    };
    new ResizeObserver(paint).observe(host);
    paint();
  }

  function curve(host, { name, x, y, axis }) {
    const isShare = name !== "L0" && name !== "FVU";
    const [least, top] = [Math.min(...y), Math.max(...y)];
    const log = least > 0 && top > 8 * least;
    frame(
      host,
      {
        height: 170,
        name: `${name} against ${axis}: from ${number(y[0])} to ${number(y[y.length - 1])}`,
        x: { domain: [Math.min(0, x[0]), x[x.length - 1]], label: axis },
        y: { log, domain: log ? [least * 0.7, top * 1.2] : [0, top * 1.08 || 1], ticks: log ? steps(least * 0.7, top * 1.2) : null, format: isShare ? (v) => +(100 * v).toPrecision(3) + " %" : compact },
      },
      ({ picture, X, Y, width, m }) => {
        const points = x.map((value, i) => `${X(value).toFixed(1)},${Y(y[i]).toFixed(1)}`);
        picture.append(svg("polyline", { class: "curve", points: points.join(" ") }));
        const [endX, endY] = [X(x[x.length - 1]), Y(y[y.length - 1])];
        picture.append(svg("circle", { class: "dot", cx: endX, cy: endY, r: 3 }));
        const text = isShare ? share(y[y.length - 1]) : number(y[y.length - 1]);
        picture.append(svg("text", { class: "value", x: width - m.right, y: Math.max(m.top + 4, endY - 8), "text-anchor": "end" }, text));
      }
    );
  }

  // Horizontal bars with an interval each: {name, point: [value, low, high], kind}.
  function bars(host, items, { format, marked, name }) {
    const top = Math.max(...items.map((item) => item.point[2])) * 1.02;
    const list = el("div", { class: "bars", role: "img", "aria-label": name + ": " + items.map((i) => `${i.name} ${format(i.point[0])}`).join(", ") });
    for (const item of items) {
      const [value, low, high] = item.point.map((v) => (100 * v) / top);
      list.append(
        el(
          "div",
          { class: "bar-line" + (marked.includes(item.kind) ? " marked" : "") },
          el("span", { class: "bar-name" }, item.name),
          el(
            "span",
            { class: "bar-track" },
            el("span", { class: "bar", style: { width: value + "%" } }),
            high > low ? el("span", { class: "whisker", style: { left: low + "%", width: Math.max(0.3, high - low) + "%" } }) : null
          ),
          el("span", { class: "bar-value" }, format(item.point[0]))
        )
      );
    }
    host.replaceChildren(list);
  }

  // Groups of lines on one axis each: a dot with its interval, a hollow dot for the control, both as numbers behind.
  function compared(host, groups) {
    const table = el("table", { class: "compared" });
    for (const { scorer, lines } of groups) {
      const ends = lines.flatMap(({ point, control }) => [...point, control ?? 0]);
      const domain = [Math.min(0, ...ends), Math.max(1, ...ends)];
      const row = ({ name, point, control, n }) =>
        el(
          "tr",
          { title: `${number(n)} features; 95 % interval ${point[1].toFixed(3)} to ${point[2].toFixed(3)}` },
          el("th", { scope: "row" }, name),
          el("td", {}, strip([point, control === null ? null : [control, control, control]], { domain, width: 110 })),
          el("td", {}, el("b", {}, point[0].toFixed(2))),
          el("td", { class: "soft" }, control === null ? "" : control.toFixed(2))
        );
      table.append(
        el("tbody", {}, el("tr", { class: "group" }, [scorer, "", "mean", "control"].map((text) => el("th", { scope: "col" }, text))), lines.map(row))
      );
    }
    host.replaceChildren(table);
  }

  // Columns over an axis: counts, and low/high edges of the whole.
  function histogram(host, { counts, low, high, log, x, y, height = 170, name, heat, margin, titles }) {
    const edges = Array.from({ length: counts.length + 1 }, (_, i) =>
      log ? low * (high / low) ** (i / counts.length) : low + ((high - low) * i) / counts.length
    );
    const top = Math.max(1, ...counts);
    const logCounts = y && y.log;
    frame(
      host,
      {
        height,
        name,
        margin,
        x: Object.assign({ domain: [low, high], log, ticks: log ? logTicks(low, high) : null }, x),
        y: Object.assign({ domain: logCounts ? [0.6, top * 1.2] : [0, top * 1.05], ticks: logCounts ? logTicks(1, top) : null }, y),
      },
      ({ picture, X, Y, height: h, m }) => {
        counts.forEach((count, i) => {
          if (!count) return;
          const bar = svg(
            "rect",
            { class: heat ? "pillar heated" : "pillar", x: X(edges[i]) + 0.5, width: Math.max(1, X(edges[i + 1]) - X(edges[i]) - 1), y: Y(count), height: h - m.bottom - Y(count) },
            svg("title", {}, (titles && titles[i]) || `${(x && x.format ? x.format : number)(edges[i])} to ${(x && x.format ? x.format : number)(edges[i + 1])}: ${number(count)}`)
          );
          if (heat) bar.style.setProperty("--a", (0.25 + (0.75 * i) / counts.length).toFixed(2));
          picture.append(bar);
        });
        picture.append(svg("line", { class: "base", x1: m.left, x2: X(high), y1: h - m.bottom, y2: h - m.bottom }));
      }
    );
  }

  function spark(values) {
    const [width, height] = [64, 16];
    const step = width / values.length;
    let path = "";
    values.forEach((value, i) => {
      if (value) path += `M${(i * step).toFixed(1)} ${height}v${(-(value / 255) * height).toFixed(1)}h${(step * 0.8).toFixed(2)}V${height}z`;
    });
    return svg("svg", { class: "spark", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, svg("path", { d: path }));
  }

  // A dot with its interval for each of a few values on one line; the first is ours, the others are controls.
  function strip(points, { domain, width = 120 }) {
    const height = 18;
    const X = linear(domain, [5, width - 5]);
    const picture = svg("svg", { class: "strip", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    picture.append(svg("line", { class: "base", x1: 2, x2: width - 2, y1: 9, y2: 9 }));
    points.forEach((point, i) => {
      if (!point) return;
      const clamp = (value) => X(Math.min(domain[1], Math.max(domain[0], value)));
      picture.append(
        svg("line", { class: i ? "other" : "ours", x1: clamp(point[1]), x2: clamp(point[2]), y1: 9, y2: 9 }),
        svg("circle", { class: i ? "other" : "ours", cx: clamp(point[0]), cy: 9, r: i ? 3 : 4 })
      );
    });
    return picture;
  }

  // Each feature a point; the nearest to the pointer is named, and a click opens it.
  function scatter(host, index, { rows, X: column, Y: value, yLabel, yDomain, yFormat, yLog, open }) {
    const density = column;
    const xs = rows.map((row) => density[row]);
    const domain = [10 ** Math.floor(Math.log10(Math.min(...xs))), 10 ** Math.ceil(Math.log10(Math.max(...xs)))];
    const canvas = el("canvas", { "aria-hidden": "true" });
    const axes = el("div", { class: "axes" });
    const tip = el("div", { class: "tip", hidden: true });
    host.replaceChildren(axes, canvas);
    document.body.append(tip);
    const state = { at: [], chosen: null, kept: null, near: null };
    const height = 360;
    frame(
      axes,
      {
        height,
        name: `Map of ${rows.length} features: ${yLabel} against density`,
        x: { domain, log: true, ticks: logTicks(...domain), format: tickShare, label: "density (share of tokens)" },
        y: { domain: yDomain, label: yLabel, format: yFormat, log: yLog, ticks: yLog ? logTicks(...yDomain) : null },
        margin: { top: 30 },
      },
      ({ X, Y, width }) => {
        state.at = rows.map((row) => [X(density[row]), Y(value[row])]);
        state.width = width;
        paint();
      }
    );

    function paint() {
      const ratio = root.devicePixelRatio || 1;
      canvas.width = state.width * ratio;
      canvas.height = height * ratio;
      canvas.style.width = state.width + "px";
      canvas.style.height = height + "px";
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      const css = getComputedStyle(host);
      const [ink, heat, paper] = ["--dots", "--heat-strong", "--paper"].map((name) => colour(css.getPropertyValue(name)));
      const radius = rows.length > 8000 ? 1.5 : 2.2;
      for (const kept of [false, true])
        rows.forEach((row, i) => {
          if ((!state.kept || state.kept.has(row)) !== kept) return;
          pen.globalAlpha = kept ? (state.kept && state.kept.size < rows.length ? 0.85 : 0.42) : 0.1;
          pen.fillStyle = kept && state.kept && state.kept.size < rows.length ? heat : ink;
          pen.beginPath();
          pen.arc(...state.at[i], radius, 0, 7);
          pen.fill();
        });
      pen.globalAlpha = 1;
      for (const mark of [state.chosen, state.near]) {
        const i = rows.indexOf(mark);
        if (mark === null || i < 0) continue;
        pen.beginPath();
        pen.arc(...state.at[i], 5, 0, 7);
        pen.fillStyle = heat;
        pen.strokeStyle = paper;
        pen.lineWidth = 2;
        pen.fill();
        pen.stroke();
      }
    }

    // Canvas takes no light-dark(); the browser's own resolution of a colour does.
    function colour(text) {
      const probe = el("span", { style: { color: text.trim(), display: "none" } });
      host.append(probe);
      const value = getComputedStyle(probe).color;
      probe.remove();
      return value;
    }

    function nearest(event) {
      const box = canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      let [best, found] = [18 ** 2, null];
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
      if (row === null) return void (tip.hidden = true);
      tip.replaceChildren(
        el("b", {}, "#" + index.latent[row] + " "),
        el("span", {}, monosema.labelled(index.label(row))),
        el("span", { class: "soft" }, `${yLabel} ${yFormat(value[row])} · density ${share(density[row])}`),
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
    return {
      paint,
      choose(row) {
        state.chosen = row;
        paint();
      },
      keep(kept) {
        state.kept = kept;
        paint();
      },
    };
  }

  Object.assign(monosema, { plots: { tickShare, curve, bars, compared, histogram, spark, strip, scatter } });
})(typeof globalThis === "undefined" ? this : globalThis);
