// The map: points painted into a pixel buffer, a few milliseconds for 50,000 points, with or without a GPU. Names,
// thumbnails and the lasso are on a second canvas above it.

const MOST_RINGS = 4000; // up to this many selected points get rings; more are painted black, which is faster

class Plot {
  // xs, ys: coordinates, y upwards. labels: list of {text, place, at}.
  constructor(box, xs, ys) {
    this.box = box;
    this.xs = xs;
    this.ys = ys;
    this.size = xs.length;
    this.extent = bounds(xs.keys(), xs, ys);
    this.shown = new Uint8Array(this.size).fill(1);
    this.selected = new Uint8Array(this.size);
    this.group = new Int32Array(this.size).fill(-1);
    this.labels = [];
    this.lasso = [];
    this.thumbnails = [];
    this.labelBoxes = [];
    this.taken = [];
    this.current = -1;
    this.pictures = new Map();
    this.order = shuffled(this.size);
    this.points = make("canvas", { className: "points" });
    this.above = make("canvas", { className: "above", tabIndex: 0 });
    box.prepend(this.points, this.above);
    this.scale = 0;
    this.draw = onceAFrame(() => this.paint());
    new ResizeObserver(() => this.resize()).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
    this.recolour();
    this.resize();
  }

  recolour() {
    const css = getComputedStyle(document.documentElement);
    const value = (name) => css.getPropertyValue(name).trim();
    this.paper = value("--paper");
    this.ink = value("--ink");
    this.font = `600 12px ${getComputedStyle(document.body).fontFamily}`;
    this.tones = [...Array(TONES).keys(), "none"].map((name) => value(`--tone-${name}`));
    this.pixelTones = [...this.tones, value("--faint"), this.paper].map(pixel);
    this.draw();
  }

  resize() {
    const { clientWidth, clientHeight } = this.box;
    if (!clientWidth || !clientHeight) return;
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    const before = [this.wide, this.high];
    this.wide = clientWidth;
    this.high = clientHeight;
    for (const canvas of [this.points, this.above]) {
      canvas.width = Math.round(clientWidth * this.ratio);
      canvas.height = Math.round(clientHeight * this.ratio);
    }
    this.buffer = null;
    this.taken = [...this.box.children].filter((one) => one.matches(".tools, .hint, .method")).map(boxOf);
    if (!this.scale || this.fitted) this.fit();
    else {
      this.left += (this.wide - before[0]) / 2;
      this.top += (this.high - before[1]) / 2;
      this.draw();
    }
  }

  // Fit the view to these points, or to all.
  fit(indices) {
    const room = Math.min(48, this.wide / 10, this.high / 10);
    const scale = ([west, south, east, north]) =>
      Math.min((this.wide - 2 * room) / (east - west || 1), (this.high - 2 * room) / (north - south || 1));
    const box = indices?.length ? bounds(indices, this.xs, this.ys) : this.extent;
    this.whole = scale(this.extent);
    this.scale = Math.min(scale(box), 40 * this.whole);
    this.left = this.wide / 2 - (this.scale * (box[0] + box[2])) / 2;
    this.top = this.high / 2 + (this.scale * (box[1] + box[3])) / 2;
    this.fitted = box === this.extent;
    this.draw();
  }

  across(index) {
    return this.left + this.scale * this.xs[index];
  }

  down(index) {
    return this.top - this.scale * this.ys[index];
  }

  zoom(factor, x = this.wide / 2, y = this.high / 2) {
    const most = clamp(Math.sqrt(this.size), 20, 300); // largest zoom: thumbnails of neighbours do not overlap
    const scale = clamp(this.scale * factor, this.whole / 2, this.whole * most);
    const real = scale / this.scale;
    this.left = x - (x - this.left) * real;
    this.top = y - (y - this.top) * real;
    this.scale = scale;
    this.fitted = false;
    this.draw();
  }

  pan(x, y) {
    const [west, south, east, north] = this.extent.map((value) => this.scale * value);
    this.left = clamp(this.left + x, 40 - east, this.wide - 40 - west);
    this.top = clamp(this.top + y, 40 + south, this.high - 40 + north);
    this.fitted = false;
    this.draw();
  }

  // Move the view so that a point is visible; no movement if it is.
  reveal(index) {
    const x = this.across(index);
    const y = this.down(index);
    const edge = Math.min(60, this.wide / 4, this.high / 4);
    this.left += clamp(x, edge, this.wide - edge) - x;
    this.top += clamp(y, edge, this.high - edge) - y;
    this.fitted = false;
    this.draw();
  }

