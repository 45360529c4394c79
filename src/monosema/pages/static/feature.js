// A feature's page: what it is, where it fires, what it does, what is near it.
(function (root) {
  "use strict";
  const monosema = (root.monosema = root.monosema || {});
  const { el, number, measured, share, bare, chip, labelled, heatmap, plots } = monosema;
  const TENTHS = 10;
  const PERSON = "person";

  // Builds the page of one feature. context: {index, open(row), step(by), starred, onStar, settings, save()}.
  function page(feature, context) {
    return el(
      "article",
      { class: "feature", "aria-labelledby": "feature-title" },
      head(feature, context),
      figures(feature, context.sides),
      el(
        "div",
        { class: "feature-body" },
        el("div", { class: "feature-main" }, passages(feature, context)),
        el(
          "div",
          { class: "feature-side" },
          feature.alive ? activationPlot(feature) : null,
          evidence(feature),
          logits(feature),
          neighbours(feature, context),
          profile(feature, context.index.buckets)
        )
      )
    );
  }

  function head(feature, context) {
    const button = (text, label, handler, extra) => el("button", Object.assign({ type: "button", "aria-label": label, title: label, on: { click: handler } }, extra), text);
    return el(
      "header",
      { class: "feature-head" },
      el(
        "div",
        { class: "feature-bar" },
        button("‹ List", "Back to the list", context.close, { class: "back" }),
        el("span", { class: "eyebrow" }, "Feature ", el("b", {}, String(feature.latent))),
        el("span", { class: "gap" }),
        button("‹", "Previous feature (k)", () => context.step(-1)),
        button("›", "Next feature (j)", () => context.step(1)),
        button(context.starred ? "★" : "☆", "Keep in my list (s)", context.onStar, { class: "star", "aria-pressed": String(context.starred) }),
        button("JSON", "Save this feature as JSON", () => monosema.save(`feature-${feature.latent}.json`, JSON.stringify(feature, null, 1), "application/json"))
      ),
      el("h2", { id: "feature-title", tabindex: "-1", dir: "auto" }, feature.label ? labelled(feature.label) : feature.alive ? "No label yet" : "Dead: it never fired on this text"),
      byline(feature)
    );
  }

  function byline(feature) {
    const parts = [];
    if (feature.label_method) parts.push(el("span", {}, "label by " + (feature.label_method === PERSON ? feature.label_author : feature.label_method)));
    if (feature.label_score !== null) {
      const { label_score: value, label_low: low, label_high: high, label_control: control } = feature;
      const points = [[value, low ?? value, high ?? value], control === null ? null : [control, control, control]];
      parts.push(
        el(
          "span",
          { class: "scored", title: "How well the label predicts the feature; the hollow dot is the control" },
          feature.label_scorer ? feature.label_scorer + " " : "score ",
          el("b", {}, value.toFixed(2)),
          low !== null && high !== null ? el("span", { class: "soft" }, ` [${low.toFixed(2)}, ${high.toFixed(2)}]`) : null,
          plots.strip({ points, domain: [Math.min(0, value, control ?? 0), 1] }),
          control === null ? null : el("span", { class: "soft" }, `control ${control.toFixed(2)}`)
        )
      );
    } else if (feature.alive) parts.push(el("span", { class: "soft" }, "no score"));
    return el("p", { class: "byline" }, parts);
  }

  function figures(feature, sides) {
    const item = (name, value, detail) => el("div", {}, el("dt", {}, name), el("dd", {}, value, detail ? el("small", {}, detail) : null));
    const often = feature.density > 0 ? "1 in " + number(Math.max(1, Math.round(1 / feature.density))) + " tokens" : null;
    return el(
      "dl",
      { class: "figures" },
      item("Density", share(feature.density), often),
      item("Active on", number(feature.n_active), "tokens"),
      item("Mean when active", measured(feature.mean_active)),
      item("Strongest", measured(feature.max)),
      sides ? item("Decoder norm", share(feature.share), `at ${sides[1]}`) : null
    );
  }

  // Passages: a tab for the strongest, one for a walk through all tenths, one for each tenth.
  function passages(feature, context) {
    const groups = new Map();
    for (const passage of feature.passages) {
      if (!groups.has(passage.kind)) groups.set(passage.kind, []);
      groups.get(passage.kind).push(passage);
    }
    const { settings } = context;
    const quantiles = Array.from({ length: TENTHS }, (_, i) => "q" + (TENTHS - 1 - i)).filter((kind) => groups.has(kind));
    const tabs = [];
    if (groups.has("top")) tabs.push({ id: "top", text: "Strongest", list: groups.get("top"), about: `The ${groups.get("top").length} passages with the strongest activation.` });
    if (quantiles.length > 1)
      tabs.push({
        id: "walk",
        text: "Strong to weak",
        list: quantiles.flatMap((kind) => groups.get(kind).slice(0, 2)),
        about: "Passages of every strength: a feature is what all of these share, not only the strongest.",
      });
    for (const kind of quantiles) {
      const place = +kind.slice(1) + 1;
      const list = groups.get(kind);
      const maxima = list.map((passage) => passage.maximum);
      tabs.push({
        id: kind,
        text: String(place),
        small: true,
        list,
        strength: place / TENTHS,
        about: `${place === TENTHS ? "The strongest tenth" : place === 1 ? "The weakest tenth" : `Tenth ${place} of ${TENTHS}, 10 the strongest`}: peaks here run from ${measured(Math.min(...maxima))} to ${measured(Math.max(...maxima))}.`,
      });
    }
    const section = el("section", { class: "passages", "aria-label": "Passages" });
    if (!tabs.length) {
      section.append(el("p", { class: "none" }, feature.alive ? "The atlas has no passages of this feature." : "A dead feature has no passages."));
      return section;
    }
    const show = (id) => {
      settings.tab = id;
      context.save();
      const tab = tabs.find((one) => one.id === id) || tabs[0];
      const scale = settings.scale === "passage" ? null : feature.max;
      section.replaceChildren(
        el("div", { class: "tabs", role: "tablist", "aria-label": "Which passages" }, tabs.map((one) => tabButton(one, one === tab, show))),
        el(
          "div",
          { class: "passage-tools" },
          el("p", { class: "soft" }, tab.about),
          toggle("Full context", settings.full, (on) => ((settings.full = on), show(tab.id))),
          toggle("Shade by passage", settings.scale === "passage", (on) => ((settings.scale = on ? "passage" : "feature"), show(tab.id)))
        ),
        el("div", { class: "passage-list", role: "tabpanel", id: "passage-panel", "aria-label": tab.text }, tab.list.map((passage) => line(passage, scale, settings.full)))
      );
    };
    show(settings.tab);
    return section;
  }

  function tabButton(tab, selected, show) {
    const button = el(
      "button",
      {
        type: "button",
        role: "tab",
        class: tab.small ? "small" : null,
        "data-tab": tab.id,
        "aria-selected": String(selected),
        "aria-controls": "passage-panel",
        "aria-label": tab.small ? tab.about : null,
        title: tab.about,
        on: { click: () => show(tab.id) },
      },
      tab.text
    );
    if (tab.strength) button.style.setProperty("--a", (0.08 + 0.85 * tab.strength).toFixed(2));
    return button;
  }

  function toggle(text, on, handler) {
    return el("label", { class: "toggle" }, el("input", { type: "checkbox", checked: on, on: { change: (event) => handler(event.target.checked) } }), text);
  }

  function line(passage, scale, full) {
    const peak = bare(passage.tokens[passage.peak] ?? "");
    return el(
      "div",
      { class: "passage", role: "group", "aria-label": `peak ${measured(passage.maximum)} on ${peak}` },
      el("span", { class: "peak-value", title: `document ${passage.document}, token ${passage.position}` }, measured(passage.maximum)),
      heatmap(passage, { scale: scale ?? passage.maximum, full }),
      full ? el("span", { class: "where" }, `document ${passage.document}, token ${passage.position}`) : null
    );
  }

  function box(title, about, ...children) {
    return el("section", { class: "box" }, el("h3", { title: about }, title), children);
  }

  function activationPlot(feature) {
    const { low, high, counts } = feature.histogram;
    if (!(high > low)) return null;
    const edge = (i) => number(low + ((high - low) * i) / counts.length);
    const columns = plots.columns(counts, {
      name: `Histogram of ${number(feature.n_active)} activations, up to ${number(high)}`,
      top: `${number(Math.max(...counts))} tokens, logarithmic`,
      ticks: [edge(0), edge(counts.length / 2), edge(counts.length)],
      title: (i) => `${edge(i)} to ${edge(i + 1)}: ${number(counts[i])} tokens`,
      log: true,
      heat: true,
    });
    return box("Activations", "How many tokens (upright, logarithmic) have each strength of activation", columns);
  }

  function logits(feature) {
    const { promoted, suppressed } = feature;
    if (!promoted.length && !suppressed.length) return null;
    const top = Math.max(...[...promoted, ...suppressed].map(([, value]) => Math.abs(value)), 1e-9);
    const list = (pairs, kind) =>
      el(
        "ol",
        { class: "logits " + kind },
        pairs.map(([token, value]) =>
          el(
            "li",
            {},
            chip(token),
            el("span", { class: "logit-track" }, el("span", { style: { width: (100 * Math.abs(value)) / top + "%" } })),
            el("span", { class: "value" }, (value > 0 ? "+" : "") + number(value, 2))
          )
        )
      );
    return box(
      "Next tokens",
      "Tokens that the feature's direction makes more or less likely (change of the logit for a unit of activation)",
      el("h4", {}, "promoted"),
      list(promoted, "up"),
      el("h4", {}, "suppressed"),
      list(suppressed, "down")
    );
  }

  function neighbours(feature, context) {
    const { index } = context;
    const list = (rows, unit) =>
      el(
        "ol",
        { class: "near" },
        rows.map(({ other, value }) => {
          const row = index.rows.get(other);
          return el(
            "li",
            {},
            el(
              "a",
              { href: "#feature-" + other, on: { click: (event) => row !== undefined && (event.preventDefault(), context.open(row)) } },
              el("span", { class: "id" }, String(other)),
              el("span", { class: "label", dir: "auto" }, row === undefined ? "" : labelled(index.label(row)))
            ),
            el("span", { class: "value", title: unit }, number(value, 2))
          );
        })
      );
    const { decoder, coactivation } = feature.neighbours;
    return [
      decoder.length ? box("Near in direction", "Features whose decoder directions have the highest cosine with this one", list(decoder, "cosine of decoder directions")) : null,
      coactivation.length ? box("Fire together", "Features that are active on the same tokens", list(coactivation, "co-activation")) : null,
    ];
  }

  // Positions are counted in buckets of doubling width, where the atlas says so.
  function profile(feature, buckets) {
    const values = feature.position_profile;
    if (values.length < 2 || !values.some((value) => value > 0)) return null;
    const name = (i) => (buckets[i] ? number(buckets[i][0]) : String(i));
    const last = values.length - 1;
    const columns = plots.columns(values, {
      name: "Density by position in the context",
      top: `${share(Math.max(...values))} of tokens`,
      ticks: [`position ${name(0)}`, name(last >> 1), name(last)],
      title: (i) => (buckets[i] ? `positions ${buckets[i][0]} to ${buckets[i][1] - 1}: ` : "") + share(values[i]),
    });
    return box("By position", "Density of the feature from the beginning to the end of the context", columns);
  }

  // Every explanation with its scores and votes; the one that is the label first, then as the atlas has them.
  function evidence(feature) {
    const { explanations, scores, votes } = feature;
    if (!explanations.length) return null;
    const same = (one, other) => ["author", "method", "model", "prompt_version"].every((key) => one[key] === other[key]);
    const isLabel = (one) => one.text === feature.label && one.method === feature.label_method && one.author === feature.label_author;
    const sorted = [...explanations.filter(isLabel), ...explanations.filter((one) => !isLabel(one))];
    const about = "All explanations, who made them, how well they predict the feature beside their control, and what people think of them";
    return box(
      explanations.length > 1 ? `${explanations.length} explanations` : "Explanation",
      about,
      ...sorted.map((one) =>
        explanation(
          one,
          scores.filter((score) => same(score, one)),
          votes.filter((vote) => same(vote, one) && vote.text === one.text)
        )
      )
    );
  }

  function explanation(one, scores, votes) {
    const who = one.method === PERSON ? [one.author, "a person"] : [one.method, one.author, one.model === one.author ? null : one.model, one.prompt_version ? "prompt " + one.prompt_version : null];
    const [up, down] = [1, -1].map((vote) => votes.filter((one) => one.vote === vote));
    const names = (list) => list.map((vote) => vote.voter).join(", ");
    return el(
      "div",
      { class: "explanation" },
      el("p", { dir: "auto" }, labelled(one.text)),
      el("small", {}, who.filter(Boolean).join(" · ")),
      votes.length
        ? el("small", { class: "votes" }, el("span", { title: names(up) || "nobody" }, `${up.length} hold it for right`), ", ", el("span", { title: names(down) || "nobody" }, `${down.length} for wrong`))
        : null,
      scores.length ? scoreTable(scores) : null
    );
  }

  function scoreTable(scores) {
    const two = (value) => value.toFixed(2).replace("-", "−");
    const row = (score) => {
      const control = score.control ?? null;
      const interval = score.low === undefined ? "" : ` [${two(score.low)}, ${two(score.high)}]`;
      return el(
        "tr",
        { title: score.n === undefined ? null : `n = ${number(score.n)}${score.interval ? ", " + score.interval : ""}` },
        el("td", {}, score.scorer),
        el("td", {}, el("b", {}, two(score.value)), el("span", { class: "soft" }, interval)),
        el("td", {}, control === null ? "" : two(control))
      );
    };
    return el(
      "table",
      { class: "scores" },
      el("thead", {}, el("tr", {}, ["score", "value", "control"].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, scores.map(row))
    );
  }

  Object.assign(monosema, { featurePage: page });
})(typeof globalThis === "undefined" ? this : globalThis);
