// Placement of group names beside the points, each with a line to the medoid of its group.

const CELL = 6;
const MOST_LABELS = 40; // number of distinct combinations of colour and shape
const AWAY = [16, 26, 38, 52, 70, 92, 118, 148, 184, 224, 270];
const TURNS = 24;
const HIDDEN_POINT = 60; // cost of a point under a name, in pixels of line length
const FAR = 0.3; // greatest length of a line, in widths of the map: zooming in gives room to the names that are left out
const STAY = 12; // least gain of a new place, pixels, so that names do not jump while the map moves

// -> [{text, place, from: [x, y] of the image, to: [x, y] at the name, box: [left, top, right, bottom]}]
// Names keep their places unless `search` is set.
function placeLabels(plot, search) {
  const open = search || plot.labels.some((label) => !label.offset);
  const crowd = open ? crowdOf(plot) : () => 0;
  const placed = [];
  for (const label of plot.labels) {
    const from = [plot.across(label.at), plot.down(label.at)];
    if (from[0] < 0 || from[1] < 0 || from[0] > plot.wide || from[1] > plot.high) continue;
    const best = bestPlace(plot, label, from, crowd, placed, search);
    if (!best) continue;
    label.offset = best.offset;
    placed.push({ text: label.text, place: label.place, from, ...best });
    if (placed.length === MOST_LABELS) break;
  }
  return placed;
}

function bestPlace(plot, label, from, crowd, placed, search) {
  let best = null;
  for (const [offset, away, bonus] of offsets(label, search)) {
    const box = boxAround(from[0] + offset[0], from[1] + offset[1], label.width);
    if (box[0] < 2 || box[1] < 2 || box[2] > plot.wide - 2 || box[3] > plot.high - 2) continue;
    if (best && away - bonus >= best.cost) continue;
    if (plot.taken.some((other) => overlap(box, other)) || placed.some((other) => overlap(box, other.box))) continue;
    const to = [clamp(from[0], box[0] + 4, box[2] - 4), clamp(from[1], box[1] + 4, box[3] - 4)];
    if (away > FAR * plot.wide) continue;
    if (placed.some((other) => crosses(from, to, other.box) || crosses(other.from, other.to, box))) continue;
    const cost = away - bonus + HIDDEN_POINT * crowd(box);
    if (!best || cost < best.cost) best = { cost, offset, to, box };
  }
  return best;
}

// Candidates [[dx, dy], distance in pixels, bonus]; the current place comes first.
function* offsets(label, search) {
  if (label.offset) yield [label.offset, Math.hypot(...label.offset), STAY];
  if (label.offset && !search) return;
  for (const away of AWAY) {
    for (let turn = 0; turn < TURNS; turn++) {
      const angle = (2 * Math.PI * turn) / TURNS;
      const x = Math.cos(angle) * (away + label.width / 2); // names are wide and low
      yield [[x, Math.sin(angle) * (away + 10)], away, 0];
    }
  }
}

// Return a function that counts the points in a box of the screen, by a summed-area table.
function crowdOf({ xs, ys, size, shown, scale, left, top, wide, high, radius }) {
  const across = Math.ceil(wide / CELL) + 1;
  const down = Math.ceil(high / CELL) + 1;
  const sums = new Int32Array(across * down);
  for (let i = 0; i < size; i++) {
    const column = Math.floor((left + scale * xs[i]) / CELL) + 1;
    const row = Math.floor((top - scale * ys[i]) / CELL) + 1;
    if (shown[i] && column > 0 && row > 0 && column < across && row < down) sums[row * across + column]++;
  }
  for (let row = 1; row < down; row++) {
    for (let at = row * across + 1, line = 0; at < (row + 1) * across; at++) {
      line += sums[at];
      sums[at] = line + sums[at - across];
    }
  }
  const cell = (value, most) => clamp(Math.ceil(value / CELL), 0, most - 1);
  return ([west, north, east, south]) => {
    const [a, b] = [cell(west - radius - CELL, across), cell(east + radius, across)];
    const [c, d] = [cell(north - radius - CELL, down) * across, cell(south + radius, down) * across];
    return sums[d + b] - sums[d + a] - sums[c + b] + sums[c + a];
  };
}

function boxAround(x, y, width) {
  return [x - width / 2 - 3, y - 9, x + width / 2 + 3, y + 9];
}

function boxOf({ offsetLeft, offsetTop, offsetWidth, offsetHeight }) {
  return [offsetLeft, offsetTop, offsetLeft + offsetWidth, offsetTop + offsetHeight];
}

function overlap(a, b) {
  return a[0] < b[2] && a[2] > b[0] && a[1] < b[3] && a[3] > b[1];
}

function crosses(from, to, box) {
  for (let part = 0; part <= 8; part++) {
    const x = from[0] + ((to[0] - from[0]) * part) / 8;
    const y = from[1] + ((to[1] - from[1]) * part) / 8;
    if (x > box[0] && x < box[2] && y > box[1] && y < box[3]) return true;
  }
  return false;
}
