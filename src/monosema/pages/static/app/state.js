// The state of a view, which lives in its address: each field has a place in the query, and stands there where it is not
// what the view begins with. A state too long for that is packed behind #z=. Nothing is kept by the server.

/**
 * A field of a state. What `write` gives `read` gives back; `read` gives undefined for a text that is no value of it.
 * `values` are its limits: the options of a choice, the ends of a number, the field that a list is made of.
 * @template T
 * @typedef {{kind: string, values?: any, initial: T, write(value: T): string, read(text: string): T | undefined}} Field
 */

/** @typedef {Record<string, Field<any>>} Fields */

/**
 * @template {Fields} F
 * @typedef {{[K in keyof F]: F[K]["initial"]}} State
 */

/** Characters of a query at most; a longer one is packed. */
export const LONGEST = 1500;
const PACKED = "#z=";

/** @param {string} [initial] @returns {Field<string>} */
export const text = (initial = "") => ({ kind: "text", initial, write: (value) => value.toWellFormed(), read: (written) => written });

/** @param {boolean} [initial] @returns {Field<boolean>} */
export const flag = (initial = false) => ({ kind: "flag", initial, write: (value) => (value ? "1" : "0"), read: (written) => (written === "1" ? true : written === "0" ? false : undefined) });

/**
 * A number from `low` to `high`; `whole` for an integer.
 * @param {number} initial
 * @param {{low?: number, high?: number, whole?: boolean}} [limits]
 * @returns {Field<number>}
 */
export const number = (initial, { low = -Infinity, high = Infinity, whole = false } = {}) => ({
  kind: "number",
  values: { low, high, whole },
  initial,
  write: String,
  read(written) {
    const value = written.trim() === "" ? NaN : Number(written);
    return Number.isFinite(value) && value >= low && value <= high && (!whole || Number.isSafeInteger(value)) ? value : undefined;
  },
});

/**
 * One of a few texts; the first is what the view begins with.
 * @template {string} T
 * @param {readonly T[]} options
 * @returns {Field<T>}
 */
export const choice = (options) => ({
  kind: "choice",
  values: options,
  initial: options[0],
  write: (value) => value,
  read: (written) => options.find((option) => option === written),
});

/**
 * A value of another field, or null.
 * @template T
 * @param {Field<T>} field
 * @returns {Field<T | null>}
 */
export const optional = (field) => ({
  kind: "optional",
  values: field,
  initial: null,
  write: (value) => (value === null ? "" : "=" + field.write(value)),
  read: (written) => (written === "" ? null : written[0] === "=" ? field.read(written.slice(1)) : field.read(written)),
});

/**
 * Several values of another field, with commas between.
 * @template T
 * @param {Field<T>} field
 * @param {T[]} [initial]
 * @returns {Field<T[]>}
 */
export const list = (field, initial = []) => ({
  kind: "list",
  values: field,
  initial,
  write: (values) => values.map((value) => field.write(value).replace(/[\\,]/g, "\\$&") || "\\e").join(","),
  read(written) {
    const parts = written === "" ? [] : written.match(/(?:\\.|[^\\,])+/gsu) || [];
    const values = parts.map((part) => field.read(part === "\\e" ? "" : part.replace(/\\(.)/gsu, "$1")));
    return values.includes(undefined) ? undefined : /** @type {T[]} */ (values);
  },
});

/**
 * Anything that JSON can hold, such as messages or the cards of a steering; `fits` says whether a value read is one.
 * @template T
 * @param {T} initial
 * @param {(value: unknown) => boolean} [fits]
 * @returns {Field<T>}
 */
export const json = (initial, fits = () => true) => ({
  kind: "json",
  initial,
  write: (value) => JSON.stringify(value),
  read(written) {
    try {
      const value = JSON.parse(written);
      return fits(value) ? value : undefined;
    } catch {
      return undefined;
    }
  },
});

/**
 * The state that a query says; a field that is not in it, or whose text is no value, is as the view begins.
 * @template {Fields} F
 * @param {F} fields
 * @param {string} query
 * @returns {State<F>}
 */
