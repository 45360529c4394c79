// Training curves, redrawn as they grow while the run trains, with those of other runs beside them where wanted.
import { el, number, say } from "../elements.js";
import { get } from "./api.js";
import { chart } from "./charts.js";
import { facts, runAddress } from "./shell.js";
import { View, list, text } from "./state.js";

const NAMES = ["fvu", "l0", "dead"];

export const FIELDS = { with: list(text()) };

export async function curves(host, run) {
  const base = "/api" + runAddress(run);
  const view = await View.open(FIELDS, () => draw());
  const pictures = el("div", { class: "curves", role: "group", "aria-label": say("Training") });
  const told = el("p", { class: "training-now", role: "status" });
  const others = facts.runs.map(({ name }) => name).filter((name) => name !== run);
  const chosen = () => view.state.with.filter((name) => others.includes(name));
  host.append(told, pictures, others.length ? beside() : "");

  function beside() {
    const tick = (name) => el("label", { class: "toggle" }, el("input", { type: "checkbox", checked: chosen().includes(name), on: { change: (event) => choose(name, event.target.checked) } }), el("span", { translate: "no" }, name));
    return el("details", { class: "curves-beside", open: chosen().length > 0 }, el("summary", {}, say("Curves of other runs")), el("div", {}, others.map(tick)));
  }

  function choose(name, on) {
    const names = chosen().filter((one) => one !== name);
    view.set({ with: on ? [...names, name] : names });
    draw();
  }

  async function draw() {
    const query = chosen().length ? "?with=" + chosen().map(encodeURIComponent).join(",") : "";
    const drawn = await Promise.all(NAMES.map((name) => chart(`${base}/charts/curve-${name}.svg${query}`).catch(() => null)));
    pictures.replaceChildren(...drawn.filter(Boolean).map((picture) => el("figure", {}, picture)));
    host.hidden = !pictures.childElementCount && !told.textContent;
  }

  // While the run trains, its newest line is told and its curves are redrawn, once a second at most.
  async function follow() {
    const events = new EventSource(`${base}/metrics/events`);
    let due = null;
    events.addEventListener("metrics", ({ data }) => {
      now(JSON.parse(data));
      due ??= setTimeout(() => ((due = null), draw()), 1000);
    });
    events.addEventListener("end", () => (events.close(), draw(), now(null)));
    events.onerror = () => events.readyState === EventSource.CLOSED && now(null);
  }

  function now(line) {
    if (!line) return void told.replaceChildren();
    const parts = [say("step {n}", number(line.step)), say("{n} tokens", number(line.tokens)), line.tokens_per_second && say("{n} tokens a second", number(Math.round(line.tokens_per_second)))];
    told.replaceChildren(el("span", { class: "live" }, say("training")), " ", parts.filter(Boolean).join(" · "));
  }

  draw();
  get(base).then(({ live }) => live && follow()).catch(() => null);
}
