// The page of one feature: the address holds the tab, the shading and the text that was tried.
import { byId as $, say } from "../elements.js";
import { showStar } from "../feature.js";
import { VIEWED, feature } from "./one.js";
import { facts, folderOf, runAddress, shell } from "./shell.js";
import { stars } from "./stars.js";
import { View, number } from "./state.js";

const { run = "", latent = 0 } = facts;
export const FIELDS = { ...VIEWED, with: number(-1, { low: -1, whole: true }) };
/** @type {View<typeof FIELDS>} */
let view;
const kept = stars(run);
/** @param {number} other */
const to = (other) => location.assign(runAddress(run, "features", other));

function show() {
  return feature($("detail"), run, latent, {
    fresh: () => true,
    open: to,
    step: (by) => void (latent + by >= 0 && to(latent + by)),
    close: () => location.assign(runAddress(run, "features")),
    stars: kept,
    onStar: star,
    beside: view.state.with,
    alone: () => view.set({ with: -1 }, { push: true }).then(show),
    settings: { ...view.state },
    save: (settings) => view.set(settings),
  });
}

function star(of = latent) {
  kept.toggle(of);
  const button = document.querySelector(`#detail [data-latent="${of}"] .star`);
  if (button) showStar(button, kept.has(of));
}

/** @param {number} digit */
function tenth(digit) {
  /** @type {HTMLElement | null} */
  const tab = document.querySelector(`#detail [data-tab="${digit === 0 ? "q9" : "q" + (digit - 1)}"]`);
  tab?.click();
}

const code = () => ["import monosema as ms", "", `atlas = ms.open_atlas(${JSON.stringify(folderOf(run))})`, `feature = atlas.feature(${latent})`, "print(feature.label, feature.density, feature.max)", "for example in feature.examples[:5]:", '    print("".join(example.tokens))'].join("\n");

async function start() {
  view = await View.open(FIELDS, show);
  /** @type {import("./shell.js").Keys} */
  const digits = Object.fromEntries(Array.from({ length: 10 }, (_, digit) => [String(digit), [() => tenth(digit), digit ? "A tenth of the passages" : "The strongest tenth"]]));
  shell({
    crumbs: [[run, runAddress(run)], [say("Features"), runAddress(run, "features"), false], [String(latent)]],
    title: `${latent} – ${run}`,
    code,
    keys: {
      j: [() => to(latent + 1), "Next feature"],
      k: [() => latent > 0 && to(latent - 1), "Previous feature"],
      "]": [() => to(latent + 1), "Next feature"],
      "[": [() => latent > 0 && to(latent - 1), "Previous feature"],
      s: [() => star(), "Keep the feature in my list"],
      f: [() => /** @type {HTMLElement | null} */ (document.querySelector("#detail .toggle input"))?.click(), "Full context"],
      c: [() => $("try-text")?.focus(), "Test your text"],
      e: [() => $("own-label")?.focus(), "Label it"],
      y: [() => $("nudge-prompt")?.focus(), "Steer here"],
      ...digits,
    },
  });
  await show();
  document.documentElement.dataset.ready = "yes";
}

start();
