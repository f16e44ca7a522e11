"""How often does a search find the right article among its best five, beside BM25 and chance?

    bottega serve runs/quickstart --port 8000               # in another terminal
    python bench/search.py wikipedia-good.jsonl.xz --model quickstart
    python bench/search.py wikipedia-good.jsonl.xz --model quickstart --quick

The documents are the openings of articles that the model was not trained on, one {"title", "text"} a line. A
query is an article's title, or a sentence from further on in it that its opening does not hold. All rank the
same documents: likelihood (POST /v1/engines/MODEL/search), cosine (of POST /v1/embeddings), BM25 by bm25s.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import bm25s
import httpx
import numpy as np
from report import record

OPENING = 400  # characters
BEST = 5


def main() -> None:
    """Rank by each way for each kind of query, and record the recalls."""
    options = parse()
    if options.quick:
        options.documents, options.queries = 20, 3
    with httpx.Client(base_url=options.url, timeout=600) as client:
        articles = list(islice(usable(options.data, client, options.model), options.documents))
        documents = [text[:OPENING] for _, text in articles]
        kinds = {
            "title": [title for title, _ in articles[: options.queries]],
            "sentence": [sentence(text) for _, text in articles[: options.queries]],
        }
        for kind, queries in kinds.items():
            rows = {
                "likelihood": likelihood(client, options.model, queries, documents),
                "cosine": cosine(client, options.model, queries, documents),
                "BM25": bm25(queries, documents),
            }
            row = {"query": kind, "documents": len(documents), "queries": len(queries)}
            row |= {f"{name}, recall@{BEST}": round(recall(scores), 3) for name, scores in rows.items()}
            row |= {"chance": round(BEST / len(documents), 3)}
            print(row)
            if not options.quick:
                record("search", row)


def usable(path: Path, client: httpx.Client, model: str) -> Iterator[tuple[str, str]]:
    """Articles whose opening a small model can read in one piece and that go on behind it."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for article in map(json.loads, lines):
            body = {"model": model, "prompt": article["text"][:OPENING]}
            counted = client.post("/tokenize", json=body).raise_for_status().json()
            fits = counted["count"] <= 0.7 * counted["max_model_len"]
            if fits and sentence(article["text"]):
                yield article["title"], article["text"]


def sentence(text: str) -> str:
    """A sentence of middle length from behind the opening; none gives an empty text."""
    behind = re.split(r"(?<=[.!?])\s+", text[OPENING : OPENING + 4000])[2:]
    return next((one for one in behind if 40 <= len(one) <= 150), "")


def likelihood(client: httpx.Client, model: str, queries: list[str], documents: list[str]) -> np.ndarray:
    """The search endpoint's scores, (query, document)."""
    scores = []
    for query in queries:
        body = {"documents": documents, "query": query}
        found = client.post(f"/v1/engines/{model}/search", json=body).raise_for_status().json()["data"]
        scores.append([one["score"] for one in found])
    return np.array(scores)


def cosine(client: httpx.Client, model: str, queries: list[str], documents: list[str]) -> np.ndarray:
    """The products of the embeddings, (query, document)."""
    vectors = []
    for texts in (queries, documents):
        body = {"model": model, "input": texts}
        answer = client.post("/v1/embeddings", json=body).raise_for_status().json()
        vectors.append(np.array([one["embedding"] for one in answer["data"]]))
    return vectors[0] @ vectors[1].T


def bm25(queries: list[str], documents: list[str]) -> np.ndarray:
    """The scores of bm25s at its own settings, (query, document)."""
    index = bm25s.BM25()
    index.index(bm25s.tokenize(documents, show_progress=False), show_progress=False)
    words = bm25s.tokenize(queries, return_ids=False, show_progress=False)
    return np.array([index.get_scores(one) for one in words])


def recall(scores: np.ndarray) -> float:
    """The share of queries whose own document, that of the same place, is among the best; ties count half."""
    own = np.diagonal(scores)[:, None]
    above = (scores > own).sum(1) + 0.5 * ((scores == own).sum(1) - 1)
    return float((above < BEST).mean())


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="articles, one {title, text} a line, .jsonl.xz")
    parser.add_argument("--model", default="quickstart")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--documents", type=int, default=200, help="at most 200")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="few queries, nothing recorded")
    return parser.parse_args()


if __name__ == "__main__":
    main()
