// The gallery of masks: filters, order, threshold and opacity of the masks.

const IMAGES = DATA.images;
const NOTHING = -1;
const LEAST = 184; // smallest width of a tile, pixels; a phone shows two per row in any case
const lower = IMAGES.map(({ name }) => name.toLowerCase());
const scored = IMAGES.some(({ score }) => score !== null);
const judged = IMAGES.some(({ verdict }) => verdict);
const heated = DATA.threshold !== null && IMAGES.some(({ heat }) => heat);
const VERDICTS = { defective: "Defective", unsure: "Unsure", good: "Good" };
const SEGMENTS = DATA.segments.length || !heated ? DATA.segments : [{ name: "anomaly", colour: [230, 30, 60] }];

// `threshold` is null for the masks as they were written.
const state = { value: null, query: "", tab: "gallery", order: scored ? DATA.order : "given", threshold: null };

// Distance of an image in units of the slider's threshold; 4 is the slope of the soft maps. Null: as it was written.
const distanceAt = (value) => 1 + Math.log(value / (1 - value)) / 4;
function distanceOf({ furthest }) {
  if (state.threshold === null || furthest === null) return null;
  const line = distanceAt(state.threshold);
  return line > 0 ? (furthest * distanceAt(DATA.threshold)) / line : Infinity;
}
function segmentsOf(image) {
  const distance = distanceOf(image);
  if (distance === null) return image.segments;
  return distance > 1 ? [image.segments[0] ?? 0] : [];
}
function verdictOf(image) {
  const distance = distanceOf(image);
  if (distance === null) return image.verdict;
  if (distance > 1 / DATA.unsureFactor && distance < DATA.unsureFactor) return "unsure";
  return distance > 1 ? "defective" : "good";
}
let chosen = [];
let tall = 1; // height / width of a picture
const has = (i, place) => {
  if (place in VERDICTS) return verdictOf(IMAGES[i]) === place;
  const segments = segmentsOf(IMAGES[i]);
  return place === NOTHING ? !segments.length : segments.includes(place);
};
const nameOf = (place) => VERDICTS[place] ?? (place === NOTHING ? "Empty mask" : SEGMENTS[place].name);

const collator = new Intl.Collator("en", { numeric: true });
const byScore = (sign) => (a, b) => {
  const [x, y] = [IMAGES[a].score, IMAGES[b].score];
  return x === null || y === null ? (x === null) - (y === null) || a - b : sign * (x - y) || a - b;
};
const marked = (i) => Math.min(1, segmentsOf(IMAGES[i]).length);
const ORDERS = {
  ...(scored && judged && {
    defective: { title: `Defective first, by ${DATA.scoreName}`, compare: (a, b) => marked(b) - marked(a) || byScore(-1)(a, b) },
  }),
  given: { title: "Original order", compare: (a, b) => a - b },
  ...(scored && {
    high: { title: `Highest ${DATA.scoreName} first`, compare: byScore(-1) },
    low: { title: `Lowest ${DATA.scoreName} first`, compare: byScore(1) },
  }),
  name: { title: "By name", compare: (a, b) => collator.compare(IMAGES[a].name, IMAGES[b].name) || a - b },
};

const gallery = new Rows(byId("gallery"));
const viewer = new Viewer(describe);
const choices = new Choices(byId("facets"), choose);
const tabs = new Tabs(byId("tabs"), { gallery: "Images", numbers: "Numbers" }, { gallery: "gallery", numbers: "numbers" }, (tab) => {
  showTab(tab);
  update();
});

function swatch(place) {
  const mark = make("span", { className: "swatch", "aria-hidden": "true" });
  if (place in VERDICTS) mark.classList.add(place);
  else if (place === NOTHING) mark.classList.add("none");
  else mark.style.backgroundColor = `rgb(${SEGMENTS[place].colour.join(" ")})`;
  return mark;
}

function update({ keepPlace = false } = {}) {
  const found = searcher(state.query);
  const all = [...IMAGES.keys()].filter((i) => found(lower[i]));
  chosen = all.filter((i) => state.value === null || has(i, state.value)).sort(ORDERS[state.order].compare);
  showChoices(all);
  showFilters();
  showGallery(keepPlace);
}

