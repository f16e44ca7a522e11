from __future__ import annotations

import pytest

from bottega.errors import InputError
from bottega.recipes.gpt import ALIASES, SHAPES, count_parameters, gpt_shape

EXACT = {
    "gpt1": 116_534_784,
    "gpt2-124m": 124_439_808,
    "gpt2-355m": 354_823_168,
    "gpt2-774m": 774_030_080,
    "gpt2-1.5b": 1_557_611_200,
    "modern-0.6b": 596_049_920,
    "modern-1.7b": 1_720_574_976,
    "modern-4b": 4_022_468_096,
    "modern-8b": 8_190_735_360,
}

# Millions of parameters in Brown et al. (2020, table D.1), which spells out the rounded names of table 2.1.
GPT3_TABLE_D1 = {
    "gpt3-125m": 125,
    "gpt3-350m": 356,
    "gpt3-760m": 760,
    "gpt3-1.3b": 1320,
    "gpt3-2.7b": 2650,
    "gpt3-6.7b": 6660,
    "gpt3-13b": 12850,
    "gpt3-175b": 174600,
}


@pytest.mark.parametrize(("name", "count"), EXACT.items())
def test_published_weights_have_exactly_these_parameters(name, count):
    assert count_parameters(gpt_shape(name)) == count


@pytest.mark.parametrize(("name", "millions"), GPT3_TABLE_D1.items())
def test_gpt3_counts_are_the_papers(name, millions):
    assert count_parameters(gpt_shape(name)) == pytest.approx(millions * 1e6, rel=0.01)


def test_gpt3_alternates_dense_and_banded_layers():
    import torch

    from bottega.models.gpt import GPT

    with torch.device("meta"):
        bands = [block.attn.band for block in GPT(gpt_shape("gpt3-125m")).blocks]
    assert bands == [None, 256] * 6


@pytest.mark.parametrize("name", [name for name in SHAPES if name.startswith("modern-")])
def test_modern_presets_are_qwen3_and_as_large_as_they_are_called(name):
    config = gpt_shape(name)
    assert (config.norm, config.mlp, config.positions, config.qk_norm) == (
        "rmsnorm",
        "swiglu",
        "rotary",
        True,
    )
    assert not config.attention_bias and not config.mlp_bias
    assert config.head_dim is not None and config.norm_eps == 1e-6 and config.rope_theta == 1e6
    label = name.removeprefix("modern-")
    size = float(label[:-1]) * {"m": 1e6, "b": 1e9}[label[-1]]
    assert count_parameters(config) == pytest.approx(size, rel=0.05)


def test_aliases_are_the_api_names():
    assert {alias: gpt_shape(alias) for alias in ALIASES} == {
        "ada": SHAPES["gpt3-350m"],
        "babbage": SHAPES["gpt3-1.3b"],
        "curie": SHAPES["gpt3-6.7b"],
        "davinci": SHAPES["gpt3-175b"],
    }


def test_an_unknown_preset_names_the_closest():
    with pytest.raises(InputError, match=r"no preset 'gpt2-1\.24b'.*gpt2-1\.5b"):
        gpt_shape("gpt2-1.24b")
    with pytest.raises(InputError, match=r"there are gpt1, .*davinci$"):
        gpt_shape("zzz")
