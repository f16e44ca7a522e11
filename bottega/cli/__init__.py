"""The command line: `bottega VERB …`. Each verb is one module here; this file only finds it and guards it."""

from __future__ import annotations

import importlib
import io
import keyword
import os
import sys

VERBS = {
    "quickstart": "train a GPT on this machine in minutes, then serve it",
    "tokenizer": "train a tokenizer; encode and decode with it",
    "data": "list, get and prepare data sets",
    "train": "train a preset on prepared data; resumes where it was stopped",
    "eval": "bits per byte of a model on a held-out text",
    "score": "the probability of a text, or a ranking of candidate sentences",
    "generate": "complete a prompt, streaming",
    "sample": "draw pictures from a model of pictures",
    "classify": "the label of a text or a picture, with the probability of each",
    "lineage": "compare models with their ancestors on the same data: text, sentiment, translation",
    "average": "one model from the last checkpoints of a run",
    "translate": "translate texts, files or standard input",
    "show": "draw what a run or a model does: curves, attention and more",
    "plan": "parameters, FLOPs, memory, time and cost of a preset before training it",
    "import": "bring a Hugging Face checkpoint in",
    "export": "write a checkpoint for other programs",
    "ngram": "train, score and sample the n-gram language model",
    "serve": "serve models behind the OpenAI API",
    "words": "neighbours and analogies of a Word2Vec model",
    "keys": "make, list and revoke the API keys of a server",
}


def main(argv: list[str] | None = None) -> None:
    """Run one verb; leave with the exit code 0, 1 (failed work), 2 (wrong input) or 130 (Ctrl-C)."""
    for stream in (sys.stdout, sys.stderr):
        # Windows pipes are not UTF-8, and a file's name may not be: neither may stop a message.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Run one verb and return its exit code; no exception but `SystemExit` from the parser escapes."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        from bottega import __version__

        print(f"bottega {__version__}")
        return 0
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        return _complain(f"bottega: there is no verb {verb!r}; `bottega --help` lists them", 2)
    return _guarded(verb, rest)


def usage() -> str:
    """Return the page that `bottega --help` prints."""
    width = max(map(len, VERBS))
    lines = "\n".join(f"  {verb:<{width}}  {line}" for verb, line in VERBS.items())
    return (
        "usage: bottega VERB …\n\nFrom raw text to a model behind the OpenAI API.\n\n"
        f"{lines}\n\n`bottega VERB --help` explains a verb with an example. Start with: bottega quickstart"
    )


def module_of(verb: str) -> str:
    """Return the module of a verb; `import` is a keyword of Python, so its file is import_.py."""
    return f"bottega.cli.{verb}_" if keyword.iskeyword(verb) else f"bottega.cli.{verb}"


def _guarded(verb: str, rest: list[str]) -> int:
    from bottega.errors import BottegaError

    try:
        importlib.import_module(module_of(verb)).main(rest)
    except BottegaError as error:
        return _complain(f"bottega {verb}: {error}", error.exit_code)
    except KeyboardInterrupt:
        after_echo = "\n" if sys.stderr.isatty() else ""  # the terminal has just printed ^C
        return _complain(f"{after_echo}bottega {verb}: stopped", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `bottega … | head` is no error
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"bottega {verb}: {where}{error.strerror or error}", 1)
    except Exception as error:
        if os.environ.get("BOTTEGA_DEBUG"):
            raise
        return _complain(f"bottega {verb}: {_explain(error)}", 1)
    return 0


def _explain(error: Exception) -> str:
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError":  # the latter is torch's, on a GPU
        return "out of memory; give a smaller model, batch or context"
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("bottega"):
        return f"needs the package {error.name}, which is not installed; try: pip install 'bottega[all]'"
    return f"internal error, {kind}: {' '.join(str(error).split())} (BOTTEGA_DEBUG=1 shows where)"


def _complain(message: str, exit_code: int) -> int:
    print(message, file=sys.stderr)
    return exit_code
