"""The table of the catalog: every data set that is not embedded, with its files' sizes and SHA-256.

An address stands only where that address gives the very same bytes; most of the files without one are excerpts or
conversions made for this project, so they have to be put in their place by hand.
"""
# One file is one line, so that the table can be read down its columns.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """A file of a data set: its path under the data folder, its size in bytes, its SHA-256, its public address."""

    path: str
    size: int
    sha256: str
    url: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set that the project knows by name."""

    name: str
    what: str
    licence: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all its files as they lie on disk."""
        return sum(file.size for file in self.files)


# fmt: off
DATASETS = (
    Dataset("wikipedia-featured", "4,000 featured articles of the English Wikipedia, without WikiText-2's held-out titles", "CC BY-SA", (
        File("text/wikipedia-featured.jsonl.xz", 27_880_720, "96b9961c141a55c3ef1d689b516b26fc5f2b7a8b475936d7df49ba357066d1ec"),
    )),
    Dataset("wikipedia-good", "2,000 good articles of the English Wikipedia, likewise", "CC BY-SA", (
        File("text/wikipedia-good.jsonl.xz", 8_900_600, "117c48aed51a9da641fba1094b6a991e53af0310c379a8b109c39c6d14452786"),
    )),
    Dataset("gutenberg", "415 books of twelve authors, without Project Gutenberg's headers", "public domain", (
        File("text/gutenberg.jsonl.xz", 34_843_068, "e364dfbd3e02d03cc9d5d25a2b757e0cc2c1b4a7ca0cf58af15b0b7b96940fdf"),
    )),
    Dataset("shakespeare", "tiny Shakespeare: 40,000 lines of the plays", "public domain", (
        File("text/shakespeare.txt", 1_115_394, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
             "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt"),
    )),
    Dataset("wikitext2-valid", "WikiText-2 raw, validation part", "CC BY-SA", (
        File("text/wikitext2.valid.raw.txt", 1_146_846, "4cd0f6876d07a413aa911261ff6d363c72d757d47f0fdd6015702014c89cb9c7"),
    )),
    Dataset("wikitext2-test", "WikiText-2 raw, test part", "CC BY-SA", (
        File("text/wikitext2.test.raw.txt", 1_290_590, "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08"),
    )),
    Dataset("gpt2-bpe", "GPT-2's byte-level BPE", "MIT", (
        File("tokenizers/encoder.json", 1_042_301, "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
             "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/encoder.json"),
        File("tokenizers/vocab.bpe", 456_318, "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
             "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe"),
    )),
    Dataset("r50k", "GPT-3's tokenizer", "MIT", (
        File("tokenizers/r50k_base.tiktoken", 835_554, "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
             "https://openaipublic.blob.core.windows.net/encodings/r50k_base.tiktoken"),
    )),
    Dataset("p50k", "Codex's tokenizer", "MIT", (
        File("tokenizers/p50k_base.tiktoken", 836_186, "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
             "https://openaipublic.blob.core.windows.net/encodings/p50k_base.tiktoken"),
    )),
    Dataset("cl100k", "GPT-3.5's tokenizer", "MIT", (
        File("tokenizers/cl100k_base.tiktoken", 1_681_126, "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
             "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"),
    )),
    Dataset("clip-bpe", "CLIP's tokenizer", "MIT", (
        File("tokenizers/clip_bpe_16e6.txt.gz", 1_356_917, "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
             "https://raw.githubusercontent.com/openai/CLIP/d05afc436d78f1c48dc0dbf8e5980a9d471f35f6/clip/bpe_simple_vocab_16e6.txt.gz"),
    )),
    Dataset("multi30k", "picture captions in English, German and French, aligned by line", "research use", (
        File("translation/multi30k/test_2016_flickr.de.gz", 22_890, "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
             "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/test_2016_flickr.de.gz"),
        File("translation/multi30k/test_2016_flickr.en.gz", 21_077, "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
             "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/test_2016_flickr.en.gz"),
        File("translation/multi30k/test_2016_flickr.fr.gz", 22_310, "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
             "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/test_2016_flickr.fr.gz"),
        File("translation/multi30k/train.de.gz", 637_044, "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
             "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/train.de.gz"),
        File("translation/multi30k/train.en.gz", 568_929, "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
             "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/train.en.gz"),
        File("translation/multi30k/train.fr.gz", 604_242, "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
             "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/train.fr.gz"),
        File("translation/multi30k/val.de.gz", 24_681, "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
             "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/val.de.gz"),
        File("translation/multi30k/val.en.gz", 21_650, "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
             "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/val.en.gz"),
        File("translation/multi30k/val.fr.gz", 23_001, "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
             "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/val.fr.gz"),
    )),
    Dataset("tatoeba-en-de", "169,813 short sentence pairs, English and German", "CC BY 2.0 FR", (
        File("translation/tatoeba.en-de.jsonl.gz", 4_191_382, "632e3ec0ff3f4ce0c0b3fa369d9f7b4035c79b0c5ccd772807235f5927135751"),
    )),
    Dataset("tatoeba-en-fr", "167,130 short sentence pairs, English and French", "CC BY 2.0 FR", (
        File("translation/tatoeba.en-fr.jsonl.gz", 3_581_489, "4317a1a55e2ac1d78612fe5f2f88c0fd7d9b03ed6772bca7d3b5ef5598ea6e09"),
    )),
    Dataset("mnist", "handwritten digits, 60,000 and 10,000 of 28×28, shuffled once", "public", (
        File("images/mnist.npz", 11_520_869, "61fdb7f043c7ae4f6bf89bdad26a5ce87fd51d86ed2603eb76730af2411033d9"),
    )),
    Dataset("emoji", "1,650 emoji pictures of 72×72 with captions", "Apache-2.0; names: Unicode licence", (
        File("images/emoji-noto-72.zip", 4_914_318, "f81180d50b4f391eb33faefb5d037ce2cb494574e537e6672faaf987db1e6fe4"),
    )),
    Dataset("gpt3-synthetic", "GPT-3's own arithmetic and word-scrambling tests", "as published by OpenAI", (
        File("evaluation/gpt3/cycle_letters_in_word.jsonl.gz", 98_451, "1689c9002bb8c5988bf5f05e977c9db92f57932c1b5a38998c29ac0dd71e1d42"),
        File("evaluation/gpt3/five_digit_addition.jsonl.gz", 23_436, "de934167633f4fd27af6c9b672212b3c721363cb848b8fb89eb95c4253124582"),
        File("evaluation/gpt3/five_digit_subtraction.jsonl.gz", 23_292, "9756c0fe171005ab63062f93a4fc7e0e195587acbca5ad0ad2e52a1a0cc3f012"),
        File("evaluation/gpt3/four_digit_addition.jsonl.gz", 19_509, "ee504e72688fbd760d09daeae67ad1561d085c0d8350e02ac32ff1baae788225"),
        File("evaluation/gpt3/four_digit_subtraction.jsonl.gz", 19_237, "645f569c71f7455c26daf3039828a1725a601d71ac22876a17b8c7b18d7c96e3"),
        File("evaluation/gpt3/mid_word_1_anagrams.jsonl.gz", 106_533, "6768a86896083199de4815d4964cb2f6f1046476cfd80c2a562784f182905979"),
        File("evaluation/gpt3/mid_word_2_anagrams.jsonl.gz", 109_091, "c3d839d09a7954b78a27cd2cd75d4ed0488656c56ef4dbd741a005343826cb01"),
        File("evaluation/gpt3/random_insertion_in_word.jsonl.gz", 143_626, "72e65d83da53d15752ee0c47379509de149ddbad32d61184e5991df29616b78a"),
        File("evaluation/gpt3/reversed_words.jsonl.gz", 91_917, "133a08f875cd6c1ef8608a3233571a773881cc27b1c707de738cc6543439332a"),
        File("evaluation/gpt3/single_digit_three_ops.jsonl.gz", 10_416, "c4911a1339a2f61238a50c1176e00f2ab1c572e483de9b0dea530fa76dc6c767"),
        File("evaluation/gpt3/six_digit_addition.jsonl.gz", 27_250, "5be918069ee6b3cdfa0147c3f1c7ad5cb3b665fc8496586334fefe0a7de5287a"),
        File("evaluation/gpt3/six_digit_subtraction.jsonl.gz", 27_050, "5c1f1f874b6721a7fdd60ff658dd8a4aa35b00895efd5336a411db422368c7ac"),
        File("evaluation/gpt3/sum_of_digits.jsonl.gz", 9_047, "035f7db2c22cfb89cb798e1b42e96644cdff7db0d6345541bd344d7c5888dbb4"),
        File("evaluation/gpt3/three_digit_addition.jsonl.gz", 15_503, "a43a9f6b4a30a9e8828221aacaa65ddb7945f1f6c46d49a9ab2d7ab604cc8e3a"),
        File("evaluation/gpt3/three_digit_subtraction.jsonl.gz", 15_318, "0b3de7d8626e6d11640a40a3e8955593ec29ceb8121072839f02a5163c0cff08"),
        File("evaluation/gpt3/two_digit_addition.jsonl.gz", 11_221, "eacebc1681eb521d9900b27b7274929c93cab13333a7378def20b48cd2bbdd0c"),
        File("evaluation/gpt3/two_digit_multiplication.jsonl.gz", 12_911, "3869971c31b018136c717c1fdd96adb2fa7ad6940dc6b3e8717edd673502ea6c"),
        File("evaluation/gpt3/two_digit_subtraction.jsonl.gz", 11_145, "93baf40a63d215381f02d8bdc42d641d54f0b4ca5d3f40ca15c77f9af88e38cf"),
    )),
    Dataset("lambada", "LAMBADA: the last word of a passage", "research set", (
        File("evaluation/lambada_openai.jsonl.gz", 717_327, "c741c1786dd6aaf17bf841277b6c6e85223977b090d3070a558d836f3044b166"),
    )),
    Dataset("winograd", "Winograd schemas: what a pronoun stands for", "research set", (
        File("evaluation/winograd_wsc.jsonl.gz", 8_725, "28cf257561fa2da9c3de155749cfba16c9eedd2a5cc792149a21223f94531cc0"),
    )),
    Dataset("piqa", "PIQA: physical common sense, two choices", "research set", (
        File("evaluation/piqa.jsonl.gz", 134_060, "3c5e36dc917849ef0f18766053d06fef97fc33321b1955c79e5531070495b3b4"),
    )),
    Dataset("copa", "COPA: causes and effects, two choices", "research set", (
        File("evaluation/copa.jsonl.gz", 4_399, "8ed28a1af768ed9014a6d8b324095fb5ec7b8eb8a1edb88264187b20ce6cfa7b"),
    )),
    Dataset("openbookqa", "OpenBookQA: elementary science, four choices", "research set", (
        File("evaluation/openbook_qa.jsonl.gz", 28_934, "bbe6c3a374d1d80ec675c03ff8e76efa407f04690e6bc5db5c6078b7aefb01d7"),
    )),
    Dataset("boolq", "BoolQ: yes-or-no questions about a passage", "research set", (
        File("evaluation/boolq.jsonl.gz", 804_474, "81df8d8bf08f12eaf220ccb196360d8c9c1916b2990847f0118991c0605d50f8"),
    )),
    Dataset("truthfulqa", "TruthfulQA: questions that invite false answers", "Apache-2.0", (
        File("evaluation/TruthfulQA.csv.gz", 98_875, "cabd8fc220de4f562e7494cefcb11da6f4d9881af892315b12e792bcf62c6cac"),
    )),
    Dataset("humaneval", "HumanEval: programs from docstrings", "MIT", (
        File("evaluation/HumanEval.jsonl.gz", 44_877, "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
             "https://raw.githubusercontent.com/openai/human-eval/6d43fb980f9fee3c892a914eda09951f772ad10d/data/HumanEval.jsonl.gz"),
    )),
    Dataset("mbpp", "MBPP: short programs from a sentence", "CC BY 4.0", (
        File("evaluation/mbpp.jsonl.gz", 130_186, "5da714a90c1b388857026ac955de6a98b42b311e570cee3d27683f98e1699923"),
    )),
    Dataset("sst2", "SST-2: the sentiment of film reviews", "research set", (
        File("classification/sst2_train.tsv.gz", 281_427, "33514ffed113b636545ba5128e18b7764e4cfb32948b02aac97bd706d54421ac"),
        File("classification/sst2_dev.tsv.gz", 37_268, "e64c4c7a03b778f1a10e5ab11f83e792bced140f9a035f96b65bf45677ce847c"),
    )),
    Dataset("rte", "RTE: textual entailment, two labels", "research set", (
        File("classification/rte_train.jsonl.gz", 347_092, "8390656a679e5baaedc69520638436aeab35622fabe6c41302dc34841f22c37f"),
        File("classification/rte_val.jsonl.gz", 38_569, "bef3722314f64f866697ceba90434cb9903ef164f4f053286282eff3ace0f4dd"),
    )),
    Dataset("cb", "CommitmentBank: textual entailment, three labels", "research set", (
        File("classification/cb_train.jsonl.gz", 31_614, "272da6d1177e29ff0e5e1ef7ddad32e62005a0148a0d23c737dd8c642319a6cb"),
        File("classification/cb_val.jsonl.gz", 8_808, "ea9a26580917f8022fc17cfc11cc033aba0bdd4fb1a44fe5a2d7b7c97934866d"),
    )),
    Dataset("trec", "TREC: what kind of answer a question asks for", "research set", (
        File("classification/trec_train.txt.gz", 114_877, "f97e0e8cd4dccdb04c10826a7350e8e1c5624146aa64b243a46a4bce87117525"),
        File("classification/trec_test.txt.gz", 7_693, "3615ddf64c395e2b4b82d67bb684b66534a5d7cd688f5a6f5c6b88ae3346a5dc"),
    )),
    Dataset("hh", "8,552 human comparisons of assistants' answers: the published test parts", "MIT", (
        File("preferences/hh-harmless-base.jsonl.gz", 742_801, "ebfaaed21162a4de120ae85366075b34425e2a6303fac59b99555002f7016f03",
             "https://raw.githubusercontent.com/anthropics/hh-rlhf/354e5c3cb8960630860dd5774a6ac2a58313bf4d/harmless-base/test.jsonl.gz"),
        File("preferences/hh-helpful-base.jsonl.gz", 875_191, "8be3fc1a13b27901631696f2be6f184c799f1baeaf145f53ac5db24960adc37b"),
        File("preferences/hh-helpful-online.jsonl.gz", 1_052_826, "2094b210af6b2a792b1169d2930586c4b4b384d3b8a4a14460702d383c17df7f"),
        File("preferences/hh-helpful-rejection-sampled.jsonl.gz", 1_361_747, "6186fc698c638dd5c6bbb33e0c115762d6fdfac0a18969ff4901545307f89a54"),
    )),
    Dataset("gsm8k", "GSM8K: grade-school mathematics, the training part", "MIT", (
        File("instructions/gsm8k_train.jsonl.gz", 1_338_335, "a8df3fbbe2e2c003bce980d68e16fb03ff69fc92c306c4029d126b967c5ec53b"),
    )),
    Dataset("codegen", "instructions answered with code", "MIT", (
        File("instructions/codegen.json.gz", 506_953, "6b0037368ecaae04f41b73efa91e9be4dcc6a7753b239d451795157421d57c47"),
    )),
    Dataset("openai-specs", "OpenAI's published API specifications: January, June and November 2022, August 2026", "MIT", (
        File("specs/openai-2022-01.yaml", 71_186, "919a0d758d95e129f0f9ac68fe9fc520b1715f816ab0689edb19e958576e5f43"),
        File("specs/openai-2022-06.yaml", 89_310, "7dab9849170d1859ab500b5b7f5484a9636852a2e9e60b97131d71a6f74c65d7"),
        File("specs/openai-2022-11.yaml", 107_669, "1c98d2b3c54c2f9c12f9e7d955c03461a257bef62ef8949adfa2140cef0dd31e"),
        File("specs/openai-2026-08.yaml.xz", 206_816, "d92939f29114a2f833d4c3a939b30e6f00c42539c71f63de9565d28607c36ad0"),
    )),
)
# fmt: on
