// The page of a picture's attention: all heads as small maps of the patches, one of them over the picture.

const SIDE = 448; // pixels on the screen of the picture's longer side
const STRONGEST = 0.85; // opacity of the largest share

const at = (id) => document.getElementById(id);
const data = JSON.parse(at("data").textContent);
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const [rows, columns] = data.grid;
const tokens = 1 + rows * columns;
const pixels = bytes(data.pixels);
const shares = bytes(data.shares);
const largest = new Float32Array(bytes(data.largest).buffer);
// Layer -1 is the rollout. A token is <cls>, 0, or a patch.
const view = { layer: -1, head: 0, over: null, picked: 0 };

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const nameOf = (token) => (token === 0 ? "<cls>" : `row ${1 + Math.floor((token - 1) / columns)}, column ${1 + ((token - 1) % columns)}`);
const looking = () => view.over ?? view.picked;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// What one token takes from each, in a head or through all layers.
function taken(layer, head, token) {
  const map = layer < 0 ? data.layers * data.heads : layer * data.heads + head;
  const row = map * tokens + token;
  return Array.from(shares.subarray(row * tokens, (row + 1) * tokens), (share) => (share / 255) * largest[row]);
}

function heat(layer, head) {
  const parts = taken(layer, head, looking()).slice(1);
  const most = Math.max(...parts) || 1;
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--heat").trim().split(" ").map(Number);
  const image = new ImageData(columns, rows);
  parts.forEach((part, patch) => image.data.set([...colour, 255 * STRONGEST * Math.sqrt(part / most)], 4 * patch));
  return image;
}

function paint(canvas, layer, head) {
  Object.assign(canvas, { width: columns, height: rows });
  canvas.getContext("2d").putImageData(heat(layer, head), 0, 0);
}

// The overview

function build() {
  const heads = [...Array(data.heads).keys()];
  const top = element("tr", {}, element("td"), ...heads.map((head) => element("th", { scope: "col" }, `${head + 1}`)));
  const lines = [...Array(data.layers).keys()].map((layer) => {
    const cells = heads.map((head) => {
      const name = { type: "button", "aria-label": `layer ${layer + 1}, head ${head + 1}`, "data-head": `${layer} ${head}` };
      return element("td", {}, element("button", name, element("canvas")));
    });
    return element("tr", {}, element("th", { scope: "row" }, `layer ${layer + 1}`), ...cells);
  });
  at("overview").replaceChildren(top, ...lines);
  at("rollout").dataset.head = "-1 0";
  at("rollout").append(element("canvas"), "Rollout: through all layers");
  at("answer").textContent = data.said.map(([name, share]) => `${name} ${percent(share)}`).join(", ");
}

const buttons = () => [at("rollout"), ...at("overview").querySelectorAll("button")];
const placeOf = (button) => button.dataset.head.split(" ").map(Number);
const isShown = ([layer, head]) => layer === view.layer && (layer < 0 || head === view.head);
const shown = () => buttons().find((button) => isShown(placeOf(button)));

// One head, over the picture

const [height, width] = data.size;
const scale = SIDE / Math.max(height, width);

function original() {
  const canvas = element("canvas", { width, height });
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++)
    image.data.set([...pixels.subarray(3 * pixel, 3 * pixel + 3), 255], 4 * pixel);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function drawPicture() {
  const canvas = at("picture");
  const ratio = window.devicePixelRatio || 1;
  const [wide, high] = [width * scale, height * scale];
  Object.assign(canvas, { width: wide * ratio, height: high * ratio });
  canvas.style.width = `${wide}px`;
  const brush = canvas.getContext("2d");
  brush.scale(ratio, ratio);
  brush.imageSmoothingEnabled = false;
  brush.drawImage(original(), 0, 0, wide, high);
  const map = element("canvas");
  paint(map, view.layer, view.head);
  brush.drawImage(map, 0, 0, wide, high);
  const token = looking();
  if (token === 0) return;
  const [row, column] = [Math.floor((token - 1) / columns), (token - 1) % columns];
  brush.lineWidth = 2;
  brush.strokeStyle = "#2563eb";
  brush.strokeRect((column * wide) / columns + 1, (row * high) / rows + 1, wide / columns - 2, high / rows - 2);
}

function draw() {
  for (const button of buttons()) {
    const now = isShown(placeOf(button));
    button.setAttribute("aria-pressed", now);
    button.tabIndex = now || button === at("rollout") ? 0 : -1;
    paint(button.querySelector("canvas"), ...placeOf(button));
  }
  at("head-name").textContent = view.layer < 0 ? "Rollout" : `Layer ${view.layer + 1}, head ${view.head + 1}`;
  at("cls").setAttribute("aria-pressed", view.picked === 0);
  drawPicture();
  say();
}

function say() {
  const token = looking();
  const parts = taken(view.layer, view.head, token);
  const most = [...parts.keys()].sort((a, b) => parts[b] - parts[a]).slice(0, 3);
  const told = most.map((other) => `${nameOf(other)} ${percent(parts[other])}`).join("; ");
  const text = `${at("head-name").textContent}. ${nameOf(token)} takes most from: ${told}`;
  at("said").textContent = text;
  at("picture").setAttribute("aria-label", `The picture in ${rows} by ${columns} patches. ${text}`);
}

// What the reader does

function show(layer, head) {
  const inOverview = buttons().includes(document.activeElement);
  view.layer = Math.max(-1, Math.min(data.layers - 1, layer));
  view.head = Math.max(0, Math.min(data.heads - 1, head));
  draw();
  if (inOverview) shown().focus();
}

function pick(token) {
  view.picked = Math.max(0, Math.min(tokens - 1, token));
  view.over = null;
  draw();
}

// The patch under the pointer, or null.
function patchAt(event) {
  const box = at("picture").getBoundingClientRect();
  const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
  const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
  return column >= 0 && column < columns && row >= 0 && row < rows ? 1 + row * columns + column : null;
}

function hover(token) {
  if (token === view.over) return;
  view.over = token;
  draw();
}

const KEYS = {
  ArrowLeft: () => show(view.layer, view.head - 1),
  ArrowRight: () => show(view.layer, view.head + 1),
  ArrowUp: () => show(view.layer - 1, view.head),
  ArrowDown: () => show(view.layer + 1, view.head),
  r: () => show(-1, view.head),
  j: () => pick(view.picked + 1),
  k: () => pick(view.picked - 1),
  Escape: () => pick(0),
  "?": () => at("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  const does = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!does || at("help").open || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  does();
});
build();
at("ask").addEventListener("click", KEYS["?"]);
at("cls").addEventListener("click", () => pick(0));
for (const button of buttons()) button.addEventListener("click", () => show(...placeOf(button)));
at("picture").addEventListener("pointermove", (event) => hover(patchAt(event)));
at("picture").addEventListener("pointerleave", () => hover(null));
at("picture").addEventListener("click", (event) => pick(patchAt(event) ?? view.picked));
draw();
