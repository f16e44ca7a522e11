// "View code": the request on the page as curl and as Python.

import { root } from "./api.js";

const dialog = document.getElementById("code");
const shown = document.getElementById("code-text");

export function curl(path, body) {
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const key = sessionStorage.getItem("key") ? ' \\\n  -H "Authorization: Bearer $OPENAI_API_KEY"' : "";
  return `curl ${new URL(path, root)} \\\n  -H "Content-Type: application/json"${key} \\\n  -d '${json}'`;
}

// What the stock client does not name goes through its `extra_body`.
const EXTENSIONS = new Set(["top_k", "min_p", "repetition_penalty"]);

export function python(path, body) {
  const method = path === "completions" ? "completions" : "chat.completions";
  const own = Object.entries(body).filter(([name]) => !EXTENSIONS.has(name));
  const extra = Object.entries(body).filter(([name]) => EXTENSIONS.has(name));
  const fields = own.map(([name, value]) => `    ${name}=${literal(value)},`);
  if (extra.length) fields.push(`    extra_body=${literal(Object.fromEntries(extra))},`);
  const key = sessionStorage.getItem("key") ? "" : ', api_key="unused"';
  const answer = method === "completions" ? "text" : "message.content";
  return `from openai import OpenAI

client = OpenAI(base_url="${root.href.replace(/\/$/, "")}"${key})
answer = client.${method}.create(
${fields.join("\n")}
)
print(answer.choices[0].${answer})`;
}

function literal(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${literal(v)}`).join(", ")}}`;
  }
  return JSON.stringify(value); // a JSON string is a Python string, a JSON number a Python number
}

export function showCode(path, body) {
  const written = { curl: curl(path, body), python: python(path, body) };
  const buttons = dialog.querySelectorAll("[data-language]");
  const choose = (language) => {
    shown.textContent = written[language];
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.language === language));
  };
  for (const button of buttons) button.onclick = () => choose(button.dataset.language);
  choose("curl");
  dialog.showModal();
}

document.getElementById("close-code").addEventListener("click", () => dialog.close());
document.getElementById("copy").addEventListener("click", () => navigator.clipboard.writeText(shown.textContent));
