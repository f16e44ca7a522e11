// Complete: the completion grows in place, behind the prompt, in its own colour.

import { streamed, whole } from "./api.js";
import { readSettings } from "./settings.js";
import { appendChoice, colourTokens, explainTokens } from "./tokens.js";

const paper = document.getElementById("prompt");
const probabilities = document.getElementById("probabilities");

explainTokens(paper, document.getElementById("alternatives"));
probabilities.addEventListener("change", () => colourTokens(paper, probabilities.checked));

export const path = "completions";

export function request(model) {
  return { model, prompt: paper.textContent, ...readSettings(), logprobs: 5 };
}

export async function run(model, signal) {
  const body = request(model);
  paper.textContent = body.prompt; // what was written before is prompt now
  const written = document.createElement("span");
  written.className = "written";
  paper.append(written);
  let reason = null;
  let count = 0;
  // The best of several is known at the end only, so it cannot be streamed.
  const events = body.best_of > 1 ? [await whole(path, body, signal)] : streamed(path, body, signal);
  for await (const event of events) {
    for (const choice of event.choices) {
      appendChoice(written, choice);
      count += choice.logprobs?.tokens?.length ?? 0;
      reason = choice.finish_reason ?? reason;
    }
    colourTokens(paper, probabilities.checked);
    paper.scrollTop = paper.scrollHeight;
  }
  return `${count} tokens, ended by ${reason}`;
}

export function clear() {
  paper.textContent = "";
  paper.focus();
}

export function load(text) {
  paper.textContent = text;
}
