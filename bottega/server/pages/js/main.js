// The page: which tab is open, which model is asked, running and stopping.

import { listModels } from "./api.js";
import * as chat from "./chat.js";
import { showCode } from "./code.js";
import * as complete from "./complete.js";
import * as insert from "./insert.js";
import { PRESETS } from "./presets.js";
import { drawSettings, writeSettings } from "./settings.js";

const modes = { complete, insert, chat };
const element = (id) => document.getElementById(id);
const tabs = [...document.querySelectorAll("[role=tab]")];
let mode = "complete";
let running = null; // the AbortController of the request under way

function open(name) {
  mode = name;
  for (const tab of tabs) {
    const chosen = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    element(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  history.replaceState(null, "", `#${name}`);
}

function say(text, bad = false) {
  element("status").textContent = text;
  element("status").classList.toggle("bad", bad);
}

async function run() {
  if (running) return;
  running = new AbortController();
  element("run").disabled = true;
  element("stop").disabled = false;
  say("Writing…");
  const start = performance.now();
  try {
    const outcome = await modes[mode].run(element("model").value, running.signal);
    say(`${outcome}, ${((performance.now() - start) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (error.name === "AbortError") say("Stopped.");
    else say(error.message, true);
  } finally {
    running = null;
    element("run").disabled = false;
    element("stop").disabled = true;
  }
}

async function fillModels() {
  try {
    const names = await listModels();
    element("model").replaceChildren(...names.map((name) => new Option(name)));
    say("");
  } catch (error) {
    say(error.message, true);
  }
}

for (const tab of tabs) {
  tab.addEventListener("click", () => open(tab.getAttribute("aria-controls")));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    next.click();
    next.focus();
  });
}
element("run").addEventListener("click", run);
element("stop").addEventListener("click", () => running?.abort());
element("clear").addEventListener("click", () => { modes[mode].clear(); say(""); });
element("view-code").addEventListener("click", () => {
  try {
    showCode(modes[mode].path, modes[mode].request(element("model").value));
  } catch (error) {
    say(error.message, true);
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  } else if (event.key === "Escape") {
    running?.abort();
  }
});
element("key").value = sessionStorage.getItem("key") ?? "";
element("key").addEventListener("change", () => {
  sessionStorage.setItem("key", element("key").value);
  fillModels();
});
for (const [i, preset] of PRESETS.entries()) element("preset").append(new Option(preset.name, String(i)));
element("preset").addEventListener("change", () => {
  const preset = PRESETS[Number(element("preset").value)];
  if (element("preset").value === "") return;
  complete.load(preset.prompt);
  writeSettings(preset.settings);
});

drawSettings(element("settings"));
open(location.hash.slice(1) in modes ? location.hash.slice(1) : "complete");
await fillModels();
