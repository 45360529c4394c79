// A reader's own word: a label, and whether an explanation is right. The reader's name is kept in this browser.
import { el, say } from "../elements.js";
import { keep, recall } from "../kept.js";
import { post } from "./api.js";
import { button, runAddress, toast } from "./shell.js";

/** @import {FeatureDetail} from "../api.js" */

const PERSON = "person";
const name = () => recall("name") || "";

/** A field for a label of one's own; `done` is called once it is recorded. @param {string} run @param {FeatureDetail} feature @param {() => void} done */
export function labelling(run, feature, done) {
  const label = el("input", { class: "field", id: "own-label", maxlength: "300", placeholder: say("What does it mean?"), autocomplete: "off" });
  const author = el("input", { class: "field", id: "own-name", maxlength: "60", placeholder: say("your name"), autocomplete: "off", value: name() });
  /** @param {Event} event @returns {Promise<void>} */
  const save = async (event) => {
    event.preventDefault();
    if (!label.value.trim()) return label.focus();
    if (!author.value.trim()) return author.focus();
    keep("name", author.value.trim());
    try {
      await post(`/api${runAddress(run, "features", feature.latent, "label")}`, { text: label.value.trim(), author: author.value.trim() });
      toast("Label recorded.");
      done();
    } catch (/** @type {any} */ error) {
      toast(error.message, { retry: () => save(event), detail: error.whatToDo });
    }
  };
  return el(
    "form",
    { class: "labelling", on: { submit: save } },
    el("label", { for: "own-label", class: "unseen" }, say("Your own label")),
    label,
    el("label", { for: "own-name", class: "unseen" }, say("Your name")),
    el("div", {}, author, el("button", { type: "submit" }, say("Label it")))
  );
}

/** Two buttons beside an explanation: right or wrong. @param {string} run @param {FeatureDetail} feature @param {Record<string, any>} explanation */
export function voting(run, feature, explanation) {
  /** @param {number} value @param {HTMLElement} pressed @returns {Promise<void>} */
  const vote = async (value, pressed) => {
    const voter = name() || prompt(say("Your name, to go with the vote"));
    if (!voter) return;
    keep("name", voter);
    try {
      await post(`/api${runAddress(run, "features", feature.latent, "vote")}`, { of: explanation.method === PERSON ? explanation.author : explanation.method, vote: value, voter });
      for (const button of pressed.parentElement?.children ?? []) button.setAttribute("aria-pressed", String(button === pressed));
      toast("Vote recorded.");
    } catch (/** @type {any} */ error) {
      toast(error.message, { retry: () => vote(value, pressed), detail: error.whatToDo });
    }
  };
  /** @param {string} text @param {number} value */
  const one = (text, value) => button(text, (event) => vote(value, event.currentTarget), { class: "quiet", "aria-pressed": "false" });
  return el("span", { class: "voting" }, one("right", 1), one("wrong", -1));
}
