// A feature's page: what it is, where it fires, what it does, what is near it.
import { el, known, measured, number, save, say, share } from "./elements.js";
import { columns } from "./plots.js";
import { headline, others, table } from "./scores.js";
import { bare, chip, heatmap, joined, labelled, legend } from "./tokens.js";

/** @import {FeatureDetail, Passage} from "./api.js" */
/** @import {Children} from "./elements.js" */
/** @typedef {{label(row: number): string, rows: {get(latent: number): number | undefined}, buckets: [number, number][]}} Names - labels of other features, and what positions the values of a profile have */
/** @typedef {{tab: string, full: boolean, scale: string}} Settings */
/** @typedef {Record<string, any>} Told - an explanation, a score or a vote, as the atlas has it */
/** @typedef {{id: string, text: string, list: Passage[], about: string, small?: boolean, strength?: number}} Tab */

/**
 * What a page gives the page of a feature. The app also gives: tools of the bar, panels below the figures, evidence
 * behind the explanations, vote(explanation) beside each, address(latent) of another feature, and a suffix of ids where a
 * page shows two.
 * @typedef {object} Context
 * @property {Names} index
 * @property {string} view - of `examples`
 * @property {Settings} settings
 * @property {() => void} save - keeps the settings
 * @property {(row: number) => void} open
 * @property {(by: number) => void} step
 * @property {() => void} close
 * @property {boolean} starred
 * @property {() => void} onStar
 * @property {[string, string] | null} [sides] - of a crosscoder
 * @property {any} [items]
 * @property {Children} [tools]
 * @property {Children} [panels]
 * @property {(Node | string)[]} [evidence]
 * @property {Children} [causes] - what it does to predictions
 * @property {(explanation: Told) => Children} [vote]
 * @property {(latent: number) => string} [address]
 * @property {string} [suffix]
 */

const TENTHS = 10;
const PERSON = "person";

/**
 * Views of what a feature is active on, by name. Pages of items register their own.
 * @type {Record<string, (feature: FeatureDetail, context: Context) => HTMLElement>}
 */
export const examples = { passages };

/** The page of one feature. @param {FeatureDetail} feature @param {Context} context */
export function featurePage(feature, context) {
  return el(
    "article",
    { class: "feature", "aria-labelledby": "feature-title" + (context.suffix ?? "") },
    head(feature, context),
    figures(feature, context.sides),
    context.panels ?? [],
    el(
      "div",
      { class: "feature-body" },
      el("div", { class: "feature-main" }, examples[context.view](feature, context)),
      el(
        "div",
        { class: "feature-side" },
        feature.alive ? activationPlot(feature) : null,
        context.causes,
        evidence(feature, context),
        logits(feature),
        neighbours(feature, context),
        profile(feature, context.index.buckets)
      )
    )
  );
}

/** @param {FeatureDetail} feature @param {Context} context */
function head(feature, context) {
  /** @param {string} text @param {string} label @param {() => void} handler @param {Record<string, unknown>} [extra] */
  const button = (text, label, handler, extra) => el("button", { type: "button", "aria-label": label, title: label, on: { click: handler }, ...extra }, text);
  return el(
    "header",
    { class: "feature-head" },
    el(
      "div",
      { class: "feature-bar" },
      button(say("‹ List"), say("Back to the list"), context.close, { class: "back", "aria-label": null }),
      el("span", { class: "eyebrow" }, say("Feature"), " ", el("b", {}, String(feature.latent))),
      el("span", { class: "gap" }),
      button("‹", say("Previous feature (k)"), () => context.step(-1)),
      button("›", say("Next feature (j)"), () => context.step(1)),
      button(context.starred ? "★" : "☆", say("Keep in my list (s)"), context.onStar, { class: "star", "aria-pressed": String(context.starred) }),
      context.tools ?? button("JSON", say("Save this feature as JSON"), () => save(`feature-${feature.latent}.json`, JSON.stringify(feature, null, 1), "application/json"))
    ),
    el("h2", { id: "feature-title" + (context.suffix ?? ""), tabindex: "-1", dir: "auto", translate: feature.label ? "no" : null }, feature.label ? labelled(feature.label) : feature.alive ? say("No label yet") : say("Dead: it never fired on this text")),
    feature.label && legend(feature.label) ? el("p", { class: "legend" }, legend(feature.label)) : null,
    byline(feature)
  );
}