function showChoices(all) {
  const verdicts = judged ? Object.keys(VERDICTS) : [];
  const sizes = new Map([...verdicts, ...SEGMENTS.keys(), NOTHING].map((place) => [place, 0]));
  for (const i of all) {
    const [segments, verdict] = [segmentsOf(IMAGES[i]), verdictOf(IMAGES[i])];
    for (const place of segments.length ? segments : [NOTHING]) sizes.set(place, sizes.get(place) + 1);
    if (verdict) sizes.set(verdict, sizes.get(verdict) + 1);
  }
  const entries = [...sizes].map(([place, size]) => ({
    place,
    name: nameOf(place),
    size,
    share: size / Math.max(1, all.length),
    mark: swatch(place),
    tone: "tone-none",
  }));
  choices.show([{ place: null, name: "All images", size: all.length, share: 0 }, ...entries], state.value);
}

function showFilters() {
  const dropping = (values) => () => {
    Object.assign(state, values);
    byId("search").value = state.query;
    update();
  };
  const chips = [];
  if (state.value !== null) chips.push(chip(nameOf(state.value), swatch(state.value), dropping({ value: null })));
  if (state.query) chips.push(chip(`“${state.query}”`, null, dropping({ query: "" })));
  byId("chips").replaceChildren(...chips);
}

function choose(place) {
  state.value = place;
  showTab("gallery");
  update();
  announce(`${place === null ? "All images" : nameOf(place)}: ${count(chosen.length, "image")}`);
}

function showTab(tab) {
  state.tab = tab;
  tabs.show(tab);
  for (const id of ["gallery", "bar"]) byId(id).hidden = tab !== "gallery";
  byId("numbers").hidden = tab !== "numbers";
}

function showGallery(keepPlace) {
  const box = byId("gallery");
  if (box.hidden) return;
  const width = box.clientWidth - 2 * parseFloat(getComputedStyle(box).paddingLeft);
  const all = chosen.length === IMAGES.length;
  byId("count").textContent = all
    ? count(IMAGES.length, "image")
    : `${chosen.length.toLocaleString("en")} of ${count(IMAGES.length, "image")}`;
  byId("advice").hidden = !DATA.advice || chosen.length === 0 || chosen.some((i) => segmentsOf(IMAGES[i]).length);
  const where = chosen.length === 1 ? "this image" : "these images";
  byId("advice").replaceChildren(...sentence(`Nothing was found in ${where}. ${DATA.advice}`));
  const rows = tileRows(chosen, width, tile, LEAST, tall);
  gallery.set(rows.length ? rows : [headingRow(() => ["No image passes the filters."])], keepPlace);
}

// Tiles get the median aspect ratio of the first pictures, so that wide images do not waste space.
async function measure() {
  const sizes = await Promise.all(
    IMAGES.slice(0, 9).map(async ({ picture }) => {
      const image = new Image();
      image.src = picture;
      await image.decode().catch(() => null);
      return image.naturalHeight / image.naturalWidth || 1;
    }),
  );
  tall = clamp(sizes.sort((a, b) => a - b)[sizes.length >> 1] ?? 1, 0.4, 1.4);
  document.documentElement.style.setProperty("--tall", tall);
  showGallery(true);
}

// Layers over a picture, from below: heat map, mask (as written or by the threshold slider), outline of the true mask.
const layer = (src, className) => make("img", { alt: "", src, className, decoding: "async", draggable: false });

function maskLayers({ overlay, heat, segments }) {
  if (state.threshold === null || !heat) return overlay ? [layer(overlay, "overlay")] : [];
  return [cutLayer(heat, state.threshold, SEGMENTS[segments[0] ?? 0].colour)];
}

const heatLayers = ({ heat }) => (heat ? [heatLayer(heat)] : []);
const truthLayers = ({ truth }) => (truth ? [layer(truth, "truth")] : []);
const layersOf = (image) => [...heatLayers(image), ...maskLayers(image), ...truthLayers(image)];

