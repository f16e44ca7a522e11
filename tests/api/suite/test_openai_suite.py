"""openai-python's own tests of its resources, unchanged, against a running server.

The suite comes from the package's source distribution; where that cannot be had, the test skips and says so.
What may fail are cases that send every field at once, values among them that the API's own specification
forbids; each stands below with the field that is refused, and `test_corrected.py` sends it right.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import pytest

CACHE = Path(__file__).parents[3] / ".cache"
VERSION = "3.52.0"
Case = tuple[str, str]  # file, test
SHA256 = "258a4fec3e40b412c58672526ed33f20738c2e4ea27601792e73843af62466af"
RESOURCES = ("test_completions", "test_embeddings", "test_models", "test_files", "test_batches", "chat")

# (file, test) → the field that is refused.
REFUSED = {
    # For models that were trained for insertion.
    ("test_completions.py", "test_method_create_with_all_params_overload_2"): "suffix",
    # Below the specified minimum of 1.
    ("test_files.py", "test_method_list_with_all_params"): "limit",
    ("test_batches.py", "test_method_list_with_all_params"): "limit",
    ("chat/test_completions.py", "test_method_list_with_all_params"): "limit",
    ("chat/completions/test_messages.py", "test_method_list_with_all_params"): "limit",
    # Specified only together with a stream.
    ("test_completions.py", "test_method_create_with_all_params_overload_1"): "stream_options",
    ("chat/test_completions.py", "test_method_create_with_all_params_overload_1"): "stream_options",
    # A language model does not speak.
    ("chat/test_completions.py", "test_method_create_with_all_params_overload_2"): "audio",
}
# Where no format is named, the client asks for base64 and unpacks it. Its strict mode holds the answer to the
# type of the unpacked one first: any server that gives what is asked fails here.
STRICT = {
    ("test_embeddings.py", name)
    for name in ("test_method_create", "test_raw_response_create", "test_streaming_response_create")
}


@pytest.fixture(scope="session")
def suite() -> Path:
    """The unpacked source distribution of the installed client."""
    assert version("openai") == VERSION, "the pinned client has changed: change VERSION and SHA256 here"
    archive, folder = CACHE / f"openai-{VERSION}.tar.gz", CACHE / f"openai-{VERSION}"
    if not archive.exists():
        CACHE.mkdir(exist_ok=True)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        download += ["--no-deps", "--no-binary", "openai", "--dest", str(CACHE), f"openai=={VERSION}"]
        done = subprocess.run(download, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            pytest.skip(f"openai-python's source distribution cannot be had: {done.stderr.strip()[-200:]}")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256, f"{archive} is damaged; delete it"
    if not folder.exists():
        with tarfile.open(archive) as packed:
            packed.extractall(CACHE, filter="data")
    return folder


def test_the_clients_own_suite(suite: Path, evergreen: str, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "--tb=short", "-q", f"--junit-xml={report}"]
    command += [f"tests/api_resources/{name}" + ("" if name == "chat" else ".py") for name in RESOURCES]
    environment = {**os.environ, "TEST_API_BASE_URL": f"{evergreen}/v1"}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        command, cwd=suite, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode in (0, 1), done.stdout[-3000:] + done.stderr[-3000:]
    cases = list(ElementTree.parse(report).iter("testcase"))
    assert len(cases) > 400
    assert not [case.get("name") for case in cases if case.find("error") is not None]
    skipped = {found.get("message") for case in cases if (found := case.find("skipped")) is not None}
    assert skipped <= {"aiohttp client is not compatible with respx2_mock"}  # the suite's own
    refused: dict[Case, set[str]] = {}
    passed: set[Case] = set()
    for case in cases:
        where = case.get("classname", "").split(".api_resources.")[1].rsplit(".", 1)[0]
        name, _, variant = case.get("name", "").partition("[")
        key = (where.replace(".", "/") + ".py", name)
        failure = case.find("failure")
        if failure is None:
            passed.add(key)
        elif key in STRICT and variant != "loose]":
            assert "APIResponseValidationError" in failure.get("message", "")
        else:
            message = failure.get("message", "")
            said = re.search(r"Error code: 400 - .*?'([a-z_]+)'", message)
            refused.setdefault(key, set()).add(said[1] if said else message)
    assert refused == {key: {field} for key, field in REFUSED.items()}
    assert not passed & set(REFUSED), "a case is refused in one variant and passes in another"
    assert all("_all_params" in name for _, name in REFUSED)
