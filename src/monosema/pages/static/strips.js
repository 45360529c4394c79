// Texts shaded token by token by scores that speak for or against something.
import { el, measured } from "./elements.js";
import { joined, visible } from "./tokens.js";

/** @import {Piece} from "./tokens.js" */

/** The pieces in which tokens are read, each of one token or of those that make a character together. @param {{token: string}[]} tokens @returns {Piece[]} */
export const pieces = (tokens) => joined(tokens.map(({ token }) => token));

/** @param {number} p */
export const percent = (p) => (p >= 0.995 && p < 1 ? "> 99 %" : p >= 0.1 ? (100 * p).toFixed(0) + " %" : p >= 0.001 ? (100 * p).toFixed(1) + " %" : "< 0.1 %");

/**
 * Tokens shaded by a score: warm where it is above 0, cool below.
 * @param {{token: string}[]} tokens @param {number[]} scores
 */
export function strip(tokens, scores) {
  const most = Math.max(...scores.map(Math.abs), 1e-9);
  return el("div", { class: "strip-line", dir: "auto", translate: "no" }, pieces(tokens).map(({ from, to, text }) => {
    const score = scores.slice(from, to).reduce((sum, value) => sum + value, 0);
    if (!text.trim() && !text.includes("\n") && score === 0) return el("span", { class: "s" }, text);
    const part = Math.abs(score) / most;
    return el("span", { class: "s" + (part < 0.02 ? "" : score > 0 ? " for" : " against") + (part > 0.6 ? " strong" : ""), style: { "--a": part.toFixed(3) }, title: `${signed(score)} nats` }, visible(text));
  }));
}

/** @param {number} value */
export const signed = (value) => (value > 0 ? "+" : "") + measured(value);
