// The slot that adds to a steering: a feature by words, meaning, token or effect, by its number or a pasted link, from the
// reader's list; a direction from two sets of examples; a prompt to compare with.
import { el, say, share } from "../elements.js";
import { chip, labelled } from "../tokens.js";
import { get } from "./api.js";
import { newCard } from "./cards.js";
import { button, dialog, runAddress } from "./shell.js";
import { stars } from "./stars.js";

const [FOUND, PAUSE] = [8, 120];
const MODES = { words: "words", meaning: "meaning", token: "fires on", effect: "promotes" };

/** @typedef {{latent: number, label: string, density: number | null, top_tokens: string[], promoted: string[], why?: unknown}} Brief */

/**
 * @param {HTMLElement} host @param {string} run @param {(card: import("./cards.js").Card, label?: string) => void} add
 */
export function adder(host, run, add) {
  const list = el("ul", { class: "found-list", role: "listbox", id: "found-features", "aria-label": say("Features found") });
  const field = el("input", { type: "search", id: "add-feature", class: "field", role: "combobox", "aria-expanded": "false", "aria-controls": "found-features", "aria-label": say("Add a feature"), placeholder: say("Add a feature: a word, a number or a link"), autocomplete: "off", spellcheck: "false" });
  const mode = el("select", { "aria-label": say("Search by") }, Object.entries(MODES).map(([value, text]) => el("option", { value }, say(text))));
  const note = el("p", { class: "soft small", role: "status" });
  /** @type {Brief[]} */
  let found = [];
  let [at, turn] = [0, 0];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  const later = () => (clearTimeout(timer), (timer = setTimeout(look, PAUSE)));

  async function look() {
    const mine = ++turn;
    const text = field.value.trim();
    const own = numbered(text);
    const latents = own !== null ? String(own) : text === "*" ? [...stars(run)].join(",") || "-" : "";
    if (!text || latents === "-") return draw([], text ? say("Your list of this run is empty: press s on a feature.") : "");
    const asked = new URLSearchParams(latents ? { latents, alive: "all" } : { q: text, mode: mode.value });
    asked.set("limit", String(FOUND));
    try {
      const answer = await get(`/api${runAddress(run, "features")}?${asked}`);
      if (mine === turn) draw(answer.features, answer.note || (answer.features.length ? "" : say("No feature fits. Try another word, or search by meaning.")));
    } catch (error) {
      if (mine === turn) draw([], /** @type {Error} */ (error).message);
    }
  }

  /** @param {Brief[]} features @param {string} said */
  function draw(features, said) {
    [found, at] = [features, 0];
    note.textContent = said;
    field.setAttribute("aria-expanded", String(found.length > 0));
    list.replaceChildren(...found.map((one, i) => el("li", { role: "option", id: "found-" + one.latent, "aria-selected": String(i === at), on: { mousedown: (/** @type {Event} */ event) => (event.preventDefault(), take(i)) } },
      el("span", { class: "label", translate: "no" }, one.label ? labelled(one.label) : `#${one.latent}`),
      el("span", { class: "chips", "aria-hidden": "true" }, "→ ", one.promoted.slice(0, 4).map(chip)),
      el("span", { class: "soft small" }, `#${one.latent} · ${share(one.density)}`))));
    point();
  }

  function point() {
    [...list.children].forEach((one, i) => one.setAttribute("aria-selected", String(i === at)));
    if (found[at]) field.setAttribute("aria-activedescendant", "found-" + found[at].latent);
    else field.removeAttribute("aria-activedescendant");
  }

  /** @param {number} i */
  function take(i) {
    const one = found[i];
    if (!one) return;
    field.value = "";
    draw([], "");
    add(newCard({ latent: one.latent }), one.label);
  }

  field.addEventListener("input", later);
  mode.addEventListener("change", look);
  field.addEventListener("blur", () => draw([], ""));
  field.addEventListener("focus", () => field.value && look());
  field.addEventListener("keydown", async (/** @type {KeyboardEvent} */ event) => {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (way) [at] = [Math.max(0, Math.min(found.length - 1, at + way))];
    else if (event.key === "Enter") {
      clearTimeout(timer);
      if (!found.length) await look();
      take(at);
    } else if (event.key === "Escape" && found.length) {
      draw([], "");
      event.stopPropagation();
    } else return;
    event.preventDefault();
    point();
  });

  host.replaceChildren(
    el("div", { class: "add-row" }, el("span", { class: "plus", "aria-hidden": "true" }, "+"), field, mode,
      button("My list", () => ((field.value = "*"), field.focus(), look()), { class: "quiet" }),
      button("Direction from examples", () => direction(add), { class: "quiet" }),
      button("Prompt to compare with", () => compared(add), { class: "quiet" })),
    note, list);
  return { focus: () => field.focus(), search: (/** @type {string} */ text) => ((field.value = text), look()) };
}

/** The latent that a number or a link names; null for words. @param {string} text */
function numbered(text) {
  const match = /^#?(\d{1,9})$/.exec(text) || /\/features\/(\d{1,9})/.exec(text) || /[?&]add=(\d{1,9})/.exec(text);
  return match ? Number(match[1]) : null;
}

const lines = (/** @type {string} */ text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** @param {(card: import("./cards.js").Card) => void} add */
function direction(add) {
  const area = (/** @type {string} */ title, /** @type {string} */ example) => el("label", { class: "set" }, el("span", {}, say(title)), el("textarea", { rows: "6", placeholder: example, spellcheck: "false" }));
  const name = el("input", { type: "text", class: "field", placeholder: say("such as: joy") });
  const sets = [area("Examples of it, one a line", "I loved it.\nWhat a wonderful day!"), area("Examples of the contrary, one a line", "I hated it.\nWhat an awful day!")];
  const refused = el("p", { class: "refused", role: "alert" });
  const make = () => {
    const [positive, negative] = sets.map((one) => lines(/** @type {HTMLTextAreaElement} */ (one.querySelector("textarea")).value));
    if (!positive.length || !negative.length) return void (refused.textContent = say("Give at least one line to each side."));
    add(newCard({ kind: "direction", name: name.value.trim() || say("direction"), positive, negative }));
    box.close();
  };
  const box = dialog("Direction from examples", el("p", { class: "soft" }, say("The mean activation of the first texts less that of the second, at the dictionary’s site.")), el("label", { class: "set" }, el("span", {}, say("Name")), name), el("div", { class: "sets" }, sets), refused, el("p", {}, button("Add it", make, { class: "action" })));
}

/** @param {(card: import("./cards.js").Card) => void} add */
function compared(add) {
  const area = el("textarea", { rows: "3", "aria-label": say("Prompt to compare with"), placeholder: say("such as: You are overjoyed.") });
  const make = () => {
    if (!area.value.trim()) return area.focus();
    add(newCard({ kind: "prompt", text: area.value.trim() }));
    box.close();
  };
  const box = dialog("Prompt to compare with", el("p", { class: "soft" }, say("Words do much of what steering does. In a column of its own these are written before the prompt; in a chat they are the system’s message.")), area, el("p", {}, button("Add it", make, { class: "action" })));
}
