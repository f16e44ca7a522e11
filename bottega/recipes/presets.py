"""Every preset that `bottega train` knows, family by family."""

from __future__ import annotations

from bottega.recipes import classification, gpt, hmm, recurrent, sentence_encoder, topics, translation, words
from bottega.recipes.preset import Preset

PRESETS: dict[str, Preset] = {
    **classification.PRESETS,
    **gpt.PRESETS,
    **hmm.PRESETS,
    **recurrent.PRESETS,
    **sentence_encoder.PRESETS,
    **topics.PRESETS,
    **translation.PRESETS,
    **words.PRESETS,
}


def find(name: str) -> Preset:
    """Return the preset of a name, or of an alias of a GPT; raises InputError naming the closest ones."""
    key = gpt.ALIASES.get(name.lower(), name.lower())
    if key in PRESETS:
        return PRESETS[key]
    raise gpt.unknown(name, [*PRESETS, *gpt.ALIASES])
