// What every page uses: words, elements, numbers written for people, and boxes that appear beside things.

/** @typedef {string | Node | null | undefined | false} Child */
/** @typedef {Child | Child[] | (Child | Child[])[]} Children */
/**
 * Attributes by name; `on` has handlers by event, `style` properties of CSS. What is null, undefined or false is left out.
 * @typedef {Record<string, any> & {on?: Record<string, (event: any) => unknown>, style?: Record<string, string>}} Attributes
 */

/**
 * Rules, [pattern, other], by which texts are said otherwise than in the sources.
 * @type {[string, string][]}
 */
let rules = [];

/** @param {[string, string][]} given */
export function reword(given) {
  rules = given;
}

/**
 * A text as the reader is told it, with values in the place of its {}. {} is any value and {n} a number; a translation may
 * call them {0}, {1} in an order of its own.
 * @param {string} text
 * @param {unknown[]} values
 */
export function say(text, ...values) {
  let at = 0;
  const said = rules.reduce((said, [pattern, other]) => said.replace(new RegExp(pattern, "g"), other), text);
  return said.replace(/\{(n|\d*)\}/g, (_, which) => String(values[/\d/.test(which) ? +which : at++]));
}

/**
 * An element with attributes and children; text goes in as text, so nothing from the data is ever read as HTML.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes | null} [attributes]
 * @param {Children[]} children
 */
export function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter(isThere));
  return element;
}

/**
 * An element of a drawing.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | null | undefined> | null} [attributes]
 * @param {(string | Node | null | (Node | null)[])[]} children
 */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) if (value !== null && value !== undefined) element.setAttribute(name, String(value));
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

/** @param {any} child @returns {child is string | Node} */
const isThere = (child) => child !== null && child !== undefined && child !== false;

/** The element of the page that has this id. @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** @param {number | null | undefined} value @returns {value is number} */
export const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

/** @param {number | null | undefined} value */
export function number(value, digits = 3) {
  if (!known(value)) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size >= 10 ** digits) return Math.round(value).toLocaleString("en-US");
  if (size < 1e-4) return value.toExponential(1).replaceAll("-", "−");
  return value.toPrecision(digits).replace("-", "−");
}

/**
 * A measured value: always three digits, so that columns of them are alike ("68.0", "67.5").
 * @param {number | null | undefined} value
 */
export function measured(value) {
  if (!known(value)) return "–";
  return Math.abs(value) >= 100 ? number(Math.round(value)) : value === 0 ? "0" : Math.abs(value) < 1e-4 ? number(value) : value.toPrecision(3).replaceAll("-", "−");
}

/** @param {number | null | undefined} value */
export function share(value) {
  if (!known(value)) return "–";
  if (value === 0) return "0 %";
  const percent = 100 * value;
  return (percent >= 10 ? percent.toFixed(1) : percent >= 1e-3 ? percent.toPrecision(2) : percent.toExponential(0)) + " %";
}

/** A score, or how far one stands above another. @param {number} value */
export const two = (value) => value.toFixed(2).replace(/^-(?!0\.00)/, "−").replace("-", "");
/** @param {number} value */
export const signed = (value) => (value >= 0 ? "+" : "") + two(value);
/** @param {number | null | undefined} low @param {number | null | undefined} high */
export const interval = (low, high) => (known(low) && known(high) ? `[${two(low)}, ${two(high)}]` : "");

/**
 * The value of the token under the pointer or finger, in one box for the whole page.
 * @param {HTMLElement} host
 * @param {string} selector - of what within the host has a box
 * @param {(target: any) => (string | Node)[]} content
 */
export function tips(host, selector, content) {
  const tip = el("div", { class: "tip", role: "status", hidden: true });
  (host.getRootNode() instanceof ShadowRoot ? host : document.body).append(tip);
  /** @param {Event} event */
  const show = (event) => {
    const target = event.target instanceof Element && event.target.closest(selector);
    if (!target) return void (tip.hidden = true);
    tip.replaceChildren(...content(target));
    place(tip, target.getBoundingClientRect());
  };
  for (const name of ["pointerover", "pointerdown", "focusin"]) host.addEventListener(name, show);
  host.addEventListener("pointerleave", (event) => (tip.hidden = event.pointerType !== "touch"));
  document.addEventListener("pointerdown", (event) => void (event.composedPath().includes(host) || (tip.hidden = true)));
  document.addEventListener("keydown", (event) => void (event.key === "Escape" && (tip.hidden = true)));
  document.addEventListener("scroll", () => (tip.hidden = true), true);
}

/** @param {HTMLElement} tip @param {{left: number, width: number, top: number, bottom: number}} box - to stand beside */
export function place(tip, box) {
  tip.hidden = false;
  const width = tip.offsetWidth;
  const left = Math.min(Math.max(8, box.left + box.width / 2 - width / 2), document.documentElement.clientWidth - width - 8);
  const above = box.top - tip.offsetHeight - 6;
  tip.style.left = left + "px";
  tip.style.top = (above > 8 ? above : box.bottom + 6) + "px";
}

/** Gives the reader a file. @param {string} name @param {string} text @param {string} type */
export function save(name, text, type) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
