import assert from "node:assert/strict";
import { test } from "node:test";
import { LONGEST, choice, flag, json, list, number, optional, parse, query, read, text, written } from "../../../src/monosema/pages/static/app/state.js";
import { randomness, state } from "./states.mjs";

const FIELDS = {
  q: text(),
  name: text("start"),
  full: flag(),
  on: flag(true),
  k: number(5, { low: 0, high: 100, whole: true }),
  strength: number(0.5, { low: -20, high: 20 }),
  sort: choice(["margin", "density", "label"]),
  with: list(text()),
  latents: list(number(0, { low: 0, whole: true }), [1, 2]),
  seed: optional(number(0, { whole: true })),
  note: optional(text()),
  cards: json([{ latent: 17, add: 2 }, { direction: "a,b", scale: 0 }]),
};

const address = (behind) => ({ search: behind.startsWith("?") ? behind : "", hash: behind.startsWith("#") ? behind : "" });

test("a thousand random states are read from their addresses as they were", async () => {
  const random = randomness(7);
  let packed = 0;
  for (let i = 0; i < 1000; i++) {
    const before = state(FIELDS, random);
    const behind = await written(FIELDS, before);
    packed += behind.startsWith("#z=");
    assert.ok(behind.length <= LONGEST + 1 || behind.startsWith("#z="));
    assert.deepEqual(await read(FIELDS, address(behind)), before);
    assert.equal(new URL("http://x/" + behind).href, "http://x/" + behind, "an address stands as it is written");
  }
  assert.ok(packed > 20 && packed < 980);
});

test("a state as the view begins has nothing in its address", async () => {
  assert.equal(await written(FIELDS, parse(FIELDS, "")), "");
});

test("what is no value of its field is as the view begins", () => {
  const begun = parse(FIELDS, "");
  assert.deepEqual(parse(FIELDS, "k=101&full=yes&sort=height&strength=NaN&latents=1,x&cards=[&seed=1.5&unknown=1"), { ...begun });
  assert.deepEqual(parse(FIELDS, "k=&strength= "), begun);
});

test("a damaged pack is as the view begins", async () => {
  assert.deepEqual(await read(FIELDS, { search: "", hash: "#z=!!!" }), parse(FIELDS, ""));
});

test("an address can be written by hand", () => {
  assert.deepEqual(parse(FIELDS, "?q=monday+morning&with=a,b&seed=3&k=7").with, ["a", "b"]);
  assert.equal(parse(FIELDS, "seed=3").seed, 3);
  assert.equal(query(FIELDS, { ...parse(FIELDS, ""), with: ["a", "b"] }), "with=a,b");
});

test("what a view begins with is not shared between states", () => {
  parse(FIELDS, "").latents.push(9);
  assert.deepEqual(parse(FIELDS, "").latents, [1, 2]);
});
