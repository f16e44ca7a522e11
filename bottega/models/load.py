"""The model in a folder, of the right class: a run, a checkpoint, or a repository of the Hub.

Importing this imports no torch; loading a model does.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottega.errors import InputError
from bottega.models.links import follow_link

if TYPE_CHECKING:
    from bottega.text.tokenizer import Tokenizer
    from bottega.text.wordpiece import WordPiece


def resolve(path: str | Path) -> Path:
    """The checkpoint folder that `path` means: itself, a run's `latest`, or a Hub repository's local copy.

    Raises InputError where it is none of these, WorkError where a repository would have to be fetched from a
    Hub that is out of reach.
    """
    folder = Path(path)
    if (folder / "config.json").is_file():
        return folder
    latest = follow_link(folder / "latest")  # the step itself: a training that goes on swaps the link
    if latest is not None:
        return latest
    if folder.is_dir():
        raise InputError(
            f"{folder} is neither a checkpoint (it has no config.json) nor a run (it has no latest); "
            "give the folder of a model"
        )
    from bottega.interop.locate import locate

    return locate(path)


# The class that a folder's `model_type` names, or its architecture where one type has several; beside the
# GPTs of other people's architectures.
CLASSES = {
    "BertForPreTraining": "bottega.models.bert.BERT",
    "BertForSequenceClassification": "bottega.models.bert.BERTClassifier",
    "BertModel": "bottega.models.sentence_encoder.SentenceEncoder",
    "ViTForImageClassification": "bottega.models.vit.ViT",
    "ViTModel": "bottega.models.vit.ViTEncoder",
    "bottega-autoencoder": "bottega.models.autoencoder.Autoencoder",
    "bottega-cnn": "bottega.models.cnn.CNN",
    "bottega-dbn": "bottega.models.dbn.DBN",
    "bottega-dbn-classifier": "bottega.models.dbn_classifier.DBNClassifier",
    "bottega-dcgan": "bottega.models.dcgan.DCGAN",
    "bottega-detr": "bottega.models.detr.DETR",
    "bottega-gan": "bottega.models.gan.GAN",
    "bottega-hmm": "bottega.models.hmm.HMM",
    "bottega-lda": "bottega.models.lda.LDA",
    "bottega-logistic-regression": "bottega.models.logistic_regression.TfidfRegression",
    "bottega-mixture": "bottega.models.mixture.Mixture",
    "bottega-naive-bayes": "bottega.models.naive_bayes.NaiveBayes",
    "bottega-ngram": "bottega.models.ngram.NgramModel",
    "bottega-point-gan": "bottega.models.point_gan.PointGAN",
    "bottega-rbm": "bottega.models.rbm.RBM",
    "bottega-recurrent": "bottega.models.recurrent.RecurrentLM",
    "bottega-sentence-encoder": "bottega.models.sentence_encoder.SentenceEncoder",
    "bottega-seq2seq": "bottega.models.seq2seq.Seq2Seq",
    "bottega-transformer": "bottega.models.transformer.Transformer",
    "bottega-vae": "bottega.models.vae.VAE",
    "bottega-wgan-gp": "bottega.models.wgan_gp.WGANGP",
    "bottega-word2vec": "bottega.models.word2vec.Word2Vec",
    "segformer": "bottega.models.segformer.SegFormer",
}
ENCODERS = ("bert", "bottega-sentence-encoder")  # model types that embed texts and generate none


def load(path: str | Path) -> Any:
    """The model in a run, a checkpoint folder or a Hub repository, of its own class.

    What it can do is for the caller to ask: `isinstance(model, Translates)` and its like (`abilities`).
    Raises InputError where its `model_type` is none that we know, or where the folder is damaged.
    """
    from bottega.interop.configs import ARCHITECTURES
    from bottega.interop.locate import read_json
    from bottega.models.gpt import GPT

    folder = resolve(path)
    settings = read_json(folder / "config.json")
    kind, architectures = settings.get("model_type"), settings.get("architectures")
    if kind in [*ARCHITECTURES]:  # a list, for in a damaged file it may be anything
        return GPT.from_pretrained(folder)
    if kind in ("bert", "vit") and isinstance(architectures, list) and architectures:
        kind = architectures[0]
    if isinstance(kind, str) and kind in CLASSES:
        module, _, name = CLASSES[kind].rpartition(".")
        return getattr(import_module(module), name).from_pretrained(folder)
    known = ", ".join([*ARCHITECTURES, *CLASSES])
    raise InputError(f"{folder}: config.json: model_type is {kind!r}; the known ones are {known}")


def is_encoder(path: str | Path) -> bool:
    """Whether a folder holds a model that embeds and does not generate: a sentence encoder, any BERT."""
    from bottega.interop.locate import read_json

    return read_json(resolve(path) / "config.json").get("model_type") in ENCODERS


def sizes(path: str | Path) -> tuple[int, int, int]:
    """Context length, vocabulary's size and width of a model to be served, without loading it, or torch.

    Raises InputError where the folder holds neither a GPT nor an encoder, or its configuration is damaged.
    """
    from bottega.interop.configs import ARCHITECTURES, config_from_huggingface
    from bottega.interop.locate import read_json
    from bottega.interop.sentence import encoder_sizes

    folder = resolve(path)
    if is_encoder(folder):
        return encoder_sizes(folder)
    hf = read_json(folder / "config.json")
    if hf.get("model_type") not in [*ARCHITECTURES]:
        raise InputError(f"{path}: a GPT or a sentence encoder can be served, not a {hf.get('model_type')!r}")
    try:
        config = config_from_huggingface(hf)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    return config["context_length"], config["vocab_size"], config["n_embd"]


def fim_rate(path: str | Path) -> float:
    """The share of its training text that a model saw rearranged to fill in the middle; 0 where none is said.

    Raises InputError where it is no share.
    """
    from bottega.interop.locate import read_json

    folder = resolve(path)
    share = read_json(folder / "config.json").get("fim_rate") or 0.0
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InputError(f"{folder}: config.json: fim_rate is {share!r}; expected a share from 0 to 1")
    return share


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of a run, a checkpoint folder or a Hub repository; InputError where it has none."""
    from bottega.text.tokenizer import Tokenizer

    return Tokenizer.load(resolve(path))


def load_wordpiece(path: str | Path) -> WordPiece:
    """The tokenizer of an encoder's folder; it frames texts where the model reads them framed."""
    from bottega.interop.sentence import read_layout
    from bottega.text.wordpiece import WordPiece

    folder = resolve(path)
    tokenizer = WordPiece.load(folder)
    return tokenizer.without_frame() if read_layout(folder).static else tokenizer
