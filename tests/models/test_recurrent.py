"""Recurrent language models: what they carry, what they learn, and that training resumes bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bottega.cli import run
from bottega.data.documents import Document
from bottega.data.shards import TokenShards, prepare
from bottega.data.stream_loader import StreamLoader
from bottega.errors import InputError
from bottega.models.generation import generate
from bottega.models.recurrent import CELLS, RecurrentConfig, RecurrentLM
from bottega.nn.sampling_params import SamplingParams
from bottega.text.tokenizer import Tokenizer
from bottega.training.config import TrainingConfig
from bottega.training.events import StepEvent
from bottega.training.loop import train

TEXTS = ["the apprentice grinds the colours, the master paints the angel. " * n for n in (3, 5, 9)]
ROWS = 4


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> TokenShards:
    out = tmp_path_factory.mktemp("streams")
    return prepare([Document(text, text) for text in TEXTS], Tokenizer.train(TEXTS, 270), out)


def made(cell: str, vocab_size: int = 270, **fields: object) -> RecurrentLM:
    torch.manual_seed(7)
    return RecurrentLM(RecurrentConfig(vocab_size, cell, 2, 16, 24, 6, streams=ROWS, **fields))


def settings(**fields: object) -> TrainingConfig:
    base = {"steps": 30, "batch_size": ROWS, "precision": "fp32", "warmup_steps": 3, "learning_rate": 1e-2}
    return TrainingConfig(**base | fields)


@pytest.mark.parametrize("cell", CELLS)
def test_a_state_that_is_carried_equals_one_long_pass(cell: str, shards: TokenShards) -> None:
    model = made(cell, shards.vocab_size)
    short, long = StreamLoader(shards, 6, ROWS), StreamLoader(shards, 18, ROWS)
    parts = [model.loss(short.next_batch()) for _ in range(3)]
    carried = model.carried.clone()
    whole = model.loss(long.next_batch())
    torch.testing.assert_close(sum(part.total for part in parts), whole.total, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(carried, model.carried, rtol=1e-4, atol=1e-6)
    # An empty state would have given another loss, and a new epoch begins with one.
    batch = long.next_batch()
    kept, emptied = model.carried.clone(), dict(batch, fresh=torch.ones(ROWS, dtype=torch.bool))
    first = model.loss(batch).total.item()
    model.carried.copy_(kept)
    assert abs(first - model.loss(emptied).total.item()) > 1e-4


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stopped_run_ends_with_the_same_weights_and_states(
    tmp_path: Path, shards: TokenShards, cell: str, precision: str
) -> None:
    config = settings(precision=precision, save_every=5, micro_batch_size=3)

    def run(out: str, stop_after: int | None = None) -> None:
        def listen(event: object) -> None:
            if isinstance(event, StepEvent) and event.step == stop_after:
                raise KeyboardInterrupt

        batches = StreamLoader(shards, 6, ROWS)
        train(made(cell, shards.vocab_size, dropout=0.2), batches, tmp_path / out, config, on_event=listen)

    run("whole")
    for stop in (7, 18):
        with pytest.raises(KeyboardInterrupt):
            run("parts", stop)
    run("parts")
    whole, parts = (load_file(tmp_path / out / "latest/model.safetensors") for out in ("whole", "parts"))
    assert whole["carried"].abs().max() > 0.1
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)


def test_micro_batches_change_nothing(tmp_path: Path, shards: TokenShards) -> None:
    ends = []
    for rows in (None, 1):
        model = made("gru", shards.vocab_size)
        train(model, StreamLoader(shards, 6, ROWS), tmp_path / str(rows), settings(micro_batch_size=rows))
        ends.append(model.state_dict())
    for name, tensor in ends[0].items():
        torch.testing.assert_close(tensor, ends[1][name], rtol=1e-3, atol=1e-4)


PROGRAM = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from bottega.data.shards import TokenShards
from bottega.data.stream_loader import StreamLoader
from bottega.models.recurrent import RecurrentConfig, RecurrentLM
from bottega.training.config import TrainingConfig
from bottega.training.distributed import world_from_environment
from bottega.training.loop import train

world = world_from_environment()
torch.manual_seed(7 + world.rank)
shards = TokenShards.open(Path(sys.argv[1]))
model = RecurrentLM(RecurrentConfig(shards.vocab_size, "lstm", 2, 16, 24, 6, streams=4))
batches = StreamLoader(shards, 6, 4, rank=world.rank, world_size=world.size)
config = dict(steps=30, batch_size=4, precision="fp32", warmup_steps=3, learning_rate=1e-2, save_every=5)
def listen(event):
    if getattr(event, "norm", None) is not None and event.step == int(sys.argv[3]):
        raise SystemExit(3)
train(model, batches, Path(sys.argv[2]), TrainingConfig(**config), on_event=listen)
"""


