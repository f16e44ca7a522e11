"""How good translations are: BLEU and chrF by sacrebleu, BLEU by length, and whose errors they are.

References: Papineni et al. 2002 (BLEU); Popović 2015 (chrF); Post 2018 (why a figure needs its signature);
Stahlberg & Byrne 2019 ("On NMT Search Errors and Model Errors: Cat Got Your Tongue?").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bottega.errors import InputError
from bottega.models.beam_search import BeamConfig, Hypothesis
from bottega.models.translator import Progress, Translator

# Words of the source up to which a sentence belongs to a bucket; what is longer is in the last.
EDGES = (5, 10, 15, 20, 30, 40)


@dataclass(frozen=True)
class CorpusScores:
    """Figures of a corpus, each with sacrebleu's signature, without which it says little.

    `bleu` is of the text as it is; `bleu_lowercased` of lower-cased tokens, as papers on Multi30k report it;
    `brevity_penalty` and `length_ratio` (translation to reference, in tokens) belong to `bleu`.
    """

    bleu: float
    bleu_signature: str
    bleu_lowercased: float
    bleu_lowercased_signature: str
    chrf: float
    chrf_signature: str
    brevity_penalty: float
    length_ratio: float
    sentences: int

    def lines(self) -> list[str]:
        """One line a figure."""
        return [
            f"BLEU {self.bleu:.2f}  {self.bleu_signature}",
            f"BLEU {self.bleu_lowercased:.2f}  {self.bleu_lowercased_signature}",
            f"chrF {self.chrf:.2f}  {self.chrf_signature}",
        ]


def corpus_scores(translations: Sequence[str], references: Sequence[str]) -> CorpusScores:
    """Compare with one reference each; InputError where there are none, or not as many."""
    _check(translations, references)
    cased, lowercased, chrf = _bleu(), _bleu(lowercase=True), _sacrebleu().CHRF()
    score = cased.corpus_score(translations, [references])
    lower = lowercased.corpus_score(translations, [references])
    return CorpusScores(
        score.score,
        str(cased.get_signature()),
        lower.score,
        str(lowercased.get_signature()),
        chrf.corpus_score(translations, [references]).score,
        str(chrf.get_signature()),
        score.bp,
        score.sys_len / score.ref_len if score.ref_len else 0.0,
        len(references),
    )


@dataclass(frozen=True)
class Bucket:
    """BLEU of the sentences whose source has more than `above` and at most `up_to` words (None: any more)."""

    above: int
    up_to: int | None
    sentences: int
    bleu: float


def bleu_by_length(
    sources: Sequence[str],
    translations: Sequence[str],
    references: Sequence[str],
    edges: Sequence[int] = EDGES,
) -> list[Bucket]:
    """Cased corpus BLEU by the source's number of words; buckets without a sentence are left out."""
    _check(translations, references)
    lengths = [len(source.split()) for source in sources]
    buckets = []
    for above, up_to in zip((0, *edges), (*edges, None), strict=True):
        rows = [i for i, n in enumerate(lengths) if above < n and (up_to is None or n <= up_to)]
        if rows:
            score = _bleu().corpus_score([translations[i] for i in rows], [[references[i] for i in rows]])
            buckets.append(Bucket(above, up_to, len(rows), score.score))
    return buckets


@dataclass(frozen=True)
class ErrorCounts:
    """Where translations differ from their references: did the search fail, or would the model have it so?

    A *search error* is a sentence whose reference the model ranks above what was found: a better search would
    have found it, or something better still. Elsewhere the model itself prefers what it wrote: a *model
    error*, if it is one at all, for a sentence can be right in many ways. Counting from references misses
    search errors at sentences that the model would translate otherwise still, so theirs is a lower bound.
    `reference_likelier` counts by log-probability alone what `search_errors` counts by the score that ranks.
    Means are of that score, over all sentences.
    """

    sentences: int
    same: int
    search_errors: int
    model_errors: int
    reference_likelier: int
    unfinished: int
    mean_score_found: float
    mean_score_reference: float


def count_errors(found: Sequence[Hypothesis], references: Sequence[Hypothesis]) -> ErrorCounts:
    """Compare what a search found with the references, each scored as the search would rank it."""
    _check(found, references)
    pairs = list(zip(found, references, strict=True))
    differ = [(ours, theirs) for ours, theirs in pairs if ours.ids != theirs.ids]
    failed = sum(theirs.score > ours.score for ours, theirs in differ)
    means = [sum(h.score for h in side) / len(side) for side in (found, references)]
    return ErrorCounts(
        len(pairs),
        len(pairs) - len(differ),
        failed,
        len(differ) - failed,
        sum(theirs.logprob > ours.logprob for ours, theirs in differ),
        sum(not ours.finished for ours, _ in pairs),
        means[0],
        means[1],
    )


@dataclass(frozen=True)
class TranslationReport:
    """What `evaluate` found."""

    scores: CorpusScores
    by_length: list[Bucket]
    errors: ErrorCounts
    translations: list[str]


def evaluate(
    translator: Translator,
    sources: Sequence[str],
    references: Sequence[str],
    config: BeamConfig | None = None,
    progress: Progress | None = None,
) -> TranslationReport:
    """Translate, compare with the references, and count search errors apart from model errors.

    Raises InputError for a blank source, for an unequal number of lines, and for what exceeds the context.
    """
    config = replace(config or BeamConfig(), n_best=1)
    _check(sources, references)
    if blank := [i for i, source in enumerate(sources, start=1) if not source.strip()]:
        raise InputError(f"source, line {blank[0]}: blank; there is nothing to translate")
    found = [best for (best,) in translator.search(sources, config, progress)]
    translations = [translator.text(best) for best in found]
    forced = [each for each in translator.score(sources, references, config) if each is not None]
    return TranslationReport(
        corpus_scores(translations, references),
        bleu_by_length(sources, translations, references),
        count_errors(found, forced),
        translations,
    )


def _bleu(lowercase: bool = False) -> Any:
    # Sacrebleu warns of text that looks tokenised; ours is not, whatever its full stops look like.
    return _sacrebleu().BLEU(lowercase=lowercase, force=True)


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ModuleNotFoundError:
        raise InputError("BLEU needs the package sacrebleu; try: pip install 'bottega[lineage]'") from None
    return metrics


def _check(ours: Sequence[object], references: Sequence[object]) -> None:
    if not ours or len(ours) != len(references):
        raise InputError(
            f"{len(ours):,} sentences and {len(references):,} references; expected as many, and at least one"
        )
