// Image issues of the map page, by kind: dark, blurred, odd size ...

const issuesOf = new Map(); // image -> titles of its issues
for (const { title, images } of DATA.issues) {
  for (const index of images) issuesOf.set(index, [...(issuesOf.get(index) ?? []), title]);
}

function issueRows(width) {
  const pass = new Set(chosen);
  const rows = DATA.issues.flatMap(({ title, measure, usual, images, values }) => {
    const shown = images.filter((index) => pass.has(index));
    if (!shown.length) return [];
    const tile = (index) => tileButton(index, measure ? figure(values[images.indexOf(index)]) : undefined);
    return [
      headingRow(() => [make("h3", {}, `${title}: ${count(shown.length, "image")}`)]),
      ...(measure ? [caption(`${measure}, usually ${figure(usual)}`)] : []),
      ...tileRows(shown, width, tile),
    ];
  });
  const found = chosen.filter((index) => issuesOf.has(index)).length;
  return [rows, filtered() ? `${count(found, "image")} of ${issuesOf.size.toLocaleString("en")}` : count(found, "image")];
}
