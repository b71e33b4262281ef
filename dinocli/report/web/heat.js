// Soft maps as heat maps, and as masks cut at a threshold.

const FINER = 4; // upsampling factor: a map has one value per patch and is interpolated before it is cut
const HEAT = [[0, [0, 0, 4]], [0.25, [87, 16, 110]], [0.5, [188, 55, 84]], [0.75, [249, 142, 9]], [1, [252, 255, 164]]];
const heats = new Map(); // URL -> promise of {width, height, values}

function heatColour(value) {
  const place = HEAT.findIndex(([at]) => value <= at);
  if (place <= 0) return HEAT[0][1];
  const [[low, from], [high, to]] = [HEAT[place - 1], HEAT[place]];
  return from.map((part, i) => Math.round(part + ((to[i] - part) * (value - low)) / (high - low)));
}
const HEAT_COLOURS = Array.from({ length: 256 }, (_, value) => heatColour(value / 255));

function heatOf(address) {
  if (!heats.has(address)) heats.set(address, readHeat(address));
  return heats.get(address);
}

async function readHeat(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const [width, height] = [FINER * image.naturalWidth, FINER * image.naturalHeight];
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height).data;
  return { width, height, values: Uint8Array.from({ length: width * height }, (_, i) => pixels[4 * i]) };
}

// Draw a map into a canvas; `colour(value)` returns [red, green, blue, alpha] for a value from 0 to 255.
function drawHeat(canvas, address, colour) {
  const table = Array.from({ length: 256 }, (_, value) => colour(value));
  heatOf(address).then(({ width, height, values }) => {
    const data = new ImageData(width, height);
    values.forEach((value, i) => data.data.set(table[value], 4 * i));
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").putImageData(data, 0, 0);
  });
  return canvas;
}

const heatLayer = (address) =>
  drawHeat(make("canvas", { className: "heat" }), address, (value) => [...HEAT_COLOURS[value], Math.min(255, 3 * value)]);

const cutLayer = (address, threshold, [red, green, blue]) =>
  drawHeat(make("canvas", { className: "overlay" }), address, (value) => [red, green, blue, value > 255 * threshold ? 200 : 0]);
