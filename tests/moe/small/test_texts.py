"""The corpus as files: all of a part, under names of their own, and never over something that is there."""

from pathlib import Path

import pytest

from wdmoe_env.moe.__main__ import main
from wdmoe_env.moe.small import corpus


@pytest.mark.slow
def test_writes_each_file_of_a_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "texts"
    assert main(["texts", "--part", "test", "--out", str(out)]) == 0
    expected = corpus.texts("test")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        name.replace("/", "-"): content for name, content in expected
    }
    assert len(list(out.iterdir())) == len(expected)
    assert f"{len(expected)} files" in capsys.readouterr().out
    assert main(["texts", "--out", str(out)]) == 2
    assert "exists, expected a new folder" in capsys.readouterr().err
