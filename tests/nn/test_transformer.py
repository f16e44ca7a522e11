"""Attention that is not causal, and to another sequence; torch's own is the oracle."""

import pytest
import torch
from torch import nn

from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.attention import WRITTEN_OUT, attention, attention_weights
from bottega.nn.attention_maps import recorded
from bottega.nn.transformer import Block, BlockConfig, CrossAttention, SelfAttention


@pytest.fixture
def mask():
    lengths = torch.tensor([7, 4])
    return (torch.arange(7) < lengths[:, None])[:, None, None]


def test_attention_is_torchs(mask):
    q, k, v = (torch.randn(2, 3, 7, 4, dtype=torch.float64) for _ in range(3))
    expected = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attention(q, k, v, mask), expected)
    torch.testing.assert_close(
        attention_weights(q, k, mask).sum(-1), torch.ones(2, 3, 7, dtype=torch.float64)
    )
    assert (attention_weights(q, k, mask)[1, :, :, 4:] == 0).all()


def test_long_rows_agree_with_short_ones():
    q, k, v = (torch.randn(1, 2, WRITTEN_OUT + 1, 4, dtype=torch.float64) for _ in range(3))
    torch.testing.assert_close(attention(q, k, v), attention_weights(q, k) @ v)


def test_self_attention_is_torchs(mask):
    ours = SelfAttention(BlockConfig(12, 3, 24, causal=False))
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.qkv.weight.data, ours.qkv.bias.data
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(2, 7, 12)
    expected, weights = theirs(x, x, x, key_padding_mask=~mask[:, 0, 0], average_attn_weights=False)
    torch.testing.assert_close(ours(x, mask=mask), expected)
    torch.testing.assert_close(ours.weights(x, mask=mask), weights)


def test_cross_attention_is_torchs(mask):
    ours = CrossAttention(BlockConfig(12, 3, 24))
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.in_proj_weight.data = torch.cat((ours.q.weight.data, ours.kv.weight.data))
    theirs.in_proj_bias.data = torch.cat((ours.q.bias.data, ours.kv.bias.data))
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    x, memory = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    expected, weights = theirs(x, memory, memory, key_padding_mask=~mask[:, 0, 0], average_attn_weights=False)
    keys_values = ours.keys_values(memory)
    torch.testing.assert_close(ours(x, keys_values, mask), expected)
    torch.testing.assert_close(ours.weights(x, keys_values, mask), weights)


def test_an_encoders_block_is_torchs(mask):
    config = BlockConfig(12, 3, 24, norm_position="post", mlp="relu", causal=False)
    ours = Block(config).eval()
    theirs = nn.TransformerEncoderLayer(12, 3, 24, 0.0, batch_first=True).eval()
    theirs.self_attn.in_proj_weight.data = ours.attn.qkv.weight.data
    theirs.self_attn.in_proj_bias.data = ours.attn.qkv.bias.data
    theirs.self_attn.out_proj.load_state_dict(ours.attn.out.state_dict())
    theirs.linear1.load_state_dict(ours.mlp.up.state_dict())
    theirs.linear2.load_state_dict(ours.mlp.down.state_dict())
    x = torch.randn(2, 7, 12)
    expected = theirs(x, src_key_padding_mask=~mask[:, 0, 0])
    real = mask[:, 0, 0]
    torch.testing.assert_close(ours(x, mask=mask)[real], expected[real], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("extra", [{}, {"positions": "rotary", "n_kv_head": 2, "qk_norm": True}, {"band": 2}])
def test_recorded_weights_give_what_the_attention_gives(extra):
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=11, context_length=16, n_layer=2, n_head=4, n_embd=16, **extra)).eval()
    ids = torch.randint(0, 11, (9,))
    inputs = []
    for block in model.blocks:
        block.attn.register_forward_hook(lambda layer, args, y: inputs.append((layer, args, y)))
    with recorded(model) as tables:
        model(ids[None])
    for (layer, args, y), weights in zip(inputs, tables, strict=True):
        _, k, v = layer._heads(args[0], args[1])
        _, shared = layer._shared(k, v)
        torch.testing.assert_close(layer.out((weights @ shared).transpose(1, 2).flatten(2)), y)
    maps = model.attention(ids)["self"]
    assert maps.shape == (2, 4, 9, 9)
    assert (maps.triu(1) == 0).all() and maps.sum(-1).allclose(torch.ones(()))


def test_nothing_is_recorded_afterwards():
    model = GPT(GPTConfig(vocab_size=11, context_length=16, n_layer=1, n_head=2, n_embd=8))
    with recorded(model) as tables:
        pass
    model(torch.zeros(1, 3, dtype=torch.long))
    assert tables == []
