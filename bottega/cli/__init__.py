"""The command line: `bottega VERB …`. Each verb is one module here; this file only finds it and guards it."""

from __future__ import annotations

import importlib
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
    "show": "draw a run's learning curves",
    "plan": "parameters, FLOPs, memory, time and cost of a preset before training it",
    "import": "bring a Hugging Face checkpoint in",
    "export": "write a checkpoint for other programs",
    "ngram": "train, score and sample the n-gram language model",
    "serve": "serve models behind the OpenAI API",
}


def _usage() -> str:
    width = max(map(len, VERBS))
    lines = "\n".join(f"  {verb:<{width}}  {line}" for verb, line in VERBS.items())
    return (
        "usage: bottega VERB …\n\nFrom raw text to a model behind the OpenAI API.\n\n"
        f"{lines}\n\n`bottega VERB --help` explains a verb with an example. Start with: bottega quickstart"
    )


def main(argv: list[str] | None = None) -> None:
    """Run one verb; leave with the exit code 0, 1 (failed work), 2 (wrong input) or 130 (Ctrl-C)."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Run one verb and return its exit code; no exception but `SystemExit` from the parser escapes."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        from bottega import __version__

        print(f"bottega {__version__}")
        return 0
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        print(f"bottega: there is no verb {verb!r}; `bottega --help` lists them", file=sys.stderr)
        return 2
    return _guarded(verb, rest)


def _guarded(verb: str, rest: list[str]) -> int:
    from bottega.errors import BottegaError

    try:
        module = f"{verb}_" if keyword.iskeyword(verb) else verb
        importlib.import_module(f"bottega.cli.{module}").main(rest)
    except BottegaError as error:
        print(f"bottega {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"\nbottega {verb}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `bottega … | head` is no error
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"bottega {verb}: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except Exception as error:
        if os.environ.get("BOTTEGA_DEBUG"):
            raise
        kind = type(error).__name__
        print(f"bottega {verb}: internal error, {kind}: {error}; BOTTEGA_DEBUG=1 shows where", file=sys.stderr)
        return 1
    return 0
