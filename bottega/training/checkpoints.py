"""A run on the disk: complete `step-N` folders, the links `latest` and `best`, and nothing half-written.

A folder is written under a temporary name, brought to the disk, then renamed; then the link is swapped. A
kill at any moment leaves the old checkpoint or the new one. Beside the model, `state/` holds what exact
resume needs besides it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn

from bottega.errors import InputError, WorkError
from bottega.interop.locate import TOKENIZER_FILES
from bottega.models.links import follow_link, set_link
from bottega.text.tokenizer import Tokenizer
from bottega.text.wordpiece import is_wordpiece
from bottega.training.progress import duration

FORMAT = 1


@dataclass
class State:
    """Where a run stands, its tensors apart. `steps` is None until the budget has become a number."""

    step: int = 0
    steps: int | None = None
    validate_every: int | None = None  # known with the steps
    tokens: int = 0
    unit: str = "tokens"  # what is counted as such: pictures, where the model reads no text
    seconds: float = 0.0
    best: dict[str, Any] | None = None  # step and loss
    validation: dict[str, float] = field(default_factory=dict)  # the last values
    curves: int = 0  # bytes of curves.jsonl
    cursor: dict[str, Any] = field(default_factory=dict)
    precision: str = ""
    compiled: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT


class Run:
    """The folder of one run."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def prepare(self, needed: int) -> None:
        """Clear what a kill left; raise WorkError where `needed` bytes do not fit on the disk."""
        for left in self.out.glob(".step-*"):
            shutil.rmtree(left)
        held = sum(path.stat().st_size for path in self.out.glob("step-*/**/*") if path.is_file())
        free = shutil.disk_usage(self.out).free
        if free + held < needed:  # a resumed run's own checkpoints make room as new ones come
            raise WorkError(
                f"the run needs {needed / 1e9:.1f} GB in {self.out}, and {free / 1e9:.1f} GB are free; "
                "free some, lower keep, or give another --out"
            )

    def latest(self) -> Path | None:
        """Return the last complete checkpoint, or None for a new run.

        Raises InputError where `latest` names a folder that is gone: starting anew would lose the rest.
        """
        link = self.out / "latest"
        folder = follow_link(link)
        if folder is None and (link.is_symlink() or link.exists()):
            raise InputError(
                f"{link} names a checkpoint that is gone; set it to one of the others, or give another --out"
            )
        return folder

    def read_state(self, folder: Path) -> State:
        """Return the state in a checkpoint; InputError where it is none of ours or damaged."""
        try:
            values = json.loads((folder / "state" / "state.json").read_text(encoding="utf-8"))
            state = State(**values)
        except (OSError, ValueError, TypeError):
            raise InputError(f"{folder} holds no state to resume from; give another --out") from None
        if state.format != FORMAT:
            raise InputError(
                f"{folder} has a state of format {state.format}, not {FORMAT}; give another --out"
            )
        return state

    def save(
        self,
        state: State,
        model: nn.Module,
        tensors: Mapping[str, Mapping[str, Tensor]],
        *,
        tokenizer: Path | None,
        card: str,
        best: bool,
        keep: int,
    ) -> Path:
        """Write the checkpoint of `state.step` and return its folder.

        `model` is saved as it stands; `tensors` become the files of `state/`. Raises WorkError where the disk
        does not take it; the checkpoints before stay as they were.
        """
        folder, draft = self.out / f"step-{state.step}", self.out / f".step-{state.step}.partial"
        try:
            shutil.rmtree(draft, ignore_errors=True)
            _write_model(model, draft)
            _write_companions(draft, tokenizer, card)
            if rate := state.config.get("fim_rate"):
                _say_in(draft / "config.json", {"fim_rate": rate})  # so that others know what it can be asked
            (draft / "state").mkdir()
            for name, group in tensors.items():
                save_file(
                    {key: tensor.contiguous() for key, tensor in group.items()},
                    draft / "state" / f"{name}.safetensors",
                )
            (draft / "state" / "state.json").write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
            _sync(draft)
            self._discard(folder)  # left by a kill before the link reached it
            draft.rename(folder)
            _sync_folder(self.out)
            if best:
                set_link(self.out / "best", folder.name)
            set_link(self.out / "latest", folder.name)
            _sync_folder(self.out)
            self._prune(keep)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(draft, ignore_errors=True)
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise WorkError(
                f"the checkpoint of step {state.step} could not be written in {self.out} ({why}); "
                "the one before it is complete: make room, and the same command goes on from it"
            ) from None
        return folder

    def _prune(self, keep: int) -> None:
        """Keep the last few and those that a link names."""
        named = {follow_link(self.out / "latest"), follow_link(self.out / "best")}
        steps = sorted(self.out.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
        for folder in steps[:-keep]:
            if folder not in named:
                self._discard(folder)

    def _discard(self, folder: Path) -> None:
        """Remove a folder so that no kill leaves half of one under a name that looks complete."""
        if folder.exists():
            doomed = folder.with_name(f".{folder.name}.old")
            shutil.rmtree(doomed, ignore_errors=True)
            folder.rename(doomed)
            shutil.rmtree(doomed)


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of one file of `state/`; InputError where it is absent or damaged."""
    path = folder / "state" / f"{name}.safetensors"
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise damaged(folder, f"{path.name}: {' '.join(str(error).split())}") from None


def damaged(folder: Path, what: str) -> InputError:
    """Return the error for a checkpoint that cannot be resumed from."""
    return InputError(
        f"the state in {folder} is damaged ({what}); set latest to another step-N, or give another --out"
    )


def load_weights(model: nn.Module, folder: Path) -> None:
    """Bring a checkpoint's weights into the model that is already there."""
    from_pretrained: Callable[[Path], nn.Module] | None = getattr(model, "from_pretrained", None)
    if from_pretrained is not None:
        model.load_state_dict(from_pretrained(folder).state_dict())
    else:
        load_model(model, folder / "model.safetensors")


def config_of(model: nn.Module) -> dict[str, Any]:
    """Return the model's configuration as JSON would give it back; empty where it has none."""
    config = getattr(model, "config", None)
    if config is None or not is_dataclass(config) or isinstance(config, type):
        return {}
    return dict(json.loads(json.dumps(asdict(config))))


def card(state: State) -> str:
    """Return what a model card says of the training."""
    rows = {
        "steps": f"{state.step:,}",
        state.unit: f"{state.tokens:,}",
        "training time": duration(state.seconds),
    }
    rows |= {f"held-out {name.replace('_', ' ')}": f"{value:.4f}" for name, value in state.validation.items()}
    rows |= {name: str(value) for name, value in state.config.items() if value is not None}
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"## Training\n\nTrained with Bottega.\n\n| | |\n|---|---|\n{table}\n"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Make the folder of a run and hold it for this process.

    Raises WorkError where it cannot be written, InputError where another process is training in it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    except OSError as error:
        raise WorkError(f"{out} cannot be written ({error.strerror}); give another --out") from None
    with file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            pass
        except OSError:
            raise InputError(f"another process trains in {out}; wait or give another --out") from None
        yield


def _write_model(model: nn.Module, folder: Path) -> None:
    save: Callable[[Path], None] | None = getattr(model, "save_pretrained", None)
    if save is not None:
        save(folder)
        return
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config_of(model), indent=2) + "\n", encoding="utf-8")
    save_model(model, str(folder / "model.safetensors"))


def _write_companions(folder: Path, tokenizer: Path | None, card: str) -> None:
    if tokenizer is not None:
        for path in (tokenizer / name for name in TOKENIZER_FILES):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        if not is_wordpiece(tokenizer):  # an encoder's: nothing is generated with it
            read = Tokenizer.load(tokenizer)
            begin = read.special_tokens.get(str(read.config.get("bos_token")), read.end_of_text)
            _say_where_texts_begin_and_end(folder, begin, read.end_of_text)
    readme = folder / "README.md"
    written = readme.read_text(encoding="utf-8") if readme.exists() else "# A model\n"
    readme.write_text(f"{written.rstrip()}\n\n{card}", encoding="utf-8")


def _say_where_texts_begin_and_end(folder: Path, begin: int, end: int) -> None:
    """Name the tokens in the model's configuration: other programs stop generating there."""
    for path in (folder / "config.json", folder / "generation_config.json"):
        if path.is_file():
            _say_in(path, {"bos_token_id": begin, "eos_token_id": end})


def _say_in(path: Path, values: Mapping[str, Any]) -> None:
    """Add values to a JSON file."""
    there = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(there | dict(values), indent=2) + "\n", encoding="utf-8")


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
