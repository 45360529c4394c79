// Progress of long work: how much is done and what it is at, or how long the rest will take at this rate.
import { el, known, number, say } from "../elements.js";

/**
 * @param {number} done
 * @param {number | null} total - null where it is not known
 * @param {string} said - what it is at
 * @param {number | null} started - seconds since 1970
 */
export function bar(done, total, said, started) {
  const share = total ? Math.min(1, done / total) : null;
  const passed = known(started) ? Date.now() / 1000 - /** @type {number} */ (started) : null;
  const left = share && passed && passed > 3 && share < 1 ? (passed * (1 - share)) / share : null;
  const parts = said ? [say(said)] : [total ? say("{n} of {n}", number(done), number(total)) : "", left ? say("about {n} s left", number(Math.ceil(left))) : ""].filter(Boolean);
  const track = el("progress", { max: "1", value: share === null ? null : String(share), "aria-label": parts.join(", ") || say("working") });
  return el("div", { class: "progress" }, track, el("span", { class: "soft" }, parts.join(" · ")));
}
