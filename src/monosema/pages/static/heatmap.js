// Token heat maps, and the small helpers that every page uses: building elements and writing numbers.
(function (root) {
  "use strict";
  const monosema = (root.monosema = root.monosema || {});
  const GLYPHS = { "\n": "↵", "\r": "␍", "\t": "⇥" };
  const SHAPELESS = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\u2028\u2029]/gu;
  const AROUND = [14, 8];

  // An element with attributes and children; text goes in as text, so nothing from the data is ever read as HTML.
  function el(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
      else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return element;
  }

  // A token as a reader can see it: line ends and tabs as glyphs, blanks as open boxes, what has no shape as its code point.
  function visible(token) {
    if (/^\s+$/u.test(token) && !/[\n\r\t]/.test(token)) return "␣".repeat(token.length);
    return token
      .replace(/[\n\r\t]/g, (character) => GLYPHS[character])
      .replace(SHAPELESS, (character) => "⟨U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩");
  }

  // Tokens as read in their place: bytes that only together make a character (<0xEC><0x95><0x88>) show that character
  // on the token where it begins, and a dot on those that only continue it.
  function readable(tokens) {
    const parts = tokens.map((token) => token.split(/(<0x[0-9A-F]{2}>)/).filter(Boolean));
    const pieces = parts.flatMap((list, owner) => list.map((text) => ({ text, owner, byte: /^<0x[89A-F][0-9A-F]>$/.test(text) ? parseInt(text.slice(3, 5), 16) : -1 })));
    const shown = tokens.map(() => "");
    const size = (byte) => (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 0);
    for (let i = 0; i < pieces.length; i++) {
      const { text, owner, byte } = pieces[i];
      const bytes = byte < 0 ? [] : pieces.slice(i, i + size(byte)).map((piece) => piece.byte);
      const whole = bytes.length > 0 && bytes.length === size(byte) && !bytes.includes(-1) ? decoded(bytes) : null;
      shown[owner] += whole ?? text;
      if (whole !== null) i += bytes.length - 1;
    }
    return shown.map((text, i) => text || (tokens[i] ? "·" : ""));
  }

  function decoded(bytes) {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(bytes));
    } catch {
      return null;
    }
  }

  function number(value, digits = 3) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (Number.isInteger(value)) return value.toLocaleString("en-US");
    const size = Math.abs(value);
    if (size >= 10 ** digits) return Math.round(value).toLocaleString("en-US");
    if (size < 1e-4) return value.toExponential(1).replaceAll("-", "−");
    return value.toPrecision(digits).replace("-", "−");
  }

  // A measured value: always three digits, so that columns of them are alike ("68.0", "67.5").
  function measured(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    return Math.abs(value) >= 100 ? number(Math.round(value)) : value === 0 ? "0" : Math.abs(value) < 1e-4 ? number(value) : value.toPrecision(3).replaceAll("-", "−");
  }

  function share(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (value === 0) return "0 %";
    const percent = 100 * value;
    return (percent >= 10 ? percent.toFixed(1) : percent >= 1e-3 ? percent.toPrecision(2) : percent.toExponential(0)) + " %";
  }

  const bare = (token) => visible(token.trim() === "" ? token : token.replace(/^ /, "").replace(/ $/, ""));

  function chip(token) {
    return el("span", { class: "chip" }, bare(token));
  }

  const QUOTED = /(^|[\s(,])(['"])((?:\\.|(?!\2)[^\\]){1,40}?)\2(?=$|[\s,;.:)(])/gu;
  const ESCAPES = { n: "\n", t: "\t", r: "\r" };
  const unescaped = (text) =>
    text.replace(/\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))/gsu, (_, x, u, long, other) =>
      other === undefined ? String.fromCodePoint(parseInt(x ?? u ?? long, 16)) : (ESCAPES[other] ?? other)
    );

  // A label's text, with tokens that stand in quotes ('\n', ' the') set as tokens.
  function labelled(text) {
    const parts = [];
    let at = 0;
    for (const match of text.matchAll(QUOTED)) {
      const begin = match.index + match[1].length;
      const between = text.slice(at, begin);
      const part = /^ \((\d+ %)\),? ?$/.exec(between);
      if (part) parts.push(" ", el("span", { class: "part" }, part[1]), " ");
      else if (between) parts.push(between === ", " ? " " : between);
      parts.push(el("span", { class: "quoted" }, visible(unescaped(match[3]).replace(/^ (?=\S)/, ""))));
      at = match.index + match[0].length;
    }
    const rest = text.slice(at);
    const part = at > 0 && /^ \((\d+ %)\)$/.exec(rest);
    if (part) parts.push(" ", el("span", { class: "part" }, part[1]));
    else if (rest) parts.push(rest);
    return parts;
  }

  // One passage. `scale` is the activation of the full shade; `full` shows all context, not only what is near the peak.
  function heatmap(passage, { scale, full }) {
    const last = passage.tokens.length;
    const from = full ? 0 : Math.max(0, passage.peak - AROUND[0]);
    const to = full ? last : Math.min(last, passage.peak + AROUND[1] + 1);
    const line = el("div", { class: "heat", dir: "auto" });
    const texts = readable(passage.tokens);
    if (from > 0) line.append(el("span", { class: "cut" }, "…"));
    for (let i = from; i < to; i++) {
      const value = passage.activations[i];
      const token = passage.tokens[i];
      const quiet = !(value > 0) && i !== passage.peak && /^ +$/.test(token);
      const span = el("span", { class: "t" }, quiet ? token : visible(texts[i]));
      if (value > 0) {
        const strength = scale > 0 ? Math.min(1, value / scale) : 0;
        span.classList.add("on");
        span.style.setProperty("--a", (0.07 + 0.93 * strength).toFixed(3));
      }
      if (token.trim() === "") span.classList.add("blank");
      if (i === passage.peak) span.classList.add("peak");
      span.dataset.i = i;
      line.append(span);
      if (full && token.includes("\n") && !(i + 1 < to && passage.tokens[i + 1].startsWith("\n"))) line.append(el("br"));
    }
    if (to < last) line.append(el("span", { class: "cut" }, "…"));
    line.passage = passage;
    return line;
  }

  // The value of the token under the pointer or finger, in one box for the whole page.
  function tips(host) {
    const tip = el("div", { class: "tip", role: "status", hidden: true });
    document.body.append(tip);
    const show = (event) => {
      const span = event.target.closest && event.target.closest(".t");
      if (!span) return void (tip.hidden = true);
      const passage = span.parentElement.passage;
      const value = passage.activations[+span.dataset.i];
      tip.replaceChildren(
        el("b", {}, JSON.stringify(passage.tokens[+span.dataset.i])),
        el("span", {}, measured(value)),
        el("span", { class: "soft" }, value > 0 ? Math.round((100 * value) / passage.maximum) + " % of this passage’s peak" : "not active")
      );
      place(tip, span.getBoundingClientRect());
    };
    host.addEventListener("pointerover", show);
    host.addEventListener("pointerdown", show);
    host.addEventListener("pointerleave", (event) => (tip.hidden = event.pointerType !== "touch"));
    document.addEventListener("pointerdown", (event) => host.contains(event.target) || (tip.hidden = true));
    document.addEventListener("scroll", () => (tip.hidden = true), true);
  }

  function place(tip, box) {
    tip.hidden = false;
    const width = tip.offsetWidth;
    const left = Math.min(Math.max(8, box.left + box.width / 2 - width / 2), document.documentElement.clientWidth - width - 8);
    const above = box.top - tip.offsetHeight - 6;
    tip.style.left = left + "px";
    tip.style.top = (above > 8 ? above : box.bottom + 6) + "px";
  }

  Object.assign(monosema, { el, visible, readable, bare, labelled, number, measured, share, chip, heatmap, tips, place });
})(typeof globalThis === "undefined" ? this : globalThis);
