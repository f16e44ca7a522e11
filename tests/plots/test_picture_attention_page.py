"""What is written into the attention page of a picture, and what is refused."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest

from bottega.errors import InputError
from bottega.plots.picture_attention_page import MOST_WEIGHTS, picture_attention_page, require_small


def shares(*shape: int) -> np.ndarray:
    numbers = np.random.default_rng(0).random(shape) ** 4
    return numbers / numbers.sum(-1, keepdims=True)


PICTURE = np.random.default_rng(1).random((3, 4, 6))


def test_the_page_holds_every_share_and_every_pixel() -> None:
    weights, through = shares(2, 4, 7, 7), shares(7, 7)
    page = picture_attention_page(PICTURE, weights, through, (2, 3), [("</script>", 1.0)])
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    data = json.loads(found[1])
    assert (data["layers"], data["heads"], data["grid"], data["size"]) == (2, 4, [2, 3], [4, 6])
    assert data["said"] == [["</script>", 1.0]]
    bytes_of = {name: base64.b64decode(data[name]) for name in ("pixels", "shares", "largest")}
    pixels = np.frombuffer(bytes_of["pixels"], np.uint8).reshape(4, 6, 3)
    np.testing.assert_allclose(pixels.transpose(2, 0, 1) / 255, PICTURE, atol=0.002)
    rows = np.frombuffer(bytes_of["shares"], np.uint8).reshape(-1, 7) / 255
    rows = rows * np.frombuffer(bytes_of["largest"], "<f4")[:, None]
    np.testing.assert_allclose(rows[:-7], weights.reshape(-1, 7), atol=0.002)
    np.testing.assert_allclose(rows[-7:], through, atol=0.002)


def test_what_does_not_fit_is_refused() -> None:
    weights, through = shares(2, 4, 7, 7), shares(7, 7)
    with pytest.raises(InputError, match="layer × head × 10 × 10"):
        picture_attention_page(PICTURE, weights, through, (3, 3))
    with pytest.raises(InputError, match="layer × head × 7 × 7"):
        picture_attention_page(PICTURE, weights[:0], through, (2, 3))
    with pytest.raises(InputError, match="1 or 3 channels"):
        picture_attention_page(PICTURE[:2], weights, through, (2, 3))
    with pytest.raises(InputError, match="shares from 0 to 1"):
        picture_attention_page(PICTURE, weights * 5, through, (2, 3))
    with pytest.raises(InputError, match="shares from 0 to 1"):
        picture_attention_page(PICTURE, weights, through * np.nan, (2, 3))


def test_large_models_have_room_and_the_largest_have_not() -> None:
    require_small(24, 16, 197)
    assert MOST_WEIGHTS > 24 * 16 * 197**2
    with pytest.raises(InputError, match="no browser draws"):
        require_small(32, 16, 257)
