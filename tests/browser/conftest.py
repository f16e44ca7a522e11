"""A real server in a process of its own, and a real Chromium that may reach loopback only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, Playwright, Route, expect, sync_playwright

from bottega.models.gpt import GPT, GPTConfig
from bottega.text.tokenizer import Tokenizer

TEXT = [
    "The apprentice ground the colours while the master drew the hand of the angel.",
    "In the workshop every morning began with the sweeping of the floor and the boiling of the glue.",
    "Café, naïve, Übermut: 你好，世界 — 🎨🖌️",
]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "cennini"
    tokenizer = Tokenizer.train(TEXT * 20, 380)
    torch.manual_seed(0)
    shape = GPTConfig(tokenizer.vocab_size, context_length=8192, n_layer=2, n_head=2, n_embd=16, tied=False)
    model = GPT(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
        # It never ends a text of itself, so that there is time to stop it.
        model.norm.bias[0] = 5.0
        model.head.weight[tokenizer.end_of_text] = -10 * (torch.arange(16) == 0)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="session")
def address(model_folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "bottega", "serve", str(model_folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1"})
    assert server.stdout is not None
    try:
        yield next(
            found[0] for line in server.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
        )
        server.terminate()
        server.wait(60)
    finally:
        server.kill()
        server.communicate()


@pytest.fixture(scope="module")  # while it lives, no other test of this process can run an event loop
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on this machine")
    # As root, in a container, Chromium cannot build its own sandbox; the pages are ours.
    options = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
    ]
    launched = playwright.chromium.launch(executable_path=chromium, args=options)
    yield launched
    launched.close()


@pytest.fixture
def open_file(browser: Browser) -> Iterator[Callable[[Path], Page]]:
    """Opens a page from the disk. A request for anything else or a script that fails fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    faults: list[str] = []
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)

    files: list[str] = []

    def open_it(file: Path) -> Page:
        files.append(file.as_uri())
        opened.goto(files[-1])
        return opened

    yield open_it
    assert opened.evaluate("window.harm") is None
    assert asked == files and faults == []
    context.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The playground, opened. A request that leaves loopback or a script that fails fails the test."""
    faults: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800})

    def guard(route: Route) -> None:
        if re.match(r"http://127\.0\.0\.1[:/]", route.request.url):
            route.continue_()
        else:
            faults.append(f"asked for {route.request.url}")
            route.abort()

    context.route("**/*", guard)
    opened = context.new_page()
    opened.on("pageerror", lambda error: faults.append(f"a script failed: {error}"))
    # An answer of 4xx is logged as an error too, and some tests provoke one.
    said = "Failed to load resource: the server responded with a status of 4"
    opened.on(
        "console",
        lambda m: faults.append(m.text) if m.type == "error" and not m.text.startswith(said) else None,
    )
    opened.goto(address)
    expect(opened.locator("#model option")).not_to_have_count(0)
    yield opened
    context.close()
    assert faults == []
