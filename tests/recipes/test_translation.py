"""The job that trains translators, on pairs that it makes itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from bottega.errors import InputError, Stopped
from bottega.models.load import load, load_tokenizer
from bottega.models.transformer import Transformer, TransformerConfig
from bottega.recipes.translation import FIRST_PERSON, PRESETS
from bottega.training.config import TrainingConfig
from bottega.training.events import Event, Notice, StepEvent

SMALL = replace(PRESETS["transformer-numbers"].shape, n_encoder_layer=1, n_decoder_layer=1, n_embd=16)
SIX = TrainingConfig(steps=6, batch_size=16, precision="fp32")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(out: Path, shape: TransformerConfig = SMALL, training: TrainingConfig = SIX, **rest: object) -> str:
    preset = PRESETS["transformer-numbers"]
    return preset.run(shape, ("embedded",), out, training, rest.get("on_event"))


def test_a_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    assert "step-6: 6 steps" in run(tmp_path / "whole")

    def stop_at_3(event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == 3:
            raise Stopped("stopped by the test")

    often = replace(SIX, save_every=2)
    with pytest.raises(Stopped):
        run(tmp_path / "cut", training=often, on_event=stop_at_3)
    run(tmp_path / "cut", training=often)
    whole, cut = (load(tmp_path / name).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_what_is_saved_translates(tmp_path: Path) -> None:
    run(tmp_path)
    model, tokenizer = load(tmp_path), load_tokenizer(tmp_path)
    assert isinstance(model, Transformer)
    special = tokenizer.special_tokens
    config = model.config
    assert (config.pad, config.bos, config.eos) == tuple(special[n] for n in ("<pad>", "<bos>", "<eos>"))
    assert (config.source_language, config.target_language) == ("en", "digits")
    assert config.vocab_size == tokenizer.vocab_size == 300
    said = json.loads((tmp_path / "latest" / "config.json").read_text())
    assert (said["bos_token_id"], said["eos_token_id"]) == (config.bos, config.eos)
    ids = [*tokenizer.encode("forty-two"), config.eos]
    with torch.no_grad():
        state = model.begin(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))
        assert model.next(torch.tensor([config.bos]), state).shape == (1, 300)


@pytest.mark.parametrize("languages", [("fr", "en"), ("en", "fr")])
def test_pairs_left_out_are_told(languages: tuple[str, str], tmp_path: Path) -> None:
    pairs = [(f"Je vois {i} chats.", f"I see {i} cats.") for i in range(300)]
    pairs += [("Je suis étudiante.", "I am a student."), ("long " * 80, "long " * 80), ("", "nothing")]
    order = 1 if languages[0] == "fr" else -1
    (tmp_path / "p.tsv").write_text("".join("\t".join(pair[::order]) + "\n" for pair in pairs))
    told: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            told.append(event.text)

    source, target = languages
    shape = replace(SMALL, source_language=source, target_language=target, vocab_size=270, context_length=40)
    job = PRESETS["transformer-french"].run
    job(shape, (f"{tmp_path}/p.tsv",), tmp_path / "run", replace(SIX, steps=1), listen)
    assert "1 with an empty side, 1 near a sentence of the test, 1 too long for the context" in told[0]


def test_every_preset_says_what_it_is() -> None:
    assert len(FIRST_PERSON) == 10 and "Je suis étudiant." in FIRST_PERSON
    for preset in PRESETS.values():
        assert preset.about and "embedded" in preset.data
        assert preset.shape.source_language and preset.shape.target_language


def test_the_papers_rate_is_the_peak_of_its_schedule() -> None:
    training = asdict(PRESETS["transformer-base"].training)
    assert training["learning_rate"] == pytest.approx(7.0e-4, rel=0.01)
    assert (training["schedule"], training["warmup_steps"], training["beta2"]) == ("inverse_sqrt", 4000, 0.98)


def test_pairs_that_give_few_tokens_make_a_small_vocabulary(tmp_path: Path) -> None:
    run(tmp_path, replace(SMALL, vocab_size=5000), replace(SIX, steps=1))
    model, tokenizer = load(tmp_path), load_tokenizer(tmp_path)
    assert isinstance(model, Transformer)
    assert 259 < tokenizer.vocab_size == model.config.vocab_size < 5000
    assert max(tokenizer.special_tokens.values()) == tokenizer.vocab_size - 1


def test_a_vocabulary_without_room_for_bytes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a vocabulary of 100 is too small"):
        run(tmp_path, replace(SMALL, vocab_size=100))
