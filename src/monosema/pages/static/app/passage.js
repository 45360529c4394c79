// The tokens of a passage that is searched for: those that are pressed are what features are to fire on.
import { el, say } from "../elements.js";
import { bare } from "../tokens.js";
import { path, post } from "./api.js";

const MOST = 120; // tokens that can be pressed

/**
 * Draws the tokens; `choose` is told those that are pressed.
 * @param {HTMLElement} host
 * @param {string} run
 * @param {string} text
 * @param {number[]} on
 * @param {(on: number[]) => void} choose
 */
export async function pressable(host, run, text, on, choose) {
  host.hidden = text.trim() === "";
  if (host.hidden) return;
  if (host.dataset.text !== text) {
    const { tokens } = await post(path("runs", run, "activations"), { text, latents: [] });
    host.dataset.text = text;
    host.replaceChildren(el("span", { class: "soft" }, say("Firing on:")), ...tokens.slice(0, MOST).map((/** @type {string} */ token) => el("button", { type: "button", class: "chip", translate: "no" }, bare(token))));
  }
  const buttons = [...host.querySelectorAll("button")];
  for (const [at, button] of buttons.entries()) {
    button.setAttribute("aria-pressed", String(on.includes(at)));
    button.onclick = () => choose(on.includes(at) ? on.filter((one) => one !== at) : [...on, at].sort((a, b) => a - b));
  }
}
