"""GGUF files read back by the `gguf` package: what they say of the model, and every weight."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bottega.errors import InputError
from bottega.models.gpt import GPT, GPTConfig
from bottega.text.tokenizer import Tokenizer

gguf = pytest.importorskip("gguf")

from gguf.quants import dequantize  # noqa: E402 (only where the package is)

from bottega.interop.gguf_file import export_gguf  # noqa: E402

GPT2 = GPTConfig(300, 64, 2, 4, 64)
QWEN3 = GPTConfig(
    300,
    64,
    2,
    4,
    64,
    2,
    32,
    96,
    norm="rmsnorm",
    norm_eps=1e-6,
    positions="rotary",
    rope_theta=1e6,
    mlp="swiglu",
    qk_norm=True,
    attention_bias=False,
    mlp_bias=False,
)
LLAMA = replace(QWEN3, qk_norm=False, head_dim=16, tied=False)
SHAPES = {"gpt2": GPT2, "qwen3": QWEN3, "llama": LLAMA}


@pytest.fixture(scope="module", params=["gpt2", "cl100k"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.train(
        ["the apprentice grinds the colours, 12345 of them; it's work\n"] * 5, 300, request.param
    )


def saved(shape: GPTConfig, tokenizer: Tokenizer, folder: Path) -> GPT:
    torch.manual_seed(3)
    model = GPT(shape)
    for parameter in model.parameters():  # norms and biases too
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.3)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return model


def read(path: Path) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {t.name: dequantize(t.data, t.tensor_type).reshape(t.shape[::-1]) for t in reader.tensors}


@pytest.mark.parametrize("kind", SHAPES)
def test_the_file_says_what_the_model_is(tmp_path, tokenizer, kind):
    shape = SHAPES[kind]
    saved(shape, tokenizer, tmp_path / "model")
    assert export_gguf(tmp_path / "model", tmp_path / "file.gguf") == kind
    fields, _ = read(tmp_path / "file.gguf")
    said = {name.partition(".")[2]: value for name, value in fields.items() if name.startswith(f"{kind}.")}
    assert said["context_length"] == 64 and said["block_count"] == 2 and said["embedding_length"] == 64
    assert said["attention.head_count"] == 4 and said["feed_forward_length"] == shape.inner
    if kind != "gpt2":
        assert said["attention.head_count_kv"] == 2 and said["attention.key_length"] == shape.head_size
        assert said["rope.freq_base"] == 1e6 and said["attention.layer_norm_rms_epsilon"] == pytest.approx(
            1e-6
        )
    assert fields["tokenizer.ggml.eos_token_id"] == tokenizer.end_of_text
    assert fields["tokenizer.ggml.add_bos_token"] is False
    definition = json.loads(tokenizer.to_json())
    assert fields["tokenizer.ggml.merges"] == [
        one if isinstance(one, str) else " ".join(one) for one in definition["model"]["merges"]
    ]
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert [tokens[id] for id in definition["model"]["vocab"].values()] == list(definition["model"]["vocab"])
    control = {i for i, type_ in enumerate(types) if type_ == gguf.TokenType.CONTROL}
    assert control == set(tokenizer.special_tokens.values())
    split_by_words = definition["pre_tokenizer"]["type"] == "ByteLevel"
    assert fields["tokenizer.ggml.pre"] == ("gpt-2" if split_by_words else "dbrx")
    assert "tokenizer.ggml.fim_pre_token_id" not in fields


def test_every_weight_is_there_in_its_place(tmp_path, tokenizer):
    model = saved(QWEN3, tokenizer, tmp_path / "model")
    export_gguf(tmp_path / "model", tmp_path / "file.gguf")
    _, tensors = read(tmp_path / "file.gguf")
    block = model.blocks[1]
    q, k, v = block.attn.qkv.weight.split(block.attn.sizes)
    gate, up = block.mlp.up.weight.chunk(2)
    expected = {
        "token_embd.weight": model.tok_emb.weight,
        "output_norm.weight": model.norm.weight,
        "blk.1.attn_q.weight": q,
        "blk.1.attn_k.weight": k,
        "blk.1.attn_v.weight": v,
        "blk.1.attn_output.weight": block.attn.out.weight,
        "blk.1.attn_q_norm.weight": block.attn.q_norm.weight,
        "blk.1.attn_k_norm.weight": block.attn.k_norm.weight,
        "blk.1.attn_norm.weight": block.norm1.weight,
        "blk.1.ffn_norm.weight": block.norm2.weight,
        "blk.1.ffn_gate.weight": gate,
        "blk.1.ffn_up.weight": up,
        "blk.1.ffn_down.weight": block.mlp.down.weight,
    }
    assert len(tensors) == 2 + 2 * 11
    for name, tensor in expected.items():
        assert np.array_equal(tensors[name], tensor.detach().numpy()), name


def test_gpt2_matrices_are_output_by_input_again(tmp_path, tokenizer):
    model = saved(GPT2, tokenizer, tmp_path / "model")
    export_gguf(tmp_path / "model", tmp_path / "file.gguf")
    _, tensors = read(tmp_path / "file.gguf")
    attn = model.blocks[0].attn
    for name, tensor in {
        "blk.0.attn_qkv.weight": attn.qkv.weight,
        "blk.0.attn_qkv.bias": attn.qkv.bias,
        "blk.0.ffn_up.weight": model.blocks[0].mlp.up.weight,
        "position_embd.weight": model.pos_emb.weight,
        "output_norm.bias": model.norm.bias,
    }.items():
        assert np.array_equal(tensors[name], tensor.detach().numpy()), name


@pytest.mark.parametrize(("weights", "most"), [("bf16", 2**-8), ("q8_0", 1 / 100)])
def test_smaller_weights_are_near(tmp_path, tokenizer, weights, most):
    saved(GPT2, tokenizer, tmp_path / "model")
    for kind in ("f32", weights):
        export_gguf(tmp_path / "model", tmp_path / f"{kind}.gguf", kind)
    (_, exact), (_, near) = (read(tmp_path / f"{kind}.gguf") for kind in ("f32", weights))
    for name, tensor in exact.items():
        error = np.abs(near[name] - tensor).max() / np.abs(tensor).max()
        kept = tensor.ndim == 1 or name == "position_embd.weight"
        assert (error == 0) if kept else (0 < error < most), name
    sizes = {kind: (tmp_path / f"{kind}.gguf").stat().st_size for kind in ("f32", weights)}
    assert sizes[weights] < 0.75 * sizes["f32"]


def test_models_that_fill_in_name_the_tokens_for_it(tmp_path, tokenizer):
    saved(QWEN3, tokenizer, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fim_rate": 0.5}))
    export_gguf(tmp_path / "model", tmp_path / "file.gguf")
    fields, _ = read(tmp_path / "file.gguf")
    for key, token in {"pre": "prefix", "suf": "suffix", "mid": "middle"}.items():
        expected = tokenizer.special_tokens[f"<|fim_{token}|>"]
        assert fields[f"tokenizer.ggml.fim_{key}_token_id"] == expected


@pytest.mark.parametrize(
    ("shape", "weights", "reason"),
    [
        (replace(GPT2, norm_position="post"), "f32", "GPT-1"),
        (replace(GPT2, band=8), "f32", "the last 8 of 64"),
        (replace(GPT2, mlp="gelu"), "f32", "tanh"),
        (replace(QWEN3, attention_bias=True), "f32", "no biases"),
        (replace(GPT2, n_embd=48), "q8_0", "n_embd is 48"),
    ],
)
def test_what_a_file_cannot_say_is_refused_with_the_reason(tmp_path, tokenizer, shape, weights, reason):
    saved(shape, tokenizer, tmp_path / "model")
    with pytest.raises(InputError, match=reason) as error:
        export_gguf(tmp_path / "model", tmp_path / "file.gguf", weights)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_an_unknown_split_is_refused(tmp_path, tokenizer):
    saved(QWEN3, tokenizer, tmp_path / "model")
    path = tmp_path / "model" / "tokenizer.json"
    definition = json.loads(path.read_text())
    definition["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
    path.write_text(json.dumps(definition))
    with pytest.raises(InputError, match="splits text"):
        export_gguf(tmp_path / "model", tmp_path / "file.gguf")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
