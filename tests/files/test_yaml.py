"""YAML is read strictly: by the words and numbers of YAML 1.2, no key twice, nothing that stands for too much."""

from pathlib import Path
from typing import Any

import pytest

from wdmoe_env.files.yaml import read_yaml


def read(folder: Path, text: str) -> Any:
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1e-3", 1e-3), ("100e6", 1e8), ("1_000", 1000), ("0x1F", 31), ("0o17", 15), ("-.5", -0.5), ("1.", 1.0)],
        *[("true", True), ("False", False), ("~", None), ("null", None), (".inf", float("inf")), ("-12", -12)],
        # What YAML 1.1 takes for true, false, 15, 90 and 1.5 hours.
        *[("yes", "yes"), ("no", "no"), ("on", "on"), ("017", "017"), ("1:30", "1:30"), ("1:30.5", "1:30.5")],
        *[("v1.2", "v1.2"), ("1.2.3", "1.2.3"), ("1e", "1e"), ("15W", "15W"), ('"1"', "1"), ("[x, 1e2]", ["x", 100.0])],
        ("{<<: {b: 1}, c: 2}", {"b": 1, "c": 2}),
    ],
)
def test_words_and_numbers(tmp_path: Path, text: str, value: Any) -> None:
    found = read(tmp_path, f"a: {text}\n")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "key 'a' stands twice"),
        ("a: {b: {c: 1, c: 1}}\n", "key 'c' stands twice"),
        ("a: &b [*b]\n", "holds an alias of itself"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: 1\n---\na: 2\n", "expected a single document"),
        ("a: !!python/name:os.system\n", "python/name"),
        ("# " + "x" * 4 * 2**20, "bytes, expected at most 4,194,304"),
        ("1", "holds a int, expected a mapping"),
        ("a: {2026-01-01: 1}\n", r"has the key datetime\.date\(2026, 1, 1\), a date, expected a text"),
        ("a: [{!!binary aGk=: 1}]\n", "has the key b'hi', a bytes"),
        ("a: 2020-13-45\n", "'2020-13-45' is no timestamp"),
        ("a: !!timestamp abc\n", "'abc' is no timestamp"),
        ("a: !!float abc\n", "'abc' is no float"),
        ("a: " + "1" * 5000, "is no int"),
    ],
)
def test_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "file.yaml") in str(caught.value)


def test_a_few_lines_that_stand_for_billions_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]" for i in range(9)]
    with pytest.raises(ValueError, match=r"stands for [\d,]+ values, expected at most 1,000,000"):
        read(tmp_path, "\n".join(lines))
    assert read(tmp_path, "b: &b {c: 1}\na: [*b, *b]\n") == [{"c": 1}, {"c": 1}]


def test_a_link_is_followed_and_a_missing_file_named(tmp_path: Path) -> None:
    (tmp_path / "there.yaml").write_text("a: 1\n")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "there.yaml")
    assert read_yaml(tmp_path / "link.yaml") == {"a": 1}
    with pytest.raises(ValueError, match=r"none\.yaml cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
