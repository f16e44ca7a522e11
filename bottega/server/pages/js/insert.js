// Insert: what stands before and after `[insert]` is given, the middle is written.

import { streamed, whole } from "./api.js";
import { readSettings } from "./settings.js";
import { appendChoice } from "./tokens.js";

const MARK = "[insert]";
const gap = document.getElementById("gap");
const filled = document.getElementById("filled");

export const path = "completions";

export function request(model) {
  const at = gap.value.indexOf(MARK);
  if (at < 0) throw new Error(`Write ${MARK} where text is to be inserted.`);
  const settings = readSettings();
  return { model, prompt: gap.value.slice(0, at), suffix: gap.value.slice(at + MARK.length), ...settings };
}

export async function run(model, signal) {
  const body = request(model);
  const written = document.createElement("span");
  written.className = "written";
  filled.replaceChildren(body.prompt, written, body.suffix);
  let reason = null;
  const events = body.best_of > 1 ? [await whole(path, body, signal)] : streamed(path, body, signal);
  for await (const event of events) {
    for (const choice of event.choices) {
      appendChoice(written, choice);
      reason = choice.finish_reason ?? reason;
    }
  }
  return `${written.textContent.length} characters, ended by ${reason}`;
}

export function clear() {
  filled.replaceChildren();
  gap.focus();
}
