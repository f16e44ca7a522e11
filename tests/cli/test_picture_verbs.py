"""The verbs of models of pictures on small untrained ones: what each draws, prints and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.cli import run
from bottega.data.picture_files import save_picture
from bottega.data.pictures import open_pictures
from bottega.errors import InputError
from bottega.evaluation.frechet import fid
from bottega.models.cnn import CNN, CNNConfig
from bottega.models.gan import GAN, GANConfig
from bottega.models.gpt import GPT, GPTConfig
from bottega.models.load import load, sizes
from bottega.models.mixture import Mixture, MixtureConfig
from bottega.models.rbm import RBM, RBMConfig
from bottega.models.vae import VAE, VAEConfig
from bottega.plots.grid import grid
from bottega.plots.picture_rows import centred

SMALL = {"channels": 1, "height": 8, "width": 8}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each kind for pictures of 8×8, and a GPT."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    CNN(CNNConfig(**SMALL, filters=4, n_embd=8)).save_pretrained(folder / "cnn")
    RBM(RBMConfig(**SMALL, n_hidden=6)).save_pretrained(folder / "rbm")
    VAE(VAEConfig(**SMALL, latent=2, hidden=8, n_layer=1)).save_pretrained(folder / "vae")
    VAE(VAEConfig(**SMALL, latent=5, hidden=8, n_layer=1)).save_pretrained(folder / "wide")
    GAN(GANConfig(**SMALL, latent=4, hidden=8, n_layer=1)).save_pretrained(folder / "gan")
    pictures = torch.rand(40, 1, 8, 8)
    Mixture.fit(pictures, MixtureConfig(**SMALL, n_components=2, n_dimensions=3)).save_pretrained(
        folder / "mixture"
    )
    GPT(GPTConfig(16, 8, 1, 2, 16)).save_pretrained(folder / "gpt")
    return folder


@pytest.fixture
def ask(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a verb on one of the models; return what it printed, or its error where the input was wrong."""

    def run_on(command: str, code: int = 0) -> str:
        words = [word.replace("@", f"{models}/").replace("~", f"{tmp_path}/") for word in command.split()]
        capsys.readouterr()
        assert run(words) == code
        printed = capsys.readouterr()
        if code:
            assert printed.err.count("\n") == 1 and not printed.out
        return printed.err if code else printed.out

    return run_on


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize("model", ["mixture", "vae", "gan"])
def test_samples_are_the_model_s_own_and_the_same_for_a_seed(
    ask: Callable[..., str], models: Path, tmp_path: Path, model: str
) -> None:
    assert ask(f"sample @{model} --n 6 --columns 3 --scale 2 --out ~a.png").strip() == str(tmp_path / "a.png")
    expected = grid(load(models / model).sample(6, 0).numpy(), columns=3, scale=2)
    with Image.open(tmp_path / "a.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(expected))
    ask(f"sample @{model} --n 6 --columns 3 --scale 2 --seed 1 --out ~b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("sample @cnn --out ~x.png", "a CNN draws no pictures; give a mixture, RBM, DBN, VAE or GAN"),
        ("sample @gpt --out ~x.png", "a GPT is no model of pictures (bottega generate continues a text)"),
        ("sample @vae --n 0 --out ~x.png", "--n must be from 1 to 10,000, not 0"),
        ("sample @vae --columns 0 --out ~x.png", "--columns must be from 1"),
        ("sample @vae --out ~x.docx", "unknown kind of picture"),
        ("sample @vae --out ~no/x.png", "cannot write"),
        ("show features @mixture --n -1 --out ~x.png", "--n must be from 1"),
        ("show features @gan --out ~x.png", "a GAN has no filters to show"),
        ("show chain @vae --out ~x.png", "a VAE has no Gibbs chain; give an RBM or DBN"),
        ("show chain @rbm --steps 5000 --every 10 --out ~x.png", "at most 100 are drawn"),
        ("show chain @rbm --steps 10 --every 20 --out ~x.png", "--every must be from 1 to 10"),
        ("show reconstructions @gan --data embedded --out ~x.png", "a GAN reconstructs no pictures"),
        ("show reconstructions @vae --data embedded --noise nan --out ~x.png", "--noise must be from 0"),
        ("show reconstructions @vae --data embedded --noise 2 --masking --out ~x.png", "from 0 to 1, not 2"),
        ("show reconstructions @vae --data nowhere --out ~x.png", "nowhere: no such file or folder"),
        ("show reconstructions @vae --data embedded --out ~x.docx", "name a .png, .svg or .pdf"),
        ("show manifold @mixture --data embedded --out ~x.png", "a Mixture has no codes to map"),
        ("show manifold @gpt --data embedded --out ~x.png", "no model of pictures"),
        ("show samples @cnn --out ~x.png", "the model draws none"),
        ("eval @gan --pictures embedded", "a GAN has nothing to measure without --features"),
        ("eval @gpt --pictures embedded", "no model of pictures"),
        ("eval @vae --pictures embedded --limit 0", "--limit must be at least 1, not 0"),
        ("eval @vae --pictures embedded --features @gan", "a GAN has no features to compare sets by"),
        ("eval @vae --data README.md --features @cnn", "--features goes with --pictures"),
        ("eval @vae --pictures embedded --shots 1", "--shots, --limit and --include-path go with"),
        ("eval @cnn --labelled embedded", "a CNN sees pictures, not texts; measure it with: bottega eval"),
        ("classify @vae x.png", "a VAE gives no labels; give a classifier of pictures"),
        ("classify @cnn", "sees pictures; give their files"),
        ("classify @cnn x.png", "x.png: no such file; expected a picture"),
        ("classify @cnn --file README.md", "sees pictures; give their files"),
        ("generate @vae hello", "a VAE does not continue texts"),
        ("score @vae hello", "a VAE does not predict text"),
        ("words near @vae hello", "holds a VAE"),
        ("translate @vae hello", "a VAE does not translate"),
        ("show attention @vae hello --out ~x.html", "a VAE has no attention"),
        ("show states @vae --out ~x.png", "holds a VAE"),
        ("eval @vae --data README.md", "a VAE does not predict text"),
        ("eval @vae --data no/such.txt", "a VAE does not predict text"),  # the model is looked at first
        ("eval @vae --pairs multi30k", "a VAE does not translate"),
    ],
)
def test_what_a_model_cannot_do_is_refused_in_one_line(
    ask: Callable[..., str], tmp_path: Path, command: str, says: str
) -> None:
    code = 1 if "no/x.png" in command else 2
    assert says in ask(command, code)
    assert not list(tmp_path.iterdir())


