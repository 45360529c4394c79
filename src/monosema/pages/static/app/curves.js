// Training curves, redrawn as they grow while the run trains, with those of other runs beside them where wanted.
import { el, number, say, share } from "../elements.js";
import { follow, get } from "./api.js";
import { chart } from "./charts.js";
import { facts, runAddress } from "./shell.js";
import { View, list, number as numeric, text } from "./state.js";

const QUIET = 10_000; // milliseconds without a line after which a training is not said to go on
const NAMES = ["fvu", "l0", "dead"];

export const FIELDS = { with: list(text()), from: numeric(0, { low: 0, high: 99, whole: true }), to: numeric(100, { low: 1, high: 100, whole: true }) };

/** @param {HTMLElement} host @param {string} run */
export async function curves(host, run) {
  const base = "/api" + runAddress(run);
  const view = await View.open(FIELDS, () => draw());
  const pictures = el("div", { class: "curves", role: "group", "aria-label": say("Training") });
  const told = el("p", { class: "training-now", role: "status" });
  const others = facts.runs.map(({ name }) => name).filter((name) => name !== run);
  const chosen = () => view.state.with.filter((name) => others.includes(name));
  let tokens = 0; // trained on so far
  host.append(told, pictures, part(), others.length ? beside() : "");

  /** Two sliders that say which part of the training is drawn, in hundredths of it. */
  function part() {
    const said = el("output", {});
    /** @param {"from" | "to"} name @param {string} about */
    const slider = (name, about) => {
      const { low, high } = FIELDS[name].values;
      /** @type {HTMLInputElement} */
      const range = el("input", { type: "range", min: low, max: high, value: view.state[name], "aria-label": say(about), on: { input: tell, change: () => (view.set({ [name]: Number(range.value) }), draw()) } });
      return range;
    };
    const ends = [slider("from", "Curves from this part of the training"), slider("to", "Curves up to this part of the training")];
    function tell() {
      const [from, to] = ends.map(({ value }) => Number(value));
      said.textContent = from > 0 || to < 100 ? say("from {n} to {n} of the training", from + " %", to + " %") : "";
    }
    tell();
    return el("details", { class: "curves-beside", open: view.state.from > 0 || view.state.to < 100 }, el("summary", {}, say("A part of the training")), el("div", {}, ends, said));
  }

  function beside() {
    /** @param {string} name */
    const tick = (name) => el("label", { class: "toggle" }, el("input", { type: "checkbox", checked: chosen().includes(name), on: { change: (/** @type {any} */ event) => choose(name, event.target.checked) } }), el("span", { translate: "no" }, name));
    return el("details", { class: "curves-beside", open: chosen().length > 0 }, el("summary", {}, say("Curves of other runs")), el("div", {}, others.map(tick)));
  }

  /** @param {string} name @param {boolean} on */
  function choose(name, on) {
    const names = chosen().filter((one) => one !== name);
    view.set({ with: on ? [...names, name] : names });
    draw();
  }

  async function draw() {
    const { from, to } = view.state;
    const asked = new URLSearchParams(chosen().length ? { with: chosen().join(",") } : {});
    if (from > 0) asked.set("low", String((from / 100) * tokens));
    if (to < 100) asked.set("high", String((to / 100) * tokens));
    const drawn = await Promise.all(NAMES.map((name) => chart(`${base}/charts/curve-${name}.svg?${asked}`).catch(() => null)));
    pictures.replaceChildren(...drawn.filter((one) => one !== null).map((picture) => el("figure", {}, picture)));
    host.hidden = !pictures.childElementCount && !told.textContent;
  }

  // While the run trains, its newest line is told and its curves are redrawn, once a second at most.
  /** @param {number} after */
  async function grow(after) {
    let due = 0;
    for await (const { event, data } of follow(`${base}/metrics/events`, { after: String(after) })) {
      if (event === "end") break;
      now(data, true);
      due ||= setTimeout(() => ((due = 0), draw()), 1000);
    }
    now(null);
    draw();
  }

  let quiet = 0;
  /** The newest line; it is of a training that goes on where it has just come. @param {any} line - of the metrics */
  function now(line, fresh = false) {
    if (!line) return void told.replaceChildren();
    const rate = line.step_ms && line.step ? Math.round((1000 * line.tokens) / line.step / line.step_ms) : null;
    const parts = [say("step {n}", number(line.step)), say("{n} tokens", number(line.tokens)), rate && say("{n} tokens a second", number(rate)), `FVU ${number(line.fvu)}`, `L0 ${number(line.l0)}`, say("{} dead", share(line.dead))];
    told.replaceChildren(fresh ? el("span", { class: "live" }, say("training")) : "", " ", parts.filter(Boolean).join(" · "));
    clearTimeout(quiet);
    if (fresh) quiet = setTimeout(() => now(line), QUIET);
  }

  const { lines, next, live } = await get(`${base}/metrics?most=1`).catch(() => ({ lines: [], live: false }));
  tokens = lines.at(-1)?.tokens ?? 0;
  draw();
  if (!live) return;
  now(lines.at(-1));
  await grow(next).catch(() => now(null));
}
