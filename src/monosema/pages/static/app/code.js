// Python that gives what a page shows.
/** @type {Record<string, string>} Columns by order. */
const ORDERS = { margin: "label_margin", score: "label_score", density: "density", rare: "density", max: "max", label: "label", latent: "latent" };
const text = JSON.stringify; // a string is written alike in both languages

/** The lines that open a run's atlas. @param {string} folder */
const opened = (folder) => ["import monosema as ms", "", `atlas = ms.open_atlas(${text(folder)})`];

/**
 * The list of features, as it stands. Null for a search that only the server can do.
 * @param {{q: string, mode: string, on: number[], sort: string, state: string, density: string, labels: string, latents: number[]}} state
 * @param {string} folder
 * @param {number[]} stars
 */
export function listCode({ q, mode, on, sort, state, density, labels, latents }, folder, stars) {
  const searching = q.trim() !== "";
  const all = state !== "alive" || latents.length > 0;
  if (searching && mode === "meaning") return null;
  if (searching && mode === "passage")
    return ["import monosema as ms", "from monosema.atlas import fires_on", "from monosema.runs import open_model", "", `run = ms.Run.open(${text(folder)})`, `found = fires_on(run.atlas(), open_model(run.recipe), run.dictionary(), ${text(q)}, limit=None)`, "for one in found.firings:", ...(on.length ? [`    if {${on.join(", ")}} & set(one.positions):`] : []), (on.length ? "    " : "") + "    print(one.latent, one.maximum, one.label)"].join("\n");
  const lines = [...opened(folder), `rows = ${searching ? searched(q, mode, all) : listed(sort || "margin", all)}`];
  const tests = [
    state === "dead" && 'not row["alive"]',
    state === "alive" && searching && mode !== "words" && 'row["alive"]',
    density && `${density.replace(",", ' <= row["density"] <= ')}`,
    labels === "above" && '(row["label_margin"] or 0) > 0',
    labels === "below" && 'row["label_margin"] is not None and row["label_margin"] <= 0',
    labels === "none" && 'row["label_margin"] is None',
    (latents.length || state === "starred") && `row["latent"] in {${(latents.length ? latents : stars).join(", ") || "*()"}}`,
  ].filter(Boolean);
  if (tests.length) lines.push(`rows = [row for row in rows if ${tests.join(" and ")}]`);
  if (searching && sort && sort !== "fit") lines.push(`rows.sort(key=lambda row: (row["${ORDERS[sort]}"] is None, ${["label", "latent", "rare"].includes(sort) ? "" : "-"}(row["${ORDERS[sort]}"] or ${sort === "label" ? '""' : "0"})))`);
  return [...lines, "for row in rows[:100]:", '    print(row["latent"], row["label"])'].join("\n");
}

/** @param {string} sort @param {boolean} all */
const listed = (sort, all) => `atlas.features(sort="${ORDERS[sort] ?? "label_margin"}"${sort === "rare" ? ", descending=False" : ""}${all ? ", alive_only=False" : ""}, limit=None)`;

/** @param {string} q @param {string} mode @param {boolean} all */
function searched(q, mode, all) {
  if (mode === "token") return `atlas.search_token(${text(q)}, limit=None)`;
  if (mode === "effect") return `atlas.search_effect(${text(q)}, limit=None)`;
  return `atlas.search(${text(q)}, limit=None${all ? ", alive_only=False" : ""})`;
}
