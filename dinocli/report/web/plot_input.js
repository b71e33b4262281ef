// Input on the map: mouse, touch and keyboard. The page handles the events: `on` has the functions
// hover(index, x, y), open(index), toggle(index), group(place), select(mask, more), clear().

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const adds = (event) => event.ctrlKey || event.metaKey;

class PlotInput {
  constructor(plot, on) {
    this.plot = plot;
    this.on = on;
    this.fingers = new Map();
    this.lassoing = false;
    const { above } = plot;
    above.addEventListener("pointerdown", (event) => this.press(event));
    above.addEventListener("pointermove", (event) => this.move(event));
    above.addEventListener("pointerup", (event) => this.release(event));
    above.addEventListener("pointercancel", (event) => this.cancel(event));
    above.addEventListener("pointerleave", () => this.fingers.size || on.hover(-1));
    above.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    above.addEventListener("keydown", (event) => this.key(event));
    above.addEventListener("blur", () => on.hover(-1));
  }

  place(event) {
    const box = this.plot.above.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    if (event.button !== 0) return;
    this.plot.box.classList.add("known");
    this.plot.above.setPointerCapture(event.pointerId);
    const place = this.place(event);
    this.fingers.set(event.pointerId, place);
    this.travelled = this.fingers.size > 1 ? Infinity : 0;
    this.drawing = this.fingers.size === 1 && (this.lassoing || event.shiftKey);
    this.plot.lasso = this.drawing ? [place] : [];
    if (this.fingers.size > 1) this.plot.draw();
  }

  move(event) {
    const [x, y] = this.place(event);
    const before = this.fingers.get(event.pointerId);
    if (!before) {
      this.look(x, y);
      return;
    }
    const step = Math.hypot(x - before[0], y - before[1]);
    this.travelled += step;
    if (this.travelled < 4) return;
    if (this.drawing) {
      this.plot.lasso.push([x, y]);
      this.plot.draw();
    } else if (this.fingers.size === 2) this.pinch(event.pointerId, before, [x, y]);
    else this.plot.pan(x - before[0], y - before[1]);
    this.fingers.set(event.pointerId, [x, y]);
    this.on.hover(-1);
  }

  look(x, y) {
    const label = this.plot.labelAt(x, y);
    const found = label ? -1 : this.find(x, y);
    this.plot.above.classList.toggle("pointing", Boolean(label) || found >= 0);
    this.on.hover(found, x, y);
  }

  // Thumbnails are hit anywhere on them, points within 14 pixels.
  find(x, y) {
    const hit = this.plot.thumbnails.findLast(([, a, b]) => Math.abs(a - x) <= 24 && Math.abs(b - y) <= 24);
    return hit ? hit[0] : this.plot.nearest(x, y, 14);
  }

  pinch(id, before, now) {
    const [other] = [...this.fingers].find(([key]) => key !== id).slice(1);
    const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
    this.plot.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    this.plot.zoom(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }

  release(event) {
    if (!this.fingers.delete(event.pointerId)) return;
    const [x, y] = this.place(event);
    const { lasso } = this.plot;
    this.plot.lasso = [];
    if (this.drawing && lasso.length > 2) this.on.select(this.plot.inside(lasso), adds(event));
    else if (this.travelled < 4) this.click(x, y, adds(event));
    this.drawing = false;
    this.plot.draw();
  }

  click(x, y, adding) {
    const label = this.plot.labelAt(x, y);
    if (label) {
      this.on.group(label.place);
      return;
    }
    const found = this.find(x, y);
    if (found >= 0) this.on[adding ? "toggle" : "open"](found);
  }

  cancel(event) {
    this.fingers.delete(event.pointerId);
    this.plot.lasso = [];
    this.plot.draw();
  }

  wheel(event) {
    event.preventDefault();
    this.plot.box.classList.add("known");
    const lines = event.deltaMode === 1 ? 20 : 1;
    this.plot.zoom(Math.exp(clamp(-event.deltaY * lines, -120, 120) * 0.003), ...this.place(event));
    this.on.hover(-1);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    const { plot } = this;
    if (arrow && event.shiftKey) plot.pan(-60 * arrow[0], -60 * arrow[1]);
    else if (arrow) this.walk(arrow);
    else if (event.key === "+" || event.key === "=") plot.zoom(1.4);
    else if (event.key === "-") plot.zoom(1 / 1.4);
    else if (event.key === "0") plot.fit();
    else if ((event.key === "Enter" || event.key === " ") && plot.current >= 0) this.on.open(plot.current);
    else if (isSelectKey(event) && plot.current >= 0) this.on.toggle(plot.current);
    else if (event.key === "Escape") this.on.clear();
    else return;
    event.preventDefault();
  }

  walk([dx, dy]) {
    const { plot } = this;
    const from = plot.current;
    const next = from < 0 ? plot.nearest(plot.wide / 2, plot.high / 2, Infinity) : plot.toward(from, dx, dy);
    if (next < 0) return;
    plot.reveal(next);
    this.on.hover(next, plot.across(next), plot.down(next), true);
  }
}
