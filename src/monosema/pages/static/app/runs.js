// All runs as cards: what each is, how far it got and how well it did; two of them are compared.
import { el, number, say, share } from "../elements.js";
import { get } from "./api.js";
import { button, command, empty, fill, runAddress, shell } from "./shell.js";
import { address, view } from "./state.js";

const $ = (id) => document.getElementById(id);
const SORTS = {
  date: ["Newest first", (a, b) => b.changed - a.changed],
  name: ["Name", (a, b) => a.name.localeCompare(b.name)],
  fvu: ["FVU, best first", (a, b) => (a.metrics?.fvu?.value ?? Infinity) - (b.metrics?.fvu?.value ?? Infinity)],
};
const METRICS = [
  ["fvu", "FVU", (value) => number(value)],
  ["loss_recovered", "Loss recovered", share],
  ["l0", "L0", (value) => number(value)],
];
