"""Write a trained policy as a file that runs without this project. See `python train.py export --help`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
import tyro

from agents.export.raw import input_feed
from agents.plan.compatibility import saved_scenario
from agents.plan.prices import price_action, priced_observation
from agents.policies.trained import BEST, STEM, TrainedPolicy, load
from baselines.validation import VALIDATION_SEED
from wdmoe_env.files.atomic import write_bytes
from wdmoe_env.files.safe import StorageError, read_json
from wdmoe_env.settings.contents import FILES, relocated
from wdmoe_env.simulator.simulator import Simulator

if TYPE_CHECKING:
    import onnx

TOLERANCE: Final = {"price": 1e-5, "logit": 1e-4}
"""Largest difference between the file and the original, in each output's unit."""
CELLS: Final = 8
"""Cells that both are compared in, side by side."""
MOST_STEPS: Final = 128
"""Steps of them; less where an episode is shorter."""


class ExportError(Exception):
    """The file does not give what the original gives."""


@dataclass(frozen=True)
class Options:
    """Write a trained policy as one file, from raw observations to prices and bandwidth logits.

    It is checked against the original in validation episodes before it is written. Needs the extra `export`.
    """

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """Run directory of train.py."""
    format: Literal["onnx"] = "onnx"
    """Form of the file."""
    out: Path | None = None
    """File to write; default: policy.onnx in the run directory."""
    overwrite: bool = False
    """Replace the file where there is one."""


def main(options: Options) -> int:
    """Export, print the largest differences, and return the exit status."""
    out = options.out or options.run_dir / "policy.onnx"
    try:
        differences = export(options.run_dir, out, options.overwrite)
    except (ValueError, StorageError, ExportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("onnx", "onnxruntime", "array_api_compat"):
            raise
        print(f"error: export needs {package}: pip install -e '.[train,export]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    print(f"{out}: {out.stat().st_size:,} bytes; largest difference from the original:")
    for name, difference in differences.items():
        print(f"  {name}: {difference:.1e} (at most {TOLERANCE[name]:g} is accepted)")
    return 0


def export(run_dir: Path, out: Path, overwrite: bool = False) -> dict[str, float]:
    """Write the best policy of a run as ONNX, and return the largest difference of each output from the original.

    Files that its scenario names, such as tables of measured devices, are read; nothing is executed.

    Raises:
        StorageError: there is no policy, it is broken, or `out` exists or cannot be written.
        ExportError: the graph differs from the original by more than `TOLERANCE`. Nothing is written.
        ModuleNotFoundError: the extra `export` is not installed.
    """
    from agents.export.graph import to_onnx

    if not overwrite and out.exists():
        raise StorageError(f"{out} exists: choose another file, or replace it with --overwrite")
    policy = load(run_dir)
    origin = run_dir / BEST / f"{STEM}.json"
    try:
        saved = relocated(policy.scenario.model_dump(mode="json"), read_json(origin).get(FILES), origin.parent)
    except ValueError as error:
        raise StorageError(f"{origin}: {error}") from error
    scenario = saved_scenario(saved, str(origin))
    simulator = Simulator(scenario, CELLS, "validation")
    policy.reset(scenario, CELLS)
    model = to_onnx(policy, scenario, simulator.reset(VALIDATION_SEED))
    differences = compare(model, policy, simulator)
    try:
        write_bytes(out, model.SerializeToString())
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror}") from error
    return differences


def compare(model: onnx.ModelProto, policy: TrainedPolicy, simulator: Simulator) -> dict[str, float]:
    """Largest difference of each output from the original, in the steps of a validation episode that the policy runs.

    Raises:
        ExportError: one is above `TOLERANCE`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names, scenario = [output.name for output in session.get_outputs()], simulator.scenario
    differences, observation = dict.fromkeys(names, 0.0), simulator.reset(VALIDATION_SEED)
    codec, actions = priced_observation(scenario), price_action(scenario)
    for _ in range(min(scenario.steps_per_episode, MOST_STEPS)):
        expected = actions.meaning(policy.act(codec.encode(observation)))
        for name, found, value in zip(names, session.run(names, input_feed(observation)), expected, strict=False):
            differences[name] = float(np.maximum(differences[name], np.abs(found - value).max()))
        observation = simulator.step(policy.decide(observation)).observation
    for name, difference in differences.items():
        if not difference <= TOLERANCE[name]:
            raise ExportError(
                f"the exported {name} differs from the original by {difference:g}, expected at most {TOLERANCE[name]:g}"
            )
    return differences
