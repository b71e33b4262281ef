// The map page: state, filters, and updates of map, list and gallery.

const SIZE = DATA.name.length;
const thumbnailOf = (i) => DATA.thumbnail.prefix + DATA.thumbnail.rest[i];
const originalOf = (i) => DATA.original.prefix + DATA.original.rest[i];
const medoids = new Set(DATA.medoids);
const lower = DATA.name.map((name) => name.toLowerCase());

const FACETS = {
  cluster: { title: "Groups", names: DATA.clusters, of: Int32Array.from(DATA.cluster), none: "No group" },
  label: { title: "Labels", names: DATA.labels, of: Int32Array.from(DATA.label), none: "No label" },
};

const state = { facet: "cluster", value: null, only: false, query: "", tab: "gallery", order: "typical" };
let chosen = []; // images that pass all filters, in displayed order
const facet = () => FACETS[state.facet];
const filtered = () => state.value !== null || state.only || state.query !== "";
const nameOf = (place, of = facet()) => (place < 0 ? of.none : of.names[place]);

// Sort ascending (descending with sign = -1); null comes last.
const by = (values, sign = 1) => (a, b) => {
  if (values[a] === null || values[b] === null) return (values[a] === null) - (values[b] === null) || a - b;
  return sign * (values[a] - values[b]) || a - b;
};
const collator = new Intl.Collator("en", { numeric: true });
const ORDERS = {
  typical: { title: "Typical first", compare: by(DATA.distance) },
  border: { title: "Border first", compare: by(DATA.margin), caption: DATA.margin },
  odd: { title: "Oddest first", compare: by(DATA.outlier, -1), caption: DATA.outlier },
  name: { title: "By name", compare: (a, b) => collator.compare(DATA.name[a], DATA.name[b]) },
};

const plot = SIZE ? new Plot(byId("map"), DATA.x, DATA.y) : null;
const selection = new Selection(SIZE, selectionChanged);
const gallery = new Rows(byId("gallery"));
const viewer = new Viewer(describe);
const choices = new Choices(byId("facets"), choose);
const PANELS = { gallery: "gallery", outliers: "gallery", duplicates: "gallery", issues: "gallery", drift: "drift", numbers: "numbers" };
const tabs = new Tabs(byId("tabs"), tabTitles(), PANELS, (tab) => {
  showTab(tab);
  update();
});

function passes() {
  const found = searcher(state.query);
  return (i) => (!state.only || selection.has(i)) && found(lower[i]);
}

function update({ keepPlace = false } = {}) {
  const { of, names } = facet();
  const pass = passes();
  const sizes = new Map([[-1, 0], ...names.map((_, place) => [place, 0])]);
  const mask = new Uint8Array(SIZE);
  for (let i = 0; i < SIZE; i++) {
    if (!pass(i)) continue;
    sizes.set(of[i], sizes.get(of[i]) + 1);
    if (state.value === null || of[i] === state.value) mask[i] = 1;
  }
  chosen = [];
  for (let i = 0; i < SIZE; i++) if (mask[i]) chosen.push(i);
  if (plot) {
    plot.shown = mask;
    plot.group = of;
    plot.labels = mapLabels(mask);
    plot.selected = selection.mask;
    if (plot.current >= 0 && !mask[plot.current]) plot.current = -1;
    plot.draw();
  }
  showFacets(sizes);
  showFilters();
  showGallery(keepPlace);
}

// ---- the map

function mapLabels(mask) {
  const { names, of } = facet();
  if (state.facet === "cluster") {
    const first = new Map();
    for (const i of DATA.medoids) if (mask[i] && !first.has(of[i])) first.set(of[i], i);
    return [...first].map(([place, at]) => ({ text: names[place], place, at })).sort((a, b) => a.place - b.place);
  }
  return names.flatMap((text, place) => {
    const members = chosen.filter((i) => of[i] === place);
    return members.length ? [{ text, place, at: middle(members) }] : [];
  });
}

// The member nearest to the median position; a mean could lie between two separate parts of the group.
function middle(members) {
  const median = (values) => Float64Array.from(members, (i) => values[i]).sort()[members.length >> 1];
  const [x, y] = [median(DATA.x), median(DATA.y)];
  const far = (i) => (DATA.x[i] - x) ** 2 + (DATA.y[i] - y) ** 2;
  return members.reduce((best, i) => (far(i) < far(best) ? i : best));
}

const hand = {
  hover(index, x, y, spoken = false) {
    if (plot.current === index && index < 0) return;
    plot.current = index;
    plot.draw();
    const card = byId("hover");
    card.hidden = index < 0;
    if (index < 0) return;
    const group = nameOf(facet().of[index]);
    byId("hover-image").src = thumbnailOf(index);
    byId("hover-name").textContent = middleOut(DATA.name[index], 72);
    byId("hover-group").replaceChildren(glyph(facet().of[index]), group);
    const { offsetWidth, offsetHeight } = card;
    card.style.left = `${clamp(x + 18, 8, plot.wide - offsetWidth - 8)}px`;
    card.style.top = `${y + 18 + offsetHeight < plot.high ? y + 18 : Math.max(8, y - 18 - offsetHeight)}px`;
    if (spoken) announce(`${DATA.name[index]}, ${group}`);
  },
  open: (index) => open(index),
  group: (place) => choose(state.value === place ? null : place),
  toggle: (index) => select(index),
  select(mask, more) {
    if (!mask.includes(1)) return announce("No image in the selection");
    state.only = true;
    lassoMode(false);
    showTab("gallery");
    selection.set(mask, more);
    announce(`${count(selection.count, "image")} selected`);
  },
  clear: () => clear(),
};
const input = plot && new PlotInput(plot, hand);

