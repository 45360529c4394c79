// Causes on a feature's page: what was measured before, or a button that measures it with the run's model.
import { causesBox, circuitsBox } from "../causes.js";
import { el, say } from "../elements.js";
import { get, stream } from "./api.js";
import { button, failure, runAddress } from "./shell.js";

/** @import {FeatureDetail} from "../api.js" */

/** A box that fills when the server has answered. @param {string} run @param {FeatureDetail} feature */
export function causesOf(run, { latent }) {
  const address = "/api" + runAddress(run, "features", latent, "causes");
  const measured = el("div", { class: "causes-of" });
  const circuits = el("div", {});

  function offer() {
    const about = say("What it does to predictions: input and output score, and what taking it out costs, beside random features.");
    measured.replaceChildren(el("section", { class: "box causes" }, el("h3", {}, say("Causes")), el("p", { class: "soft" }, about), button("Measure", measure)));
  }

  async function measure() {
    const said = el("span", { role: "status" }, say("Measuring…"));
    const stop = new AbortController();
    measured.replaceChildren(el("section", { class: "box causes" }, el("h3", {}, say("Causes")), el("p", { class: "soft" }, said, " ", button("Stop", () => stop.abort(), { class: "quiet" }))));
    try {
      for await (const { event, data } of stream(address, {}, { signal: stop.signal }))
        if (event === "causes") measured.replaceChildren(causesBox(data));
        else if (event === "progress") said.textContent = say("{n} of {n} features measured", data.done, data.total);
    } catch (/** @type {any} */ error) {
      if (error.name === "AbortError") offer();
      else measured.replaceChildren(failure(error, measure));
    }
  }

  async function look() {
    try {
      const { causes, circuits: places } = await get(address);
      const box = circuitsBox(places, (name) => runAddress(run, "circuits", encodeURIComponent(name)), (other, home) => (home === "" ? null : runAddress(home ?? run, "features", other)));
      if (box) circuits.replaceChildren(box);
      else circuits.remove();
      if (causes) measured.replaceChildren(causesBox(causes));
      else offer();
    } catch (/** @type {any} */ error) {
      measured.replaceChildren(failure(error, look));
    }
  }

  look();
  return [measured, circuits];
}
