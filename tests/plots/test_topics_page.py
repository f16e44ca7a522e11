"""The topics page: its map, its numbers, and texts that are no HTML. Clicks are in tests/browser."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from bottega.errors import InputError
from bottega.plots.topics_page import Topics, topic_map, topics_page

WORDS = ["fresco", "cannon", "comet", "<script>", "wall"]
TOPICS = np.array(
    [[0.6, 0.05, 0.01], [0.05, 0.6, 0.02], [0.05, 0.1, 0.9], [0.1, 0.1, 0.03], [0.2, 0.15, 0.04]]
)
SHARE = np.array([0.2, 0.5, 0.3])
MIXTURES = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])
SHOWN = Topics(
    TOPICS, SHARE, WORDS, np.array([20, 35, 33, 9, 13]), MIXTURES, ["A", "B", "C", "D"], ["", "b", "c", "d"]
)


def data(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_topics_are_numbered_by_their_share() -> None:
    read = data(topics_page(SHOWN))
    assert [topic["id"] for topic in read["topics"]] == [1, 2, 0]
    assert [topic["share"] for topic in read["topics"]] == [0.5, 0.3, 0.2]
    best = max(read["topics"][2]["words"], key=lambda entry: entry[1])
    assert read["words"][str(best[0])][0] == "fresco"
    documents = [[read["documents"][d][0] for d, _ in topic["documents"]] for topic in read["topics"]]
    assert [names[0] for names in documents] == ["B", "C", "A"]


def test_a_word_is_shared_out_among_the_topics_that_have_it() -> None:
    read = data(topics_page(SHOWN))
    spelling, count, topics = read["words"]["0"]
    assert (spelling, count) == ("fresco", 20)
    joint = {0: 0.05 * 0.5, 1: 0.01 * 0.3, 2: 0.6 * 0.2}
    assert dict(topics) == pytest.approx({k: p / sum(joint.values()) for k, p in joint.items()}, abs=1e-3)


def test_nothing_of_the_corpus_is_html_and_nothing_is_fetched() -> None:
    page = topics_page(SHOWN, title="Topics of <b>")
    assert page.count("<script>") == 0 and "<title>Topics of &lt;b&gt;</title>" in page
    assert not re.search(r'(src|href)="', page)
    assert "default-src 'none'" in page


def test_topics_that_share_words_lie_near_each_other() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.dirichlet(np.ones(50)), rng.dirichlet(np.ones(50))
    places = topic_map(np.array([first, 0.9 * first + 0.1 * second, second]).T)
    near, far = np.linalg.norm(places[0] - places[1]), np.linalg.norm(places[0] - places[2])
    assert near < 0.5 * far
    assert np.abs(places).max() == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_topics_have_a_map_too(n: int) -> None:
    topics = np.array([[0.9, 0.1], [0.1, 0.9]])[:, :n]
    assert np.isfinite(topic_map(topics)).all()
    shown = Topics(
        topics, np.full(n, 1 / n), ["a", "b"], np.array([5, 5]), np.full((1, n), 1 / n), ["t"], [""]
    )
    assert len(data(topics_page(shown))["topics"]) == n


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="share has the shape"):
        Topics(TOPICS, SHARE[:2], WORDS, SHOWN.counts, MIXTURES, SHOWN.titles, SHOWN.excerpts)
    with pytest.raises(InputError, match="expected one each"):
        Topics(TOPICS, SHARE, WORDS[:2], SHOWN.counts, MIXTURES, SHOWN.titles, SHOWN.excerpts)