/** Shows on a page's button whether its feature is in the reader's list. @param {Element} button @param {boolean} starred */
export function showStar(button, starred) {
  button.textContent = starred ? "★" : "☆";
  button.setAttribute("aria-pressed", String(starred));
}

/** @param {Told} one @param {FeatureDetail} feature */
const isLabel = (one, feature) => one.text === feature.label && one.method === feature.label_method && one.author === feature.label_author;
/** @param {Told} one */
const ofExplanation = (one) => (/** @type {Told} */ other) => ["author", "method", "model", "prompt_version"].every((key) => one[key] === other[key]);

/** @param {FeatureDetail} feature */
export function byline(feature) {
  const parts = [];
  if (feature.label_method) parts.push(el("span", {}, say("label by {}", feature.label_method === PERSON ? feature.label_author : feature.label_method)));
  if (feature.label_score !== null) {
    const label = feature.explanations.find((one) => isLabel(one, feature));
    const scores = label ? feature.scores.filter(ofExplanation(label)) : [];
    parts.push(headline(feature, scores.find(({ scorer }) => scorer === feature.label_scorer)));
    parts.push(...others(scores, feature.label_scorer));
  } else if (feature.alive) parts.push(el("span", { class: "soft" }, say("no score")), ...machine(feature));
  return el("p", { class: "byline" }, parts);
}

/** The best score of a machine's explanation, beside a person's label that has none: by margin, else by value. @param {FeatureDetail} feature */
function machine(feature) {
  /** @param {Told} one */
  const height = ({ margin, value }) => (known(margin) ? 1000 + margin : value);
  const scored = feature.scores.filter(({ method, scorer, value }) => method !== PERSON && known(value) && !scorer.includes(" ("));
  if (feature.label_method !== PERSON || !scored.length) return [];
  const best = scored.reduce((one, other) => (height(other) > height(one) ? other : one));
  const made = feature.explanations.find(ofExplanation(best));
  const { scorer, value, low, high, control, random, margin } = best;
  return [el("span", {}, say("best explanation, by {}:", best.method), " ", made ? labelled(made.text) : ""), headline({ ...feature, label_scorer: scorer, label_score: value, label_low: low, label_high: high, label_control: control, label_random: random, label_margin: margin }, best)];
}

/** @param {FeatureDetail} feature @param {[string, string] | null} [sides] */
export function figures(feature, sides) {
  /** @param {string} name @param {string} value @param {string | null} [detail] */
  const item = (name, value, detail) => el("div", {}, el("dt", {}, name), el("dd", {}, value, detail ? el("small", {}, detail) : null));
  const often = feature.density ? say("1 in {n} tokens", number(Math.max(1, Math.round(1 / feature.density)))) : null;
  return el(
    "dl",
    { class: "figures" },
    item(say("Density"), share(feature.density), often),
    item(say("Active on"), number(feature.n_active), say("tokens")),
    item(say("Mean when active"), measured(feature.mean_active)),
    item(say("Strongest"), measured(feature.max)),
    sides ? item(say("Decoder norm"), share(feature.share), say("at {}", sides[1])) : null
  );
}

