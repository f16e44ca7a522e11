// A plain client of the OpenAI API on this page's own server. Nothing else is ever asked.

const base = new URL("../../v1/", import.meta.url);

function headers() {
  const key = sessionStorage.getItem("key");
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function checked(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Error(body.error?.message ?? `The server answered ${response.status}.`);
}

export async function listModels() {
  const response = await checked(await fetch(new URL("models", base), { headers: headers() }));
  return (await response.json()).data.map((model) => model.id);
}

/** The answer of a request that is not streamed. */
export async function whole(path, body, signal) {
  const response = await checked(
    await fetch(new URL(path, base), { method: "POST", headers: headers(), body: JSON.stringify(body), signal }),
  );
  return response.json();
}

/** The JSON of each server-sent event of a streamed request, until `[DONE]`. `signal` aborts it. */
export async function* streamed(path, body, signal) {
  const response = await checked(
    await fetch(new URL(path, base), {
      method: "POST", headers: headers(), body: JSON.stringify({ ...body, stream: true }), signal,
    }),
  );
  let held = "";
  for await (const text of decoded(response.body)) {
    held += text;
    const lines = held.split("\n");
    held = lines.pop(); // not yet whole
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue;
      const data = line.slice(6).trim();
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

async function* decoded(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {}); // leaving early tells the server that nobody listens
  }
}

export const root = base;
