// A virtual scrolling list: only visible rows are in the document, so that 50,000 pictures cost what 50 do.
//
// A row is {height, cells, build(first)}: `build` returns an element whose `cells` buttons have data-cell `first`,
// `first + 1`, ... One cell is in the tab order (roving tabindex); arrow keys move between cells.

class Rows {
  constructor(box) {
    this.box = box;
    this.sheet = make("div", { className: "sheet" });
    this.rows = [];
    this.built = new Map();
    this.active = 0;
    box.append(this.sheet);
    box.addEventListener("scroll", onceAFrame(() => this.render()), { passive: true });
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("focusin", (event) => this.take(event.target));
  }

  set(rows, keepPlace = false) {
    const place = keepPlace && this.sheet.offsetHeight ? this.box.scrollTop / this.sheet.offsetHeight : 0;
    this.rows = rows;
    this.tops = new Float64Array(rows.length + 1);
    this.firsts = new Int32Array(rows.length + 1);
    rows.forEach((row, index) => {
      this.tops[index + 1] = this.tops[index] + row.height;
      this.firsts[index + 1] = this.firsts[index] + row.cells;
    });
    this.built.clear();
    this.sheet.replaceChildren();
    this.sheet.style.height = `${this.tops[rows.length]}px`;
    this.active = clamp(keepPlace ? this.active : 0, 0, Math.max(0, this.firsts[rows.length] - 1));
    this.box.scrollTop = place * this.tops[rows.length];
    this.render();
  }

  // Index of the last row that begins at or before a value; `list` is ascending.
  static find(list, value) {
    let low = 0;
    let high = list.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (list[middle] <= value) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
  }

  // The row of a cell. A row without cells begins at the same cell as the next row; `find` returns the last of them.
  rowOf(cell) {
    return Rows.find(this.firsts, cell);
  }

  render() {
    if (!this.rows.length) return;
    const top = this.box.scrollTop;
    const first = Rows.find(this.tops, top - 400);
    const last = Rows.find(this.tops, top + this.box.clientHeight + 400);
    for (const [index, element] of this.built) {
      if ((index < first || index > last) && !element.contains(document.activeElement)) {
        element.remove();
        this.built.delete(index);
      }
    }
    for (let index = first; index <= last; index++) this.place(index);
    this.rove();
  }

  place(index) {
    if (this.built.has(index)) return;
    const row = this.rows[index];
    const element = row.build(this.firsts[index]);
    element.classList.add("row");
    element.style.top = `${this.tops[index]}px`;
    element.style.height = `${row.height}px`;
    const after = [...this.built.keys()].filter((other) => other > index);
    this.sheet.insertBefore(element, after.length ? this.built.get(Math.min(...after)) : null);
    this.built.set(index, element);
  }

  rove() {
    const cells = [...this.sheet.querySelectorAll("[data-cell]")];
    const chosen = cells.find((cell) => Number(cell.dataset.cell) === this.active) ?? cells[0];
    for (const cell of cells) cell.tabIndex = cell === chosen ? 0 : -1;
  }

  take(target) {
    const cell = target.closest("[data-cell]");
    if (!cell) return;
    this.active = Number(cell.dataset.cell);
    this.rove();
  }

  focus(cell) {
    const index = this.rowOf(cell);
    const { scrollTop, clientHeight } = this.box;
    if (this.tops[index] < scrollTop) this.box.scrollTop = this.tops[index];
    const over = this.tops[index + 1] - scrollTop - clientHeight;
    if (over > 0) this.box.scrollTop = scrollTop + over;
    this.active = cell;
    this.render();
    this.sheet.querySelector(`[data-cell="${cell}"]`)?.focus({ preventScroll: true });
  }

  key(event) {
    if (!event.target.matches("[data-cell]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const from = Number(event.target.dataset.cell);
    const last = this.firsts[this.rows.length] - 1;
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.rows[this.rowOf(from)].height) - 1);
    const steps = {
      ArrowLeft: () => from - 1,
      ArrowRight: () => from + 1,
      ArrowUp: () => this.across(from, -1),
      ArrowDown: () => this.across(from, 1),
      PageUp: () => this.across(from, -page),
      PageDown: () => this.across(from, page),
      Home: () => 0,
      End: () => last,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.focus(clamp(steps[event.key](), 0, last));
  }

  // The cell in the same column, `rows` rows further; rows without cells do not count.
  across(cell, rows) {
    let index = this.rowOf(cell);
    const column = cell - this.firsts[index];
    for (let left = Math.abs(rows); left > 0; ) {
      const next = index + Math.sign(rows);
      if (next < 0 || next >= this.rows.length) return left === Math.abs(rows) ? cell : this.inRow(this.rowOf(cell), column);
      index = next;
      if (this.rows[index].cells) {
        left -= 1;
        cell = this.firsts[index];
      }
    }
    return this.inRow(index, column);
  }

  inRow(index, column) {
    return this.firsts[index] + Math.min(column, this.rows[index].cells - 1);
  }
}

const TILE = 104;
const GAP = 8;

// Rows of equal tiles: `least` is the smallest width, `tall` height / width of a picture; `tile(index)` returns a button.
function tileRows(indices, width, tile, least = TILE, tall = 1) {
  const columns = Math.max(2, Math.floor((width + GAP) / (least + GAP)));
  const side = Math.floor((width + GAP) / columns) - GAP;
  const rows = [];
  for (let from = 0; from < indices.length; from += columns) {
    const part = indices.slice(from, from + columns);
    rows.push({
      height: Math.round(side * tall) + 18 + GAP,
      cells: part.length,
      build: (first) => {
        const row = make("div", { className: "tiles" });
        row.style.gridTemplateColumns = `repeat(${columns}, ${side}px)`;
        part.forEach((index, place) => {
          const button = tile(index);
          button.dataset.cell = first + place;
          row.append(button);
        });
        return row;
      },
    });
  }
  return rows;
}

function headingRow(build) {
  return { height: 40, cells: 0, build: () => make("div", { className: "heading" }, ...build()) };
}
