// Chat: a conversation that is kept on this page alone.

import { streamed } from "./api.js";
import { readSettings } from "./settings.js";

const system = document.getElementById("system");
const user = document.getElementById("user");
const list = document.getElementById("messages");
let messages = [];

export const path = "chat/completions";

export function request(model) {
  const before = system.value.trim() ? [{ role: "system", content: system.value }] : [];
  const now = user.value.trim() ? [{ role: "user", content: user.value }] : [];
  return { model, messages: [...before, ...messages, ...now], ...readSettings({ chat: true }) };
}

export async function run(model, signal) {
  const body = request(model);
  if (!user.value.trim()) throw new Error("Write something to say first.");
  messages.push({ role: "user", content: user.value });
  show("You", user.value);
  user.value = "";
  const answer = { role: "assistant", content: "" };
  const text = show(model, "");
  text.className = "written";
  let reason = null;
  try {
    for await (const event of streamed(path, body, signal)) {
      for (const choice of event.choices) {
        answer.content += choice.delta.content ?? "";
        reason = choice.finish_reason ?? reason;
      }
      text.textContent = answer.content;
      list.scrollTop = list.scrollHeight;
    }
  } finally {
    if (answer.content) messages.push(answer); // also what was written before a stop
    else text.closest("li").remove();
  }
  user.focus();
  return `${answer.content.length} characters, ended by ${reason}`;
}

export function clear() {
  messages = [];
  list.replaceChildren();
  user.focus();
}

function show(who, text) {
  const item = document.createElement("li");
  const name = document.createElement("b");
  const said = document.createElement("span");
  name.textContent = who;
  said.textContent = text;
  item.append(name, said);
  list.append(item);
  return said;
}
