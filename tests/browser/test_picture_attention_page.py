"""The attention page of a picture as a person uses it: by mouse and by keyboard, from the disk, offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from bottega.plots.picture_attention_page import picture_attention_page


def shares(*shape: int) -> np.ndarray:
    numbers = np.random.default_rng(0).random(shape)
    return numbers / numbers.sum(-1, keepdims=True)


WEIGHTS, THROUGH = shares(3, 2, 7, 7), shares(7, 7)  # of <cls> and 2 × 3 patches
THROUGH[0] = [0.2, 0.255, 0.1, 0.145, 0.05, 0.15, 0.1]  # in steps of 1/255 of the largest
WEIGHTS[1, 1, 0] = [0.25, 0.51, 0.0, 0.0, 0.12, 0.0, 0.12]
WEIGHTS[1, 1, 5] = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
PICTURE = np.linspace(0, 1, 4 * 6, dtype=np.float32).reshape(1, 4, 6)
SAID = [("<b>lion</b>", 0.75), ("eagle", 0.25)]
INK = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].join()"


@pytest.fixture
def page(open_file: Callable[[Path], Page], tmp_path: Path) -> Page:
    out = tmp_path / "page.html"
    text = picture_attention_page(PICTURE, WEIGHTS, THROUGH, (2, 3), SAID, title="A </script>picture")
    out.write_text(text, encoding="utf-8")
    return open_file(out)


def test_it_opens_with_the_rollout_over_the_picture(page: Page) -> None:
    assert page.title() == "A </script>picture"
    expect(page.locator("#answer")).to_have_text("<b>lion</b> 75.0 %, eagle 25.0 %")
    expect(page.locator("#head-name")).to_have_text("Rollout")
    expect(page.locator("#overview canvas")).to_have_count(6)
    expect(page.locator("#said")).to_have_text(
        "Rollout. <cls> takes most from: row 1, column 1 25.5 %; <cls> 20.0 %; row 2, column 2 15.0 %"
    )
    heat = page.locator("#rollout canvas").evaluate(INK).split(",")
    opacities = np.array(heat[3::4], float) / 255
    expected = 0.85 * np.sqrt(THROUGH[0, 1:] / THROUGH[0, 1:].max())
    np.testing.assert_allclose(opacities, expected, atol=0.02)


def test_arrows_change_layer_and_head_and_stop_at_the_ends(page: Page) -> None:
    name = page.locator("#head-name")
    for key, shown in (
        ("ArrowUp", "Rollout"),
        ("ArrowDown", "Layer 1, head 1"),
        ("ArrowRight", "Layer 1, head 2"),
        ("ArrowRight", "Layer 1, head 2"),
        ("ArrowDown", "Layer 2, head 2"),
        ("ArrowDown", "Layer 3, head 2"),
        ("ArrowDown", "Layer 3, head 2"),
        ("ArrowLeft", "Layer 3, head 1"),
        ("r", "Rollout"),
    ):
        page.keyboard.press(key)
        expect(name).to_have_text(shown)
    page.get_by_role("button", name="layer 2, head 2").click()
    expect(page.locator("#said")).to_have_text(
        "Layer 2, head 2. <cls> takes most from: row 1, column 1 51.0 %; <cls> 25.0 %; row 2, column 1 12.0 %"
    )
    expect(page.locator("#overview [aria-pressed=true]")).to_have_count(1)
    expect(page.locator("#rollout")).to_have_attribute("aria-pressed", "false")


def test_a_patch_looks_while_it_is_pointed_at_and_after_a_click(page: Page) -> None:
    page.get_by_role("button", name="layer 2, head 2").click()
    before = page.locator("#picture").evaluate(INK)
    box = page.locator("#picture").bounding_box()
    assert box is not None
    said = page.locator("#said")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.75 * box["height"])  # second row, in the middle
    expect(said).to_contain_text("row 2, column 2 takes most from: row 1, column 3 100.0 %")
    assert page.locator("#picture").evaluate(INK) != before
    page.mouse.move(2, 2)
    expect(said).to_contain_text("<cls> takes most from")
    assert page.locator("#picture").evaluate(INK) == before
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 0.75 * box["height"])
    page.mouse.move(2, 2)
    expect(said).to_contain_text("row 2, column 2 takes most from")
    page.locator("#cls").click()
    expect(said).to_contain_text("<cls> takes most from")


def test_patches_by_keyboard(page: Page) -> None:
    said = page.locator("#said")
    page.keyboard.press("k")
    expect(said).to_contain_text("<cls> takes")
    for _ in range(4):
        page.keyboard.press("j")
    expect(said).to_contain_text("row 2, column 1 takes")
    for _ in range(9):
        page.keyboard.press("j")
    expect(said).to_contain_text("row 2, column 3 takes")
    page.keyboard.press("Escape")
    expect(said).to_contain_text("<cls> takes")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#head-name")).to_have_text("Rollout")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_every_button_has_a_name_and_nothing_is_wider_than_a_telephone(page: Page) -> None:
    names = "all => all.map(e => e.getAttribute('aria-label') || e.textContent.trim())"
    assert all(page.locator("button").evaluate_all(names))
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
