// Files of one feature, of several, or of a list: JSON, Parquet, Neuronpedia's JSON, a page of its own.
import { el, say } from "../elements.js";
import { runAddress } from "./shell.js";

/** @typedef {number | number[] | (() => URLSearchParams)} What - a latent, several, or the query of a list */

const OF_ONE = { json: "JSON", parquet: "Parquet", neuronpedia: "Neuronpedia’s JSON", html: "HTML page" };
const OF_MANY = { json: "JSON", parquet: "Parquet", tsv: "TSV", neuronpedia: "Neuronpedia’s JSON", html: "HTML page" };

/** A menu that opens over the page, closed by what is chosen and by Escape. @param {string} name @param {HTMLElement[]} items */
export function menuOf(name, items) {
  const menu = el("details", { class: "menu" }, el("summary", { class: "quiet" }, say(name)), el("div", { class: "menu-list" }, items));
  for (const item of items) item.addEventListener("click", () => menu.removeAttribute("open"));
  menu.addEventListener("focusout", (event) => menu.contains(/** @type {Node | null} */ (event.relatedTarget)) || menu.removeAttribute("open"));
  menu.addEventListener("keydown", (event) => void (event.key === "Escape" && (menu.removeAttribute("open"), event.stopPropagation())));
  return menu;
}

/** A menu that opens over the page. @param {string} run @param {What} what */
export function exportMenu(run, what) {
  const one = typeof what === "number";
  const links = Object.entries(one ? OF_ONE : OF_MANY).map(([format, text]) => {
    const link = el("a", { href: "#", download: "" }, say(text));
    // The list may have changed since the menu was made, so the address is made when it is wanted.
    const ready = () => (link.href = address(run, what, format));
    for (const name of ["pointerdown", "focus", "click"]) link.addEventListener(name, ready);
    return link;
  });
  return menuOf("Export", links);
}

/** @param {string} run @param {What} what @param {string} format */
function address(run, what, format) {
  if (typeof what === "number") return `/api${runAddress(run, "features", what, "export")}?format=${format}`;
  const query = typeof what === "function" ? what() : new URLSearchParams({ latents: what.join(","), alive: "all" });
  query.set("format", format);
  return `/api${runAddress(run, "features", "export")}?${query}`;
}
