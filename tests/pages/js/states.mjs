// Random states of views, the same ones for the same seed.

const WORDS = ["", " ", "Monday", "a,b", "\\", "\\e", ",", "=", "&?#%+", "한국어", "😀", "\n\t\r\n", "</script>", "\u202e", "null", "1e3", "x".repeat(700)];

export function randomness(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const pick = (random, options) => options[Math.floor(random() * options.length)];

const SAMPLES = {
  text: (_, random) => pick(random, WORDS) + pick(random, WORDS),
  flag: (_, random) => random() < 0.5,
  choice: ({ values }, random) => pick(random, values),
  number({ values: { low, high, whole } }, random) {
    const [from, to] = [Math.max(low, -1e6), Math.min(high, 1e6)];
    return whole ? Math.ceil(from) + Math.floor(random() * (Math.floor(to) - Math.ceil(from) + 1)) : from + random() * (to - from);
  },
  optional: ({ values }, random) => (random() < 0.3 ? null : sample(values, random)),
  list: ({ values }, random) => Array.from({ length: Math.floor(random() * 4) }, () => sample(values, random)),
  json: ({ initial }, random) => (Array.isArray(initial) && initial.length ? initial.concat(initial).slice(0, Math.floor(random() * 2 * initial.length)) : initial),
};

export function sample(field, random) {
  return random() < 0.2 ? field.initial : SAMPLES[field.kind](field, random);
}

export function state(fields, random) {
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, sample(field, random)]));
}
