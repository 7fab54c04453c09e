from pathlib import Path

import pytest
from support.library import write_library

from wdmoe_env.moe.small import corpus


def test_every_file_is_in_one_part_that_its_name_decides(tmp_path: Path) -> None:
    parts = write_library(tmp_path)
    found = {name: part for part in corpus.PARTS for name, _ in corpus.texts(part, tmp_path)}
    assert found == parts
    assert set(parts.values()) == set(corpus.PARTS)
    assert sum(len(corpus.texts(part, tmp_path)) for part in corpus.PARTS) == 60


def test_the_split_is_that_of_every_machine() -> None:
    names = {"datetime.py": "test", "shutil.py": "test", "os.py": "train", "asyncio/mixins.py": "test"}
    assert {name: corpus.part_of(name) for name in names} == names
    shares = [corpus.part_of(f"{number}.py") for number in range(4000)]
    assert 0.04 < shares.count("test") / 4000 < 0.06
    assert 0.04 < shares.count("validation") / 4000 < 0.06


def test_texts_are_sorted_and_whole(tmp_path: Path) -> None:
    write_library(tmp_path)
    found = corpus.texts("train", tmp_path)
    assert [name for name, _ in found] == sorted(name for name, _ in found)
    assert all(content == (tmp_path / name).read_bytes() for name, content in found)


@pytest.mark.parametrize(
    "name",
    [
        "test/a.py",
        "json/tests/a.py",
        "site-packages/a/b.py",
        "_sysconfigdata__linux_.py",
        "config-3.11-x86/a.py",
        "a.txt",
    ],
)
def test_tests_packages_and_built_files_are_left_out(tmp_path: Path, name: str) -> None:
    write_library(tmp_path)
    before = corpus.summary(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x = 1\n")
    (tmp_path / "empty.py").touch()
    assert corpus.summary(tmp_path) == before


def test_the_digest_follows_names_and_contents(tmp_path: Path) -> None:
    write_library(tmp_path)
    before = corpus.summary(tmp_path)
    path = tmp_path / "module_1.py"
    path.write_bytes(path.read_bytes()[::-1])
    after = corpus.summary(tmp_path)
    assert (after.files, after.bytes) == (before.files, before.bytes)
    assert after.sha256 != before.sha256


@pytest.mark.slow
def test_this_python_has_a_library() -> None:
    names = [name for name, content in corpus.texts("test") if content]
    assert "shutil.py" in names
    assert not any("test" in name.split("/")[:-1] for name in names)


def test_a_folder_without_sources_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} holds no Python sources for the part 'test'"):
        corpus.texts("test", tmp_path)
    with pytest.raises(ValueError, match="part='dev', expected one of train, validation, test"):
        corpus.texts("dev", tmp_path)  # type: ignore[arg-type]
