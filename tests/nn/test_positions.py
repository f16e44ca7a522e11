from __future__ import annotations

import torch

from bottega.nn.positions import rotary_frequencies, rotary_table, rotate


def test_scores_depend_on_distance_alone() -> None:
    """Su et al. (2021), equation 16: what rotation gives is relative."""
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8)
    frequencies = rotary_frequencies(8, 10000.0)

    def score(query: int, key: int) -> float:
        turned = [
            rotate(x, *rotary_table(torch.tensor([[p]]), frequencies)) for x, p in ((q, query), (k, key))
        ]
        return float((turned[0] * turned[1]).sum())

    assert abs(score(5, 2) - score(105, 102)) < 1e-4
    assert abs(score(5, 2) - score(5, 3)) > 1e-3


def test_rotation_is_the_complex_product() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 3, 6)
    frequencies = rotary_frequencies(6, 100.0)
    turned = rotate(x, *rotary_table(torch.arange(3), frequencies))
    pairs = torch.complex(x[..., :3], x[..., 3:])
    angles = torch.arange(3)[:, None] * frequencies
    expected = pairs * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(turned, torch.cat((expected.real, expected.imag), -1))


def test_llama3_scaling_keeps_the_fast_and_divides_the_slow() -> None:
    plain = rotary_frequencies(64, 500000.0)
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    ratio = rotary_frequencies(64, 500000.0, scaling) / plain
    assert ratio[0] == 1 and ratio[-1] == 1 / 8
    assert (ratio.diff() <= 0).all()
