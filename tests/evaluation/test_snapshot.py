"""Pictures of a policy's steps."""

import pytest
from PIL import Image

from evaluation.episodes.errors import EvaluationError
from evaluation.snapshot import Options, command_line, draw


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "frames"), [("png", 1), ("gif", 2)])
def test_a_picture_is_written(tmp_path, suffix, frames):
    out = tmp_path / f"step.{suffix}"
    draw(Options(out=out, policy="top-k+bandwidth", layer=1, fps=2.0))
    with Image.open(out) as picture:
        assert picture.size[0] > 600
        assert getattr(picture, "n_frames", 1) == frames
        assert picture.info.get("duration", 500) == 500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 32}, "--layer is 32, expected 0 to 31"),
        ({"policy": "tok-k"}, "tok-k"),
        ({"scenario": "papr"}, "unknown scenario 'papr'"),
        ({"fps": 0.0}, "--fps is 0, expected more than 0 and at most 50"),
        ({"out": "step.jpg"}, "expected a .png or .gif file"),
    ],
)
def test_bad_input_is_named(tmp_path, options, message):
    from pathlib import Path

    given = {"out": tmp_path / "step.png", **options}
    with pytest.raises(EvaluationError, match=message):
        draw(Options(**{**given, "out": Path(given["out"])}))


def test_the_command_tells_what_is_wrong(tmp_path, capsys):
    assert command_line(["--out", str(tmp_path / "step.png"), "--layer", "-1"]) == 2
    assert capsys.readouterr().err == "error: --layer is -1, expected 0 to 31\n"
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert command_line(["--out", str(blocked / "step.png"), "--layer", "0"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {blocked / 'step.png'} cannot be written: ")
