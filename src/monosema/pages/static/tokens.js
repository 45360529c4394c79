// Tokens as a reader can see them: alone, in labels, and as the heat map of a passage.
import { el, measured, say } from "./elements.js";

/** @import {Passage} from "./api.js" */
/** @typedef {{from: number, to: number, text: string}} Piece - tokens that are read together */
/** @typedef {HTMLElement & {passage?: object}} Line */
/** @typedef {HTMLElement & {piece?: Piece}} Token */

/** @type {Record<string, string>} */
const GLYPHS = { "\n": "↵", "\r": "␍", "\t": "⇥" };
const SHAPELESS = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\u2028\u2029]/gu;
const BYTES = /(?:<0x[89A-F][0-9A-F]>)+/g; // of characters that are no ASCII
const LONE = /^(?:<0x[89A-F][0-9A-F]>)+$/;
const AROUND = [14, 8];

/** Bytes of the character that begins with this one. @param {number} byte */
const sizeOf = (byte) => (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 0);
/** @param {string} text */
const bytesOf = (text) => Array.from(text.matchAll(/<0x(..)>/g), (match) => parseInt(match[1], 16));

/** @param {number[]} bytes */
function decoded(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(bytes));
  } catch {
    return null;
  }
}

/** @param {number[]} bytes */
const hex = (bytes) => "⟨" + bytes.map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ") + "⟩";

/** A run of written bytes: characters where bytes make some, else their hexadecimal numbers, as in ⟨EC 95⟩. @param {string} run */
function fromBytes(run) {
  const bytes = bytesOf(run);
  let text = "";
  /** @type {number[]} */
  const lone = [];
  for (let i = 0; i < bytes.length; ) {
    const size = sizeOf(bytes[i]);
    const character = size && i + size <= bytes.length ? decoded(bytes.slice(i, i + size)) : null;
    if (character === null) lone.push(bytes[i]);
    if (lone.length && (character !== null || i + 1 === bytes.length)) text += hex(lone.splice(0));
    if (character !== null) text += character;
    i += character === null ? 1 : size;
  }
  return text;
}

/**
 * Text as a reader can see it: bytes as characters or numbers, line ends and tabs as glyphs, blanks as open boxes, what
 * has no shape as its code point.
 * @param {string} text
 */
