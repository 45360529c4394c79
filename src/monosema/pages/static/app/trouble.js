// The page of an address that leads nowhere: its shell says what was wrong.
import { say } from "../elements.js";
import { facts, shell } from "./shell.js";

shell({ crumbs: [[say(facts.title), null, false]], title: say(facts.title) });
document.documentElement.dataset.ready = "yes";
