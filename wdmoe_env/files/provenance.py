"""Provenance: with what a result was made, so that it can be made again."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from wdmoe_env.version import __version__

PACKAGES = ("numpy", "scipy", "gymnasium", "pydantic", "torch", "stable-baselines3", "polars", "matplotlib", "ray")
ROOT = Path(__file__).resolve().parents[2]


def versions() -> dict[str, str]:
    """The platform, and versions of Python, this project and the packages that a result depends on, where installed."""
    found = {"platform": platform.platform(), "python": platform.python_version(), "wdmoe-env": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """Revision of the checkout, ending in `-dirty` where files were changed since; None outside of a checkout."""
    if not (ROOT / ".git").exists():  # installed: a repository around it is somebody else's
        return None
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
