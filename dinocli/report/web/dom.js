// Element construction without HTML parsing: strings become text or attributes only.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

// 8 colours and 5 shapes cycle separately, so that the first 40 groups differ, and not by colour alone.
const TONES = 8;
const SHAPES = [
  "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0 -2 0z",
  "M-.88 -.88h1.76v1.76h-1.76z",
  "M0 -1.25l1.2 2.1h-2.4z",
  "M0 -1.25l1.25 1.25l-1.25 1.25l-1.25 -1.25z",
  "M0 1.25l1.2 -2.1h-2.4z",
];
const NO_SHAPE = "M-.25 -.8h.5v.55h.55v.5h-.55v.55h-.5v-.55h-.55v-.5h.55z";
const tone = (place) => (place < 0 ? "none" : String(place % TONES));
const shape = (place) => (place < 0 ? NO_SHAPE : SHAPES[place % SHAPES.length]);

const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// Sentence in which no option, such as --threshold, is broken after its hyphens.
function sentence(text) {
  const parts = text.split(/((?<![\w-])--[a-z][a-z-]*)/);
  return parts.map((part, place) => (place % 2 ? make("span", { className: "option" }, part) : part)).filter((part) => part);
}

function glyph(place) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "-1.4 -1.4 2.8 2.8");
  svg.setAttribute("class", `glyph tone-${tone(place)}`);
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", shape(place));
  svg.append(path);
  return svg;
}

function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

// Number format of the reports: 12,345, 143.2, 0.612, 0.0812, 2.50e-5, – for none.
function figure(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e9) return value.toExponential(2);
  const power = Math.floor(Math.log10(size));
  const digits = power < -1 ? 2 - power : clamp(3 - power, 0, 3);
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// File name of at most `most` letters; keeps more of the end, where names usually differ.
function shortened(name, most) {
  const letters = Array.from(name.slice(name.lastIndexOf("/") + 1));
  if (letters.length <= most) return letters.join("");
  const head = Math.floor(most / 4);
  return `${letters.slice(0, head).join("")}…${letters.slice(letters.length - (most - 1 - head)).join("")}`;
}

// Text of at most `most` letters, shortened in the middle.
function middleOut(text, most) {
  const letters = Array.from(text);
  if (letters.length <= most) return text;
  const tail = Math.floor((most - 1) / 2);
  return `${letters.slice(0, most - 1 - tail).join("")}…${letters.slice(letters.length - tail).join("")}`;
}

// A name in a box of any width; CSS shortens it in the middle.
function ends(text) {
  const letters = Array.from(text);
  if (letters.length < 12) return make("span", { className: "ends" }, text);
  const from = letters.length - Math.min(10, letters.length >> 1);
  const part = (className, some) => make("span", { className }, some.join(""));
  return make("span", { className: "ends" }, part("head", letters.slice(0, from)), part("tail", letters.slice(from)));
}

function announce(text) {
  byId("live").textContent = text;
}

// Return a function that runs `work` at most once per animation frame.
function onceAFrame(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
