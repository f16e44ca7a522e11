from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bottega.data.pictures import open_pictures
from bottega.errors import InputError
from bottega.recipes.lineage_labels import KINDS, LabelsConfig, run_labels

QUICK = LabelsConfig(sizes=(60, 100_000), layers=(12,), pretraining_steps=10, steps=10, seeds=1)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("labels")
    run_labels(out, QUICK)
    return out


def test_the_files_say_what_was_measured(measured: Path) -> None:
    values = json.loads((measured / "labels.json").read_text())
    assert set(values["curves"]) == set(KINDS) and values["held_out"] == 178
    for points in values["curves"].values():
        assert set(points) == {"60", "1619"}  # no more than there are
        assert all(len(of) == 1 and 0 < of[0] < 1 for of in points.values())
    assert (measured / "labels.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in measured.iterdir()) == ["labels.json", "labels.png", "stack-0"]


def test_the_same_command_goes_on_where_it_stopped(measured: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(measured, out, symlinks=True)
    values = json.loads((out / "labels.json").read_text())
    first = values["curves"]
    del values["curves"][KINDS[0]]["1619"], values["curves"][KINDS[1]]["1619"]
    (out / "labels.json").write_text(json.dumps(values))
    seen: list[tuple[int, int]] = []
    table = run_labels(out, QUICK, lambda done, of: seen.append((done, of)))
    again = json.loads((out / "labels.json").read_text())["curves"]
    whole = json.loads((measured / "labels.json").read_text())["curves"]
    assert again == whole and seen == [(1, 2), (2, 2)]
    assert f"{first[KINDS[0]]['60'][0]:.2%}" in table


def test_other_settings_are_not_mixed_in(measured: Path) -> None:
    other = LabelsConfig(sizes=(60, 100_000), layers=(12,), pretraining_steps=10, steps=11, seeds=1)
    with pytest.raises(InputError, match="other settings"):
        run_labels(measured, other)


@pytest.mark.parametrize(
    "wrong", [{"seeds": 0}, {"steps": 0}, {"sizes": ()}, {"sizes": (1,)}, {"layers": (0,)}]
)
def test_senseless_settings_are_refused(wrong) -> None:
    with pytest.raises(InputError, match=r"expected|must be"):
        LabelsConfig(**wrong)


def test_pictures_that_no_classifier_learns_from_are_refused(tmp_path: Path) -> None:
    taught, _ = open_pictures(["embedded"])
    for name, arrays, message in [
        ("one", {"labels": np.zeros(len(taught), int)}, "one class"),
        ("bare", {}, "no labels"),
    ]:
        np.savez(tmp_path / f"{name}.npz", images=taught.pixels, **arrays)
        with pytest.raises(InputError, match=message):
            run_labels(tmp_path / "out", LabelsConfig(data=str(tmp_path / f"{name}.npz")))
