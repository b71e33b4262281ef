// Points and polygons, as columns of numbers.

// Bounding box: [min x, min y, max x, max y]
function bounds(indices, xs, ys) {
  let [left, low, right, high] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const i of indices) {
    if (xs[i] < left) left = xs[i];
    if (xs[i] > right) right = xs[i];
    if (ys[i] < low) low = ys[i];
    if (ys[i] > high) high = ys[i];
  }
  return [left, low, right, high];
}

function within(x, y, polygon) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i];
    const [bx, by] = polygon[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

// Fixed pseudo-random order of drawing, so that no group hides another.
function shuffled(size) {
  const order = Int32Array.from({ length: size }, (_, i) => i);
  let state = 1;
  for (let i = size - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 4294967296) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
