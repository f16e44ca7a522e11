"""Stored completions: kept, listed, found by metadata, changed and deleted, with the stock client."""

from __future__ import annotations

from typing import Any

import openai
import pytest

TALK: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Who drew"}, {"type": "text", "text": "the angel?"}],
    },
]


def keep(client: openai.OpenAI, **fields: Any) -> Any:
    given = {"model": "bardi", "messages": TALK, "max_tokens": 4, "store": True}
    return client.chat.completions.create(**given | fields)


def test_a_stored_completion_from_end_to_end(client: openai.OpenAI) -> None:
    stored = client.chat.completions
    answer = keep(client, metadata={"commission": "angel"}, n=2, logprobs=True)
    assert stored.retrieve(answer.id) == answer
    changed = stored.update(answer.id, metadata={"commission": "horse"})
    assert changed.metadata == {"commission": "horse"}
    assert stored.retrieve(answer.id).metadata == {"commission": "horse"}
    assert [one.id for one in stored.list(metadata={"commission": "horse"})] == [answer.id]
    assert stored.list(metadata={"commission": "angel"}).data == []
    deleted = stored.delete(answer.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (answer.id, True, "chat.completion.deleted")
    for gone in (stored.retrieve, stored.delete, stored.messages.list):
        with pytest.raises(openai.NotFoundError):
            gone(answer.id)
    with pytest.raises(openai.NotFoundError):
        stored.update(answer.id, metadata={})


def test_what_is_not_stored_is_not_found(client: openai.OpenAI) -> None:
    answer = keep(client, store=False)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(answer.id)


def test_a_stream_is_stored_whole(client: openai.OpenAI) -> None:
    chunks = list(keep(client, stream=True, seed=3))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    found = client.chat.completions.retrieve(chunks[0].id)
    assert found.choices[0].message.content == text
    assert found.usage.completion_tokens == 4  # type: ignore[union-attr]


def test_pages_and_filters(client: openai.OpenAI) -> None:
    ids = [keep(client, metadata={"page": "yes"}).id for _ in range(5)]
    ids.append(keep(client, metadata={"page": "yes"}, model="owner/tiny").id)
    where = {"page": "yes"}
    page = client.chat.completions.list(metadata=where, limit=2)
    assert [one.id for one in page.data] == ids[:2]
    assert page.has_more
    assert [one.id for one in page] == ids  # the client asks for the following pages
    assert [one.id for one in client.chat.completions.list(metadata=where, order="desc")] == ids[::-1]
    assert [one.id for one in client.chat.completions.list(metadata=where, after=ids[3])] == ids[4:]
    assert [one.id for one in client.chat.completions.list(metadata=where, model="owner/tiny")] == ids[5:]
    for wrong in ({"after": "chatcmpl-none"}, {"limit": 0}, {"order": "up"}):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.list(**wrong)  # type: ignore[arg-type]


def test_the_messages_of_a_stored_completion(client: openai.OpenAI) -> None:
    answer = keep(client)
    listed = client.chat.completions.messages.list(answer.id)
    assert [(one.role, one.content) for one in listed.data] == [
        ("system", "Be brief."),
        ("user", "Who drew\nthe angel?"),
    ]
    assert [part.text for part in listed.data[1].content_parts] == ["Who drew", "the angel?"]
    first, second = (one.id for one in listed.data)
    assert [one.id for one in client.chat.completions.messages.list(answer.id, order="desc")] == [
        second,
        first,
    ]
    assert [one.id for one in client.chat.completions.messages.list(answer.id, limit=1)] == [first, second]
    assert [one.id for one in client.chat.completions.messages.list(answer.id, after=first)] == [second]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.messages.list(answer.id, after="other")
