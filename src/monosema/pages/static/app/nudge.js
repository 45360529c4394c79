// Steer in place: one slider in multiples of the feature's maximum, and the model's text without it and with it.
import { el, say } from "../elements.js";
import { keep, recall } from "../kept.js";
import { stream } from "./api.js";
import { button, toast } from "./shell.js";

/** @import {FeatureDetail} from "../api.js" */

export const MOST = 10; // multiples of the maximum
const [STEP, TOKENS] = [0.5, 40];
const EXAMPLE = "Once upon a time";

/**
 * @param {string} run @param {FeatureDetail} feature
 * @param {{prompt: string, strength: number}} settings - keep what was typed and chosen
 * @param {() => void} save - puts them into the address
 */
export function nudge(run, feature, settings, save) {
  const prompt = el("textarea", { id: "nudge-prompt", rows: "1", "aria-label": say("Prompt"), spellcheck: "false" });
  prompt.value = settings.prompt || recall("nudge prompt:" + run) || EXAMPLE;
  const slider = el("input", { type: "range", min: -MOST, max: MOST, step: STEP, value: settings.strength, "aria-label": say("Strength, in multiples of the feature’s maximum"), on: { input: chosen, change: go } });
  const strength = el("output", { class: "strength-value" });
  const lines = ["unsteered", "steered"].map((name) => el("div", { class: "nudge-line " + name }, el("span", { class: "soft" }, say(name)), el("p", { dir: "auto", translate: "no" })));
  const start = button("Run", () => (running ? running.abort() : go()));
  const open = el("a", { class: "quiet" }, say("Open in the playground"));
  /** @type {AbortController | null} */
  let running = null;

  function told() {
    strength.textContent = say("{} × max", (Number(slider.value) > 0 ? "+" : "") + slider.value.replace("-", "−"));
    slider.setAttribute("aria-valuetext", strength.textContent);
    open.href = "/steer?" + new URLSearchParams({ run, prompt: prompt.value, add: `${feature.latent}:${slider.value}` });
  }

  function chosen() {
    [settings.prompt, settings.strength] = [prompt.value, Number(slider.value)];
    save();
    told();
  }

  async function go() {
    running?.abort();
    const mine = (running = new AbortController());
    keep("nudge prompt:" + run, prompt.value);
    chosen();
    start.textContent = say("Stop");
    const texts = lines.map((line) => /** @type {HTMLElement} */ (line.lastChild));
    texts.forEach((text) => text.replaceChildren(el("span", { class: "soft" }, prompt.value)));
    const steerings = [null, { edits: [{ latent: feature.latent, add: Number(slider.value), unit: "max" }] }];
    try {
      const asked = { run, prompt: prompt.value, steerings, seed: 0, temperature: 0.7, max_new_tokens: TOKENS };
      for await (const { data } of stream("/api/generate", asked, { signal: mine.signal })) if (typeof data.text === "string") texts[data.row]?.append(data.text);
    } catch (/** @type {any} */ error) {
      if (error.name !== "AbortError") toast(error.message, { retry: go, detail: error.whatToDo });
    }
    if (mine === running) [running, start.textContent] = [null, say("Run")];
  }

  prompt.addEventListener("input", chosen);
  prompt.addEventListener("keydown", (event) => void (event.key === "Enter" && !event.shiftKey && (event.preventDefault(), go())));
  told();
  return el(
    "section",
    { class: "bench-part", "aria-labelledby": "nudge-title" },
    el("div", { class: "bench-head" }, el("h3", { id: "nudge-title" }, say("Steer here")), open),
    el("div", { class: "nudge-row" }, prompt, start),
    el("div", { class: "nudge-row" }, slider, strength),
    lines
  );
}