/** A feature's page where nothing can be done with it but read it: no list to go back to, nothing to keep. @param {FeatureDetail} feature @param {{sides?: [string, string] | null, buckets: [number, number][]}} about */
export function still(feature, { sides, buckets }) {
  /** @type {Context} */
  const context = {
    index: { rows: { get: () => undefined }, label: () => "", buckets },
    settings: { tab: "top", full: false, scale: "feature" },
    sides,
    view: "passages",
    save: () => {},
    open: () => {},
    step: () => {},
    close: () => {},
    starred: false,
    onStar: () => {},
  };
  const page = featurePage(feature, context);
  page.querySelectorAll(".feature-bar > :not(.eyebrow)").forEach((tool) => tool.remove());
  for (const link of page.querySelectorAll(".near a")) link.replaceWith(...link.childNodes);
  return page;
}

/** Passages: a tab for the strongest, one for a walk through all tenths, one for each tenth. @param {FeatureDetail} feature @param {Context} context */
function passages(feature, context) {
  /** @type {Map<string, Passage[]>} */
  const groups = new Map();
  for (const passage of feature.passages) groups.set(passage.kind, [...(groups.get(passage.kind) ?? []), passage]);
  /** @param {string} kind */
  const of = (kind) => groups.get(kind) ?? [];
  const { settings } = context;
  const quantiles = Array.from({ length: TENTHS }, (_, i) => "q" + (TENTHS - 1 - i)).filter((kind) => groups.has(kind));
  /** @type {Tab[]} */
  const tabs = [];
  if (groups.has("top")) tabs.push({ id: "top", text: say("Strongest"), list: of("top"), about: say("The {n} passages with the strongest activation.", of("top").length) });
  if (quantiles.length > 1)
    tabs.push({
      id: "walk",
      text: say("Strong to weak"),
      list: quantiles.flatMap((kind) => of(kind).slice(0, 2)),
      about: say("Passages of every strength: a feature is what all of these share, not only the strongest."),
    });
  for (const kind of quantiles) {
    const place = +kind.slice(1) + 1;
    const list = of(kind);
    const maxima = list.map((passage) => passage.maximum);
    tabs.push({
      id: kind,
      text: String(place),
      small: true,
      list,
      strength: place / TENTHS,
      about: say("{}: peaks here run from {n} to {n}.", tenth(place), measured(Math.min(...maxima)), measured(Math.max(...maxima))),
    });
  }
  const section = el("section", { class: "passages", "aria-label": say("Passages") });
  if (!tabs.length) {
    section.append(el("p", { class: "none" }, feature.alive ? say("The atlas has no passages of this feature.") : say("A dead feature has no passages.")));
    return section;
  }
  /** @param {string} id */
  const show = (id, focus = false) => {
    settings.tab = id;
    context.save();
    const tab = tabs.find((one) => one.id === id) || tabs[0];
    const scale = settings.scale === "passage" ? null : feature.max;
    section.replaceChildren(
      el("div", { class: "tabs", role: "tablist", "aria-label": say("Which passages"), on: { keydown: (/** @type {KeyboardEvent} */ event) => walk(event, tabs, tab, show) } }, tabs.map((one) => tabButton(one, one === tab, show))),
      el(
        "div",
        { class: "passage-tools" },
        el("p", { class: "soft" }, tab.about),
        toggle(say("Full context"), settings.full, (on) => ((settings.full = on), show(tab.id))),
        toggle(say("Shade by passage"), settings.scale === "passage", (on) => ((settings.scale = on ? "passage" : "feature"), show(tab.id)))
      ),
      el("div", { class: "passage-list", role: "tabpanel", id: "passage-panel", "aria-label": tab.text }, tab.list.map((passage) => line(passage, scale, settings.full)))
    );
    if (focus) /** @type {HTMLElement | null} */ (section.querySelector("[role=tab][aria-selected=true]"))?.focus();
  };
  show(settings.tab);
  return section;
}

/** @param {number} place */
const tenth = (place) => (place === TENTHS ? say("The strongest tenth") : place === 1 ? say("The weakest tenth") : say("Tenth {n} of 10, 10 the strongest", place));

/**
 * Arrow keys, Home and End choose a tab; only the chosen one is a stop of the Tab key.
 * @param {KeyboardEvent} event @param {Tab[]} tabs @param {Tab} tab @param {(id: string, focus?: boolean) => void} show
 */
