// Rasterized point shapes: drawn once, then copied pixel by pixel.

// Convert #rrggbb to 0xAABBGGRR, the memory layout of canvas pixels.
function pixel(hex) {
  const value = parseInt(hex.slice(1), 16);
  return (0xff000000 | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

function stamp(pixels, centre, { offsets, covers }, colour) {
  const redBlue = colour & 0xff00ff;
  const green = colour & 0xff00;
  for (let k = 0; k < offsets.length; k++) {
    const at = centre + offsets[k];
    const cover = covers[k];
    if (cover === 256) {
      pixels[at] = colour;
      continue;
    }
    const below = pixels[at];
    const rest = 256 - cover;
    const rb = (((below & 0xff00ff) * rest + redBlue * cover) / 256) & 0xff00ff;
    const g = (((below & 0xff00) * rest + green * cover) / 256) & 0xff00;
    pixels[at] = (0xff000000 | rb | g) >>> 0;
  }
}

// Rasterize each shape: pixel offsets from its centre, and coverage of each pixel, 0-256. Large shapes get a rim of
// the background colour, which separates neighbours. `ring` marks selected points.
function makeStamps(radius, ratio, pad, wide) {
  const found = [...SHAPES, NO_SHAPE].map((path) => {
    const outline = new Path2D(path);
    const core = drawn(radius, pad, wide, (context) => context.fill(outline));
    if (radius < 2.2 * ratio) return { core };
    const rim = drawn(radius, pad, wide, (context) => {
      context.fill(outline);
      context.lineWidth = (1.2 * ratio) / radius;
      context.lineJoin = "round";
      context.stroke(outline);
    });
    return { core, rim };
  });
  found.ring = drawn(1, pad, wide, (context) => {
    context.lineWidth = 1.25 * ratio;
    context.beginPath();
    context.arc(0, 0, radius + 1.25 * ratio, 0, 2 * Math.PI);
    context.stroke();
  });
  return found;
}

function drawn(scale, pad, wide, draw) {
  const side = 2 * pad + 1;
  const context = make("canvas", { width: side, height: side }).getContext("2d", { willReadFrequently: true });
  context.translate(pad + 0.5, pad + 0.5);
  context.scale(scale, scale);
  draw(context);
  const { data } = context.getImageData(0, 0, side, side);
  const offsets = [];
  const covers = [];
  for (let p = 0; p < side * side; p++) {
    const cover = data[4 * p + 3];
    if (cover < 8) continue;
    offsets.push((Math.floor(p / side) - pad) * wide + (p % side) - pad);
    covers.push(cover > 247 ? 256 : cover);
  }
  return { offsets: Int32Array.from(offsets), covers: Int32Array.from(covers) };
}
