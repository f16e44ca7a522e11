"""The playground of servers that the others do not show: a model that inserts, and one behind keys."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect


@pytest.fixture(scope="module")
def folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, once more as one that was trained for insertion."""
    copy = tmp_path_factory.mktemp("inserting") / "cennini"
    shutil.copytree(model_folder, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"fim_rate": 0.5}))
    return copy


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def key(state: Path) -> str:
    command = [sys.executable, "-m", "bottega", "keys", "create", "bardi", "--state", str(state)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"sk-bottega-\S+", made.stdout)
    assert found, made.stdout
    return found[0]


@pytest.fixture(scope="module")
def address(folder: Path, state: Path, key: str) -> Iterator[str]:
    """A server that asks for a key."""
    command = [sys.executable, "-m", "bottega", "serve", str(folder), "--port", "0", "--state", str(state)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1"})
    assert server.stdout is not None
    url = next(found[0] for line in server.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
    yield url
    server.terminate()
    server.wait(20)


@pytest.fixture
def locked(browser: Browser, address: str) -> Iterator[Page]:
    """The playground, opened by someone who has said no key yet."""
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(address)
    yield opened
    context.close()


@pytest.fixture
def page(locked: Page, key: str) -> Page:
    """The same with the key typed in."""
    locked.get_by_text("Access").click()
    locked.get_by_label("API key").fill(key)
    locked.get_by_label("API key").press("Tab")
    expect(locked.locator("#model option")).to_have_count(1)
    return locked


def test_the_page_says_that_a_key_is_missing(locked: Page) -> None:
    expect(locked.locator("#status")).to_contain_text("key")
    expect(locked.locator("#model option")).to_have_count(0)
    locked.get_by_text("Access").click()
    locked.get_by_label("API key").fill("sk-bottega-wrong")
    locked.get_by_label("API key").press("Tab")
    expect(locked.locator("#status")).to_contain_text("Incorrect API key")


def test_with_its_key_it_works_and_is_remembered_until_the_tab_is_closed(page: Page, key: str) -> None:
    page.reload()
    expect(page.locator("#model option")).to_have_count(1)
    page.get_by_label("Maximum length").first.fill("8")
    page.locator("#prompt").fill("The apprentice")
    with page.expect_request("**/v1/completions") as asked:
        page.locator("#prompt").press("Control+Enter")
    assert asked.value.headers["authorization"] == f"Bearer {key}"
    expect(page.locator("#status")).to_contain_text("ended by")
    assert page.locator("#prompt .written").inner_text()
    page.get_by_role("button", name="View code").click()
    assert key not in page.locator("#code-text").inner_text()


def test_insert_writes_between_what_stands_before_and_after(page: Page) -> None:
    page.get_by_role("tab", name="Insert").click()
    page.get_by_label("Maximum length").first.fill("12")
    page.locator("#gap").fill("The apprentice ground [insert] while the master drew.")
    with page.expect_request("**/v1/completions") as asked:
        page.get_by_role("button", name="Submit").click()
    body = json.loads(asked.value.post_data or "")
    assert (body["prompt"], body["suffix"]) == ("The apprentice ground ", " while the master drew.")
    expect(page.locator("#status")).to_contain_text("characters, ended by length")
    written = page.locator("#filled .written").evaluate("e => e.textContent")
    whole = page.locator("#filled").evaluate("e => e.textContent")
    assert written and whole == body["prompt"] + written + body["suffix"]
    ink = page.locator("#filled").evaluate("e => getComputedStyle(e).color")
    assert page.locator("#filled .written").evaluate("e => getComputedStyle(e).color") != ink
