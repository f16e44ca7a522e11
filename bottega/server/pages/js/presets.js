// The demonstrations that made GPT-3 known (few examples, then the task), in words of our own.

const exact = (max_tokens, stop) => ({ temperature: 0, max_tokens, stop });

export const PRESETS = [
  {
    name: "Tweet classifier",
    prompt: `Decide whether the mood of each tweet is positive, neutral or negative.

Tweet: The new library opens at nine on weekdays.
Mood: neutral
Tweet: Three hours of delay and nobody told us anything!
Mood: negative
Tweet: First concert since spring, and what a night it was.
Mood:`,
    settings: exact(3, ["\n"]),
  },
  {
    name: "Idea list",
    prompt: `Six things that a small museum could do on a rainy afternoon:

1. Let children draw their favourite exhibit.
2.`,
    settings: { temperature: 0.8, max_tokens: 120, stop: ["7."], frequency_penalty: 0.4 },
  },
  {
    name: "Assistant conversation",
    prompt: `A conversation with a patient and well-read assistant.

Visitor: Good morning. Who are you?
Assistant: Good morning! I am a program that answers questions. What would you like to know?
Visitor: Why is the sea salty?
Assistant:`,
    settings: { temperature: 0.7, max_tokens: 100, stop: ["\nVisitor:"] },
  },
  {
    name: "Code completion",
    prompt: `def is_leap_year(year):
    """Tell whether a year of the Gregorian calendar has 366 days."""
    return`,
    settings: exact(40, ["\n\n"]),
  },
  {
    name: "Translation",
    prompt: `English: The bread is still warm.
French: Le pain est encore chaud.
English: Where does the river begin?
French: Où commence la rivière ?
English: We will come back tomorrow.
French:`,
    settings: exact(30, ["\n"]),
  },
  {
    name: "Title → emoji",
    prompt: `Each film in emoji.

Jaws: 🦈🏖️🚤
Around the World in Eighty Days: 🎈🌍📅
The Wizard of Oz:`,
    settings: { temperature: 0.7, max_tokens: 24, stop: ["\n"] },
  },
  {
    name: "Summary for a ten-year-old",
    prompt: `The lighthouse keeper's duties, as laid down in 1852, included trimming the wicks every four hours, polishing the lenses of the optical apparatus, and recording in a ledger every vessel that was sighted between dusk and dawn.

A teacher told a ten-year-old what this means:
"`,
    settings: { temperature: 0.5, max_tokens: 80, stop: ['"'] },
  },
  {
    name: "Factual answers",
    prompt: `Questions with short true answers. Where the answer is not known, it is "?".

Q: Which planet is closest to the sun?
A: Mercury
Q: What did Hypatia have for breakfast on her tenth birthday?
A: ?
Q: Who painted the ceiling of the Sistine Chapel?
A: Michelangelo
Q: How many letters will be posted in Lisbon next year?
A:`,
    settings: exact(16, ["\n"]),
  },
  {
    name: "SQL from words",
    prompt: `-- Tables: books(id, title, author_id, year), authors(id, name, born)
-- The titles of all books by authors born before 1800, oldest first
SELECT`,
    settings: exact(80, [";"]),
  },
  {
    name: "Shell from words",
    prompt: `Wish: count the lines of all Python files here
Command: cat *.py | wc -l
Wish: show the five largest files in this folder
Command:`,
    settings: exact(40, ["\n"]),
  },
  {
    name: "Regular expression from words",
    prompt: `Text: a year of four digits
Regex: \\b\\d{4}\\b
Text: a time such as 09:45
Regex: \\b\\d{2}:\\d{2}\\b
Text: a price in euros such as €12.50
Regex:`,
    settings: exact(24, ["\n"]),
  },
  {
    name: "Grammar correction",
    prompt: `Wrong: She no went to the market.
Right: She did not go to the market.
Wrong: The childrens has a new teacher since two weeks.
Right:`,
    settings: exact(32, ["\n"]),
  },
];