  // Radius of points, pixels; grows slowly with the zoom.
  get radius() {
    const base = clamp(0.17 * Math.sqrt((this.wide * this.high) / this.size), 1.4, 4.5);
    return clamp(base * Math.pow(Math.max(1, this.scale / this.whole), 0.3), base, Math.max(6, base));
  }

  // The shown point nearest to (x, y), at most `within` pixels away, or -1.
  nearest(x, y, within) {
    const { xs, ys, shown, scale, left, top } = this;
    let best = -1;
    let least = within * within;
    for (let i = 0; i < this.size; i++) {
      if (!shown[i]) continue;
      const dx = left + scale * xs[i] - x;
      const dy = top - scale * ys[i] - y;
      const far = dx * dx + dy * dy;
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  // The next shown point in the direction (dx, dy), within 45 degrees of it, or -1.
  toward(from, dx, dy) {
    let best = -1;
    let least = Infinity;
    for (let i = 0; i < this.size; i++) {
      if (!this.shown[i] || i === from) continue;
      const x = this.scale * (this.xs[i] - this.xs[from]);
      const y = -this.scale * (this.ys[i] - this.ys[from]);
      const ahead = x * dx + y * dy;
      const aside = Math.abs(x * dy - y * dx);
      const far = ahead + 2 * aside;
      if (ahead > 0 && aside <= ahead && far < least) [best, least] = [i, far];
    }
    return best;
  }

  inside(polygon) {
    const found = new Uint8Array(this.size);
    const [west, north, east, south] = bounds(polygon.keys(), polygon.map((p) => p[0]), polygon.map((p) => p[1]));
    for (let i = 0; i < this.size; i++) {
      const x = this.across(i);
      const y = this.down(i);
      if (x >= west && x <= east && y >= north && y <= south && this.shown[i] && within(x, y, polygon)) found[i] = 1;
    }
    return found;
  }

  paint() {
    if (!this.scale) return;
    const start = performance.now();
    this.paintPoints();
    this.paintAbove();
    this.milliseconds = performance.now() - start;
  }

  paintPoints() {
    const context = this.points.getContext("2d", { alpha: false });
    const radius = this.radius * this.ratio;
    const pad = Math.ceil(radius * 1.5 + 3 * this.ratio) + 1;
    const wide = this.points.width + 2 * pad;
    const high = this.points.height + 2 * pad;
    if (this.buffer?.width !== wide || this.buffer.height !== high) this.buffer = context.createImageData(wide, high);
    const pixels = new Uint32Array(this.buffer.data.buffer);
    const paper = this.pixelTones[TONES + 2];
    pixels.fill(paper);
    const key = `${radius} ${wide}`;
    if (this.stampKey !== key) this.stamps = makeStamps(radius, this.ratio, pad, wide);
    this.stampKey = key;
    const { stamps } = this;
    const dim = this.pixelTones[TONES + 1];
    const some = this.shown.includes(0);
    const scale = this.scale * this.ratio;
    const left = this.left * this.ratio;
    const top = this.top * this.ratio;
    const { xs, ys, shown, group, order, selected } = this;
    const ink = pixel(this.ink);
    const many = selected.reduce((sum, one) => sum + one, 0) > MOST_RINGS;
    for (const turn of some ? [0, 1] : [1]) {
      for (let k = 0; k < order.length; k++) {
        const i = order[k];
        if (shown[i] !== turn) continue;
        const x = Math.round(left + scale * xs[i]) + pad;
        const y = Math.round(top - scale * ys[i]) + pad;
        if (x < pad - radius || y < pad - radius || x > wide - pad + radius || y > high - pad + radius) continue;
        const place = group[i];
        const tone = turn ? this.pixelTones[place < 0 ? TONES : place % TONES] : dim;
        const colour = many && selected[i] ? ink : tone;
        const { core, rim } = stamps[place < 0 ? SHAPES.length : place % SHAPES.length];
        if (rim && turn) stamp(pixels, y * wide + x, rim, paper);
        stamp(pixels, y * wide + x, core, colour);
      }
    }
    if (!many) this.paintRings(pixels, pad, wide, high);
    context.putImageData(this.buffer, -pad, -pad);
  }

  paintRings(pixels, pad, wide, high) {
    const { xs, ys, selected, order } = this;
    const ink = pixel(this.ink);
    for (const i of order) {
      if (!selected[i]) continue;
      const x = Math.round(this.ratio * (this.left + this.scale * xs[i])) + pad;
      const y = Math.round(this.ratio * (this.top - this.scale * ys[i])) + pad;
      if (x >= pad && y >= pad && x < wide - pad && y < high - pad) stamp(pixels, y * wide + x, this.stamps.ring, ink);
    }
  }

  paintAbove() {
    const context = this.above.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.wide, this.high);
    this.paintThumbnails(context);
    this.paintCurrent(context);
    this.paintLabels(context);
    this.paintLasso(context);
  }

  // At high zoom, draw thumbnails that do not overlap in place of points.
  paintThumbnails(context) {
    this.thumbnails = [];
    if (!this.picture || this.scale < 2 * this.whole) return;
    const seen = [];
    for (let i = 0; i < this.size && seen.length <= 400; i++) {
      if (!this.shown[i]) continue;
      const x = this.across(i);
      const y = this.down(i);
      if (x > -20 && y > -20 && x < this.wide + 20 && y < this.high + 20) seen.push([i, x, y]);
    }
    if (seen.length > 400) return;
    const side = 44;
    for (const [i, x, y] of seen) {
      if (this.thumbnails.some(([, a, b]) => Math.abs(a - x) < side + 4 && Math.abs(b - y) < side + 4)) continue;
      const image = this.loaded(i);
      if (!image) continue;
      this.thumbnails.push([i, x, y]);
      const part = side / Math.max(image.naturalWidth, image.naturalHeight);
      const [w, h] = [image.naturalWidth * part, image.naturalHeight * part];
      const place = this.group[i];
      context.fillStyle = this.tones[place < 0 ? TONES : place % TONES];
      const frame = this.selected[i] ? 5 : 2;
      if (this.selected[i]) context.fillStyle = this.ink;
      context.fillRect(x - w / 2 - frame, y - h / 2 - frame, w + 2 * frame, h + 2 * frame);
      context.drawImage(image, x - w / 2, y - h / 2, w, h);
    }
  }

  loaded(index) {
    let image = this.pictures.get(index);
    if (!image) {
      if (this.pictures.size > 1000) this.pictures.delete(this.pictures.keys().next().value);
      image = new Image();
      image.onload = this.draw;
      image.src = this.picture(index);
      this.pictures.set(index, image);
    }
    return image.complete && image.naturalWidth ? image : null;
  }

  paintCurrent(context) {
    if (this.current < 0) return;
    const x = this.across(this.current);
    const y = this.down(this.current);
    const half = this.thumbnails.some(([i]) => i === this.current) ? 26 : this.radius + 4;
    for (const [width, colour] of [[5, this.paper], [2, this.ink]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      if (half === 26) context.rect(x - half, y - half, 2 * half, 2 * half);
      else context.arc(x, y, half, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  paintLabels(context) {
    context.font = this.font;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    for (const label of this.labels) label.width ??= context.measureText(label.text).width;
    this.labelBoxes = placeLabels(this, this.resting());
    for (const { from, to } of this.labelBoxes) {
      for (const [width, colour] of [[4, this.paper], [1, this.ink]]) {
        context.lineWidth = width;
        context.strokeStyle = colour;
        context.beginPath();
        context.moveTo(...from);
        context.lineTo(...to);
        context.stroke();
      }
    }
    for (const { text, from, box } of this.labelBoxes) {
      const [x, y] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
      context.fillStyle = this.ink;
      context.beginPath();
      context.arc(...from, 2, 0, 2 * Math.PI);
      context.fill();
      context.lineWidth = 4;
      context.strokeStyle = this.paper;
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    }
  }

  // While the map moves, names keep their offsets; 150 ms after, return true once to place them again.
  resting() {
    const view = `${this.scale} ${this.left} ${this.top} ${this.wide} ${this.high}`;
    if (view === this.view) {
      const first = !this.settled;
      this.settled = true;
      return first;
    }
    this.view = view;
    this.settled = false;
    clearTimeout(this.rest);
    this.rest = setTimeout(this.draw, 150);
    return false;
  }

  paintLasso(context) {
    if (this.lasso.length < 2) return;
    context.beginPath();
    for (const [x, y] of this.lasso) context.lineTo(x, y);
    context.closePath();
    context.globalAlpha = 0.1;
    context.fillStyle = this.ink;
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 1.5;
    context.strokeStyle = this.ink;
    context.stroke();
  }

  labelAt(x, y) {
    return this.labelBoxes.find(({ box }) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]);
  }
}
