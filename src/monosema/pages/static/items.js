// What a feature is active on, where that is items: cards with a picture, the name and the other columns.
import { el, measured, say } from "./elements.js";
import { examples } from "./feature.js";

/** @import {FeatureDetail, Passage} from "./api.js" */
/** @typedef {{facts: Record<string, Record<string, string>>, pictures: Record<string, string>}} ItemsBlock */

/** @type {[string, string, string, (kind: string) => boolean][]} */
const TABS = [
  ["top", "Strongest", "Items with the strongest activation.", (kind) => kind === "top"],
  ["walk", "Strong to weak", "Items of every strength, drawn from each tenth of those that activate the feature.", (kind) => /^q\d$/.test(kind)],
  ["inactive", "Not active", "Items drawn at random from those that do not activate the feature.", (kind) => kind === "inactive"],
];

/** @param {FeatureDetail} feature @param {any} context */
function items(feature, context) {
  const section = el("section", { class: "passages", "aria-label": say("Items") });
  const tabs = TABS.map(([id, text, about, has]) => ({ id, text, about, list: feature.passages.filter(({ kind }) => has(kind)) })).filter(({ list }) => list.length);
  if (!tabs.length) {
    section.append(el("p", { class: "none" }, say(feature.alive ? "The atlas has no items of this feature." : "A dead feature has no items.")));
    return section;
  }
  /** @param {string} id */
  const show = (id) => {
    const tab = tabs.find((one) => one.id === id) || tabs[0];
    context.settings.tab = tab.id;
    context.save();
    /** @param {typeof tab} one */
    const button = (one) => el("button", { type: "button", role: "tab", "data-tab": one.id, "aria-selected": String(one === tab), "aria-controls": "passage-panel", on: { click: () => show(one.id) } }, say(one.text));
    section.replaceChildren(
      el("div", { class: "tabs", role: "tablist", "aria-label": say("Which items") }, tabs.map(button)),
      el("div", { class: "passage-tools" }, el("p", { class: "soft" }, say(tab.about))),
      el("div", { class: wide(tab.list) ? "cards wide" : "cards", role: "tabpanel", id: "passage-panel", "aria-label": say(tab.text) }, tab.list.map((passage) => card(passage, feature.max, context.items)))
    );
  };
  show(context.settings.tab);
  return section;
}

/** Names that are sentences need room. @param {Passage[]} list */
const wide = (list) => list.reduce((sum, { tokens }) => sum + tokens.join("").length, 0) > 60 * list.length;

/** @param {Passage} passage @param {number | null} most @param {ItemsBlock} items */
function card(passage, most, { facts, pictures }) {
  const name = passage.tokens.join("");
  const picture = pictures[passage.document];
  const lines = Object.entries(facts[passage.document] || {});
  return el(
    "figure",
    { class: picture ? "card" : "card plain", translate: "no", title: say("row {n}", passage.document) },
    picture ? el("img", { src: picture, alt: "", loading: "lazy" }) : null,
    el(
      "figcaption",
      {},
      el("b", { dir: "auto" }, name),
      el("span", { class: "facts" }, lines.map(([key, value]) => el("span", { class: "fact", dir: "auto" }, el("span", { class: "soft" }, key + " "), value))),
      el("span", { class: "strength" }, el("span", { class: "strength-bar" }, el("span", { style: { width: (100 * passage.maximum) / (most || 1) + "%" } })), measured(passage.maximum))
    )
  );
}

examples.items = items;
