// The selected images, and their paths as a list to copy or download.

class Selection {
  constructor(size, changed) {
    this.mask = new Uint8Array(size);
    this.count = 0;
    this.changed = changed;
  }

  has(index) {
    return this.mask[index] === 1;
  }

  // Select the images of a mask; `more` keeps the previous selection.
  set(mask, more = false) {
    for (let i = 0; i < this.mask.length; i++) this.mask[i] = mask[i] || (more && this.mask[i]) ? 1 : 0;
    this.tell();
  }

  toggle(index) {
    this.mask[index] ^= 1;
    this.tell();
  }

  tell() {
    this.count = this.mask.reduce((sum, one) => sum + one, 0);
    this.changed();
  }

  indices() {
    return [...this.mask.keys()].filter((i) => this.mask[i]);
  }

  // One line per file, in the order of the table; tiles of an image count once.
  list() {
    return [...new Set(this.indices().map(pathOf))].map((path) => `${path}\n`).join("");
  }
}

// The path of an image if the folder of the images is known, else its name.
function pathOf(index) {
  const name = DATA.raw[index] ?? DATA.name[index];
  return DATA.root ? `${DATA.root}/${name.replace(/^\.\//, "")}` : name;
}

// Pages opened from a file may lack the clipboard API; then use a text area.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { value: text, className: "sr", readOnly: true });
    const before = document.activeElement;
    (byId("viewer").open ? byId("viewer") : document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}

function saveText(text, name) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  const link = make("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// Copy text and show the result on the button for 2 s.
async function copyBy(button, text, done) {
  const before = (button.dataset.words ??= button.textContent);
  button.textContent = (await copyText(text)) ? done : "Blocked by the browser";
  announce(button.textContent);
  setTimeout(() => (button.textContent = before), 2000);
}

function selectionBar() {
  byId("selection").hidden = !selection.count;
  byId("selected-count").textContent = `${selection.count.toLocaleString("en")} selected`;
  byId("selected-only").setAttribute("aria-pressed", state.only);
}

function selectionTools() {
  byId("selected-only").addEventListener("click", () => {
    state.only = !state.only;
    update();
    announce(count(chosen.length, "image"));
  });
  byId("selected-copy").addEventListener("click", (event) => copyBy(event.currentTarget, selection.list(), "Copied"));
  byId("selected-save").addEventListener("click", () => saveText(selection.list(), "selected.txt"));
  byId("selected-clear").addEventListener("click", () => {
    selection.set(new Uint8Array(SIZE));
    announce("Selection cleared");
  });
  byId("select-shown").addEventListener("click", () => {
    const mask = new Uint8Array(SIZE);
    for (const i of chosen) mask[i] = 1;
    selection.set(mask, true);
    announce(`${count(selection.count, "image")} selected`);
  });
  byId("gallery").addEventListener("keydown", (event) => {
    const tile = event.target.closest(".tile");
    if (tile && isSelectKey(event)) select(Number(tile.dataset.index));
  });
}

const isSelectKey = (event) => event.key.toLowerCase() === "x" && !event.ctrlKey && !event.metaKey && !event.altKey;

function select(index) {
  selection.toggle(index);
  announce(`${DATA.name[index]} ${selection.has(index) ? "selected" : "not selected"}, ${selection.count} in all`);
}