function tile(index) {
  const { name, picture, score } = IMAGES[index];
  const segments = segmentsOf(IMAGES[index]);
  const found = segments.length ? segments.map(nameOf).join(", ") : nameOf(NOTHING);
  const words = [...(segments.length ? [] : ["empty"]), ...(score === null ? [] : [figure(score)])];
  const value = words.length ? [make("span", { className: "value" }, words.join(" · "))] : [];
  const button = make(
    "button",
    { type: "button", className: "tile", title: name, "aria-label": `${name}, ${found}` },
    make("span", { className: "picture" }, layer(picture, ""), ...layersOf(IMAGES[index])),
    make("span", { className: "caption" }, make("span", { className: "name" }, ends(name.slice(name.lastIndexOf("/") + 1))), ...value),
  );
  if (!segments.length) button.classList.add("nothing");
  button.addEventListener("click", () => viewer.open(index, chosen));
  return button;
}

function describe(index) {
  const { name, picture, overlay, original, mask, score, facts, emptyReason } = IMAGES[index];
  const segments = segmentsOf(IMAGES[index]);
  const why = IMAGES[index].segments.length ? [] : [["reason", emptyReason], ["what to try", sentence(DATA.advice)]].filter(([, text]) => text?.length);
  const found = segments.length ? segments : [NOTHING];
  const list = make("ul", { className: "found" }, ...found.map((place) => make("li", {}, swatch(place), nameOf(place))));
  const actions = mask ? [make("a", { href: mask, target: "_blank", rel: "noopener noreferrer" }, "Open the mask")] : [];
  const scores = score === null ? [] : [[DATA.scoreName, figure(score)]];
  const image = IMAGES[index];
  const moved = state.threshold !== null && image.heat;
  const layers = [...heatLayers(image), ...(moved ? maskLayers(image) : []), ...truthLayers(image)];
  const verdict = verdictOf(image) ? [["verdict", VERDICTS[verdictOf(image)]]] : [];
  return {
    name, thumbnail: picture, original, layers, actions,
    overlay: moved ? null : overlay,
    facts: [["segments", list], ...why, ...verdict, ...scores, ...facts.map(([key, value]) => [key.replaceAll("_", " "), value])],
  };
}

// Opacity of the masks: all sliders set one value; the key m hides and shows the masks.
const sliders = [...document.querySelectorAll(".opacity input")];
let opacity = Number(sliders[0].value);

function seeMasks(value) {
  document.documentElement.style.setProperty("--mask", value / 100);
  for (const slider of sliders) {
    slider.value = value;
    slider.nextElementSibling.value = `${value} %`;
  }
}

// Cut the soft maps at a threshold, as `dinocli segment --from FOLDER --threshold VALUE` does; null: masks as written.
function cutAt(value) {
  state.threshold = value;
  byId("threshold").value = value ?? DATA.threshold;
  byId("threshold-value").value = value === null ? "as written" : value.toFixed(2);
  byId("threshold-reset").hidden = value === null;
  update({ keepPlace: true });
  if (byId("viewer").open) viewer.show(viewer.index);
}

function heatTools() {
  for (const element of document.querySelectorAll(".heat-tool")) element.hidden = !heated;
  if (!heated) return;
  const cut = onceAFrame(() => cutAt(Number(byId("threshold").value)));
  byId("threshold").addEventListener("input", cut);
  byId("threshold-reset").addEventListener("click", () => cutAt(null));
  byId("heat").addEventListener("input", ({ target }) => {
    document.documentElement.style.setProperty("--heat", target.value / 100);
  });
  cutAt(null);
}

function tools() {
  for (const [key, { title }] of Object.entries(ORDERS)) byId("order").append(make("option", { value: key }, title));
  byId("order").value = state.order;
  byId("order").addEventListener("change", (event) => {
    state.order = event.target.value;
    update();
  });
  searchField(byId("search"), (query) => {
    state.query = query;
    showTab("gallery");
    update();
    announce(count(chosen.length, "image"));
  });
  for (const slider of sliders) {
    slider.addEventListener("input", () => {
      opacity = Number(slider.value);
      seeMasks(opacity);
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key !== "m" || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], select")) return;
    seeMasks(Number(sliders[0].value) ? 0 : opacity || 65);
  });
}

tools();
seeMasks(opacity);
showTab("gallery");
update();
heatTools();
measure();
new ResizeObserver(onceAFrame(() => showGallery(true))).observe(byId("gallery"));
