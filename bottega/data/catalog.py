"""The catalog: data sets known by name, kept in one folder, checked before use and never fetched unasked."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from bottega.data.catalog_table import DATASETS, Dataset, File
from bottega.errors import InputError, WorkError

Progress = Callable[[int, int], None]  # bytes done, bytes in all
_REPLACE = "delete it and get it again"


def data_folder() -> Path:
    """Return the folder that data sets are kept in: `BOTTEGA_DATA`, or one in the user's cache folder."""
    if named := os.environ.get("BOTTEGA_DATA"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "bottega" / "data"


def names() -> list[str]:
    """Return the names of all data sets, sorted."""
    return sorted(dataset.name for dataset in DATASETS)


def find(name: str) -> Dataset:
    """Return the data set of that name; raises `InputError` naming all of them where there is none."""
    for dataset in DATASETS:
        if dataset.name == name:
            return dataset
    raise InputError(f"no data set {name!r} in the catalog; it has {', '.join(names())}")


def present(dataset: Dataset) -> bool:
    """Tell whether every file of a data set is in its place, by its size (its bytes are not read)."""
    return all(_has_size(data_folder() / file.path, file) for file in dataset.files)


def locate(name: str) -> list[Path]:
    """Return the checked files of a data set.

    Raises `InputError` where one is missing, with what to do about it, or is not the catalog's.
    """
    paths = []
    for file in (dataset := find(name)).files:
        path = data_folder() / file.path
        if not path.is_file():
            raise InputError(_how_to_get(dataset, file))
        check(path, file)
        paths.append(path)
    return paths


def check(path: Path, file: File) -> None:
    """Raise `InputError` unless the file at `path` has the size and SHA-256 that the catalog gives."""
    if not _has_size(path, file):
        raise InputError(
            f"{path}: {path.stat().st_size:,} bytes, but the catalog says {file.size:,}; {_REPLACE}"
        )
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise InputError(f"{path}: SHA-256 {found}, but the catalog says {file.sha256}; {_REPLACE}")


def _has_size(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.size


def _how_to_get(dataset: Dataset, file: File) -> str:
    path = data_folder() / file.path
    if all(file.url for file in dataset.files):
        return f"{dataset.name} is not here; run `bottega data get {dataset.name}`, or put the file at {path}"
    return (
        f"{dataset.name} has no public address; put the file ({file.size:,} bytes, SHA-256 {file.sha256}) "
        f"at {path}, or set BOTTEGA_DATA to the folder that holds {file.path}"
    )


def get(name: str, progress: Progress | None = None) -> list[Path]:
    """Download what is missing of a data set and return its files, all of them checked.

    Raises `InputError` where a missing file has no public address, `WorkError` where the download fails.
    """
    dataset = find(name)
    for file in dataset.files:
        path = data_folder() / file.path
        if path.exists():
            continue
        if file.url is None:
            raise InputError(_how_to_get(dataset, file))
        download(file, path, progress)
    return locate(name)


def download(file: File, path: Path, progress: Progress | None = None) -> None:
    """Download a file to `path`, which appears only when whole and checked; goes on where the last one broke.

    Raises `WorkError` where the address does not answer, or gives another file than the catalog's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        _fetch(file, part, progress or (lambda _done, _total: None))
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise WorkError(
            f"{file.url}: {reason}; try again (it goes on where it stopped), or put the file at {path}"
        ) from None
    if part.stat().st_size < file.size:
        raise WorkError(f"{file.url}: the connection broke; the same command again goes on from there")
    try:
        check(part, file)
    except InputError as error:
        part.unlink()
        raise WorkError(f"{file.url}: not the file that the catalog names ({error})") from None
    part.replace(path)


def _fetch(file: File, part: Path, progress: Progress) -> None:
    """Append to `part` what it lacks, or start it over where the server gives only the whole."""
    done = part.stat().st_size if part.exists() else 0
    if done >= file.size:
        return
    assert file.url is not None
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=30) as response:
        if response.status != 206:
            done = 0
        with part.open("ab" if done else "wb") as out:
            # One byte past the announced size tells a longer file without filling the disk with it.
            while done <= file.size and (chunk := response.read(1 << 18)):
                out.write(chunk)
                done += len(chunk)
                progress(min(done, file.size), file.size)
