// A reader's list of features of a run, kept in this browser.
import { keep, recall } from "../kept.js";

/** @typedef {ReturnType<typeof stars>} Stars */

/** @param {string} run */
export function stars(run) {
  const name = "stars:" + run;
  /** @type {Set<number>} */
  const all = new Set(recall(name) || []);
  return {
    has: (/** @type {number} */ latent) => all.has(latent),
    /** @param {number} latent */
    toggle(latent) {
      if (!all.delete(latent)) all.add(latent);
      keep(name, [...all]);
    },
    get size() {
      return all.size;
    },
    [Symbol.iterator]: () => all[Symbol.iterator](),
  };
}
