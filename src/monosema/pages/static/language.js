// The page in the reader's language. It is made in English; where another is chosen, every text, and every attribute that
// is read, is looked up in that language's catalogue: those that are there, and those that scripts make later. Nothing
// within translate="no" is: passages, tokens, labels and names are data. Matching is as in monosema.core.language.
import { keep, recall } from "./kept.js";

const READ = ["title", "aria-label", "placeholder"];
export const DATA = "[translate=no], script, noscript, style, .heat, .chip, .quoted, .label:not(.soft)";
/** @typedef {Record<string, string>} Texts - of a language, by what they are in English */

/** @type {Record<string, string>} */
const PLACES = { "{}": "((?:(?!\\. | · ).)*?)", "{v}": "((?:(?!\\. | · ).)*?)", "{s}": "(.*?)", "{n}": "([-−+]?[\\d.,:]+(?: ?%)?)" };
const PLACE = /(\{[nvs]?\})/;
const SENTENCES = /(?<=[.!?…]) (?=[A-Z–-])/;
const LISTED = /(\(|\)|, |; |: | · | or | and )/;
/** @param {string} text */
const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** Texts of a language: whole ones, and patterns of those with places, the longest first. */
class Catalogue {
  /** @param {Texts} texts */
  constructor(texts) {
    this.whole = new Map(Object.entries(texts));
    this.patterns = Object.keys(texts)
      .filter((key) => PLACE.test(key))
      .sort((a, b) => b.length - a.length)
      .map((key) => {
        const parts = key.split(PLACE);
        const pattern = new RegExp("^" + parts.map((part) => PLACES[part] || escaped(part)).join("") + "$");
        return { pattern, names: parts.filter((part) => part in PLACES).map((part) => part === "{v}"), said: texts[key] };
      });
  }

  /** The whole text, else its sentences, else the things that it lists; what is not known stays. @param {string} text @returns {string} */
  translate(text) {
    const whole = this.say(text);
    if (whole !== null) return whole;
    const sentences = text.split(SENTENCES);
    for (let n = sentences.length - 1; n > 0; n--) {
      const said = this.say(sentences.slice(0, n).join(" ")); // as many of the first ones as are known together
      if (said !== null || n === 1) return (said ?? this.listed(sentences[0])) + " " + this.translate(sentences.slice(n).join(" "));
    }
    return this.listed(text);
  }

  /** @param {string} text */
  listed(text) {
    if (/\.\s*$/.test(text)) return text; // of a sentence that is not known, nothing
    return text.split(LISTED).map((part) => this.say(part) ?? part).join("");
  }

  /** @param {string} text */
  say(text) {
    const words = text.trim().replace(/\s+/g, " ");
    if (!words) return null;
    const said = this.whole.get(words) ?? this.fitting(words);
    return said === null ? null : text.replace(text.trim(), () => said);
  }

  /** @param {string} words */
  fitting(words) {
    for (const { pattern, names, said } of this.patterns) {
      const found = pattern.exec(words);
      if (!found) continue;
      const parts = found.slice(1).map((part, i) => (names[i] ? part : this.translate(part)));
      let next = 0;
      return said.replace(/\{(\d?)\}/g, (_, i) => parts[i === "" ? next++ : +i]);
    }
    return null;
  }
}

/** Keeps the document, or a part of it, in a language: `choose` changes it, and what scripts add or change follows. */
export class Reader {
  /** @param {Record<string, Texts>} languages @param {HTMLElement} [root] */
  constructor(languages, root = document.documentElement) {
    this.root = root;
    /** @type {Record<string, Catalogue>} */
    this.catalogues = Object.fromEntries(Object.entries(languages).map(([code, texts]) => [code, new Catalogue(texts)]));
    /**
     * What a text or an element said in English, and what it says now, by attribute or "data".
     * @type {WeakMap<Node, Record<string, {english: string, shown: string}>>}
     */
    this.english = new WeakMap();
    /** @type {Catalogue | null} */
    this.catalogue = null;
    const observer = new MutationObserver((changes) => this.catalogue && changes.forEach((change) => this.follow(change)));
    observer.observe(root, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: READ });
  }

  /** @param {string} code */
  choose(code) {
    this.catalogue = this.catalogues[code] || null;
    this.root.lang = this.catalogue ? code : "en";
    this.all(this.root);
  }

  /** @param {MutationRecord} change */
  follow(change) {
    if (change.type === "childList") change.addedNodes.forEach((node) => this.all(node));
    else if (change.type === "attributes") this.one(change.target, change.attributeName ?? "");
    else this.one(change.target, "data");
  }

  /** @param {Node} top */
  all(top) {
    if (top instanceof Text) return void this.one(top, "data");
    if (!(top instanceof Element) || top.closest(DATA)) return;
    const kept = { acceptNode: (/** @type {Node} */ node) => (node instanceof Element && node.matches(DATA) ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT) };
    const walker = document.createTreeWalker(top, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, kept);
    for (let node = /** @type {Node | null} */ (top); node; node = walker.nextNode())
      if (node instanceof Text) this.one(node, "data");
      else if (node instanceof Element) for (const name of READ) if (node.hasAttribute(name)) this.one(node, name);
  }

  /** @param {Node} node @param {string} name */
  one(node, name) {
    const text = node instanceof Text;
    const element = text ? node.parentElement : /** @type {Element} */ (node);
    const now = text ? node.data : (element?.getAttribute(name) ?? null);
    const known = this.english.get(node) || {};
    if (now === null || (text && !(name in known) && !/\p{L}/u.test(now)) || element?.closest(DATA)) return;
    const english = known[name] && known[name].shown === now ? known[name].english : now;
    const shown = this.catalogue ? this.catalogue.translate(english) : english;
    this.english.set(node, { ...known, [name]: { english, shown } });
    if (shown === now) return;
    if (text) node.data = shown;
    else element?.setAttribute(name, shown);
  }
}

/**
 * The button that changes between English and the page's other language; it starts in `language`, or as last chosen.
 * @param {HTMLElement} button
 * @param {{languages: Record<string, Texts>, language: string, names: Record<string, string>}} facts
 */
export function speak(button, { languages, language, names }) {
  const [other] = Object.keys(languages);
  const reader = new Reader(languages);
  /** @type {string} */
  let chosen = recall("language") || language;
  /** @param {string} code */
  const show = (code) => {
    chosen = code;
    const next = code === "en" ? other : "en";
    reader.choose(code);
    button.textContent = names[next];
    button.lang = next;
  };
  button.addEventListener("click", () => {
    show(chosen === "en" ? other : "en");
    keep("language", chosen);
  });
  show(chosen);
}
