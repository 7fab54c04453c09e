"""Episodes as GIF."""

import numpy as np
import pytest

from wdmoe_env.render import save_gif

pytest.importorskip("PIL")


def pictures(count=3):
    return [np.full((20, 30, 3), 60 * shade, dtype=np.uint8) for shade in range(count)]


def test_a_gif_holds_all_frames(tmp_path):
    from PIL import Image

    path = save_gif(pictures(), tmp_path / "episode.gif", fps=5)
    with Image.open(path) as gif:
        assert gif.n_frames == 3  # type: ignore[attr-defined]
        assert gif.size == (30, 20)
        assert gif.info["duration"] == 200
        assert gif.info["loop"] == 0
        for index, frame in enumerate(pictures()):
            gif.seek(index)
            assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - frame).max() <= 4


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        ([], 4, "frames is empty"),
        (pictures(), 0, "fps is 0, expected more than 0"),
        (pictures(), 100, "fps is 100, expected .* at most 50"),
        (pictures(), float("nan"), "fps is nan"),
        ([None], 4, r"frames\[0\] is a NoneType, expected an \(H, W, 3\) uint8 array"),
        ([np.zeros((4, 4), np.uint8)], 4, r"frames\[0\] is an array of shape \(4, 4\)"),
        ([np.zeros((4, 4, 3))], 4, r"frames\[0\] is an array .* float64"),
        ([*pictures(), np.zeros((4, 4, 3), np.uint8)], 4, r"frames\[3\] has shape \(4, 4, 3\), the first one"),
    ],
)
def test_what_is_no_film_is_refused_by_name(frames, fps, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_gif(frames, tmp_path / "bad.gif", fps)
    assert not (tmp_path / "bad.gif").exists()


def test_white_stays_white(tmp_path):
    from PIL import Image

    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    frame[:40] = 255
    with Image.open(save_gif([frame, frame[:, ::-1].copy()], tmp_path / "white.gif")) as gif:
        gif.seek(1)
        assert (np.asarray(gif.convert("RGB"))[:40] == 255).all()
