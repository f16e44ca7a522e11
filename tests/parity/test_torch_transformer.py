"""`torch.nn.Transformer` with the same weights gives the same states, both norms, padding and all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bottega.models.transformer import Transformer, TransformerConfig
from bottega.nn.positions import sinusoidal

PAD = 0


def _torch_twin(model: Transformer) -> nn.Transformer:
    """torch's own, with our weights: its norm after the last layer is there in pre-norm alone, as here."""
    config, pre = model.config, model.config.norm_position == "pre"
    sizes = (config.n_embd, config.n_head, config.n_inner, 0.0)
    options = {"batch_first": True, "norm_first": pre}
    final = [nn.LayerNorm(config.n_embd) if pre else None for _ in range(2)]
    twin = nn.Transformer(
        config.n_embd,
        config.n_head,
        custom_encoder=nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*sizes, **options), config.n_encoder_layer, final[0], False
        ),
        custom_decoder=nn.TransformerDecoder(
            nn.TransformerDecoderLayer(*sizes, **options), config.n_decoder_layer, final[1]
        ),
        batch_first=True,
    )
    state: dict[str, Tensor] = {}
    for stack in ("encoder", "decoder"):
        for i, block in enumerate(getattr(model, stack)):
            theirs = f"{stack}.layers.{i}"
            state |= _attention(f"{theirs}.self_attn", block.attn.qkv, block.attn.out)
            norms = [block.norm1, block.norm2]
            if stack == "decoder":
                norms.append(block.norm3)
                q, kv = block.cross.q, block.cross.kv
                joined = nn.Linear(1, 1)
                joined.weight = nn.Parameter(torch.cat((q.weight, kv.weight)))
                joined.bias = nn.Parameter(torch.cat((q.bias, kv.bias)))
                state |= _attention(f"{theirs}.multihead_attn", joined, block.cross.out)
            for number, norm in enumerate(norms, start=1):
                state |= {f"{theirs}.norm{number}.{k}": v for k, v in norm.state_dict().items()}
            for name, linear in (("linear1", block.mlp.up), ("linear2", block.mlp.down)):
                state |= {f"{theirs}.{name}.{k}": v for k, v in linear.state_dict().items()}
        if pre:
            own = getattr(model, f"{stack}_norm").state_dict()
            state |= {f"{stack}.norm.{k}": v for k, v in own.items()}
    twin.load_state_dict(state)
    return twin.eval()


def _attention(name: str, joined: nn.Linear, out: nn.Linear) -> dict[str, Tensor]:
    return {
        f"{name}.in_proj_weight": joined.weight,
        f"{name}.in_proj_bias": joined.bias,
        f"{name}.out_proj.weight": out.weight,
        f"{name}.out_proj.bias": out.bias,
    }


@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_same_weights_same_states(norm_position: str) -> None:
    torch.manual_seed(0)
    config = TransformerConfig(50, 32, 2, 3, 4, 24, 40, norm_position=norm_position)
    model = Transformer(config).eval()
    for parameter in model.parameters():  # norms and biases too, which begin as 1 and 0
        parameter.data += 0.1 * torch.randn_like(parameter)
    twin = _torch_twin(model)
    source, target = torch.randint(3, 50, (3, 9)), torch.randint(3, 50, (3, 7))
    mask = torch.arange(9) < torch.tensor([9, 5, 1])[:, None]
    scale = config.n_embd**0.5

    def embedded(ids: Tensor) -> Tensor:
        return model.embedding(ids) * scale + sinusoidal(torch.arange(ids.shape[1]), config.n_embd)

    with torch.no_grad():
        theirs = twin(
            embedded(source),
            embedded(target),
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(7),
            src_key_padding_mask=~mask,
            memory_key_padding_mask=~mask,
        )
        logits = theirs @ model.embedding.weight.T
        torch.testing.assert_close(model(source, mask, target), logits, atol=1e-5, rtol=1e-5)