export function visible(text) {
  if (/^\s+$/u.test(text) && !/[\n\r\t]/.test(text)) return "␣".repeat(text.length);
  return text
    .replace(BYTES, fromBytes)
    .replace(/\r\n/g, "\n")
    .replace(/[\n\r\t]/g, (character) => GLYPHS[character])
    .replace(SHAPELESS, (character) => "⟨U+" + (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0") + "⟩");
}

/**
 * Tokens joined where they only together make a character, as byte-level tokenizers cut 안 into <0xEC>, <0x95>, <0x88>:
 * pieces, each of one token or of all that share characters.
 * @param {string[]} tokens
 */
export function joined(tokens) {
  /** @type {{owner: number, byte: number}[]} */
  const bytes = [];
  tokens.forEach((token, owner) => {
    for (const part of token.split(/(<0x[89A-F][0-9A-F]>)/)) if (part) bytes.push({ owner, byte: /^<0x[89A-F].>$/.test(part) ? parseInt(part.slice(3, 5), 16) : -1 });
  });
  const end = Array.from(tokens.keys(), (i) => i + 1); // of the piece that a token begins, if it begins one
  for (let i = 0; i < bytes.length; ) {
    const size = sizeOf(bytes[i].byte);
    const run = bytes.slice(i, i + size);
    const whole = size > 0 && run.length === size && run.every(({ byte }) => byte >= 0) && decoded(run.map(({ byte }) => byte)) !== null;
    if (whole) end[bytes[i].owner] = Math.max(end[bytes[i].owner], run[size - 1].owner + 1);
    i += whole ? size : 1;
  }
  /** @type {Piece[]} */
  const pieces = [];
  for (let from = 0; from < tokens.length; ) {
    let to = end[from];
    for (let i = from; i < to; i++) to = Math.max(to, end[i]);
    const text = tokens.slice(from, to).join("");
    const last = pieces.at(-1);
    // Bytes of a character that is cut are one piece, too.
    if (last && LONE.test(text) && LONE.test(last.text) && /^⟨[^⟩]*⟩$/.test(fromBytes(last.text + text))) Object.assign(last, { to, text: last.text + text });
    else pieces.push({ from, to, text });
    from = to;
  }
  return pieces;
}

/** @param {string} token */
export const bare = (token) => visible(token.trim() === "" ? token : token.replace(/^ /, "").replace(/ $/, ""));

/** @param {string} token */
export function chip(token) {
  const text = bare(token);
  const lone = /⟨[0-9A-F]{2}( [0-9A-F]{2})*⟩/.test(text);
  return el("span", { class: "chip", title: lone ? say("A part of a character: its bytes, in hexadecimal") : null }, text);
}

// “the”, or in older labels '\n' and ' the'.
const QUOTED = /“([^”]{1,60})”|(^|[\s(,])(['"])((?:\\.|(?!\3)[^\\]){1,40}?)\3(?=$|[\s,;.:)(])/gu;
/** @type {Record<string, string>} */
const ESCAPES = { n: "\n", t: "\t", r: "\r" };
/** @param {string} text */
const unescaped = (text) =>
  text.replace(/\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))/gsu, (_, x, u, long, other) =>
    other === undefined ? String.fromCodePoint(parseInt(x ?? u ?? long, 16)) : (ESCAPES[other] ?? other)
  );

/** A label's text, with tokens that stand in quotes set as tokens. @param {string} text */
export function labelled(text) {
  /** @type {(string | HTMLElement)[]} */
  const parts = [];
  let at = 0;
  /** @param {string} written */
  const between = (written) => {
    const part = at > 0 && /^ \((\d+ %)\)/.exec(written);
    if (part) parts.push(" ", el("span", { class: "part" }, part[1]));
    const rest = part ? written.slice(part[0].length) : written;
    if (rest) parts.push(/^, ?$/.test(rest) ? " " : plain(rest));
  };
  for (const match of text.matchAll(QUOTED)) {
    const [whole, curly, before, , straight] = match;
    const begin = match.index + (before ?? "").length;
    between(text.slice(at, begin));
    parts.push(el("span", { class: "quoted" }, visible(curly ?? unescaped(straight).replace(/^ (?=\S)/, ""))));
    at = match.index + whole.length;
  }
  between(text.slice(at));
  return parts;
}

/** @param {string} text */
export const plain = (text) => text.replace(BYTES, fromBytes);

/** How labels that are written as patterns are read; null for a label in words. @param {string} text */
export function legend(text) {
  const signs = [];
  if (/→/.test(text)) signs.push(say("x →y: fires on y after x"));
  if (/\[[^\]]*\|/.test(text)) signs.push(say("[a|b]: a or b"));
  if (/…/.test(text) && signs.length) signs.push(say("…: any token"));
  if (signs.length && /;/.test(text)) signs.push(say("“;”: or"));
  if (/['”] \(\d+ %\)/.test(text)) signs.push(say("n %: share of its activation that is on this token"));
  return signs.length ? signs.join(" · ") : null;
}

/**
 * One passage. `scale` is the activation of the full shade; `full` shows all context, not only what is near the peak.
 * @param {Pick<Passage, "tokens" | "activations" | "peak" | "maximum">} passage
 * @param {{scale: number, full?: boolean}} look
 * @returns {Line}
 */
export function heatmap(passage, { scale, full }) {
  const pieces = joined(passage.tokens);
  /** @param {Piece} piece */
  const value = ({ from, to }) => Math.max(...passage.activations.slice(from, to));
  const peak = pieces.findIndex(({ from, to }) => from <= passage.peak && passage.peak < to);
  // Where the passage cuts a character, its bytes are no more than an ellipsis.
  /** @param {Piece} piece */
  const cutOff = (piece) => piece && LONE.test(piece.text) && !(value(piece) > 0) && /^⟨/.test(fromBytes(piece.text));
  let [first, last] = [0, pieces.length];
  while (first < peak && cutOff(pieces[first])) first++;
  while (last > peak + 1 && cutOff(pieces[last - 1])) last--;
  const from = full ? first : Math.max(first, peak - AROUND[0]);
  const to = full ? last : Math.min(last, peak + AROUND[1] + 1);
  /** @type {Line} */
  const line = el("div", { class: "heat", dir: "auto" });
  if (from > 0) line.append(el("span", { class: "cut" }, "…"));
  for (let i = from; i < to; i++) {
    const piece = pieces[i];
    const active = value(piece);
    const quiet = !(active > 0) && i !== peak && /^ +$/.test(piece.text);
    /** @type {Token} */
    const span = el("span", { class: "t" }, quiet ? piece.text : visible(piece.text));
    if (active > 0) {
      const strength = scale > 0 ? Math.min(1, active / scale) : 0;
      span.classList.add("on");
      if (strength > 0.6) span.classList.add("strong");
      span.style.setProperty("--a", (0.07 + 0.93 * strength).toFixed(3));
    }
    if (piece.text.trim() === "") span.classList.add("blank");
    if (i === peak) span.classList.add("peak");
    span.piece = piece;
    span.dataset.i = String(piece.from);
    line.append(span);
    if (full && piece.text.includes("\n") && !(i + 1 < to && pieces[i + 1].text.startsWith("\n"))) line.append(el("br"));
  }
  if (to < pieces.length) line.append(el("span", { class: "cut" }, "…"));
  line.passage = passage;
  return line;
}

/**
 * What the box beside a token says: its text and activation; of a character that is several tokens, each of these.
 * @param {any} span - a token of a line
 * @returns {(string | HTMLElement)[]}
 */
export function tokenTip(span) {
  /** @type {Passage} */
  const { tokens, activations, maximum } = span.parentElement.passage;
  /** @type {Piece} */
  const { from, to, text } = span.piece;
  const value = Math.max(...activations.slice(from, to));
  const parts = tokens.slice(from, to).map((token, i) => `${visible(token)} ${measured(activations[from + i])}`);
  return [
    el("b", {}, JSON.stringify(text.replace(BYTES, fromBytes))),
    el("span", {}, measured(value)),
    el("span", { class: "soft" }, value > 0 ? say("{n} % of this passage’s peak", Math.round((100 * value) / maximum)) : say("not active")),
    parts.length > 1 ? el("span", { class: "wide soft" }, say("{n} tokens that are read together; the highest of their activations is shown: {}", parts.length, parts.join(", "))) : "",
  ];
}
