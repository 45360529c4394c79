// Sweep and baselines: how effect and fluency go with the strength, and what other means do at the same KL.
import { el, say } from "../elements.js";
import { post } from "./api.js";
import { newCard } from "./cards.js";
import { button, status, toast } from "./shell.js";

/** @typedef {import("./cards.js").Card} Card */

/**
 * @param {HTMLElement} host
 * @param {() => {state: any, run: string, steering: {edits: any[]}, cards: Card[]}} now
 * @param {(cards: Card[]) => void} put @param {() => Card[]} cards
 */
export function beyond(host, now, put, cards) {
  const baselines = async () => {
    const { state, run, steering } = now();
    if (!steering.edits.length) return toast("Steer with something first: baselines are as strong as it is.");
    status("Finding baselines of the same KL …");
    try {
      const prompt = state.mode === "chat" ? { messages: [{ role: "user", content: state.said[0] }] } : { prompt: state.prompt };
      const { baselines: found, absent } = await post("/api/steer/baselines", { run, ...prompt, steering, seed: state.seed });
      put([...cards().filter(({ kind }) => kind !== "spec"), ...found.map((/** @type {{name: string, edits: any[]}} */ one) => newCard({ kind: "spec", name: one.name, edits: one.edits }))]);
      for (const { name, reason } of absent) toast(`${say(name)}: ${reason}`);
    } catch (error) {
      toast(/** @type {Error} */ (error).message);
    } finally {
      status("");
    }
  };
  host.replaceChildren(el("div", { class: "beyond-row" }, button("Baselines at the same KL", baselines, { id: "baselines", title: say("Columns of a random latent and a random direction, as strong as this steering (b)") })));
}