def test_only_models_of_text_are_served(models: Path) -> None:
    with pytest.raises(InputError, match="a GPT or a sentence encoder can be served, not a 'bottega-vae'"):
        sizes(models / "vae")


def test_features_are_centred_on_grey(ask: Callable[..., str], models: Path, tmp_path: Path) -> None:
    ask("show features @rbm --n 4 --out ~f.png")
    filters = load(models / "rbm").features().numpy()
    shown = centred(filters)
    assert np.allclose(shown[filters == 0], 0.5)
    assert np.allclose(np.abs(shown - 0.5).max((1, 2, 3)), 0.5)
    with Image.open(tmp_path / "f.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(grid(shown[:4])))
    ask("show features @cnn --out ~conv.png")  # filters of 5×5, four of them
    side = 2 * 5 + 1
    assert size_of(tmp_path / "conv.png") == (side * (1024 // side),) * 2


def test_chains_are_rows_and_start_where_they_are_told(
    ask: Callable[..., str], models: Path, tmp_path: Path
) -> None:
    ask("show chain @rbm --n 3 --steps 40 --every 10 --seed 2 --out ~chain.png")
    kept = load(models / "rbm").chain(3, 40, 10, 2)
    rows = kept.transpose(0, 1).flatten(0, 1).numpy()
    with Image.open(tmp_path / "chain.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(grid(rows, columns=5)))
    ask("show chain @rbm --n 3 --data embedded --steps 10 --every 10 --out ~digits.png")
    assert size_of(tmp_path / "digits.png")[0] / size_of(tmp_path / "digits.png")[1] == 17 / 26


def test_a_code_of_two_numbers_is_shown_with_what_it_decodes_to(
    ask: Callable[..., str], tmp_path: Path
) -> None:
    ask("show manifold @vae --data embedded --side 5 --out ~two.png")
    ask("show manifold @wide --data embedded --out ~five.png")
    assert size_of(tmp_path / "two.png")[0] > 1.8 * size_of(tmp_path / "five.png")[0]


def test_reconstructions_stand_under_their_pictures(ask: Callable[..., str], tmp_path: Path) -> None:
    ask("show reconstructions @vae --data embedded --out ~two.png")
    ask("show reconstructions @rbm --data embedded --noise 0.3 --out ~three.png")
    ask("show reconstructions @rbm --data embedded --noise 0.3 --masking --out ~masked.png")
    assert (tmp_path / "masked.png").read_bytes() != (tmp_path / "three.png").read_bytes()
    two, three = (size_of(tmp_path / f"{name}.png") for name in ("two", "three"))
    assert two[0] == three[0] and three[1] > 1.3 * two[1]


def test_a_run_s_pictures_become_a_strip_or_a_film(ask: Callable[..., str], tmp_path: Path) -> None:
    samples = tmp_path / "run" / "samples"
    samples.mkdir(parents=True)
    for step in range(0, 500, 100):
        level = np.full((4, 1, 8, 8), step / 400, np.float32)
        save_picture(grid(level), samples / f"step-{step:06d}.png")
    ask("show samples ~run --out ~strip.png")
    ask("show samples ~run --every 2 --milliseconds 100 --out ~film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 3  # the steps 0, 200 and 400
        film.seek(1)
        assert film.convert("L").getpixel((3, 3)) == pytest.approx(128, abs=2)
    ask("show samples @mixture --out ~now.png")
    assert size_of(tmp_path / "strip.png")[0] > 4 * size_of(tmp_path / "now.png")[0]


def test_likelihoods_are_printed_with_their_kind(ask: Callable[..., str], models: Path) -> None:
    told = ask("eval @mixture @vae --pictures embedded --limit 20 --json")
    rows = {Path(row["model"]).name: row for row in map(json.loads, told.splitlines())}
    held = open_pictures(["embedded"])[1].floats(slice(20))
    exact = load(models / "mixture").score(torch.from_numpy(held)).mean
    assert rows["mixture"]["kind"] == "exact, grey values" and rows["mixture"]["error"] == 0
    assert rows["mixture"]["nats"] == pytest.approx(exact)
    assert rows["vae"]["kind"] == "importance, binary pictures" and rows["vae"]["error"] > 0
    assert rows["vae"]["nats"] < 0 and rows["vae"]["pictures"] == 20
    table = ask("eval @mixture @vae --pictures embedded --limit 20")
    assert "exact, grey values" in table and "importance, binary pictures" in table


def test_samples_are_compared_in_the_features_of_a_classifier(ask: Callable[..., str], models: Path) -> None:
    told = ask("eval @gan @mixture --pictures embedded --features @cnn --limit 60 --json")
    rows = {Path(row["model"]).name: row for row in map(json.loads, told.splitlines())}
    held, judge = open_pictures(["embedded"])[1].floats(slice(60)), load(models / "cnn")
    drawn = load(models / "gan").sample(60)
    real, made = (judge.embed(some).numpy(force=True) for some in (torch.from_numpy(held), drawn))
    assert rows["gan"]["drawn"] == 60 and rows["gan"]["fid"] == pytest.approx(fid(real, made))
    assert rows["gan"]["kid_error"] > 0 and "nats" not in rows["gan"] and "nats" in rows["mixture"]
    table = ask("eval @gan --pictures embedded --features @cnn --limit 60")
    assert "FID" in table and f"in the features of {models / 'cnn'}, and compare with no others" in table


def test_a_classifier_is_measured_and_labels_files(
    ask: Callable[..., str], models: Path, tmp_path: Path
) -> None:
    held = open_pictures(["embedded"])[1]
    guesses = load(models / "cnn").predict_proba(torch.from_numpy(held.floats())).argmax(1)
    found = json.loads(ask("eval @cnn --pictures embedded --json"))
    assert found["correct"] == int((guesses == held.labels).sum()) and found["count"] == len(held)
    Image.fromarray(held.pixels[0, 0]).resize((40, 40)).convert("RGB").save(tmp_path / "digit.png")
    lines = ask("classify @cnn ~digit.png ~digit.png --json").splitlines()
    answer = json.loads(lines[0])
    assert lines[0] == lines[1] and answer["file"] == str(tmp_path / "digit.png")
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert set(answer["probabilities"]) == set("0123456789")
    assert ask("classify @cnn ~digit.png").rstrip().endswith(f"| {tmp_path / 'digit.png'}")