function walk(event, tabs, tab, show) {
  const at = tabs.indexOf(tab);
  /** @type {Record<string, number>} */
  const keys = { ArrowRight: (at + 1) % tabs.length, ArrowLeft: (at + tabs.length - 1) % tabs.length, Home: 0, End: tabs.length - 1 };
  const to = keys[event.key];
  if (to === undefined) return;
  event.preventDefault();
  show(tabs[to].id, true);
}

/** @param {Tab} tab @param {boolean} selected @param {(id: string, focus?: boolean) => void} show */
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
      title: tab.about,
      tabindex: selected ? null : "-1",
      on: { click: () => show(tab.id, true) },
    },
    tab.text
  );
  if (tab.strength) button.style.setProperty("--a", (0.08 + 0.85 * tab.strength).toFixed(2));
  return button;
}

/** @param {string} text @param {boolean} on @param {(on: boolean) => void} handler */
function toggle(text, on, handler) {
  return el("label", { class: "toggle" }, el("input", { type: "checkbox", checked: on, on: { change: (/** @type {any} */ event) => handler(event.target.checked) } }), text);
}

/** @param {Passage} passage @param {number | null} scale - of the full shade; null for the passage's own @param {boolean} full */
export function line(passage, scale, full) {
  const where = say("document {n}, token {n}", passage.document, passage.position);
  const piece = joined(passage.tokens).find(({ to }) => passage.peak < to);
  return el(
    "div",
    { class: "passage", role: "group", "aria-label": say("peak {n} on {}", measured(passage.maximum), piece ? bare(piece.text) : "") },
    el("span", { class: "peak-value", title: where }, measured(passage.maximum)),
    heatmap(passage, { scale: scale ?? passage.maximum, full }),
    full ? el("span", { class: "where" }, where) : null
  );
}

/** @param {string} title @param {string} about @param {Children[]} children */
function box(title, about, ...children) {
  return el("section", { class: "box" }, el("h3", { title: about }, title), ...children);
}

/** @param {FeatureDetail} feature */
export function activationPlot(feature) {
  const { low, high, counts } = feature.histogram;
  if (!(high > low)) return null;
  /** @param {number} i */
  const edge = (i) => number(low + ((high - low) * i) / counts.length);
  const drawn = columns(counts, {
    name: say("Histogram of {n} activations, up to {n}", number(feature.n_active), number(high)),
    top: say("{n} tokens, logarithmic", number(Math.max(...counts))),
    ticks: [edge(0), edge(counts.length / 2), edge(counts.length)],
    title: (i) => say("{n} to {n}: {n} tokens", edge(i), edge(i + 1), number(counts[i])),
    log: true,
    heat: true,
  });
  return box(say("Activations"), say("How many tokens (upright, logarithmic) have each strength of activation"), drawn);
}

/** @param {FeatureDetail} feature */
export function logits(feature) {
  const { promoted, suppressed } = feature;
  if (!promoted.length && !suppressed.length) return null;
  const top = Math.max(...[...promoted, ...suppressed].map(([, value]) => Math.abs(value ?? 0)), 1e-9);
  /** @param {[string, number | null][]} pairs @param {string} kind */
  const list = (pairs, kind) =>
    el(
      "ol",
      { class: "logits " + kind },
      pairs.map(([token, value]) =>
        el(
          "li",
          {},
          chip(token),
          el("span", { class: "logit-track" }, el("span", { style: { width: (100 * Math.abs(value ?? 0)) / top + "%" } })),
          el("span", { class: "value" }, ((value ?? 0) > 0 ? "+" : "") + number(value, 2))
        )
      )
    );
  return box(
    say("Next tokens"),
    say("Tokens that the feature’s direction makes more or less likely (change of the logit for a unit of activation)"),
    el("h4", {}, say("promoted")),
    list(promoted, "up"),
    el("h4", {}, say("suppressed")),
    list(suppressed, "down")
  );
}

