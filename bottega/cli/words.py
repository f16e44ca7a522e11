"""`bottega words`: what a Word2Vec model knows about words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

if TYPE_CHECKING:
    from bottega.models.word2vec import Word2Vec

DESCRIPTION = """Ask a Word2Vec model, which `bottega train word2vec` made, about words.

Example: bottega words near runs/words king
         bottega words analogy runs/words man king woman"""

AsJson = Annotated[bool, arg(name="json")]


def main(argv: list[str]) -> None:
    """Run `near`, `analogy`, `similarity`, `test` or `export`."""
    tyro.extras.subcommand_cli_from_dict(
        {"near": _near, "analogy": _analogy, "similarity": _similarity, "test": _test, "export": _export},
        args=argv,
        prog="bottega words",
        description=DESCRIPTION,
        config=(FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone),
    )


def load_words(path: str) -> Word2Vec:
    """The Word2Vec model in a folder; InputError where it holds another one."""
    from bottega.errors import InputError
    from bottega.models.load import load
    from bottega.models.word2vec import Word2Vec

    model = load(path)
    if not isinstance(model, Word2Vec):
        raise InputError(f"{path} holds a {type(model).__name__}; give what `bottega train word2vec` wrote")
    return model


def _near(
    model: Positional[str],
    word: Positional[str],
    n: Annotated[int, arg(aliases=["-n"])] = 10,
    json_: AsJson = False,
) -> None:
    """Print the words of the nearest vectors, with their cosines.

    Example: bottega words near runs/words king -n 5

    Args:
        model: the model's folder.
        word: a word, in the spelling of the model (mostly lower case).
        n: how many.
        json_: print one JSON object.
    """
    _print(load_words(model).neighbours(word, n), json_)


def _analogy(
    model: Positional[str],
    a: Positional[str],
    b: Positional[str],
    c: Positional[str],
    n: Annotated[int, arg(aliases=["-n"])] = 5,
    json_: AsJson = False,
) -> None:
    """Print what is to C as B is to A: the words nearest to b − a + c, with their cosines.

    Example: bottega words analogy runs/words man king woman

    Args:
        model: the model's folder.
        a: the first word of the pair that is known.
        b: its second.
        c: the first word of the other pair.
        n: how many candidates.
        json_: print one JSON object.
    """
    _print(load_words(model).analogy(a, b, c, n), json_)


def _similarity(
    model: Positional[str], a: Positional[str], b: Positional[str], json_: AsJson = False
) -> None:
    """Print the cosine of two words' vectors, from -1 to 1.

    Example: bottega words similarity runs/words king queen

    Args:
        model: the model's folder.
        a: a word.
        b: another.
        json_: print one JSON object.
    """
    cosine = load_words(model).similarity(a, b)
    print(json.dumps({"similarity": cosine}) if json_ else f"{cosine:.4f}")


def _test(model: Positional[str], json_: AsJson = False) -> None:
    """Ask the built-in analogies whose words the model knows, and print the share that it gets right.

    Example: bottega words test runs/words

    Args:
        model: the model's folder.
        json_: print one JSON object.
    """
    from bottega.evaluation.analogies import measure_analogies

    answers = measure_analogies(load_words(model))
    if json_:
        print(json.dumps({"share": answers.share, "right": answers.right, "asked": answers.asked}))
        return
    rows = [(relation, answers.right[relation], asked) for relation, asked in answers.asked.items()]
    rows.append(("together", sum(answers.right.values()), sum(answers.asked.values())))
    for relation, right, asked in rows:
        print(f"{relation:<14}{right:>6,} of {asked:>6,}{right / max(1, asked):>8.1%}")


def _export(model: Positional[str], out: Path) -> None:
    """Write the vectors in word2vec's text format, which gensim and others read.

    Example: bottega words export runs/words --out vectors.txt

    Args:
        model: the model's folder.
        out: the file to write.
    """
    loaded = load_words(model)
    loaded.export_text(out)
    print(f"{out}: {len(loaded.words):,} words of {loaded.config.width} numbers")


def _print(found: list[tuple[str, float]], as_json: bool) -> None:
    if as_json:
        words = [{"word": word, "similarity": cosine} for word, cosine in found]
        print(json.dumps({"words": words}, ensure_ascii=False))
        return
    for word, cosine in found:
        print(f"{cosine:8.4f}  {word}")
