// The page of attention: an overview of all heads, one head's lines, its heat map. Tokens are set as text only.

const FEWEST = 0.01; // weights under this have no line
const LABELLED = 13; // pixels of a cell from which the heat map has its tokens beside it
const NAMES = { self: "self-attention", encoder: "encoder", decoder: "decoder", cross: "cross-attention" };

const at = (id) => document.getElementById(id);
const data = JSON.parse(at("data").textContent);
const maps = data.maps.map((map) => ({ ...map, weights: unpack(map.weights) }));
const view = { map: 0, layer: 0, head: 0, over: null, picked: null }; // a token is [side, index]; 0: looks

function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Uint16Array(bytes.buffer);
}

const current = () => maps[view.map];
const sides = (map) => [data.tokens[map.queries], data.tokens[map.keys]];
const percent = (weight) => `${(100 * weight).toFixed(1)} %`;

// Spaces and line ends would not be seen.
const visible = (token) => token.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅";

function weight(map, layer, head, query, key) {
  const [queries, keys] = sides(map);
  return map.weights[((layer * map.heads + head) * queries.length + query) * keys.length + key] / 65535;
}

const here = (query, key) => weight(current(), view.layer, view.head, query, key);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The overview

function pixels(map, layer, head) {
  const [queries, keys] = sides(map);
  const image = new ImageData(keys.length, queries.length);
  const heat = getComputedStyle(document.documentElement).getPropertyValue("--heat").trim().split(" ").map(Number);
  for (let query = 0; query < queries.length; query++)
    for (let key = 0; key < keys.length; key++)
      image.data.set([...heat, 255 * Math.sqrt(weight(map, layer, head, query, key))], 4 * (query * keys.length + key));
  return image;
}

