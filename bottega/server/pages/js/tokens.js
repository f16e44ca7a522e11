// Text that a model wrote: token by token, coloured by probability, with the alternatives on hover or focus.

/** Append one streamed choice of the completions API to an element. */
export function appendChoice(element, choice) {
  if (!choice.text && !choice.logprobs?.tokens?.length) return;
  const span = document.createElement("span");
  span.className = "token";
  span.textContent = choice.text;
  const logprob = choice.logprobs?.token_logprobs?.[0];
  if (logprob != null) {
    span.style.setProperty("--p", Math.exp(logprob).toFixed(4));
    span.details = choice.logprobs;
  }
  element.append(span);
}

/** Show the alternatives of the token under the pointer or in focus, in `tooltip`. */
export function explainTokens(paper, tooltip) {
  const show = (event) => {
    const token = event.target.closest?.(".colour .token");
    tooltip.hidden = !token?.details;
    if (!token?.details) return;
    tooltip.replaceChildren(table(token.details));
    const box = token.getBoundingClientRect();
    tooltip.style.left = `${Math.min(box.left, innerWidth - tooltip.offsetWidth - 8)}px`;
    const below = box.bottom + 6;
    tooltip.style.top = `${below + tooltip.offsetHeight < innerHeight ? below : box.top - tooltip.offsetHeight - 6}px`;
  };
  paper.addEventListener("pointerover", show);
  paper.addEventListener("focusin", show);
  paper.addEventListener("pointerleave", () => { tooltip.hidden = true; });
  paper.addEventListener("focusout", () => { tooltip.hidden = true; });
}

/** With `on`, tokens are coloured and can be reached by Tab. */
export function colourTokens(paper, on) {
  paper.classList.toggle("colour", on);
  for (const token of paper.querySelectorAll(".token")) {
    if (on) token.tabIndex = 0;
    else token.removeAttribute("tabindex");
  }
}

function table(details) {
  const rows = document.createElement("table");
  const drawn = details.tokens[0];
  const alternatives = Object.entries(details.top_logprobs?.[0] ?? { [drawn]: details.token_logprobs[0] });
  for (const [token, logprob] of alternatives.sort((a, b) => b[1] - a[1])) {
    const row = rows.insertRow();
    row.classList.toggle("drawn", token === drawn);
    row.insertCell().textContent = JSON.stringify(token).slice(1, -1).replaceAll(" ", "␣");
    row.insertCell().textContent = `${(100 * Math.exp(logprob)).toFixed(2)} %`;
  }
  return rows;
}
