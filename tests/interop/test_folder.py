"""Checkpoints that are not what they should be: each is refused in one line that names what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bottega.errors import InputError, WorkError
from bottega.interop.folder import read_folder, write_folder
from bottega.models.gpt import GPT, GPTConfig

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    GPT(GPTConfig(31, 8, 2, 2, 8)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def _rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def _reheader(folder: Path, change: Callable[[dict[str, dict[str, list[int]]]], None]) -> None:
    """Change the header of a safetensors file and leave the data as they are."""
    raw = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def _refused(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_folder(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(folder), *words):
        assert word in message, message


def _shard(folder: Path) -> dict[str, str]:
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    files = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    where = {name: file for file, part in files.items() for name in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return where


def test_shards_are_read_as_one_file_is(folder: Path) -> None:
    whole = read_folder(folder)[1]
    _shard(folder)
    parts = read_folder(folder)[1]
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    _refused(folder, "no config.json")


@pytest.mark.parametrize("text", [b"{", b"", b"\xff\xfe", b"[" * 100_000])
def test_config_that_is_no_json(folder: Path, text: bytes) -> None:
    (folder / "config.json").write_bytes(text)
    _refused(folder, "config.json", "not valid JSON")


def test_config_that_is_no_object(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")
    _refused(folder, "holds a list")


def test_config_with_an_impossible_value(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_head": 3}))
    _refused(folder, "n_embd 8 is not a multiple of n_head 3")


def test_config_of_other_weights(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 32}))
    _refused(folder, "transformer.wte.weight is 31×8 and should be 32×8")


def test_no_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    _refused(folder, "no model.safetensors")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickled_weights_are_refused_with_the_reason(folder: Path, name: str) -> None:
    (folder / WEIGHTS).rename(folder / name)
    _refused(folder, "pickle", name, "safetensors")


def test_missing_tensors_are_named(folder: Path) -> None:
    _rewrite(folder, lambda tensors: [tensors.pop(name) for name in sorted(tensors)[:5]])  # type: ignore[func-returns-value]
    _refused(folder, "5 tensors are missing", "transformer.h.0.", "and 2 more")


def test_an_unknown_tensor_is_named(folder: Path) -> None:
    _rewrite(folder, lambda tensors: tensors.update({"score.weight": torch.zeros(2, 8)}))
    _refused(folder, "1 tensor is unknown: score.weight")


def test_a_tensor_of_the_wrong_shape_is_named(folder: Path) -> None:
    name = "transformer.h.1.mlp.c_fc.weight"
    _rewrite(folder, lambda tensors: tensors.update({name: tensors[name].t().contiguous()}))
    _refused(folder, f"{name} is 32×8 and should be 8×32")


def test_a_tied_head_with_other_numbers(folder: Path) -> None:
    _rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": torch.zeros(31, 8)}))
    with pytest.raises(InputError, match=r"ties the head .* lm_head.weight"):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize("keep", [0, 4, 8, 200, -1])
def test_truncated_safetensors(folder: Path, keep: int) -> None:
    raw = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(raw[:keep])
    _refused(folder, WEIGHTS, "damaged", "download it again")


def test_a_header_longer_than_the_file(folder: Path) -> None:
    raw = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes((10**12).to_bytes(8, "little") + raw[8:])
    _refused(folder, WEIGHTS, "damaged")


def test_offsets_past_the_end(folder: Path) -> None:
    def beyond(header: dict[str, dict[str, list[int]]]) -> None:
        last = max(
            (name for name in header if name != "__metadata__"), key=lambda n: header[n]["data_offsets"]
        )
        header[last]["data_offsets"][1] += 4096
        header[last]["shape"][-1] += 1024

    _reheader(folder, beyond)
    _refused(folder, WEIGHTS, "damaged")


def test_offsets_that_overlap(folder: Path) -> None:
    def overlap(header: dict[str, dict[str, list[int]]]) -> None:
        first, second = sorted(
            (name for name in header if name != "__metadata__"), key=lambda n: header[n]["data_offsets"]
        )[:2]
        header[second]["data_offsets"] = list(header[first]["data_offsets"])
        header[second]["shape"] = list(header[first]["shape"])

    _reheader(folder, overlap)
    _refused(folder, WEIGHTS, "damaged")


def test_numbers_that_are_no_floats(folder: Path) -> None:
    name = "transformer.wte.weight"
    _rewrite(folder, lambda tensors: tensors.update({name: torch.zeros(31, 8, dtype=torch.int8)}))
    _refused(folder, f"{name} is stored as I8")


@pytest.mark.parametrize(
    "name", ["../evil.safetensors", "/etc/evil.safetensors", "a/b.safetensors", "a.bin", ".."]
)
def test_an_index_may_not_point_elsewhere(folder: Path, name: str) -> None:
    where = _shard(folder)
    save_file(load_file(folder / "a.safetensors"), folder.parent / "evil.safetensors")
    where = {tensor: name if file.startswith("a") else file for tensor, file in where.items()}
    (folder / INDEX).write_text(json.dumps({"weight_map": where}))
    _refused(folder, INDEX, name, "same folder")


def test_a_shard_that_is_not_there(folder: Path) -> None:
    _shard(folder)
    (folder / "b.safetensors").unlink()
    _refused(folder, "no b.safetensors")


@pytest.mark.parametrize(
    "text", ["{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}']
)
def test_an_index_without_a_map(folder: Path, text: str) -> None:
    _shard(folder)
    (folder / INDEX).write_text(text)
    _refused(folder, INDEX, "weight_map")


def test_an_index_that_differs_from_its_shards(folder: Path) -> None:
    where = _shard(folder)
    moved = next(name for name in where if where[name] == "a.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": where | {moved: "b.safetensors"}}))
    _refused(folder, f"unlisted {moved}")


def test_code_in_a_checkpoint_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_evil.py").write_text("raise SystemExit('it ran')")
    assert GPT.from_pretrained(folder)(torch.zeros(1, 3, dtype=torch.int64)).shape == (1, 3, 31)


def test_a_name_that_is_neither_folder_nor_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("runs/nowhere", "nowhere", "../nowhere"):  # a typing error, nothing to ask the Hub for
        with pytest.raises(InputError, match="no such folder"):
            read_folder(name)
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        read_folder(tmp_path / "file")


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    code = (
        "import sys; from bottega.cli import run; sys.exit(run(['import', 'vasari/lives', '--out', 'run']))"
    )
    hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | hub, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "hf download vasari/lives" in done.stderr
    assert not (tmp_path / "run").exists()


# What we write.


def _write(folder: Path) -> None:
    write_folder(folder, {"model_type": "bottega-gpt"}, {"tok_emb.weight": torch.ones(3, 2)})


def test_a_folder_that_exists_is_replaced_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "state").touch()
    _write(tmp_path / "model")
    _write(tmp_path / "model")
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert files == {"config.json", "generation_config.json", WEIGHTS, "README.md", "state"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]  # no draft is left


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkError, match="could not be written"):
        _write(tmp_path / "file" / "model")


@pytest.mark.skipif(sys.platform == "win32", reason="the limit that stands for a full disk is POSIX's")
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, signal, torch, sys\n"
        "from bottega.errors import WorkError\n"
        "from bottega.interop.folder import write_folder\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    write_folder('model', {'model_type': 'bottega-gpt'}, {'tok_emb.weight': torch.ones(300, 300)})\n"
        "except WorkError as error:\n"
        "    sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "model could not be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_dtype_is_written_down(tmp_path: Path) -> None:
    tensors = {"tok_emb.weight": torch.ones(3, 2, dtype=torch.bfloat16), "norm.weight": torch.ones(2)}
    write_folder(tmp_path / "model", {"model_type": "bottega-gpt"}, tensors)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == "float32"


def test_whoever_may_read_the_config_may_read_the_weights(tmp_path: Path) -> None:
    _write(tmp_path / "model")
    modes = {path.stat().st_mode for path in (tmp_path / "model").iterdir()}
    assert len(modes) == 1
