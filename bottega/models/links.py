"""Links inside a run (`latest`, `best`) that are swapped at once and name a checkpoint folder beside them.

A symbolic link where the system allows it; else (Windows without that right) a small text file with the name.
"""

from __future__ import annotations

from pathlib import Path


def set_link(link: Path, target: str) -> None:
    """Make `link` name the folder `target` beside it, in one step: the old or the new, never none."""
    draft = link.with_name(f".{link.name}.partial")
    draft.unlink(missing_ok=True)
    try:
        draft.symlink_to(target, target_is_directory=True)
    except (OSError, NotImplementedError):
        draft.write_text(target + "\n", encoding="utf-8")
    draft.replace(link)


def follow_link(link: Path) -> Path | None:
    """Return the folder that `link` names, or None where there is no such link or no such folder."""
    if link.is_symlink():
        folder = link.parent / link.readlink()
    elif link.is_file():
        folder = link.parent / link.read_text(encoding="utf-8").strip()
    else:
        return None
    return folder if folder.is_dir() else None
