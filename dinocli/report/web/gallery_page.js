// The gallery of masks: what is chosen, and how much of the masks is seen.

const IMAGES = DATA.images;
const NOTHING = -1;
const LEAST = 184; // pixels of a tile; on a phone there are two in a row all the same
const lower = IMAGES.map(({ name }) => name.toLowerCase());
const scored = IMAGES.some(({ score }) => score !== null);

const state = { value: null, query: "", tab: "gallery", order: "given" };
let chosen = [];
let tall = 1; // height of a picture by its width
const has = (i, place) => (place === NOTHING ? !IMAGES[i].segments.length : IMAGES[i].segments.includes(place));
const nameOf = (place) => (place === NOTHING ? "Nothing here" : DATA.segments[place].name);

const collator = new Intl.Collator("en", { numeric: true });
const byScore = (sign) => (a, b) => {
  const [x, y] = [IMAGES[a].score, IMAGES[b].score];
  return x === null || y === null ? (x === null) - (y === null) || a - b : sign * (x - y) || a - b;
};
const ORDERS = {
  given: { title: "In their order", compare: (a, b) => a - b },
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
  if (place === NOTHING) mark.classList.add("none");
  else mark.style.backgroundColor = `rgb(${DATA.segments[place].colour.join(" ")})`;
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
  const sizes = new Map([...DATA.segments.keys(), NOTHING].map((place) => [place, 0]));
  for (const i of all) {
    for (const place of IMAGES[i].segments.length ? IMAGES[i].segments : [NOTHING]) sizes.set(place, sizes.get(place) + 1);
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
  const rows = tileRows(chosen, width, tile, LEAST, tall);
  gallery.set(rows.length ? rows : [headingRow(() => ["No image passes the filters."])], keepPlace);
}

// Tiles take the usual proportions of the pictures: wide images are not to leave half of the page empty.
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

function tile(index) {
  const { name, picture, overlay, score, segments } = IMAGES[index];
  const layer = (src, className) => make("img", { alt: "", src, className, decoding: "async", draggable: false });
  const found = segments.length ? segments.map(nameOf).join(", ") : nameOf(NOTHING);
  const value = score === null ? [] : [make("span", { className: "value" }, figure(score))];
  const button = make(
    "button",
    { type: "button", className: "tile", title: name, "aria-label": `${name}, ${found}` },
    make("span", { className: "picture" }, layer(picture, ""), ...(overlay ? [layer(overlay, "overlay")] : [])),
    make("span", { className: "caption" }, make("span", { className: "name" }, shortened(name, 18)), ...value),
  );
  if (!segments.length) button.classList.add("nothing");
  button.addEventListener("click", () => viewer.open(index, chosen));
  return button;
}

function describe(index) {
  const { name, picture, overlay, original, mask, score, segments, facts } = IMAGES[index];
  const found = segments.length ? segments : [NOTHING];
  const list = make("ul", { className: "found" }, ...found.map((place) => make("li", {}, swatch(place), nameOf(place))));
  const actions = mask ? [make("a", { href: mask, target: "_blank", rel: "noopener noreferrer" }, "Open the mask")] : [];
  const scores = score === null ? [] : [[DATA.scoreName, figure(score)]];
  return { name, thumbnail: picture, original, overlay, facts: [["segments", list], ...scores, ...facts], actions };
}

// How much of the masks is seen: one value, whichever slider sets it; the key m puts them away and back.
const sliders = [...document.querySelectorAll(".opacity input")];
let opacity = Number(sliders[0].value);

function seeMasks(value) {
  document.documentElement.style.setProperty("--mask", value / 100);
  for (const slider of sliders) {
    slider.value = value;
    slider.nextElementSibling.value = `${value} %`;
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
measure();
new ResizeObserver(onceAFrame(() => showGallery(true))).observe(byId("gallery"));
