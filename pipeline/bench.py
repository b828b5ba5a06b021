"""The bench: the folder with stages/, filters/, train/ and data/ that a user edits, and the defaults that come with the package."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import SettingsError, nearest

_PACKAGE = Path(__file__).resolve().parent


def defaults() -> Path:
    """The folder that holds the default ``stages``, ``filters`` and ``train``: inside an installed package, or the checkout itself."""
    installed = _PACKAGE / "defaults"
    return installed if installed.is_dir() else _PACKAGE.parent


def find(name: str) -> Path:
    """The file that a settings file names, relative to the project's folder (the current one), else the package's default of that name.

    Raises SettingsError with the nearest name when there is neither.
    """
    for folder in (Path(), defaults()):
        path = folder / name
        if path.is_file():
            return path
    folder = Path(name).parent
    known = {f"{folder.as_posix()}/{p.name}" for root in (Path(), defaults()) if (root / folder).is_dir() for p in (root / folder).iterdir()}
    raise SettingsError([f"{name}: is not there; {nearest(name, known)}"])


def settings_file(stage: str, given: Path | None) -> Path:
    """The settings file of a stage: the one given, the project's, or the package's default."""
    return given if given is not None else find(f"stages/{stage}.yaml")
