// A row of tabs; arrow keys, Home and End walk, and only the chosen one is a stop of the Tab key.
import { el, say } from "./elements.js";

/**
 * @param {Record<string, string>} names - by value
 * @param {string} chosen
 * @param {(value: string) => unknown} select
 * @param {string} panel - id of what the tabs show
 */
export function tabs(names, chosen, select, panel) {
  const values = Object.keys(names);
  const walk = (/** @type {KeyboardEvent} */ event) => {
    const at = values.indexOf(chosen);
    const to = { ArrowRight: (at + 1) % values.length, ArrowLeft: (at + values.length - 1) % values.length, Home: 0, End: values.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    Promise.resolve(select(values[to])).then(() => /** @type {HTMLElement | null} */ (document.querySelector(`[role=tab][aria-selected=true][aria-controls="${panel}"]`))?.focus());
  };
  const tab = (/** @type {string} */ value) => el("button", { type: "button", role: "tab", "aria-selected": String(value === chosen), "aria-controls": panel, tabindex: value === chosen ? null : "-1", on: { click: () => select(value) } }, say(names[value]));
  return el("div", { class: "tabs", role: "tablist", on: { keydown: walk } }, values.map(tab));
}
