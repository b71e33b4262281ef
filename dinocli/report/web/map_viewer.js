// Viewer of the map page: facts, neighbours, duplicates and actions of an image.

function open(index) {
  if (plot) hand.hover(-1);
  const lists = { duplicates: [...groupOf.keys()], issues: [...issuesOf.keys()] };
  const list = lists[state.tab] ?? chosen;
  viewer.open(index, list);
}

function describe(index) {
  const place = DATA.cluster[index];
  const facts = [["Group", [glyph(place), nameOf(place, FACETS.cluster), medoids.has(index) ? " · medoid" : ""]]];
  if (DATA.label[index] >= 0) facts.push(["Label", nameOf(DATA.label[index], FACETS.label)]);
  if (DATA.distance[index] !== null) facts.push(["Distance to the centre", figure(DATA.distance[index])]);
  if (DATA.margin[index] !== null) facts.push(["Margin to the next group", figure(DATA.margin[index])]);
  if (DATA.outlier[index] !== null) facts.push(["Outlier score, standard deviations", `${figure(DATA.outlier[index])} · rank ${oddness(index)}`]);
  if (issuesOf.has(index)) facts.push(["Issues", issuesOf.get(index).join(", ").toLowerCase()]);
  const group = groupOf.get(index);
  const same = group ? group.images.slice(0, 12).map((other) => tileButton(other, likeness(group, other))) : [];
  const near = DATA.neighbours[index].map((other, rank) => tileButton(other, DATA.cosines[index][rank].toFixed(3)));
  const more = [
    ...(near.length ? [make("h3", {}, "Nearest images, by cosine of their features"), ...near] : []),
    ...(same.length ? [make("h3", {}, `${count(group.images.length, "duplicate")}, the file to keep first`), ...same] : []),
  ];
  return {
    name: DATA.name[index],
    thumbnail: thumbnailOf(index),
    original: originalOf(index),
    near: DATA.near,
    facts,
    more,
    actions: [...pathLine(index), selectButton(index), action("Show on the map", () => locate(index)), action("Show its group", () => showGroup(place))],
  };
}

// A page cannot open files elsewhere on the disk; the user can copy their path instead.
function pathLine(index) {
  if (DATA.near || !DATA.root) return [];
  const field = make("input", { readOnly: true, value: pathOf(index), "aria-label": "Path of the file" });
  field.addEventListener("focus", () => field.select());
  const button = make("button", { type: "button", className: "quiet" }, "Copy path");
  button.addEventListener("click", () => copyBy(button, field.value, "Copied"));
  return [make("div", { className: "path" }, field, button)];
}

function selectButton(index) {
  const words = () => (selection.has(index) ? "Remove from selection" : "Select");
  const button = make("button", { type: "button", className: "quiet" }, words());
  button.addEventListener("click", () => {
    select(index);
    button.textContent = words();
  });
  return button;
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
  Object.assign(state, { facet: "cluster", only: false, query: "" });
  byId("search").value = "";
  showFacetChoice();
  choose(place);
}
