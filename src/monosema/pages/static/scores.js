// Scores beside their controls: chance, another feature's explanation (shuffled), random directions explained alike.
// pages/scored.py says when a score stands above them; the same rule is used here for explanations that are no labels.
(function (root) {
  "use strict";
  const monosema = (root.monosema = root.monosema || {});
  const { say, el, known, two, signed, interval, number } = monosema;
  monosema.controls = []; // {method, scorer, chance, random: [value, low, high], part}

  const of = (scorer) => monosema.controls.filter((row) => row.scorer === scorer);
  const chance = (scorer) => of(scorer).find((row) => known(row.chance))?.chance ?? null;
  const isPart = (scorer) => of(scorer).some((row) => row.part);

  // Of random directions explained by a method: [value, low, high]. Of a label (no method), and of a method that no random
  // direction was explained by, that of the method which did best.
  function random(scorer, method = null) {
    const rows = of(scorer).filter((row) => row.random);
    const best = rows.sort((a, b) => b.random[0] - a.random[0])[0];
    return (rows.find((row) => row.method === method) ?? best)?.random ?? null;
  }

  // How far the low end of a score stands above the highest of its controls.
  function margin({ scorer, low, control }, method) {
    const floor = [chance(scorer), control ?? null, random(scorer, method)?.[0] ?? null].filter(known);
    return known(low) && floor.length ? low - Math.max(...floor) : null;
  }

  const ofLabel = ({ label_scorer: scorer, label_score: value, label_low: low, label_high: high, label_control: control }) => ({ scorer, value, low, high, control });
  const verdict = (margin) => (margin === null ? say("no control") : margin > 0 ? say("{} above its controls", signed(margin)) : say("not above its controls"));

  function controls({ scorer, control }, method) {
    const found = random(scorer, method);
    const shuffled = known(control) ? say("shuffled {}", two(control)) : say("no shuffled control");
    return [shuffled, found ? say("random directions {} {}", two(found[0]), interval(found[1], found[2])) : say("no random directions")];
  }

  // One sentence about a label's score, for a tooltip.
  function beside(brief) {
    const score = ofLabel(brief);
    return [`${score.scorer} ${two(score.value)} ${interval(score.low, score.high)}`, ...controls(score), verdict(brief.label_margin)].join(" · ");
  }

  // A label's score in its byline.
  function headline(brief) {
    const score = ofLabel(brief);
    const ends = random(score.scorer);
    const points = [[score.value, score.low ?? score.value, score.high ?? score.value], known(score.control) ? Array(3).fill(score.control) : null, ends];
    return el(
      "span",
      { class: "scored", title: say("How well the label predicts the feature; hollow dots are its controls") },
      score.scorer,
      " ",
      el("b", { class: brief.label_margin > 0 ? "proven" : null }, verdict(brief.label_margin)),
      el("span", {}, two(score.value)),
      el("span", { class: "soft" }, interval(score.low, score.high)),
      monosema.plots.strip({ points, domain: [Math.min(0, ...points.flat().filter(known)), 1] }),
      controls(score).map((text) => el("span", { class: "soft" }, text))
    );
  }

  // The same explanation by the other scorers, in a few words each.
  function others(scores, method, scorer) {
    const rest = scores.filter((score) => score.scorer !== scorer && !isPart(score.scorer) && known(score.value));
    return rest.map((score) => el("span", { class: "soft", title: controls(score, method).join(" · ") }, `${score.scorer} ${two(score.value)} ${interval(score.low, score.high)}: ${verdict(margin(score))}`));
  }

  function table(scores, method) {
    const row = (score) => [
      el(
        "tr",
        { title: known(score.n) ? `n = ${number(score.n)}${score.interval ? ", " + score.interval : ""}` : null },
        el("th", { scope: "row" }, score.scorer),
        el("td", {}, el("b", {}, two(score.value)), el("span", { class: "soft" }, " " + interval(score.low, score.high)))
      ),
      el("tr", { class: "beside" }, el("td", { colspan: 2 }, [...controls(score, method), verdict(margin(score, method))].join(" · "))),
    ];
    return el("table", { class: "scores" }, el("tbody", {}, scores.filter((score) => known(score.value)).flatMap(row)));
  }

  Object.assign(monosema, { scores: { beside, headline, others, table } });
})(typeof globalThis === "undefined" ? this : globalThis);