/** @param {FeatureDetail} feature @param {Context} context */
function neighbours(feature, context) {
  const { index } = context;
  /** @param {{other: number, value: number}[]} rows @param {string} unit */
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
            { href: context.address?.(other) ?? "#feature-" + other, on: { click: (/** @type {Event} */ event) => row !== undefined && (event.preventDefault(), context.open(row)) } },
            el("span", { class: "id" }, String(other)),
            el("span", { class: "label", dir: "auto" }, row === undefined ? "" : labelled(index.label(row)))
          ),
          el("span", { class: "value", title: unit }, number(value, 2))
        );
      })
    );
  const { decoder, coactivation } = feature.neighbours;
  return [
    decoder.length ? box(say("Near in direction"), say("Features whose decoder directions have the highest cosine with this one"), list(decoder, say("cosine of decoder directions"))) : null,
    coactivation.length ? box(say("Fire together"), say("Features that are active on the same tokens"), list(coactivation, say("co-activation"))) : null,
  ];
}

/** Positions are counted in buckets of doubling width, where the atlas says so. @param {FeatureDetail} feature @param {[number, number][]} buckets */
function profile(feature, buckets) {
  const values = feature.position_profile;
  if (values.length < 2 || !values.some((value) => value > 0)) return null;
  /** @param {number} i */
  const name = (i) => (buckets[i] ? number(buckets[i][0]) : String(i));
  const last = values.length - 1;
  const drawn = columns(values, {
    name: say("Density by position in the context"),
    top: say("{n} of tokens", share(Math.max(...values))),
    ticks: [say("position {n}", name(0)), name(last >> 1), name(last)],
    title: (i) => (buckets[i] ? say("positions {n} to {n}: ", buckets[i][0], buckets[i][1] - 1) : "") + share(values[i]),
  });
  return box(say("By position"), say("Density of the feature from the beginning to the end of the context"), drawn);
}

/** Every explanation with its scores and votes; the one that is the label first, then as the atlas has them. @param {FeatureDetail} feature @param {Context} context */
function evidence(feature, context) {
  const { explanations, scores, votes } = feature;
  const own = context.evidence ?? [];
  if (!explanations.length && !own.length) return null;
  const sorted = [...explanations.filter((one) => isLabel(one, feature)), ...explanations.filter((one) => !isLabel(one, feature))];
  const about = say("All explanations, who made them, how well they predict the feature beside their controls, and what people think of them");
  return box(
    explanations.length > 1 ? say("{n} explanations", explanations.length) : say("Explanation"),
    about,
    ...sorted.map((one) =>
      explanation(
        one,
        scores.filter(ofExplanation(one)),
        votes.filter((vote) => ofExplanation(one)(vote) && vote.text === one.text),
        context.vote?.(one)
      )
    ),
    ...own
  );
}

/** @param {Told} one @param {Told[]} scores @param {Told[]} votes @param {Children} [voting] */
function explanation(one, scores, votes, voting) {
  const who = one.method === PERSON ? [one.author, say("a person")] : [one.method, one.author, one.model === one.author ? null : one.model, one.prompt_version ? say("prompt {}", one.prompt_version) : null];
  const [up, down] = [1, -1].map((vote) => votes.filter((one) => one.vote === vote));
  /** @param {Told[]} list */
  const names = (list) => list.map((vote) => vote.voter).join(", ");
  return el(
    "div",
    { class: "explanation" },
    el("p", { dir: "auto", translate: "no", title: legend(one.text) }, labelled(one.text)),
    el("small", {}, who.filter(Boolean).join(" · "), voting),
    votes.length
      ? el("small", { class: "votes" }, el("span", { title: names(up) || say("nobody") }, say("{n} hold it for right", up.length)), ", ", el("span", { title: names(down) || say("nobody") }, say("{n} for wrong", down.length)))
      : null,
    scores.length ? table(scores) : null
  );
}
