// One image of the map page: what is known of it, and where it leads.

const pairsOf = new Map();
for (const pair of DATA.pairs) {
  for (const index of pair.slice(0, 2)) pairsOf.set(index, [...(pairsOf.get(index) ?? []), pair]);
}

function open(index) {
  if (plot) hand.hover(-1);
  const list = state.tab === "pairs" ? [...new Set(DATA.pairs.flatMap(([a, b]) => [a, b]))] : chosen;
  viewer.open(index, list);
}

function describe(index) {
  const place = DATA.cluster[index];
  const facts = [["Group", [glyph(place), nameOf(place, FACETS.cluster), medoids.has(index) ? " · stands for its group" : ""]]];
  if (DATA.label[index] >= 0) facts.push(["Label", nameOf(DATA.label[index], FACETS.label)]);
  if (DATA.distance[index] !== null) facts.push(["Distance to the centre", figure(DATA.distance[index])]);
  if (DATA.margin[index] !== null) facts.push(["Margin to the next group", figure(DATA.margin[index])]);
  if (DATA.outlier[index] !== null) facts.push(["Outlier score", `${figure(DATA.outlier[index])} · rank ${oddness(index)}`]);
  const more = (pairsOf.get(index) ?? []).slice(0, 12).map(([a, b, cosine, exact]) => {
    const other = a === index ? b : a;
    return tileButton(other, exact ? "same file" : cosine.toFixed(4));
  });
  if (more.length) more.unshift(make("h3", {}, "Near-duplicates"));
  return {
    name: DATA.name[index],
    thumbnail: thumbnailOf(index),
    original: originalOf(index),
    facts,
    more,
    actions: [action("Show on the map", () => locate(index)), action("Show its group", () => showGroup(place))],
  };
}

function oddness(index) {
  const odder = DATA.outlier.reduce((sum, value) => sum + (value !== null && value > DATA.outlier[index]), 0);
  return `${(odder + 1).toLocaleString("en")} of ${SIZE.toLocaleString("en")}`;
}

function action(text, work) {
  const button = make("button", { type: "button", className: "quiet" }, text);
  button.addEventListener("click", () => {
    viewer.close();
    work();
  });
  return button;
}

function locate(index) {
  if (!plot.shown[index]) clear();
  if (plot.scale < 6 * plot.whole) plot.zoom((6 * plot.whole) / plot.scale);
  plot.pan(plot.wide / 2 - plot.across(index), plot.high / 2 - plot.down(index));
  plot.above.focus();
  hand.hover(index, plot.across(index), plot.down(index));
}

function showGroup(place) {
  Object.assign(state, { facet: "cluster", lasso: null, query: "" });
  byId("search").value = "";
  showFacetChoice();
  choose(place);
}
