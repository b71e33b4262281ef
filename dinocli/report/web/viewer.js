// Large view of one image with its facts: a modal dialog, which keeps the focus and closes on Escape.

class Viewer {
  // describe(index) -> {name, thumbnail, original, near (whether it is linked), overlay, layers: [elements], facts: [[name, value]], more: [elements], actions: [...]}
  constructor(describe) {
    this.describe = describe;
    this.list = [];
    this.dialog = byId("viewer");
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    byId("viewer-close").addEventListener("click", () => this.dialog.close());
    byId("viewer-before").addEventListener("click", () => this.step(-1));
    byId("viewer-after").addEventListener("click", () => this.step(1));
  }

  // Arrow keys move through the list.
  open(index, list) {
    this.list = list;
    this.place = list.indexOf(index);
    this.show(index);
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.focus();
  }

  close() {
    this.dialog.close();
  }

  show(index) {
    const { name, thumbnail, original, overlay = null, near = true, layers = [], facts, more = [], actions = [] } = this.describe(index);
    this.index = index;
    byId("viewer-name").textContent = name;
    const image = byId("viewer-image");
    image.src = thumbnail;
    image.alt = name;
    // Browsers show no TIFF, and the page may have been moved away from its images: then the thumbnail stays.
    const whole = new Image();
    whole.onload = () => {
      if (this.index === index) image.src = whole.src;
    };
    whole.src = original;
    byId("viewer-overlay").hidden = !overlay;
    if (overlay) byId("viewer-overlay").src = overlay;
    byId("viewer-layers").replaceChildren(...layers);
    byId("viewer-facts").replaceChildren(
      ...facts.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, ...[value].flat())]),
    );
    byId("viewer-more").replaceChildren(...more);
    const link = make("a", { href: original, target: "_blank", rel: "noopener noreferrer" }, "Open the file");
    byId("viewer-actions").replaceChildren(...(near ? [link] : []), ...actions);
    byId("viewer-place").textContent =
      this.place < 0 ? "" : `${(this.place + 1).toLocaleString("en")} of ${this.list.length.toLocaleString("en")}`;
    byId("viewer-before").disabled = this.place <= 0;
    byId("viewer-after").disabled = this.place < 0 || this.place >= this.list.length - 1;
  }

  step(by) {
    const place = this.place + by;
    if (this.place < 0 || place < 0 || place >= this.list.length) return;
    this.place = place;
    this.show(this.list[place]);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
    if (event.key === "ArrowLeft") this.step(-1);
    else if (event.key === "ArrowRight") this.step(1);
    else return;
    event.preventDefault();
  }
}
