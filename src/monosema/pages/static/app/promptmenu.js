// Files of a prompt: all features on all its tokens, as JSON or Parquet; the strongest as a page.
import { el, say } from "../elements.js";
import { menuOf } from "./exports.js";
import { toast } from "./shell.js";

/** Files of a prompt: all features on all its tokens. @param {() => Record<string, unknown>} now - the prompt, as the API takes it */
export function promptMenu(now) {
  /** @param {string} format */
  const save = async (format) => {
    const answer = await fetch(`/api/prompt/export?format=${format}`, { method: "POST", headers: { "Content-Type": "application/json", "Accept-Language": document.documentElement.lang }, body: JSON.stringify(now()) });
    if (!answer.ok) return toast((await answer.json()).error.message);
    const link = el("a", { href: URL.createObjectURL(await answer.blob()), download: `prompt.${format}` });
    link.click();
    URL.revokeObjectURL(link.getAttribute("href") ?? "");
  };
  return menuOf("Export", Object.entries({ json: "JSON", parquet: "Parquet", html: "HTML page" }).map(([format, text]) => el("button", { type: "button", class: "quiet", on: { click: () => save(format) } }, say(text))));
}
