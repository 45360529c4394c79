// Light or dark: as the system says, until the reader chooses.
import { keep, recall } from "./kept.js";

/**
 * Ties the button to it.
 * @param {HTMLElement} button
 * @param {() => void} [changed] - called after each change, for what is painted on a canvas
 */
export function theme(button, changed = () => {}) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  /** @type {"light" | "dark" | null} */
  let chosen = recall("theme");
  const dark = () => (chosen ?? (system.matches ? "dark" : "light")) === "dark";
  const apply = () => {
    document.documentElement.style.colorScheme = dark() ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark()));
    changed();
  };
  button.addEventListener("click", () => {
    chosen = dark() ? "light" : "dark";
    keep("theme", chosen);
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}
