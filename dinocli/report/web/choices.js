// Filter controls of both pages: list of groups, chips of active filters, tabs and search field.

// List in which one entry is pressed; arrow keys move along it. An entry is {place, name, size, share, mark, tone}.
class Choices {
  constructor(list, choose) {
    this.list = list;
    this.choose = choose;
    list.addEventListener("keydown", (event) => this.key(event));
  }

  show(entries, value) {
    const focused = this.list.contains(document.activeElement) ? document.activeElement.dataset.place : null;
    this.list.replaceChildren(...entries.map((entry) => make("li", {}, this.button(entry, value))));
    for (const button of this.buttons()) {
      button.tabIndex = button.getAttribute("aria-pressed") === "true" ? 0 : -1;
      if (button.dataset.place === focused) button.focus();
    }
  }

  buttons() {
    return [...this.list.querySelectorAll("button")];
  }

  button({ place, name, size, share, mark, tone }, value) {
    const bar = make("span", { className: `bar ${tone ?? ""}` });
    bar.style.width = `${100 * share}%`;
    const button = make(
      "button",
      { type: "button", className: size ? "" : "empty", title: name, "aria-pressed": value === place },
      mark ?? make("span", { className: "glyph" }),
      make("span", { className: "name" }, ends(name)),
      make("span", { className: "size" }, size.toLocaleString("en")),
      bar,
    );
    button.dataset.place = String(place);
    button.addEventListener("click", () => this.choose(value === place ? null : place));
    return button;
  }

  key(event) {
    const buttons = this.buttons();
    const from = buttons.indexOf(event.target);
    const last = buttons.length - 1;
    const to = { ArrowDown: from + 1, ArrowRight: from + 1, ArrowUp: from - 1, ArrowLeft: from - 1, Home: 0, End: last };
    if (from < 0 || !(event.key in to)) return;
    event.preventDefault();
    buttons[clamp(to[event.key], 0, last)].focus();
  }
}

// An active filter, with a button that removes it.
function chip(text, mark, drop) {
  const cross = make("span", { "aria-hidden": "true" }, "×");
  const button = make("button", { type: "button", className: "chip", title: "Remove this filter" }, make("span", {}, middleOut(text, 26)), cross);
  if (mark) button.prepend(mark);
  button.addEventListener("click", drop);
  return button;
}

class Tabs {
  // titles: {tab: title}; panels: {tab: id of the tab's panel}
  constructor(list, titles, panels, choose) {
    this.list = list;
    const buttons = Object.entries(titles).map(([tab, title]) => {
      const button = make("button", { type: "button", role: "tab", "aria-controls": panels[tab] }, ...[title].flat());
      button.dataset.tab = tab;
      button.addEventListener("click", () => choose(tab));
      return button;
    });
    list.replaceChildren(...buttons);
    list.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const from = buttons.indexOf(event.target);
      if (!by || from < 0) return;
      const next = buttons[(from + by + buttons.length) % buttons.length];
      next.click();
      next.focus();
    });
  }

  show(tab) {
    for (const button of this.list.children) {
      const on = button.dataset.tab === tab;
      button.setAttribute("aria-selected", on);
      button.tabIndex = on ? 0 : -1;
    }
  }
}

// Match names that contain all words of the query, in any order.
function searcher(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return (name) => words.every((word) => name.includes(word));
}

function searchField(input, search) {
  input.addEventListener("input", () => search(input.value.trim()));
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !input.value) return;
    event.preventDefault();
    input.value = "";
    search("");
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input, select") || byId("viewer").open) return;
    event.preventDefault();
    input.focus();
  });
}
