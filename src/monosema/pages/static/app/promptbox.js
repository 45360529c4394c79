// What a prompt is typed into, and the choice between a text and a chat.
import { el, say } from "../elements.js";

/**
 * A box that gives what was typed: at Enter to `send`, when it is left to `keep`. Shift and Enter begin a new line.
 * @param {string} value @param {string} name
 * @param {{send: (value: string) => unknown, keep: (value: string) => unknown}} on @param {import("../elements.js").Attributes} [attributes]
 */
export function promptBox(value, name, { send, keep }, attributes = {}) {
  const area = el("textarea", { "aria-label": name, spellcheck: "false", ...attributes });
  area.value = value;
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send(area.value);
  });
  area.addEventListener("change", () => keep(area.value));
  return area;
}

/**
 * The choice of a mode, by name.
 * @template {string} Mode
 * @param {Record<Mode, string>} names @param {Mode} chosen @param {(mode: Mode) => unknown} choose
 */
export function modes(names, chosen, choose) {
  const values = /** @type {Mode[]} */ (Object.keys(names));
  return values.map((value) => el("label", {}, el("input", { type: "radio", name: "mode", value, checked: value === chosen, on: { change: () => choose(value) } }), el("span", {}, say(names[value]))));
}
