"""lm-eval finds the same numbers in this process, over HTTP and with `transformers`."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bottega.models.gpt import GPT, GPTConfig
from bottega.text.tokenizer import Tokenizer

lm_eval = pytest.importorskip("lm_eval")

CONTEXT = 64
TEXT = "the master and his apprentice ground the colour for the wing of the angel with glue and gold on wood"
WORDS = TEXT.split()
KINDS = {
    "pigments": """
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
doc_to_choice: "{{choices}}"
fewshot_split: test
metric_list:
  - metric: acc
  - metric: acc_norm
""",
    "letters": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: word_perplexity
  - metric: bits_per_byte
""",
    "orders": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs:
  until: ["e ", "wood"]
  max_gen_toks: 12
metric_list:
  - metric: exact_match
""",
    "last_words": """
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: " {{choices[0]}}"
metric_list:
  - metric: acc
""",
}


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "DISABLE_MULTIPROC"):
            patch.setenv(name, "1")
        patch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks over one small file; some texts are longer than the model's context."""
    folder, draw = tmp_path_factory.mktemp("tasks"), random.Random(1)

    def phrase(low: int, high: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(low, high)))

    lines = [
        {
            "question": f"Café, the {phrase(1, 30)} and the",
            "choices": [phrase(1, 3) for _ in range(3)],
            "answer": draw.randrange(3),
            "text": f"In the {phrase(2, 120)}.",
        }
        for _ in range(16)
    ]
    (folder / "workshop.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, kind in KINDS.items():
        source = json.dumps({"data_files": {"test": str(folder / "workshop.jsonl")}})
        head = f"task: {name}\ndataset_path: json\ndataset_kwargs: {source}\ntest_split: test\n"
        (folder / f"{name}.yaml").write_text(head + kind.lstrip())
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT far from its initialisation, so that its answers differ, in a folder of its own."""
    folder = tmp_path_factory.mktemp("models") / "bardi"
    tokenizer = Tokenizer.train([" ".join(random.Random(0).choices(WORDS, k=2000))], 300)
    torch.manual_seed(0)
    gpt = GPT(GPTConfig(tokenizer.vocab_size, CONTEXT, n_layer=2, n_head=2, n_embd=16))
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    gpt.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def url(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the model, with the engine's default settings."""
    command = [sys.executable, "-m", "bottega", "serve", f"bardi={model}", "--port", "0"]
    command += ["--state", str(tmp_path_factory.mktemp("state"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    try:
        found = next(filter(None, (re.search(r"(http://[\d.]+:\d+)/v1", line) for line in process.stdout)))
        yield f"{found[1]}/v1/completions"
    finally:
        process.terminate()
        process.communicate(timeout=60)


def run(tasks: Path, lm: Any, **model_args: Any) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The metrics of each task, and what the model answered to each of its samples."""
    found = lm_eval.simple_evaluate(
        lm,
        model_args=model_args or None,
        tasks=[*KINDS],
        task_manager=lm_eval.tasks.TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=10,
    )
    ordered = {
        task: [sample["filtered_resps"] for sample in sorted(samples, key=lambda one: one["doc_id"])]
        for task, samples in found["samples"].items()
    }
    return found["results"], ordered


@pytest.fixture(scope="module")
def ours(tasks: Path, model: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    from bottega.evaluation.harness import Harness

    return run(tasks, Harness(GPT.from_pretrained(model), Tokenizer.load(model)))


def test_the_tasks_tell_answers_apart(ours: Any) -> None:
    results, answers = ours
    assert 0 < results["pigments"]["acc,none"] < 1
    assert len({text for (text,) in answers["orders"]}) > 8
    assert len({nats for ((nats, _),) in answers["last_words"]}) > 8


@pytest.mark.parametrize("tokenizer", ["remote", "huggingface"])
@pytest.mark.parametrize("concurrent", [1, 8])
def test_over_http_all_numbers_are_the_same_to_the_digit(
    ours: Any, url: str, tasks: Path, model: Path, tokenizer: str, concurrent: int
) -> None:
    settings: dict[str, Any] = {"base_url": url, "tokenizer_backend": tokenizer, "model": "bardi"}
    if tokenizer == "huggingface":
        settings |= {"tokenizer": str(model)}
    theirs = run(tasks, "local-completions", **settings, max_length=CONTEXT, num_concurrent=concurrent)
    assert theirs == ours


def test_transformers_finds_the_same(ours: Any, tasks: Path, model: Path) -> None:
    """lm-eval's `hf` counts a length otherwise: without the token that is predicted last."""
    results, answers = run(tasks, "hf", pretrained=str(model), max_length=CONTEXT - 2, device="cpu")
    for task in ("pigments", "last_words"):
        for metric in ("acc,none", "acc_norm,none"):
            assert results[task].get(metric) == ours[0][task].get(metric)
        for mine, theirs in zip(ours[1][task], answers[task], strict=True):
            assert [greedy for _, greedy in mine] == [greedy for _, greedy in theirs]
            assert [nats for nats, _ in mine] == pytest.approx([nats for nats, _ in theirs], abs=1e-3)
    for mine, theirs in zip(ours[1]["letters"], answers["letters"], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-3)
    assert results["letters"]["bits_per_byte,none"] == pytest.approx(
        ours[0]["letters"]["bits_per_byte,none"], abs=1e-5
    )
