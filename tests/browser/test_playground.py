"""The playground as a person uses it: type, stream, stop, see tokens, insert, by mouse and by keyboard."""

from __future__ import annotations

import json

from playwright.sync_api import Page, expect

PROMPT = "The apprentice ground"


def submit(page: Page, prompt: str, length: int) -> None:
    page.get_by_label("Maximum length").first.fill(str(length))
    page.locator("#prompt").fill(prompt)
    page.locator("#prompt").press("Control+Enter")


def test_the_root_leads_to_the_playground(page: Page, address: str) -> None:
    assert page.url.startswith(f"{address}/playground/")
    assert page.locator("#model").input_value() == "cennini"
    assert page.get_by_role("heading", name="Bottega").is_visible()


def test_the_completion_grows_in_place_in_its_own_colour(page: Page) -> None:
    submit(page, PROMPT, 24)
    expect(page.locator("#status")).to_contain_text("tokens, ended by")
    whole, written = page.locator("#prompt").inner_text(), page.locator("#prompt .written").inner_text()
    assert whole.startswith(PROMPT)
    assert written and whole.endswith(written)
    ink = page.locator("#prompt").evaluate("e => getComputedStyle(e).color")
    assert page.locator("#prompt .written").evaluate("e => getComputedStyle(e).color") != ink


def test_what_was_written_is_prompt_of_the_next(page: Page) -> None:
    submit(page, PROMPT, 8)
    expect(page.locator("#status")).to_contain_text("ended by")
    first = page.locator("#prompt").evaluate("e => e.textContent")
    with page.expect_request("**/v1/completions") as asked:
        page.locator("#prompt").press("Control+Enter")
    assert json.loads(asked.value.post_data or "")["prompt"] == first


def test_escape_stops_and_keeps_what_is_there(page: Page) -> None:
    submit(page, PROMPT, 8000)
    expect(page.locator("#prompt .token").nth(3)).to_be_attached()
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Stopped.")
    expect(page.locator("#run")).to_be_enabled()
    assert 4 <= page.locator("#prompt .token").count() < 8000


def test_tokens_show_their_alternatives_on_hover_and_on_focus(page: Page) -> None:
    page.get_by_label("Probabilities").check()
    submit(page, PROMPT, 12)
    expect(page.locator("#status")).to_contain_text("ended by")
    token = page.locator("#prompt .token").nth(2)
    for reach in (token.hover, token.focus):
        page.mouse.move(0, 0)
        expect(page.locator("#alternatives")).to_be_hidden()
        reach()
        expect(page.locator("#alternatives")).to_be_visible()
        assert page.locator("#alternatives tr").count() >= 5
        assert page.locator("#alternatives .drawn").count() == 1
        page.locator("#run").focus()
    read = "tokens => tokens.map(token => getComputedStyle(token).backgroundColor)"
    colours = page.locator("#prompt .token").evaluate_all(read)
    assert len(set(colours)) > 1


def test_the_sliders_reach_the_request(page: Page) -> None:
    page.locator("#prompt").fill(PROMPT)
    page.get_by_label("Temperature").first.fill("0")
    page.get_by_label("Top K (0: all)").first.fill("7")
    page.get_by_label("Seed").fill("3")
    page.get_by_label("Stop before").fill("\\n, END")
    with page.expect_request("**/v1/completions") as asked:
        page.get_by_role("button", name="Submit").click()
    body = json.loads(asked.value.post_data or "")
    assert body["temperature"] == 0
    assert body["top_k"] == 7
    assert body["seed"] == 3
    assert body["stop"] == ["\n", "END"]
    expect(page.locator("#status")).to_contain_text("ended by")


def test_view_code_as_curl_and_python(page: Page, address: str) -> None:
    page.locator("#prompt").fill("It's “here”")
    page.get_by_role("button", name="View code").click()
    assert f"curl {address}/v1/completions" in page.locator("#code-text").inner_text()
    page.get_by_role("button", name="Python").click()
    code = page.locator("#code-text").inner_text()
    compile(code, "shown", "exec")
    assert 'prompt="It\'s “here”"' in code
    page.keyboard.press("Escape")
    expect(page.locator("#code")).to_be_hidden()


def test_every_example_loads_with_its_settings(page: Page) -> None:
    names = page.locator("#preset option").all_inner_texts()[1:]
    assert len(names) == 12
    seen = set()
    for name in names:
        page.locator("#preset").select_option(name)
        seen.add(page.locator("#prompt").inner_text())
    assert len(seen) == 12
    assert page.get_by_label("Temperature").first.input_value() == "0"


def test_the_tabs_turn_by_the_arrow_keys(page: Page) -> None:
    page.get_by_role("tab", name="Complete").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#insert")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#chat")).to_be_visible()
    expect(page.locator("#complete")).to_be_hidden()


def test_insert_says_what_the_model_cannot_do(page: Page) -> None:
    page.get_by_role("tab", name="Insert").click()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#status")).to_contain_text("not trained for insertion")
    page.locator("#gap").fill("no mark")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#status")).to_contain_text("[insert]")


def test_a_chat_answers_in_its_own_colour_and_remembers(page: Page) -> None:
    page.get_by_role("tab", name="Chat").click()
    page.get_by_label("Maximum length").first.fill("12")

    def say(text: str) -> list[dict[str, str]]:
        page.locator("#user").fill(text)
        with page.expect_request("**/v1/chat/completions") as asked:
            page.locator("#user").press("Control+Enter")
        expect(page.locator("#status")).to_contain_text("characters, ended by")
        body = json.loads(asked.value.post_data or "")
        assert body["stream"] is True
        return list(body["messages"])

    system = {"role": "system", "content": "You are a helpful apprentice."}
    assert say("Grind the ochre.") == [system, {"role": "user", "content": "Grind the ochre."}]
    first = page.locator("#messages .written").evaluate("e => e.textContent")
    assert first
    ink = page.locator("#messages li span").first.evaluate("e => getComputedStyle(e).color")
    assert page.locator("#messages .written").evaluate("e => getComputedStyle(e).color") != ink
    expect(page.locator("#user")).to_have_value("")
    assert say("And the umber?")[1:] == [
        {"role": "user", "content": "Grind the ochre."},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "And the umber?"},
    ]
    assert page.locator("#messages li").count() == 4
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#messages li")).to_have_count(0)


def test_a_phone_in_the_dark(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(23, 20, 18)"
    submit(page, PROMPT, 8)
    expect(page.locator("#status")).to_contain_text("ended by")


def test_the_best_of_several_comes_whole(page: Page) -> None:
    page.get_by_label("Best of").first.fill("3")
    with page.expect_request("**/v1/completions") as asked:
        submit(page, PROMPT, 8)
    body = json.loads(asked.value.post_data or "")
    assert body["best_of"] == 3
    assert "stream" not in body
    expect(page.locator("#status")).to_contain_text("ended by")
    assert page.locator("#prompt .written").inner_text()
