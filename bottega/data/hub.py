"""Data sets of the Hugging Face Hub, streamed: nothing is kept but the record at hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bottega.errors import InputError, WorkError

PREFIX = "hf://"
_ADDRESS = re.compile(r"hf://datasets/(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.-]+))?")


def stream_records(source: str) -> Iterator[dict[str, Any]]:
    """Yield the records of `hf://datasets/OWNER/NAME[:CONFIG]`, its split `train`, in their order there.

    Raises `InputError` where the address is wrong or names nothing, `WorkError` where no answer comes.
    """
    if not (address := _ADDRESS.fullmatch(source)):
        raise InputError(f"{source}: expected hf://datasets/OWNER/NAME or hf://datasets/OWNER/NAME:CONFIG")
    import datasets

    try:
        yield from datasets.load_dataset(
            address["name"], address["config"], split=datasets.Split.TRAIN, streaming=True
        )
    except (datasets.exceptions.DatasetNotFoundError, ValueError) as error:
        raise InputError(f"{source}: {_first_line(error)}") from None
    except OSError as error:  # requests' and httpx's errors, and datasets' own ConnectionError, are OSErrors
        raise WorkError(
            f"{source}: the Hub did not answer ({_first_line(error)}); try again, or give files"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
