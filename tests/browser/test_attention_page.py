"""The attention page as a person uses it: by mouse and by keyboard, opened from the disk, offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from bottega.plots.attention_page import attention_page

SOURCE = ["Die", " Werkstatt", " ist", " leer"]
TARGET = ["<bos>", "The", "</script><script>window.harm = 1</script>", "<b>is</b>", " empty"]


def shares(*shape: int) -> np.ndarray:
    numbers = np.random.default_rng(0).random(shape)
    return numbers / numbers.sum(-1, keepdims=True)


MAPS = {"cross": shares(3, 2, 5, 4), "encoder": shares(3, 2, 4, 4), "decoder": shares(3, 2, 5, 5)}
MAPS["cross"][1, 1, 3] = [0.005, 0.75, 0.245, 0.0]


@pytest.fixture
def page(open_file: Callable[[Path], Page], tmp_path: Path) -> Page:
    out = tmp_path / "page.html"
    out.write_text(attention_page(MAPS, SOURCE, TARGET, title="A <translation>"), encoding="utf-8")
    return open_file(out)


def test_it_shows_every_head_and_every_token_as_text(page: Page) -> None:
    assert page.title() == "A <translation>"
    expect(page.locator("#overview canvas")).to_have_count(6)
    assert page.locator("#queries bdi").all_inner_texts() == [token.replace(" ", "␣") for token in TARGET]
    assert page.locator("#keys bdi").all_inner_texts() == ["Die", "␣Werkstatt", "␣ist", "␣leer"]
    assert page.locator("#links line").count() == int((MAPS["cross"][0, 0] >= 0.01).sum())
    painted = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(x => x)"
    assert page.locator("#map").evaluate(painted)


def test_arrows_change_layer_and_head_and_stop_at_the_ends(page: Page) -> None:
    name = page.locator("#head-name")
    for key, shown in (
        ("ArrowUp", "Layer 1, head 1"),
        ("ArrowRight", "Layer 1, head 2"),
        ("ArrowRight", "Layer 1, head 2"),
        ("ArrowDown", "Layer 2, head 2"),
        ("ArrowDown", "Layer 3, head 2"),
        ("ArrowDown", "Layer 3, head 2"),
        ("ArrowLeft", "Layer 3, head 1"),
    ):
        page.keyboard.press(key)
        expect(name).to_have_text(shown)
    chosen = page.locator("#overview [aria-pressed=true]")
    expect(chosen).to_have_attribute("aria-label", "layer 3, head 1")
    page.get_by_role("button", name="layer 1, head 2").click()
    expect(name).to_have_text("Layer 1, head 2")


def test_enter_picks_a_token_and_escape_lets_it_go(page: Page) -> None:
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    for _ in range(4):
        page.keyboard.press("j")
    said = page.locator("#said")
    expect(said).to_have_text(
        "Layer 2, head 2. <b>is</b> looks most at: ␣Werkstatt 75.0 %, ␣ist 24.5 %, Die 0.5 %"
    )
    assert page.locator("#keys .share").all_inner_texts() == ["0.5 %", "75.0 %", "24.5 %", ""]
    assert page.locator("#links line").count() == 2  # what is under 1 % has no line
    page.keyboard.press("Enter")
    expect(page.locator("#queries [aria-pressed=true] bdi")).to_have_text("<b>is</b>")
    page.keyboard.press("k")
    expect(page.locator("#queries button:focus bdi")).to_have_text(TARGET[2].replace(" ", "␣"))
    page.keyboard.press("Escape")
    expect(page.locator("#lines [aria-pressed=true]")).to_have_count(0)
    expect(said).to_contain_text("Point at a token")


def test_the_mouse_shows_a_token_while_it_is_over_it(page: Page) -> None:
    page.locator("#keys button").nth(1).hover()
    expect(page.locator("#said")).to_contain_text("␣Werkstatt is looked at most by")
    column = MAPS["cross"][0, 0, :, 1]
    assert page.locator("#queries .share").all_inner_texts() == [f"{100 * w:.1f} %" for w in column]
    page.mouse.move(2, 2)
    expect(page.locator("#said")).to_contain_text("Point at a token")
    page.locator("#queries button").nth(4).click()
    page.mouse.move(2, 2)
    expect(page.locator("#said")).to_contain_text("␣empty looks most at")
    assert page.locator("#links line").count() == int((MAPS["cross"][0, 0, 4] >= 0.01).sum())


def test_the_heat_map_says_what_is_under_the_pointer(page: Page) -> None:
    box = page.locator("#map").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 13, box["y"] + box["height"] - 13)  # the last cell
    expect(page.locator("#said")).to_have_text(
        f"␣empty looks at ␣leer: {100 * MAPS['cross'][0, 0, 4, 3]:.1f} %"
    )


def test_the_other_kinds_have_their_own_tokens(page: Page) -> None:
    page.get_by_role("button", name="encoder").click()
    assert page.locator("#queries bdi").count() == page.locator("#keys bdi").count() == 4
    page.keyboard.press("m")
    assert page.locator("#queries bdi").count() == page.locator("#keys bdi").count() == 5
    page.keyboard.press("m")
    expect(page.get_by_role("button", name="cross-attention")).to_have_attribute("aria-pressed", "true")


def test_the_keys_are_listed_and_the_focus_is_seen(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#head-name")).to_have_text("Layer 1, head 1")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("j")
    outline = page.locator("#queries button").first.evaluate("e => getComputedStyle(e).outlineStyle")
    assert outline == "solid"


def test_dark_is_dark_and_its_pixels_are_repainted(page: Page) -> None:
    back = "() => getComputedStyle(document.body).backgroundColor"
    ink = "c => [...c.getContext('2d').getImageData(0, 0, 1, 1).data].slice(0, 3).join()"
    light, pixel = page.evaluate(back), page.locator("#overview canvas").first.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(back) == "rgb(23, 20, 18)" != light
    page.wait_for_function(f"old => ({ink})(document.querySelector('#overview canvas')) !== old", arg=pixel)


def test_every_button_has_a_name_and_nothing_is_wider_than_a_telephone(page: Page) -> None:
    names = "all => all.map(e => e.getAttribute('aria-label') || e.textContent.trim())"
    assert all(page.locator("button").evaluate_all(names))
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
