"""CTranslate2 with our export, on the same weights: the same tokens, greedy and with a beam; and refusals."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from bottega.cli import run
from bottega.data.pair_loader import Vocabulary
from bottega.data.pairs import SPECIAL_TOKENS
from bottega.errors import InputError
from bottega.interop.ctranslate2_folder import export_ctranslate2
from bottega.models.beam_search import BeamConfig
from bottega.models.transformer import Transformer, TransformerConfig
from bottega.models.translator import Translator
from bottega.text.tokenizer import Tokenizer

ctranslate2 = pytest.importorskip("ctranslate2")

WORDS = ["ochre", "umber", "azure", "linen", "walnut", "poplar", "varnish", "chalk", "gesso", "brush"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([" ".join(WORDS)] * 9, 300, special_tokens=SPECIAL_TOKENS)


def sentences(n: int) -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 9))) for _ in range(n)]


def write(folder: Path, tokenizer: Tokenizer, **changes) -> Path:
    words = Vocabulary.of(tokenizer)
    ids = {"pad": words.pad, "bos": words.bos, "eos": words.eos}
    torch.manual_seed(5)
    config = TransformerConfig(words.size, 64, 2, 3, 4, 32, 64, **ids, **changes)
    model = Transformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3).add_(0.05 * torch.randn_like(parameter))  # biases and norms too
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


SHAPES = {
    "post": {},
    "pre": {"norm_position": "pre"},
    "learnt": {"positions": "learnt"},
    "binary": {"positions": "binary"},
    "rotary": {"positions": "rotary"},
    "three matrices": {"shared": False},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_tokens(shape: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = write(tmp_path / "ours", tokenizer, **SHAPES[shape])
    assert export_ctranslate2(folder, tmp_path / "theirs") == "TransformerSpec"
    ours = Translator.load(folder)
    theirs = ctranslate2.Translator(str(tmp_path / "theirs"), device="cpu", inter_threads=1, intra_threads=1)
    names = json.loads((tmp_path / "theirs" / "shared_vocabulary.json").read_text("utf-8"))
    texts = sentences(24)
    tokens = [[names[id] for id in tokenizer.encode(text)] for text in texts]
    for beam, penalty in ((1, 1.0), (5, 1.0), (5, 0.0), (4, 0.6)):
        config = BeamConfig(beam, penalty, max_tokens=30, n_best=min(beam, 2))
        found = ours.search(texts, config)
        results = theirs.translate_batch(
            tokens,
            beam_size=beam,
            length_penalty=penalty,
            max_decoding_length=30,
            num_hypotheses=1,
            return_scores=True,
        )
        for hypotheses, result in zip(found, results, strict=True):
            best = hypotheses[0]
            assert [names[id] for id in best.ids] == result.hypotheses[0]
            if beam > 1:  # greedy scores there are not divided alike
                assert best.score == pytest.approx(result.scores[0], rel=1e-3)
    assert len({tuple(h[0].ids) for h in found}) > 3  # not all alike


def test_the_command_line(tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "ours", tokenizer)
    assert run(["export", str(folder), "--to", "ctranslate2", "--out", str(tmp_path / "theirs")]) == 0
    assert "TransformerSpec" in capsys.readouterr().out
    assert (tmp_path / "theirs" / "tokenizer.json").is_file()
    assert run(["export", str(folder), "--to", "ctranslate2", "--out", str(tmp_path / "theirs")]) == 2
    assert "not empty" in capsys.readouterr().err


def test_what_it_cannot_express_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = write(tmp_path / "ours", tokenizer)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    for changes, reason in (
        ({"model_type": "bottega-rnn"}, "bottega-rnn"),
        ({"positions": "spiral"}, "its positions are 'spiral'"),
    ):
        (folder / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(InputError, match=reason):
            export_ctranslate2(folder, tmp_path / "theirs")
    (folder / "config.json").write_text('{"model_type": "bottega-transformer"}')
    with pytest.raises(InputError, match="does not say vocab_size"):
        export_ctranslate2(folder, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_a_damaged_folder_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from safetensors.torch import load_file, save_file

    folder = write(tmp_path / "ours", tokenizer)
    tensors = load_file(folder / "model.safetensors")
    del tensors["decoder.1.cross.kv.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"decoder\.1\.cross\.kv\.weight"):
        export_ctranslate2(folder, tmp_path / "theirs")
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="safetensors"):
        export_ctranslate2(folder, tmp_path / "theirs")