function painted(map, layer, head) {
  const image = pixels(map, layer, head);
  const canvas = element("canvas", { width: image.width, height: image.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function buildOverview() {
  const map = current();
  const heads = [...Array(map.heads).keys()];
  const top = element("tr", {}, element("td"), ...heads.map((head) => element("th", { scope: "col" }, `${head + 1}`)));
  const rows = [...Array(map.layers).keys()].map((layer) => {
    const cells = heads.map((head) => {
      const name = { type: "button", "aria-label": `layer ${layer + 1}, head ${head + 1}`, "data-head": `${layer} ${head}` };
      return element("td", {}, element("button", name, painted(map, layer, head)));
    });
    return element("tr", {}, element("th", { scope: "row" }, `layer ${layer + 1}`), ...cells);
  });
  at("overview").replaceChildren(top, ...rows);
}

const thumbnail = () => at("overview").querySelector(`[data-head="${view.layer} ${view.head}"]`);

// One head: its tokens, the lines between them

function buildTokens() {
  sides(current()).forEach((tokens, side) => {
    const list = tokens.map((token, index) => {
      const text = element("bdi", {}, visible(token));
      const button = element("button", { type: "button", title: token, "data-token": `${side} ${index}` }, text, element("span", { class: "share" }));
      return element("li", {}, button);
    });
    at(side ? "keys" : "queries").replaceChildren(...list);
  });
}

const tokenButtons = () => [...at("lines").querySelectorAll("[data-token]")];
const tokenOf = (button) => button.dataset.token.split(" ").map(Number);
const same = (one, other) => one !== null && other !== null && one[0] === other[0] && one[1] === other[1];

// The token that has the focus, where the reader came by keyboard: a click focuses too, but means another thing.
function focused() {
  const button = document.activeElement;
  return button.matches("[data-token]:focus-visible") ? tokenOf(button) : null;
}

const chosen = () => view.over ?? focused() ?? view.picked;

// What a token shares with each of the other side.
function shares([side, index]) {
  const others = sides(current())[1 - side];
  return others.map((_, other) => (side ? here(other, index) : here(index, other)));
}

function drawHead() {
  at("head-name").textContent = `Layer ${view.layer + 1}, head ${view.head + 1}`;
  for (const button of at("overview").querySelectorAll("button")) {
    const now = button === thumbnail();
    button.setAttribute("aria-pressed", now);
    button.tabIndex = now ? 0 : -1;
  }
  drawTokens();
  drawMap();
}

function drawTokens() {
  const token = chosen();
  const shared = token && shares(token);
  for (const button of tokenButtons()) {
    const [side, index] = tokenOf(button);
    const share = shared && side !== token[0] ? shared[index] : null;
    button.style.setProperty("--share", share ?? (same(token, [side, index]) ? 1 : 0));
    button.lastChild.textContent = share === null || share < 0.0005 ? "" : percent(share);
    button.setAttribute("aria-pressed", same(view.picked, [side, index]));
  }
  drawLines(token);
  say(token, shared);
}

function drawLines(token) {
  const [queries, keys] = sides(current());
  const row = at("queries").firstChild.offsetHeight;
  const lines = [];
  const draw = (query, key) => {
    const share = here(query, key);
    if (share < FEWEST) return;
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const ends = { x1: 0, y1: (query + 0.5) * row, x2: 140, y2: (key + 0.5) * row, "stroke-opacity": Math.sqrt(share) };
    for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value);
    lines.push(line);
  };
  for (let query = 0; query < queries.length; query++)
    for (let key = 0; key < keys.length; key++)
      if (token === null || (token[0] ? key : query) === token[1]) draw(query, key);
  at("links").style.height = `${row * Math.max(queries.length, keys.length)}px`;
  at("links").replaceChildren(...lines);
}

function say(token, shared) {
  const where = `Layer ${view.layer + 1}, head ${view.head + 1}.`;
  if (token === null) {
    at("said").textContent = `${where} Point at a token, or reach it with Tab.`;
    return;
  }
  const [side, index] = token;
  const others = sides(current())[1 - side];
  const most = [...others.keys()].sort((a, b) => shared[b] - shared[a]).slice(0, 3);
  const told = most.map((other) => `${visible(others[other])} ${percent(shared[other])}`).join(", ");
  const name = visible(sides(current())[side][index]);
  at("said").textContent = `${where} ${name} ${side ? "is looked at most by" : "looks most at"}: ${told}`;
}

// The heat map

const ratio = () => window.devicePixelRatio || 1;

function geometry() {
  const [queries, keys] = sides(current());
  const cell = Math.max(2, Math.min(26, Math.floor(560 / Math.max(queries.length, keys.length))));
  const longest = (tokens) => Math.min(14, Math.max(...tokens.map((token) => visible(token).length)));
  const labelled = cell >= LABELLED;
  return { cell, labelled, left: labelled ? 8.5 * longest(queries) + 12 : 0, top: labelled ? 8.5 * longest(keys) + 12 : 0 };
}

function drawMap() {
  const [queries, keys] = sides(current());
  const { cell, labelled, left, top } = geometry();
  const [width, height] = [left + cell * keys.length, top + cell * queries.length];
  const canvas = at("map");
  Object.assign(canvas, { width: width * ratio(), height: height * ratio() });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  canvas.setAttribute("aria-label", `${queries.length} tokens that look, by row, at ${keys.length}, by column; the lists say the same`);
  const brush = canvas.getContext("2d");
  brush.scale(ratio(), ratio());
  brush.imageSmoothingEnabled = false;
  brush.drawImage(painted(current(), view.layer, view.head), left, top, width - left, height - top);
  if (labelled) label(brush, left, top, cell);
}

function label(brush, left, top, cell) {
  const [queries, keys] = sides(current()).map((tokens) => tokens.map((token) => visible(token).slice(0, 14)));
  const style = getComputedStyle(document.documentElement);
  brush.fillStyle = style.getPropertyValue("--ink");
  brush.font = `13px ${style.getPropertyValue("--mono")}`;
  brush.textBaseline = "middle";
  brush.textAlign = "right";
  queries.forEach((token, row) => brush.fillText(token, left - 6, top + cell * (row + 0.5)));
  brush.textAlign = "left";
  brush.rotate(-Math.PI / 2);
  keys.forEach((token, column) => brush.fillText(token, 6 - top, left + cell * (column + 0.5)));
}

// The query and key under the pointer, or null.
function cellAt(event) {
  const [queries, keys] = sides(current());
  const { cell, left, top } = geometry();
  const [key, query] = [Math.floor((event.offsetX - left) / cell), Math.floor((event.offsetY - top) / cell)];
  return key >= 0 && key < keys.length && query >= 0 && query < queries.length ? [query, key] : null;
}

function sayCell(event) {
  const found = cellAt(event);
  if (found === null) return;
  const [queries, keys] = sides(current());
  at("said").textContent = `${visible(queries[found[0]])} looks at ${visible(keys[found[1]])}: ${percent(here(...found))}`;
}

// What the reader does

function show(layer, head) {
  const inOverview = at("overview").contains(document.activeElement);
  view.layer = Math.max(0, Math.min(current().layers - 1, layer));
  view.head = Math.max(0, Math.min(current().heads - 1, head));
  drawHead();
  if (inOverview) thumbnail().focus();
}

function open(map) {
  Object.assign(view, { map, over: null, picked: null });
  for (const [index, tab] of [...at("maps").children].entries()) tab.setAttribute("aria-pressed", index === map);
  buildOverview();
  buildTokens();
  show(view.layer, view.head);
}

function pick(token) {
  view.picked = same(view.picked, token) ? null : token;
  drawTokens();
}

function hover(token) {
  view.over = token;
  drawTokens();
}

function letGo() {
  document.activeElement.blur();
  view.picked = null;
  drawTokens();
}

function step(by) {
  const buttons = tokenButtons();
  const now = buttons.indexOf(document.activeElement);
  buttons[now < 0 ? 0 : Math.max(0, Math.min(buttons.length - 1, now + by))].focus();
}

const KEYS = {
  ArrowLeft: () => show(view.layer, view.head - 1),
  ArrowRight: () => show(view.layer, view.head + 1),
  ArrowUp: () => show(view.layer - 1, view.head),
  ArrowDown: () => show(view.layer + 1, view.head),
  j: () => step(1),
  k: () => step(-1),
  m: () => open((view.map + 1) % maps.length),
  Escape: letGo,
  "?": () => at("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  const does = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!does || at("help").open || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  does();
});
at("ask").addEventListener("click", KEYS["?"]);
at("overview").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) show(...button.dataset.head.split(" ").map(Number));
});
const tokenUnder = (event) => event.target.closest("[data-token]");
at("lines").addEventListener("click", (event) => tokenUnder(event) && pick(tokenOf(tokenUnder(event))));
at("lines").addEventListener("pointerover", (event) => hover(tokenUnder(event) && tokenOf(tokenUnder(event))));
at("lines").addEventListener("pointerleave", () => hover(null));
for (const name of ["focusin", "focusout"]) at("lines").addEventListener(name, drawTokens);
at("map").addEventListener("pointermove", sayCell);
at("map").addEventListener("pointerleave", drawTokens);
at("map").addEventListener("click", (event) => {
  const found = cellAt(event);
  if (found) pick([0, found[0]]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => open(view.map));

for (const [index, map] of maps.entries()) {
  const tab = element("button", { type: "button" }, NAMES[map.name]);
  tab.addEventListener("click", () => open(index));
  at("maps").append(tab);
}
open(0);
