"""What the wheel can do with the extra `train`: run it where nothing else of the project is found.

python tests/wheel_train_smoke.py
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def readme() -> None:
    """The program that README gives to who installed the wheel."""
    section = README.read_text(encoding="utf-8").split("### From an install")[1]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None, f"{README} has no program under 'From an install'"
    program = found[1]
    assert len(program.strip().splitlines()) <= 20
    exec(compile(program, str(README), "exec"), {"__name__": "__main__"})


def command_lines() -> None:
    """Two seeds, each in a process of its own, and a comparison: by `wdmoe`, and by the module's name."""
    train = "--scenario tiny-moe --seeds 0-1 --timesteps 8192 --wandb disabled --run-dir runs/two"
    compare = "--scenario tiny-moe --policies top-k,price,runs/two --episodes 4 --bound-steps 8 --out results/two"
    wdmoe = Path(sysconfig.get_path("scripts")) / "wdmoe"
    subprocess.run([wdmoe, "train", *train.split()], check=True)
    subprocess.run([sys.executable, "-m", "wdmoe_env.evaluate", *compare.split()], check=True)


def main() -> None:
    readme()
    command_lines()
    bare = [name for name in ("agents", "baselines", "evaluation", "explorer") if name in sys.modules]
    assert not bare, f"{', '.join(bare)} loaded by a bare name"
    print("the wheel trains and compares")


if __name__ == "__main__":
    main()
