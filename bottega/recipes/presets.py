"""Every preset that `bottega train` knows, family by family."""

from __future__ import annotations

from bottega.recipes import (
    autoencoders,
    bert,
    classification,
    dbn,
    detection,
    gan,
    gpt,
    hmm,
    mixture,
    picture_classifiers,
    rbm,
    recurrent,
    segmentation,
    sentence_encoder,
    topics,
    translation,
    vae,
    words,
)
from bottega.recipes.preset import Preset

FAMILIES: dict[str, dict[str, Preset]] = {
    "GPT": gpt.PRESETS,
    "recurrent language models": recurrent.PRESETS,
    "hidden Markov models": hmm.PRESETS,
    "word vectors": words.PRESETS,
    "topic models": topics.PRESETS,
    "classifiers": classification.PRESETS,
    "BERT": bert.PRESETS,
    "sentence encoders": sentence_encoder.PRESETS,
    "translators": translation.PRESETS,
    "picture classifiers": picture_classifiers.PRESETS,
    "mixtures of Gaussians": mixture.PRESETS,
    "Boltzmann machines": rbm.PRESETS,
    "deep belief networks": dbn.PRESETS,
    "generative adversarial nets": gan.PRESETS,
    "autoencoders": autoencoders.PRESETS,
    "variational autoencoders": vae.PRESETS,
    "detectors": detection.PRESETS,
    "segmenters": segmentation.PRESETS,
}
PRESETS: dict[str, Preset] = {name: one for family in FAMILIES.values() for name, one in family.items()}


def find(name: str) -> Preset:
    """Return the preset of a name, or of an alias of a GPT; raises InputError naming the closest ones."""
    key = gpt.ALIASES.get(name.lower(), name.lower())
    if key in PRESETS:
        return PRESETS[key]
    raise gpt.unknown(name, [*PRESETS, *gpt.ALIASES])
