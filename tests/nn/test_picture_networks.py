"""Encoders and decoders of pictures: their shapes, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from bottega.errors import InputError
from bottega.nn.picture_networks import (
    check_pictures,
    conv_decoder,
    conv_encoder,
    dense_decoder,
    dense_encoder,
)

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 13, 30), (1, 1, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_pictures_go_to_vectors_and_back(shape: tuple[int, int, int]) -> None:
    pictures = torch.rand(2, *shape)
    codes = dense_encoder(shape, 5, 7, 2)(pictures)
    assert codes.shape == (2, 5) and dense_decoder(shape, 5, 7, 2)(codes).shape == pictures.shape
    codes = conv_encoder(shape, 5, 4)(pictures)
    assert codes.shape == (2, 5) and conv_decoder(shape, 5, 4)(codes).shape == pictures.shape


def test_convolutions_halve_until_seven() -> None:
    encoder = conv_encoder((1, 28, 28), 3, 4)
    assert encoder[:4](torch.rand(1, 1, 28, 28)).shape == (1, 8, 7, 7)


def test_without_hidden_layers_a_network_is_linear() -> None:
    encoder = dense_encoder((1, 4, 4), 3, 9, 0)
    a, b, zero = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    torch.testing.assert_close(encoder(a + b) + encoder(zero), encoder(a) + encoder(b))


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        (torch.rand(2, 1, 8, 9), r"n × 1 × 8 × 8 .* not 2 × 1 × 8 × 9"),
        (torch.rand(8, 8), "not 8 × 8"),
        (torch.rand(0, 1, 8, 8), "no pictures"),
        (torch.full((1, 1, 8, 8), torch.nan), "from 0 to 1, not from nan"),
        (torch.full((1, 1, 8, 8), 255.0), "divide bytes by 255"),
        (torch.full((1, 1, 8, 8), -0.5), "from 0 to 1"),
    ],
)
def test_what_is_no_picture_is_refused(pictures: torch.Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_pictures(pictures, (1, 8, 8))
