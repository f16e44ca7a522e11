"""The engine on a GPU: a real one where there is one, and one that is a GPU in all but the arithmetic."""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bottega.engine import cuda_graphs, devices, kernels, worker
from bottega.engine.core import Core
from bottega.engine.encoder_core import EncoderCore
from bottega.engine.messages import Add
from bottega.engine.quantisation import KINDS
from bottega.engine.request import Request
from bottega.engine.settings import EngineSettings
from bottega.engine.worker import Worker
from bottega.errors import InputError
from bottega.models.gpt import GPT
from bottega.models.sentence_encoder import SentenceEncoder, SentenceEncoderConfig
from bottega.nn.sampling_params import SamplingParams
from bottega.text.tokenizer import Tokenizer
from tests.engine.pretended_gpu import OnGPU, pretended_gpu

END = 60
GPU = torch.device("cuda", 0)
TEXT = [(i * i) % 59 for i in range(200)]


@pytest.fixture(params=["pretended", "real"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A GPU's device, on which tensors may be while the test lasts."""
    if request.param == "real":
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU")
        yield GPU
        return
    with pretended_gpu() as pretended:
        monkeypatch.setattr(cuda_graphs, "capture", pretended.capture)
        yield GPU


@pytest.fixture(scope="module", params=["gpt2", "gpt3-banded", "modern"])
def model(request: pytest.FixtureRequest, make_model: Callable[..., GPT]) -> GPT:
    return make_model(request.param)


def some_requests() -> list[Request]:
    """One of each kind that the steps tell apart, long and short."""
    draws = [
        SamplingParams(seed=0, max_tokens=20, logprobs=3),
        SamplingParams(seed=1, max_tokens=90, top_p=0.9, ignore_eos=True),
        SamplingParams(seed=2, max_tokens=9, temperature=0.7, top_k=5, min_p=0.01, logit_bias={3: 4.0}),
        SamplingParams(seed=3, max_tokens=9, frequency_penalty=0.5, repetition_penalty=1.2, stop_tokens=(7,)),
        SamplingParams(seed=4, max_tokens=0, logprobs=2),
    ]
    prompts = [TEXT[:1], TEXT[:70], TEXT[:130], TEXT[20:60], TEXT[:100]]
    requests = [Request(p, d, score_prompt=d.max_tokens == 0) for p, d in zip(prompts, draws, strict=True)]
    return [*requests, Request(TEXT[:33], SamplingParams(max_tokens=1), embed=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_requests_get_what_a_cpu_gives_them(
    gpu: torch.device, model: GPT, run: Any, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, settings = some_requests(), EngineSettings(weights=kind, kv_tokens=2048, speculate=2)
    monkeypatch.setattr(kernels, "compiled", lambda: None)  # which round activations to eight bits
    expected = run(Core(copy.deepcopy(model), END, settings), requests)
    told = run(Core(copy.deepcopy(model).to(gpu), END, settings), requests)
    near = {"fp32": 1e-4, "bf16": 2e-2}.get(kind, 0.1)  # beside 8 and 4 bits a GPU rounds activations to bf16
    for one, other in zip(told, expected, strict=True):
        if kind in ("fp32", "bf16"):
            assert (one.ids, one.reason) == (other.ids, other.reason)
        first, second = one.steps[0], other.steps[0]
        for token, known in zip(first.prompt, second.prompt, strict=True):
            assert token.logprob == pytest.approx(known.logprob, abs=near)
        if second.embedding is not None:
            assert first.embedding == pytest.approx(second.embedding, abs=near)
        if second.token is not None and second.token.logprob is not None:
            assert first.token is not None
            assert first.token.logprob == pytest.approx(second.token.logprob, abs=near)


def test_steps_are_captured_once_for_each_shape(gpu: torch.device, make_model: Any, run: Any) -> None:
    core = Core(make_model().to(gpu), END, EngineSettings(weights="fp32", kv_tokens=4096, slots=5))
    steps = core._forward._graphs._steps
    greedy = SamplingParams(max_tokens=30, temperature=0, ignore_eos=True)
    answers = [run(core, [Request(TEXT[i : i + 50], greedy) for i in range(n)]) for n in (1, 3, 4, 5)]
    # By powers of two: up to 4 and 5 of 8 sequences, which begin in their first block and end in the second.
    assert set(steps) == {(1, 1), (1, 2), (4, 1), (4, 2), (8, 1), (8, 2)}
    assert len({tuple(answer[0].ids) for answer in answers}) == 1  # whatever was filled up beside it


def test_a_graph_reads_no_more_blocks_than_there_are(gpu: torch.device, make_model: Any, run: Any) -> None:
    model = make_model(context_length=320)  # five blocks, where powers of two go on with eight
    greedy = SamplingParams(max_tokens=60, temperature=0, ignore_eos=True)
    request = Request([*TEXT, *TEXT[:60]], greedy)
    expected = run(Core(copy.deepcopy(model), END, EngineSettings(weights="fp32")), [request])
    core = Core(model.to(gpu), END, EngineSettings(weights="fp32", kv_tokens=640))
    assert run(core, [request])[0].ids == expected[0].ids
    assert set(core._forward._graphs._steps) == {(1, 5)}


def test_states_outlive_the_next_replay(gpu: torch.device, make_model: Any) -> None:
    core = Core(make_model().to(gpu), END, EngineSettings(weights="fp32", kv_tokens=256))
    graphs, tables = core._forward._graphs, np.array([[0, 1]], np.int32)
    with torch.no_grad():
        first = graphs(np.array([[5], [0], [0]], np.int32), tables)
        known = first.tolist()
        second = graphs(np.array([[9], [0], [1]], np.int32), tables)
    assert first.tolist() == known != second.tolist()


def test_an_encoder_embeds_as_on_a_cpu(gpu: torch.device) -> None:
    torch.manual_seed(0)
    model = SentenceEncoder(SentenceEncoderConfig(vocab_size=61, n_embd=16)).eval()
    request = Request(TEXT[:20], SamplingParams(max_tokens=1), embed=True)

    def embedded(model: SentenceEncoder) -> Any:
        core = EncoderCore(model, EngineSettings())
        core.add(0, request)
        return core.step()[0][1].embedding

    assert embedded(copy.deepcopy(model).to(gpu)) == pytest.approx(embedded(model), abs=1e-5)


def test_a_pretended_gpu_refuses_what_a_real_one_does() -> None:
    with pretended_gpu() as pretended, torch.no_grad():
        here, there = torch.ones(3), torch.arange(3.0).to(GPU)
        assert isinstance(there, OnGPU)
        assert (there + 1).tolist() == [1, 2, 3]
        with pytest.raises(RuntimeError, match="on the GPU and on the CPU"):
            here + there
        for waits in (there.cpu, there.sum().item, lambda: there[[0, 1]], lambda: there.nonzero()):
            with pytest.raises(RuntimeError, match="wait"):
                pretended.capture(waits, None)[0]()
    with pytest.raises(RuntimeError, match="outside"):
        there + 1


def test_devices_are_found_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.find("auto") == devices.find("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="device cuda: torch finds no CUDA GPU; --device cpu"):
        devices.find("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.find("auto") == devices.find("cuda") == GPU
    assert devices.find("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(InputError, match="device cuda:2: 2 CUDA GPUs are there"):
        devices.find("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "", "cuda:1 "])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="device must be auto, cpu, cuda, or cuda:N"):
        EngineSettings(device=name)


def test_what_fills_a_step_up_writes_nobodys_block(make_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "compiled", lambda: None)
    core = Core(make_model(), END, EngineSettings(weights="fp32", kv_tokens=256, exact=False))
    cache = core._forward._cache
    step = cuda_graphs.DecodeStep(core.model, cache, 4, 2, torch.device("cpu"))
    step.fill(np.array([[5, 6], [1, 0], [3, 64]], np.int32), np.array([[0, 1], [2, 3]], np.int32))
    with torch.no_grad():
        step.compute()
    written = {int(i) for i in cache.keys.ne(0).any(-1).any(-1).any(-1).any(0).nonzero()}
    assert written == {2, 1, cache.spare}


@pytest.mark.parametrize(
    ("error", "ends"), [(RuntimeError("broken"), False), (torch.AcceleratorError("broken"), True)]
)
def test_a_process_goes_on_after_a_failed_step_but_not_on_a_failed_gpu(
    make_model: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, ends: bool
) -> None:
    ours, theirs = multiprocessing.Pipe()
    core = Core(make_model(), END, EngineSettings(kv_tokens=64))

    def failing(*_: Any) -> None:
        raise error

    monkeypatch.setattr(core, "_forward", failing)
    ours.send([Add(5, Request([1], SamplingParams(seed=0)))])
    process = Worker(theirs, core)
    if ends:
        with pytest.raises(torch.AcceleratorError):
            process.turn()
    else:
        process.turn()
        assert ours.recv().failed == [(5, "broken")]


def test_a_model_too_large_for_a_gpu_is_refused_with_what_to_do(
    make_model: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_model(vocab_size=270).save_pretrained(tmp_path)
    Tokenizer.train(["some words that are not many " * 9], 270).save(tmp_path)

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(GPT, "to", full)
    ours, theirs = multiprocessing.Pipe()
    with monkeypatch.context() as context:
        context.setattr(worker.signal, "signal", lambda *_: None)  # which would outlive the test
        worker.main(theirs, str(tmp_path), EngineSettings(device="cpu"))
    assert "does not fit into the free memory of cpu: free its memory" in ours.recv().reason
