// Fields of a form that several pages have.
import { el, say } from "./elements.js";

/**
 * A choice by a list, with its name.
 * @param {string} name @param {Record<string, string>} options - by value
 * @param {string} chosen @param {(value: string) => unknown} onChange
 */
export const choose = (name, options, chosen, onChange) =>
  el("label", {}, name, " ", el("select", { on: { change: (/** @type {Event} */ event) => onChange(/** @type {HTMLSelectElement} */ (event.target).value) } },
    Object.entries(options).map(([value, text]) => el("option", { value, selected: value === chosen }, say(text)))));
