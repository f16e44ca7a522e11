"""The topics page as a person uses it: by mouse and by keyboard, opened from the disk, offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from bottega.plots.topics_page import Topics, topics_page

N_WORDS, N_TOPICS = 60, 4
HARM = "</script><script>window.harm = 1</script>"


def shown() -> Topics:
    rng = np.random.default_rng(1)
    topics = rng.dirichlet(np.full(N_WORDS, 0.2), N_TOPICS).T + 1e-6
    topics /= topics.sum(0)
    share = np.array([0.4, 0.3, 0.2, 0.1])
    mixtures = rng.dirichlet(np.full(N_TOPICS, 0.3), 30)
    words = [HARM, *(f"word{n}" for n in range(1, N_WORDS))]
    titles = [f"Chapter {n} <i>" for n in range(30)]
    counts = np.maximum(np.rint(5000 * topics @ share), 1).astype(int)
    return Topics(topics, share, words, counts, mixtures, titles, [HARM] * 30)


@pytest.fixture
def page(open_file: Callable[[Path], Page], tmp_path: Path) -> Page:
    out = tmp_path / "page.html"
    out.write_text(topics_page(shown(), title="Topics of <chapters>"), encoding="utf-8")
    return open_file(out)


def spelled(page: Page) -> list[str]:
    return page.locator("#words bdi").all_inner_texts()


def test_it_shows_the_largest_topic_first_with_its_words_and_documents(page: Page) -> None:
    assert page.title() == "Topics of <chapters>"
    expect(page.locator("#map g")).to_have_count(N_TOPICS)
    expect(page.locator("#topic-name")).to_contain_text("Topic 1: ")
    expect(page.locator("#words li")).to_have_count(20)
    expect(page.locator("#documents li")).to_have_count(12)
    best = int(shown().mixtures[:, 0].argmax())
    assert page.locator("#documents bdi").first.inner_text() == f"Chapter {best} <i>"


def test_the_slider_orders_words_by_relevance(page: Page) -> None:
    parts = shown()
    log_topic = np.log(parts.topics[:, 0])
    log_lift = log_topic - np.log(parts.counts / parts.counts.sum())
    for weight in (0.6, 0.7, 1.0):
        while float(page.locator("#relevance").input_value()) < weight:
            page.keyboard.press("ArrowUp")
        order = np.argsort(-(weight * log_topic + (1 - weight) * log_lift), kind="stable")[:20]
        assert spelled(page) == [parts.words[word] for word in order]
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    expect(page.locator("#weight")).to_have_text("0.0")
    assert spelled(page) == [parts.words[word] for word in np.argsort(-log_lift, kind="stable")[:20]]


def test_arrows_and_clicks_pick_topics(page: Page) -> None:
    name = page.locator("#topic-name")
    for key, number in (
        ("ArrowLeft", 1),
        ("ArrowRight", 2),
        ("ArrowRight", 3),
        ("ArrowRight", 4),
        ("ArrowRight", 4),
    ):
        page.keyboard.press(key)
        expect(name).to_contain_text(f"Topic {number}:")
    page.locator("#map g[data-topic='1'] circle").click(force=True)
    expect(page.locator("#map g[aria-pressed=true]")).to_have_attribute("data-topic", "1")
    page.mouse.move(5, 5)
    expect(name).to_contain_text("Topic 2:")
    page.locator("#map g[data-topic='1']").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#map g:focus")).to_have_attribute("data-topic", "2")


def test_a_topic_under_the_pointer_is_shown_while_it_is_there(page: Page) -> None:
    page.locator("#map g[data-topic='3']").dispatch_event("pointerover", {"bubbles": True})
    expect(page.locator("#topic-name")).to_contain_text("Topic 4:")
    page.locator("#map").dispatch_event("pointerleave")
    expect(page.locator("#topic-name")).to_contain_text("Topic 1:")


def test_a_word_shows_which_topics_have_it(page: Page) -> None:
    parts = shown()
    page.keyboard.press("j")
    word = page.locator("#words [aria-pressed=true]")
    expect(word).to_have_count(1)
    spelling = word.locator("bdi").inner_text()
    number = parts.words.index(spelling)
    expect(page.locator("#said")).to_contain_text(f"“{spelling}” occurs {parts.counts[number]:,} times")
    joint = parts.topics[number] * parts.share
    radii = [
        float(r) for r in page.locator("#map circle").evaluate_all("all => all.map(c => c.getAttribute('r'))")
    ]
    assert np.array(radii) ** 2 / 0.04 == pytest.approx(
        np.where(joint / joint.sum() >= 0.01, joint / joint.sum(), 0), abs=0.002
    )
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.locator("#words [aria-pressed=true] bdi").inner_text() == spelling
    page.keyboard.press("Escape")
    expect(page.locator("#words [aria-pressed=true]")).to_have_count(0)
    page.locator("#words button").nth(3).hover()
    expect(page.locator("#words button").nth(3)).to_have_attribute("aria-pressed", "true")


def test_the_keys_are_listed(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Keys")).not_to_be_visible()
