// The sampling fields: one table draws the sliders, reads them and fills a request.

const FIELDS = [
  // name, label, lowest, highest, step, default, in chat too
  ["temperature", "Temperature", 0, 2, 0.01, 0.7, true],
  ["max_tokens", "Maximum length", 1, 1024, 1, 64, true],
  ["top_p", "Top P", 0, 1, 0.01, 1, true],
  ["top_k", "Top K (0: all)", 0, 200, 1, 0, true],
  ["min_p", "Min P", 0, 1, 0.01, 0, true],
  ["frequency_penalty", "Frequency penalty", -2, 2, 0.01, 0, true],
  ["presence_penalty", "Presence penalty", -2, 2, 0.01, 0, true],
  ["repetition_penalty", "Repetition penalty", 0.5, 2, 0.01, 1, true],
  ["best_of", "Best of", 1, 20, 1, 1, false],
];

export function drawSettings(form) {
  for (const [name, label, low, high, step, value] of FIELDS) {
    form.insertAdjacentHTML("beforeend", `<div class="setting">
      <label for="${name}">${label}</label>
      <input type="number" id="${name}" min="${low}" max="${high}" step="${step}" value="${value}">
      <input type="range" aria-label="${label}" min="${low}" max="${high}" step="${step}" value="${value}"></div>`);
    const [number, range] = form.lastElementChild.querySelectorAll("input");
    range.addEventListener("input", () => { number.value = range.value; });
    number.addEventListener("input", () => { range.value = number.value; });
  }
  form.insertAdjacentHTML("beforeend", `
    <div class="setting"><label for="seed">Seed</label>
      <input type="number" id="seed" step="1" placeholder="random"></div>
    <div class="setting"><label for="stops">Stop before</label>
      <input type="text" id="stops" placeholder="\\n, END" title="Up to four texts, separated by commas; \\n is a new line"></div>`);
  form.addEventListener("submit", (event) => event.preventDefault());
}

/** The fields that differ from the API's neutral values. `chat`: only those that chat knows. */
export function readSettings({ chat = false } = {}) {
  const neutral = { top_p: 1, top_k: 0, min_p: 0, frequency_penalty: 0, presence_penalty: 0, repetition_penalty: 1, best_of: 1 };
  const body = {};
  for (const [name, , , , , , inChat] of FIELDS) {
    const text = document.getElementById(name).value;
    if (text === "" || (chat && !inChat) || Number(text) === neutral[name]) continue;
    body[name] = Number(text);
  }
  const seed = document.getElementById("seed").value;
  if (seed !== "") body.seed = Number(seed);
  const stop = document.getElementById("stops").value.split(",").map(unescape_).filter(Boolean);
  if (stop.length) body.stop = stop;
  return body;
}

/** Set what `given` names and put the rest back to where it began. */
export function writeSettings(given) {
  for (const [name, , , , , value] of FIELDS) {
    const number = document.getElementById(name);
    number.value = given[name] ?? value;
    number.dispatchEvent(new Event("input"));
  }
  document.getElementById("seed").value = given.seed ?? "";
  document.getElementById("stops").value = (given.stop ?? []).map((stop) => stop.replaceAll("\n", "\\n")).join(", ");
}

function unescape_(text) {
  return text.trim().replaceAll("\\n", "\n");
}
