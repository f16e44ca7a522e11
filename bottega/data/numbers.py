"""Numbers in words and in digits: pairs that any installation can make, for a translator without a corpus."""

from __future__ import annotations

from collections.abc import Iterator

from bottega.errors import InputError

LARGEST = 10_000  # numbers below it
LANGUAGES = ("en", "digits")
# fmt: off
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on


def in_words(number: int) -> str:
    """The English name of a number from 0 to 9,999, as "four thousand and twenty-one"."""
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_SMALL[ones]}" if ones else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    many, rest = divmod(number, size)
    joined = "" if not rest else " and " if rest < 100 else " "
    return f"{_SMALL[many]} {name}{joined}{in_words(rest) if rest else ''}"


def number_pairs(languages: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Each number below `LARGEST` once, in the languages "en" (its name) and "digits" (with spaces between).

    The spaces make the digits words, of which the target has ten.
    """
    if set(languages) != set(LANGUAGES):
        raise InputError(
            f"the embedded pairs are numbers in words (en) and digits (digits), not {'-'.join(languages)}; "
            "set --source-language en --target-language digits"
        )
    for number in range(LARGEST):
        said = {"en": in_words(number), "digits": " ".join(str(number))}
        yield said[languages[0]], said[languages[1]]
