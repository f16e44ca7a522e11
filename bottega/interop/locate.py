"""Where a checkpoint folder is, and the JSON in it. Without torch: a server asks before it loads a model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bottega.errors import InputError, WorkError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "encoder.json",
    "vocab.bpe",
)
PREPROCESSOR = "preprocessor_config.json"  # of models that see
DOCUMENTS = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md")
LONGEST_JSON = 64 << 20  # bytes; the index of the largest public models has a few MB


def locate(path_or_repo: str | Path) -> Path:
    """The folder itself, or a Hub repository's files in the local cache, downloaded where they are missing.

    Raises InputError where neither a folder nor a repository has that name, WorkError where the Hub is out of
    reach.
    """
    path = Path(path_or_repo)
    if path.is_dir():
        return path
    name = str(path_or_repo)
    if path.exists():
        raise InputError(f"{name} is a file; give the folder that holds config.json and {WEIGHTS}")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) or path.parent.is_dir():
        raise InputError(
            f"{name}: there is no such folder; give one, or OWNER/NAME of a repository on the Hub, "
            "such as openai-community/gpt2"
        )
    return _download(name)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError where it is missing, no JSON, or not an object."""
    if not path.is_file():
        raise InputError(f"{path.parent} has no {path.name}; a checkpoint folder needs one")
    if path.stat().st_size > LONGEST_JSON:
        raise InputError(
            f"{path} is {path.stat().st_size >> 20} MB long; that is no {path.name} of a checkpoint"
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({line(error)}); copy or download it again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__}; expected a JSON object")
    return value


def _download(repo: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
    )

    configs = ["config.json", "generation_config.json", PREPROCESSOR]
    wanted = [*configs, "*.safetensors", INDEX, *TOKENIZER_FILES, *DOCUMENTS]
    try:
        return Path(snapshot_download(repo, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except GatedRepoError:
        raise InputError(f"{repo} is gated: accept its terms on the Hub, then run `hf auth login`") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise InputError(
            f"{repo}: there is no such folder here, and no such public repository on the Hub"
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise WorkError(
            f"{repo}: there is no such folder, and the Hub could not be reached ({line(error)}); give a "
            f"folder, or run `hf download {repo} --local-dir DIR` where there is a network and copy DIR"
        ) from None


def line(error: BaseException) -> str:
    """The first line of a message, without the paths of temporary files."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (
        text.splitlines()[0].strip().removeprefix("Got: ").rstrip(".")
        if text.strip()
        else type(error).__name__
    )
