// A reader's list of features of a run, kept in this browser.
import { keep, recall } from "../kept.js";

export function stars(run) {
  const name = "stars:" + run;
  const all = new Set(recall(name) || []);
  return {
    has: (latent) => all.has(latent),
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