def test_two_processes_carry_what_one_does(tmp_path: Path, shards: TokenShards) -> None:
    train(one := made("lstm", shards.vocab_size), StreamLoader(shards, 6, ROWS), tmp_path / "one", settings())
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(program), str(shards.folder)]
    done = subprocess.run(
        [*command, str(tmp_path / "two"), "0"],
        capture_output=True,
        text=True,
        timeout=180,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = load_file(tmp_path / "two/latest/model.safetensors")
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_it_learns_a_text_by_heart(cell: str, tmp_path: Path, shards: TokenShards) -> None:
    model = made(cell, shards.vocab_size)
    config = settings(steps=150, matrix_learning_rate=0.05, learning_rate=3e-2)
    train(model, StreamLoader(shards, 6, ROWS), tmp_path / cell, config)
    again = RecurrentLM.from_pretrained(tmp_path / cell / "latest")
    ids = shards.document(0).tolist()
    nats = again.log_probs(ids, shards.end_of_text)
    assert len(nats) == len(ids) + 1 and -nats[len(ids) // 2 : -1].mean() < 0.1
    stream = torch.tensor([[shards.end_of_text, *ids]])
    expected = again(stream)[0].log_softmax(-1)[torch.arange(len(ids) + 1), [*ids, shards.end_of_text]]
    torch.testing.assert_close(torch.from_numpy(nats), expected.double(), atol=1e-5, rtol=1e-5)


def broken(folder: Path, change: Callable[[Path], object]) -> None:
    made("gru").save_pretrained(folder)
    change(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"12345678"), "is damaged"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bottega-lda"}'), "holds a 'bottega-lda'"),
        (
            lambda f: (f / "config.json").write_text(
                (f / "config.json").read_text().replace('"n_hidden": 24', '"n_hidden": 25')
            ),
            "of the wrong shape",
        ),
        (
            lambda f: (f / "config.json").write_text(
                (f / "config.json").read_text().replace('"n_layer": 2', '"n_layer": 2000000000')
            ),
            "n_layer is 2,000,000,000",
        ),
        (
            lambda f: (f / "config.json").write_text(
                (f / "config.json").read_text().replace('"n_hidden": 24', '"n_hidden": 2000000000')
            ),
            "larger than any memory",
        ),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, change: Callable[[Path], object], said: str) -> None:
    broken(tmp_path / "model", change)
    with pytest.raises(InputError, match=said):
        RecurrentLM.from_pretrained(tmp_path / "model")


def test_senseless_shapes_are_refused() -> None:
    for fields in ({"n_layer": 0}, {"dropout": 1.0}, {"streams": -1}):
        with pytest.raises(InputError):
            RecurrentConfig(10, **fields)


@pytest.mark.parametrize("cell", CELLS)
def test_rows_that_decode_together_write_what_each_writes_alone(cell: str) -> None:
    model = made(cell, 40).eval()
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    params = [SamplingParams(temperature=t, max_tokens=n, seed=5) for t, n in ((0, 9), (1, 3), (1, 12))]
    together = generate(model, prompts, params, 0, n=2)
    alone = [
        one for prompt, p in zip(prompts, params, strict=True) for one in generate(model, [prompt], p, 0, 2)
    ]
    assert [one.ids for one in together] == [one.ids for one in alone]
    assert [len(one.ids) for one in together if one.finish_reason == "length"]
    greedy, ids = together[0].ids, list(prompts[0])
    for token in greedy:  # each the likeliest after all before it, from an empty state
        assert int(model(torch.tensor([ids]))[0, -1].argmax()) == token
        ids.append(token)


def test_presets_train_on_a_text_and_are_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"{text} It was the year {1400 + n}." for n in range(60) for text in TEXTS))
    command = ["train", "gru", "--data", str(text), "--out", str(tmp_path / "run"), "--steps", "6"]
    command += [
        "--n-hidden",
        "16",
        "--n-embd",
        "16",
        "--batch-size",
        "4",
        "--context-length",
        "8",
        "--vocab-size",
        "300",
    ]
    for _ in range(2):  # the second time it is found finished
        assert run(command) == 0
        assert "6 steps" in capsys.readouterr().out
    assert run(["eval", str(tmp_path / "run"), "--data", str(text), "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["bits_per_byte"] < 12
    assert run(["generate", str(tmp_path / "run"), "the", "--max-tokens", "4", "--seed", "1"]) == 0
    assert capsys.readouterr().out.strip()
    assert run([*command[:3], "embedded", *command[4:]]) == 2
    assert "was begun with" in capsys.readouterr().err
