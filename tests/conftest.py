"""Fixtures for every test: the shared data, where it exists, and shapes checked by beartype."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Shapes in signatures are checked while the tests run, and only then.
install_import_hook(["bottega.nn", "bottega.models", "bottega.training"], "beartype.beartype")


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Servers that are told nothing keep their state here, not among the user's own."""
    os.environ["BOTTEGA_STATE"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the clone, or BOTTEGA_DATA; tests that need it skip without."""
    folder = Path(os.environ.get("BOTTEGA_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}")
    return folder
