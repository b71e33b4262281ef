// Gallery of the map page: groups with typical and border images, outliers.

function tileButton(index, caption) {
  const image = make("img", { alt: "", src: thumbnailOf(index), decoding: "async", draggable: false });
  const place = facet().of[index];
  const button = make(
    "button",
    {
      type: "button",
      className: selection.has(index) ? "tile selected" : "tile",
      title: DATA.name[index],
      "aria-label": `${DATA.name[index]}, ${nameOf(place)}${selection.has(index) ? ", selected" : ""}`,
    },
    make("span", { className: "picture" }, image, make("span", { className: "check" })),
    make("span", { className: "caption" }, glyph(place), caption ?? shortened(DATA.name[index], 14)),
  );
  button.dataset.index = index;
  button.addEventListener("click", (event) => {
    if (adds(event) || event.target.matches(".check")) select(index);
    else open(index);
  });
  button.addEventListener("pointerenter", () => mark(index));
  button.addEventListener("focus", () => mark(index));
  button.addEventListener("pointerleave", () => mark(-1));
  return button;
}

function mark(index) {
  if (!plot) return;
  plot.current = index;
  plot.draw();
}

function showGallery(keepPlace) {
  const box = byId("gallery");
  for (const panel of ["gallery", "numbers", "drift"]) byId(panel).hidden = PANELS[state.tab] !== panel;
  byId("bar").hidden = box.hidden;
  if (box.hidden) return;
  byId("order").parentElement.hidden = state.tab !== "gallery";
  const width = box.clientWidth - 2 * parseFloat(getComputedStyle(box).paddingLeft);
  const [rows, counted] = ({ duplicates: duplicateRows, issues: issueRows }[state.tab] ?? imageRows)(width);
  byId("count").textContent = counted;
  const nothing = `No ${state.tab === "duplicates" ? "group" : "image"} passes the filters.`;
  gallery.set(rows.length ? rows : [headingRow(() => [nothing])], keepPlace);
}

function imageRows(width) {
  const order = ORDERS[state.tab === "outliers" ? "odd" : state.order];
  chosen.sort(order.compare);
  const caption = order.caption;
  const tile = (index) => tileButton(index, caption && figure(caption[index]));
  const images = filtered() ? `${count(chosen.length, "image")} of ${SIZE.toLocaleString("en")}` : count(SIZE, "image");
  const counted = state.tab === "outliers" ? `${images}, standard deviations above the median` : images;
  const grouped = state.tab === "gallery" && state.order === "typical" && state.facet === "cluster";
  if (grouped && !filtered()) return [overview(width, tile), counted];
  if (grouped && state.value !== null && state.value >= 0 && chosen.length > 12) return [groupRows(width, tile), counted];
  return [tileRows(chosen, width, tile), counted];
}

// For each group, a row of typical images and a row of border images.
function overview(width, tile) {
  const { names, of } = facet();
  const members = new Map([...names.keys(), -1].map((place) => [place, []]));
  for (const i of chosen) members.get(of[i]).push(i);
  return [...members].flatMap(([place, images]) => {
    if (!images.length) return [];
    const heading = headingRow(() => {
      const all = make("button", { type: "button", className: "quiet" }, `Show all ${images.length.toLocaleString("en")}`);
      all.addEventListener("click", () => choose(place));
      return [glyph(place), make("h3", {}, ends(nameOf(place))), all];
    });
    const [typical] = tileRows(medoidsFirst(images), width, tile);
    const [border] = tileRows(bordering(images, typical.cells), width, tile);
    if (place < 0 || images.length <= 2 * typical.cells) return [heading, ...tileRows(images, width, tile).slice(0, 2)];
    return [heading, caption("Typical"), typical, caption("At the border"), border];
  });
}

function groupRows(width, tile) {
  const typical = tileRows(medoidsFirst(chosen), width, tile).slice(0, 1);
  const border = tileRows(bordering(chosen, typical.length ? typical[0].cells : 0), width, tile).slice(0, 1);
  return [
    caption("Typical"),
    ...typical,
    ...(border.length ? [caption("At the border")] : []),
    ...border,
    caption("All, most typical first"),
    ...tileRows(chosen, width, tile),
  ];
}

// Those nearest to another group, without the typical ones that are shown: between two groups both can be one image.
function bordering(images, typical) {
  return medoidsFirst(images).slice(typical).sort(ORDERS.border.compare);
}

function medoidsFirst(images) {
  return [...images.filter((i) => medoids.has(i)), ...images.filter((i) => !medoids.has(i))];
}

function caption(text) {
  return { height: 24, cells: 0, build: () => make("div", { className: "subheading" }, text) };
}
