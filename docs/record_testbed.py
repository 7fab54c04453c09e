"""Records the picture of docs/how-to/testbed.md: `.venv/bin/python docs/record_testbed.py --model runs/small-moe`."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tyro
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

COLUMNS: Final = 100
ROWS: Final = 16
SIZE: Final = 14
FRAME_S: Final = 0.12
INK, PAPER, FAINT = "#d7dae0", "#16181d", "#8b93a1"
_STATUS: Final = re.compile(r"\x1b7.*?\x1b\[2K(.*?)\x1b8", re.DOTALL)
_ESCAPE: Final = re.compile(r"\x1b7.*?\x1b8|\x1b\[[0-9;?]*[A-Za-z]", re.DOTALL)


@dataclass(frozen=True)
class Options:
    """Record the command `generate` in a terminal, as a GIF."""

    model: Path
    """Folder of a small model."""
    out: Path = Path("docs/images/testbed.gif")
    """Where the picture goes."""
    prompt: str = "class Reader:\\n    def "
    """Text to continue; \\n is the end of a line."""
    tokens: int = 240
    """Bytes to add."""
    seed: int = 3
    """Of sampling."""


def main(options: Options) -> None:
    """Record, draw and write."""
    shown = "python -m wdmoe_env.testbed generate --model runs/small-moe --local 8 --policy price ..."
    command = [sys.executable, "-m", "wdmoe_env.testbed", "generate", "--model", str(options.model), "--local", "8"]
    command += ["--scenario", "jetson", "--policy", "price", "--tokens", str(options.tokens)]
    command += ["--temperature", "0.5", "--seed", str(options.seed)]
    command += ["--prompt", options.prompt.encode().decode("unicode_escape")]
    frames = record(command)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono"), SIZE)
    images = [draw(f"$ {shown}\n{text}", said, font) for text, said in frames]
    lasts = [int(1000 * FRAME_S)] * (len(images) - 1) + [4000]
    images[0].save(options.out, save_all=True, append_images=images[1:], duration=lasts, loop=0, optimize=True)
    print(f"{options.out}: {len(images)} frames, {options.out.stat().st_size / 1024:.0f} KiB")


def record(command: list[str]) -> list[tuple[str, str]]:
    """What a terminal shows of a command, from its first word on, at each frame; without movements of the cursor."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["COLUMNS"] = str(COLUMNS)
        os.execv(command[0], command)  # noqa: S606 - our own command
    text, frames, due = b"", list[tuple[str, str]](), 0.0
    while True:
        ready, _, _ = select.select([terminal], [], [], FRAME_S / 4)
        try:
            data = os.read(terminal, 1 << 16) if ready else None
        except OSError:
            break
        if data == b"":
            break
        text += data or b""
        if text and time.monotonic() >= due:
            frames.append(_plain(text))
            due = time.monotonic() + FRAME_S
    os.waitpid(child, 0)
    return [*frames, _plain(text)]


def _plain(data: bytes) -> tuple[str, str]:
    """What was printed, and what the last line of the terminal says."""
    text = data.decode(errors="replace").replace("\r\n", "\n")
    said = _STATUS.findall(text)
    return _ESCAPE.sub("", text), said[-1] if said else ""


def draw(text: str, said: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """One frame: the last lines of a text, and the line at the foot of the terminal."""
    lines = [
        line[start : start + COLUMNS] for line in text.split("\n") for start in range(0, max(len(line), 1), COLUMNS)
    ]
    width, height = round(font.getlength("x") * (COLUMNS + 2)), round(1.4 * SIZE * (ROWS + 1))
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    for row, line in enumerate([*lines[1 - ROWS :], *[""] * (ROWS - 1 - len(lines)), said][:ROWS]):
        faint = (
            line.startswith(("$", "price decides", "layer, median")) or "layers of experts" in line or row == ROWS - 1
        )
        ink = FAINT if faint else INK
        pen.text((font.getlength("x"), 1.4 * SIZE * (row + 0.5)), line, font=font, fill=ink)
    return image.quantize(16)


if __name__ == "__main__":
    main(tyro.cli(Options))
