// Duplicates of the map page: groups of exact copies, then of near-copies, each with the file to keep first.

const COMPARED = 200; // smallest width of a tile, pixels: wide enough to compare two images
const isExact = ({ identical }) => identical.every(Boolean);
const exactFirst = DATA.duplicates.slice().sort((a, b) => isExact(b) - isExact(a));
const groupOf = new Map(exactFirst.flatMap((group) => group.images.map((index) => [index, group])));

function duplicateRows(width) {
  const pass = new Set(chosen);
  const groups = exactFirst.filter(({ images }) => images.some((index) => pass.has(index)));
  const rows = [
    ...groupRowsOf("Exact copies", groups.filter(isExact), width),
    ...groupRowsOf("Near-copies", groups.filter((group) => !isExact(group)), width),
  ];
  return [rows, filtered() ? `${count(groups.length, "group")} of ${DATA.duplicates.length.toLocaleString("en")}` : count(groups.length, "group")];
}

function groupRowsOf(title, groups, width) {
  if (!groups.length) return [];
  const heading = headingRow(() => {
    const others = make("button", { type: "button", className: "quiet" }, "Select all but those to keep");
    others.addEventListener("click", () => selectOthers(groups));
    return [make("h3", {}, `${title}: ${count(groups.length, "group")}`), others];
  });
  const rows = groups.flatMap((group) => [
    caption(count(group.images.length, "image")),
    ...tileRows(group.images, width, (index) => tileButton(index, `${likeness(group, index)} · ${shortened(DATA.name[index], 14)}`), COMPARED),
  ]);
  return [heading, ...rows];
}

// What an image is to the file to keep: the cosine is missing where only other images connect the two.
function likeness({ images, identical, cosines }, index) {
  const place = images.indexOf(index);
  if (place === 0) return "keep";
  if (identical[place]) return "identical";
  return cosines[place] === null ? "linked" : `cosine ${cosines[place].toFixed(3)}`;
}

function selectOthers(groups) {
  const mask = new Uint8Array(SIZE);
  for (const { images } of groups) for (const index of images.slice(1)) mask[index] = 1;
  selection.set(mask, true);
  announce(`${count(selection.count, "image")} selected`);
}
