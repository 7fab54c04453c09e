"""Texts that people read, in more than one language: a folder with one flat YAML file for each."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from wdmoe_env.files.yaml import read_yaml

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
REFERENCE: Language = "en"


def load_texts(folder: Path, language: str) -> dict[str, str]:
    """The texts of one language by their keys.

    Args:
        folder: holds `en.yaml`, `zh.yaml`, ...
        language: one of `LANGUAGES`.

    Raises:
        ValueError: the language is unknown, or a file lacks a text, has one that English does not, or one that is none.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language is {language!r}, expected one of {', '.join(LANGUAGES)}")
    path = folder / f"{language}.yaml"
    texts = read_yaml(path)
    if wrong := [key for key, text in texts.items() if not isinstance(text, str)]:
        raise ValueError(f"{path}: {wrong[0]} is {texts[wrong[0]]!r}, expected a text")
    if differing := texts.keys() ^ (read_yaml(folder / f"{REFERENCE}.yaml").keys() if language != REFERENCE else texts):
        raise ValueError(f"{path} and {REFERENCE}.yaml differ in {', '.join(sorted(differing))}")
    return texts
