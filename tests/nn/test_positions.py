from __future__ import annotations

import torch

from bottega.nn.positions import binary, rotary_frequencies, rotary_table, rotate, sinusoidal


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


def test_sinusoids_as_the_paper_writes_them() -> None:
    """Vaswani et al. (2017), section 3.5, channel by channel; the product of two tells their distance."""
    table = sinusoidal(torch.arange(50), 8)
    for position in (0, 1, 49):
        for i in range(4):
            angle = torch.tensor(position / 10000 ** (2 * i / 8))
            pair = table[position, 2 * i : 2 * i + 2]
            torch.testing.assert_close(pair, torch.stack((angle.sin(), angle.cos())))
    products = table @ table.T
    torch.testing.assert_close(products.diagonal(3), products[0, 3].expand(47), atol=1e-4, rtol=0)


def test_binary_digits() -> None:
    assert binary(torch.tensor([0, 1, 6]), 4).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]]
    assert binary(torch.arange(1000), 64).unique(dim=0).shape == (1000, 64)