export function parse(fields, query) {
  const said = new URLSearchParams(query);
  const values = Object.entries(fields).map(([name, field]) => {
    const written = said.get(name);
    const value = written === null ? undefined : field.read(written);
    return [name, value === undefined ? structuredClone(field.initial) : value];
  });
  return /** @type {State<F>} */ (Object.fromEntries(values));
}

/**
 * Names of what stands in an address and is no value of its field, so that it is left out.
 * @param {Fields} fields
 * @param {{search: string, hash: string}} address
 * @returns {Promise<string[]>}
 */
export async function ignored(fields, { search, hash }) {
  const packed = hash.startsWith(PACKED) ? await unpack(hash.slice(PACKED.length)).catch(() => null) : search;
  if (packed === null) return ["#z"];
  return [...new URLSearchParams(packed)].filter(([name, said]) => fields[name]?.read(said) === undefined && name in fields).map(([name]) => name);
}

/**
 * The query of a state, without what is as the view begins.
 * @template {Fields} F
 * @param {F} fields
 * @param {State<F>} state
 */
export function query(fields, state) {
  const said = new URLSearchParams();
  for (const [name, field] of Object.entries(fields)) {
    const written = field.write(state[name]);
    if (written !== field.write(field.initial)) said.set(name, written);
  }
  return said.toString().replaceAll("%2C", ",");
}

/**
 * What stands behind the path in the address of a state: "", "?q=…" or "#z=…".
 * @template {Fields} F
 * @param {F} fields
 * @param {State<F>} state
 */
export async function written(fields, state) {
  const said = query(fields, state);
  if (said.length > LONGEST) return PACKED + (await pack(said));
  return said && "?" + said;
}

/**
 * The state that an address says.
 * @template {Fields} F
 * @param {F} fields
 * @param {{search: string, hash: string}} address
 * @returns {Promise<State<F>>}
 */
export async function read(fields, { search, hash }) {
  const packed = hash.startsWith(PACKED) ? await unpack(hash.slice(PACKED.length)).catch(() => null) : null;
  return parse(fields, packed ?? search);
}

/** @param {Uint8Array<ArrayBuffer>} bytes @param {GenericTransformStream} through */
const piped = (bytes, through) => new Response(new Blob([bytes]).stream().pipeThrough(/** @type {ReadableWritablePair<Uint8Array<ArrayBuffer>, BufferSource>} */ (through))).arrayBuffer();

/** @param {string} said */
async function pack(said) {
  const bytes = new Uint8Array(await piped(new TextEncoder().encode(said), new CompressionStream("deflate-raw")));
  let raw = "";
  for (const byte of bytes) raw += String.fromCharCode(byte);
  return btoa(raw).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** @param {string} packed */
async function unpack(packed) {
  const raw = atob(packed.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(raw, (character) => character.charCodeAt(0));
  return new TextDecoder().decode(await piped(bytes, new DecompressionStream("deflate-raw")));
}

/**
 * The state of the view that is open. `set` changes it and the address; what the reader goes back or forward to is told
 * to `changed`.
 * @template {Fields} F
 */
export class View {
  /**
   * @template {Fields} F
   * @param {F} fields
   * @param {(state: State<F>) => void} changed
   */
  static async open(fields, changed) {
    const view = new View(fields, await read(fields, location));
    addEventListener("popstate", async () => {
      const mine = ++view.#turn;
      const state = await read(fields, location);
      if (mine !== view.#turn) return;
      view.state = state;
      changed(state);
    });
    return view;
  }

  #fields;
  #turn = 0;

  /**
   * @param {F} fields
   * @param {State<F>} state
   */
  constructor(fields, state) {
    this.#fields = fields;
    /** @type {State<F>} */
    this.state = state;
  }

  /**
   * Changes some fields. With `push` the reader can go back to what was before.
   * @param {Partial<State<F>>} change
   * @param {{push?: boolean}} [how]
   */
  async set(change, { push = false } = {}) {
    const mine = ++this.#turn;
    this.state = { ...this.state, ...change };
    const behind = await written(this.#fields, this.state);
    if (mine !== this.#turn) return;
    if (behind !== location.search + location.hash) history[push ? "pushState" : "replaceState"](null, "", location.pathname + behind);
  }
}
