"""The tables. Changing one needs a new file in migrations/versions/."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite counts up by itself only in a column that is called INTEGER.
Number = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """What the tables have in common."""


class Object(Base):
    """A thing of the API, such as a file or a batch, with the body that a client gets."""

    __tablename__ = "objects"
    __table_args__ = (UniqueConstraint("kind", "id"), Index("ix_objects_of_owner", "kind", "owner", "number"))

    number: Mapped[int] = mapped_column(Number, primary_key=True)  # the order in which they were made
    kind: Mapped[str] = mapped_column(String(32))
    id: Mapped[str] = mapped_column(String(128))
    owner: Mapped[str] = mapped_column(String(64))
    expires: Mapped[int | None] = mapped_column(BigInteger)  # from then on nobody sees it; seconds since 1970
    body: Mapped[dict[str, Any]] = mapped_column(JSON)


class Label(Base):
    """A pair of an object's metadata or one of its own fields, for finding the object by it."""

    __tablename__ = "labels"

    object: Mapped[int] = mapped_column(ForeignKey("objects.number", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String, primary_key=True)
    value: Mapped[str] = mapped_column(String)


class Key(Base):
    """An API key: never the secret, only its hash. Times in seconds since 1970; null limits do not limit."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[int] = mapped_column(BigInteger)
    revoked: Mapped[int | None] = mapped_column(BigInteger)
    requests_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    tokens_per_minute: Mapped[int | None] = mapped_column(BigInteger)


class Usage(Base):
    """What a key used on one day (UTC, as 2026-11-21)."""

    __tablename__ = "usage"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)


class Claim(Base):
    """Which server works on a batch, and until when the others leave it alone (seconds since 1970)."""

    __tablename__ = "claims"

    batch: Mapped[str] = mapped_column(String(128), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    until: Mapped[int] = mapped_column(BigInteger)


class Line(Base):
    """The answer to one line of a batch that is under way; `line` counts from 1."""

    __tablename__ = "batch_lines"

    batch: Mapped[str] = mapped_column(String(128), primary_key=True)
    line: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    failed: Mapped[bool] = mapped_column()
    answer: Mapped[dict[str, Any]] = mapped_column(JSON)
