// The page of topics: a map, the words of one topic, its documents. Whatever the corpus says is set as text only.

const SHOWN = 20; // words of a topic
const LARGEST = 0.2; // radius of the largest circle; the map reaches from -1 to 1
const NAMING = 4; // words that name a topic

const at = (id) => document.getElementById(id);
const data = JSON.parse(at("data").textContent);
const view = { topic: 0, over: null, word: null }; // over: the topic under the pointer; word: one that is looked at

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const lambda = () => Number(at("relevance").value);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Sievert and Shirley (2014), equation 1.
function relevance([word, p], weight) {
  const everywhere = data.words[word][1] / data.total;
  return weight * Math.log(p) + (1 - weight) * Math.log(p / everywhere);
}

function foremost(topic, weight, count) {
  const key = (entry) => relevance(entry, weight);
  return [...data.topics[topic].words].sort((a, b) => key(b) - key(a)).slice(0, count);
}

const spelling = ([word]) => data.words[word][0];
const name = (topic) => `Topic ${topic + 1}: ${foremost(topic, lambda(), NAMING).map(spelling).join(", ")}`;

// The map

const most = Math.max(...data.topics.map((topic) => topic.share));
const radius = (share) => LARGEST * Math.sqrt(share / most);

function buildMap() {
  at("map").append(
    ...data.topics.map(({ x, y, share }, index) => { // the largest first, so that small circles lie on large ones
      const button = { role: "button", tabindex: index ? "-1" : "0", "data-topic": index, transform: `translate(${x} ${-y})` };
      return drawn("g", button, drawn("circle", { r: radius(share) }), drawn("text", {}, `${index + 1}`));
    }),
  );
}

// Of a word that is looked at, circles show which topics have it; otherwise how large the topics are.
function sizes() {
  if (view.word === null) return data.topics.map((topic) => radius(topic.share));
  const has = new Map(data.words[view.word][2]);
  return data.topics.map((_, index) => LARGEST * Math.sqrt(has.get(index) ?? 0));
}

function showMap() {
  const radii = sizes();
  for (const group of at("map").children) {
    const index = Number(group.dataset.topic);
    group.firstChild.setAttribute("r", radii[index]);
    group.setAttribute("aria-pressed", index === view.topic);
    group.setAttribute("aria-label", `${name(index)}; ${percent(data.topics[index].share)} of all words`);
    group.setAttribute("tabindex", index === view.topic ? 0 : -1);
  }
}

// The words

function bar(word, p, longest) {
  const here = Math.min(p * data.topics[shown()].share * data.total, data.words[word][1]);
  return drawn(
    "svg",
    { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    drawn("rect", { class: "all", width: (100 * data.words[word][1]) / longest, height: 10 }),
    drawn("rect", { class: "here", width: (100 * here) / longest, height: 10 }),
  );
}

const shown = () => view.over ?? view.topic;

function showWords() {
  const words = foremost(shown(), lambda(), SHOWN);
  const longest = Math.max(...words.map(([word]) => data.words[word][1]));
  at("topic-name").textContent = `${name(shown())} (${percent(data.topics[shown()].share)})`;
  at("weight").textContent = lambda().toFixed(1);
  at("words").replaceChildren(
    ...words.map(([word, p]) =>
      element(
        "li",
        {},
        element(
          "button",
          { type: "button", "data-word": word, "aria-pressed": word === view.word },
          element("bdi", {}, data.words[word][0]),
          bar(word, p, longest),
        ),
      ),
    ),
  );
}

function showDocuments() {
  at("documents").replaceChildren(
    ...data.topics[shown()].documents.map(([document, share]) => {
      const [title, text] = data.documents[document];
      return element("li", {}, element("span", {}, percent(share)), element("bdi", {}, title), element("p", {}, text));
    }),
  );
}

function say() {
  if (view.word === null) {
    at("said").textContent = `${name(shown())}; ${percent(data.topics[shown()].share)} of all words`;
    return;
  }
  const [text, count, topics] = data.words[view.word];
  const best = [...topics].sort((a, b) => b[1] - a[1]).slice(0, 3);
  const where = best.map(([topic, share]) => `${percent(share)} in topic ${topic + 1}`).join(", ");
  at("said").textContent = `“${text}” occurs ${count.toLocaleString("en")} times: ${where}`;
}

function show() {
  showMap();
  showWords();
  showDocuments();
  say();
}

function pick(topic) {
  view.topic = Math.max(0, Math.min(data.topics.length - 1, topic));
  view.over = view.word = null;
  show();
  if (at("map").contains(document.activeElement)) at("map").children[view.topic].focus();
}

// A word is marked in place: were the list built anew, the pointer would leave what it is over.
function look(word) {
  view.word = word;
  for (const button of at("words").querySelectorAll("button"))
    button.setAttribute("aria-pressed", Number(button.dataset.word) === word);
  showMap();
  say();
}

function nextWord(step) {
  const buttons = [...at("words").querySelectorAll("button")];
  const now = buttons.findIndex((button) => Number(button.dataset.word) === view.word);
  const next = buttons[Math.max(0, Math.min(buttons.length - 1, now + step))];
  next.focus();
  look(Number(next.dataset.word));
}

function weigh(step) {
  at("relevance").value = lambda() + step;
  const focused = wordOf(document.activeElement);
  show();
  if (focused !== undefined) at("words").querySelector(`[data-word="${focused}"]`)?.focus(); // it was built anew
}

// Pointer and keyboard

const topicOf = (target) => target.closest?.("[data-topic]")?.dataset.topic;
const wordOf = (target) => target.closest?.("[data-word]")?.dataset.word;

at("map").addEventListener("pointerover", (event) => {
  const topic = topicOf(event.target);
  if (topic === undefined || view.word !== null) return;
  view.over = Number(topic);
  showWords();
  showDocuments();
  say();
});
at("map").addEventListener("pointerleave", () => {
  if (view.over === null) return;
  view.over = null;
  show();
});
at("map").addEventListener("click", (event) => {
  const topic = topicOf(event.target);
  if (topic !== undefined) pick(Number(topic));
});
at("words").addEventListener("pointerover", (event) => {
  const word = wordOf(event.target);
  if (word !== undefined) look(Number(word));
});
at("words").addEventListener("pointerleave", () => look(null));
at("words").addEventListener("focusin", (event) => look(Number(wordOf(event.target))));
at("relevance").addEventListener("input", show);
at("ask").addEventListener("click", () => at("help").showModal());

const KEYS = {
  ArrowLeft: () => pick(view.topic - 1),
  ArrowRight: () => pick(view.topic + 1),
  ArrowDown: () => weigh(-0.1),
  ArrowUp: () => weigh(0.1),
  j: () => nextWord(1),
  k: () => nextWord(-1),
  Escape: () => look(null),
  "?": () => at("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || at("help").open) return;
  if (event.target === at("relevance") && event.key.startsWith("Arrow")) return; // the slider's own
  const topic = topicOf(event.target);
  if (topic !== undefined && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    pick(Number(topic));
    return;
  }
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

buildMap();
show();