function lassoMode(on) {
  input.lassoing = on;
  byId("lasso").setAttribute("aria-pressed", on);
  byId("map").classList.toggle("lassoing", on);
}

// ---- the list of groups

function showFacets(sizes) {
  const { names, of } = facet();
  const places = [...names.keys(), ...(of.includes(-1) ? [-1] : [])];
  const most = Math.max(1, ...sizes.values());
  const all = [...sizes.values()].reduce((a, b) => a + b, 0);
  const entries = places.map((place) => ({
    place,
    name: nameOf(place),
    size: sizes.get(place),
    share: sizes.get(place) / most,
    mark: glyph(place),
    tone: `tone-${tone(place)}`,
  }));
  choices.show([{ place: null, name: "All images", size: all, share: 0 }, ...entries], state.value);
}

// ---- filters

function choose(place) {
  state.value = place;
  if (PANELS[state.tab] !== "gallery") showTab("gallery");
  update();
  announce(`${place === null ? "All images" : nameOf(place)}: ${count(chosen.length, "image")}`);
}

function clear() {
  Object.assign(state, { value: null, only: false, query: "" });
  byId("search").value = "";
  update();
  announce(`All ${count(SIZE, "image")}`);
}

function showFilters() {
  const dropping = (values) => () => {
    Object.assign(state, values);
    byId("search").value = state.query;
    update();
  };
  const chips = [];
  if (state.value !== null) chips.push(chip(nameOf(state.value), glyph(state.value), dropping({ value: null })));
  if (state.only) chips.push(chip("Selected", null, dropping({ only: false })));
  if (state.query) chips.push(chip(`“${state.query}”`, null, dropping({ query: "" })));
  byId("chips").replaceChildren(...chips);
  byId("select-shown").hidden = !filtered() || state.only || !chosen.length;
  selectionBar();
}

// The selection may be a filter of the list, so that the list changes; the focus stays in it.
function selectionChanged() {
  const inside = byId("gallery").contains(document.activeElement);
  if (!selection.count) state.only = false;
  update({ keepPlace: true });
  if (inside) gallery.focus(gallery.active);
}

// ---- tabs and tools

function showTab(tab) {
  state.tab = tab;
  tabs.show(tab);
}

function tabTitles() {
  const sized = (title, size) => [title, make("span", { className: "size" }, size.toLocaleString("en"))];
  return {
    gallery: "Gallery",
    ...(DATA.outlier.some((value) => value !== null) && { outliers: "Outliers" }),
    ...(DATA.duplicates.length && { duplicates: sized("Duplicates", DATA.duplicates.length) }),
    ...(DATA.issues.length && { issues: sized("Issues", issuesOf.size) }),
    ...(byId("drift").childElementCount && { drift: "Drift" }),
    numbers: "Numbers",
  };
}

function showFacetChoice() {
  byId("facet-title").textContent = facet().title;
  for (const button of byId("facet-choice").children) {
    button.setAttribute("aria-pressed", button.dataset.facet === state.facet);
  }
}

function tools() {
  for (const [key, { title }] of Object.entries(ORDERS)) byId("order").append(make("option", { value: key }, title));
  byId("order").addEventListener("change", (event) => {
    state.order = event.target.value;
    update();
  });
  searchField(byId("search"), (query) => {
    state.query = query;
    if (PANELS[state.tab] !== "gallery") showTab("gallery");
    update();
    announce(count(chosen.length, "image"));
  });
  for (const button of byId("facet-choice").children) {
    button.addEventListener("click", () => {
      Object.assign(state, { facet: button.dataset.facet, value: null });
      showFacetChoice();
      update();
    });
  }
  selectionTools();
  byId("facet-choice").hidden = !DATA.labels.length;
  if (!plot) return;
  byId("zoom-in").addEventListener("click", () => plot.zoom(1.5));
  byId("zoom-out").addEventListener("click", () => plot.zoom(1 / 1.5));
  byId("fit").addEventListener("click", () => plot.fit(filtered() ? chosen : null));
  byId("lasso").addEventListener("click", () => lassoMode(!input.lassoing));
  plot.above.setAttribute("aria-label", byId("map-help").textContent);
  plot.above.setAttribute("role", "application");
  plot.picture = thumbnailOf;
}

for (const place of document.querySelectorAll("[data-group]")) place.prepend(glyph(Number(place.dataset.group)));
tools();
showTab("gallery");
showFacetChoice();
update();
new ResizeObserver(onceAFrame(() => showGallery(true))).observe(byId("gallery"));
