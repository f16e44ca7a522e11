from __future__ import annotations

import json
import math

import pytest

from bottega.cli import run
from bottega.errors import InputError
from bottega.models.gpt import GPTConfig
from bottega.recipes.gpt import gpt_shape
from bottega.recipes.plan import (
    activation_bytes_per_token,
    find_gpu,
    kv_bytes_per_token,
    plan,
)


def test_gpt3_on_v100s_is_the_published_estimate():
    result = plan("gpt3-175b", 300e9, "v100")
    assert (result.tflops, result.price_per_hour) == (28, 1.5)
    assert f"{result.training_flops:.2e}" == "3.14e+23"
    assert f"{result.gpu_years:.0f}" == "355"
    assert f"{result.cost_usd / 1e6:.2f}" == "4.67"
    assert result.weights_bytes == pytest.approx(700e9, rel=0.005)
    # By hand: 3.14e23 / 28e12 s, 3600 s an hour, 1.50 $ an hour.
    assert result.cost_usd == pytest.approx(3.14e23 / 28e12 / 3600 * 1.5)


@pytest.mark.parametrize(
    ("name", "flops"),
    [("gpt3-125m", 2.25e20), ("gpt3-760m", 1.37e21), ("gpt3-2.7b", 4.77e21), ("gpt3-13b", 2.31e22)],
)
def test_training_flops_are_those_of_the_papers_table(name, flops):
    """Brown et al. (2020, table D.1): total train compute in FLOPs at 300 billion tokens."""
    assert plan(name, 300e9).training_flops == pytest.approx(flops, rel=0.002)


def test_memory_is_counted_per_parameter_and_per_sequence():
    one, four = plan("gpt2-124m", 1e9), plan("gpt2-124m", 1e9, batch=4)
    assert one.weights_bytes == one.gradient_bytes == 4 * 124_439_808
    assert one.optimizer_bytes == 8 * 124_439_808
    assert four.activation_bytes == 4 * one.activation_bytes


def test_activations_of_a_gpt_with_dropout_are_korthikantis():
    config = GPTConfig(50257, 2048, 96, 96, 12288, dropout=0.1)
    assert activation_bytes_per_token(config) == 96 * 34 * 12288 + 4 * (12288 + 50257)


def test_grouped_queries_shrink_the_cache():
    assert kv_bytes_per_token(gpt_shape("gpt3-175b")) == 96 * 2 * 12288 * 2
    assert kv_bytes_per_token(gpt_shape("modern-8b")) == 36 * 2 * 8 * 128 * 2


def test_own_device_replaces_the_table():
    given = plan("gpt3-175b", 300e9, "v100", tflops=56, price_per_hour=3)
    table = plan("gpt3-175b", 300e9, "v100")
    assert given.gpu_years == pytest.approx(table.gpu_years / 2)
    assert given.cost_usd == pytest.approx(table.cost_usd)


def test_this_machine_is_measured():
    assert 1e-3 < find_gpu("cpu").tflops < 1e3


@pytest.mark.parametrize("tokens", [0, -1, math.nan, math.inf])
def test_tokens_that_are_no_number_are_refused(tokens):
    with pytest.raises(InputError, match="tokens"):
        plan("gpt1", tokens)


def test_unknown_gpu_lists_the_known():
    with pytest.raises(InputError, match="v100, a100, h100, h200, and cpu"):
        plan("gpt1", 1e9, "abacus")


def test_json_has_the_promised_keys(capsys):
    assert run(["plan", "davinci", "--tokens", "300e9", "--gpu", "v100", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    memory = {"weights_bytes", "optimizer_bytes", "activation_bytes", "kv_bytes_per_token"}
    assert memory | {"parameters", "training_flops", "gpu_years", "cost_usd"} <= set(printed)
    assert printed["parameters"] == 174_604_259_328


def test_the_table_shows_the_published_figures(capsys):
    assert run(["plan", "gpt3-175b", "--tokens", "300e9", "--gpu", "v100"]) == 0
    out = capsys.readouterr().out
    for figure in ("174,604,259,328", "3.14e+23", "698 GB", "355 GPU-years", "4.67 M$"):
        assert figure in out


def test_bad_input_is_one_line_and_exit_code_2(capsys):
    assert run(["plan", "gpt9", "--tokens", "1e9"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "gpt1" in captured.err
