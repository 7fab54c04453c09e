"""A model card for each policy that comes with the project, from what it says of itself and what a comparison found.

python -m evaluation.cards results/paper results/mobile
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from agents.policies.shipped import FOLDER
from wdmoe_env.console.output import tolerate_locale
from wdmoe_env.files.atomic import write_bytes

PRETRAINED: Final = "pretrained:"
CARD: Final = "README.md"
BESIDE: Final = "top-k", "wdmoe", "constant-price", "price"
"""Whom a card names the policy beside."""

TEMPLATE: Final = """---
license: apache-2.0
library_name: wdmoe-env
tags: [reinforcement-learning, mixture-of-experts, wireless, gymnasium]
---

# {name}

A {algorithm} policy that decides, layer by layer, which experts of a mixture-of-experts model run on which wireless
devices, and how the band is split, in the preset `{preset}`: {description}.

## Use

```python
import agents
import wdmoe_env

policy, scenario = agents.pretrained("{algorithm}"), wdmoe_env.load_scenario("{preset}")
simulator = wdmoe_env.Simulator(scenario, num_envs=4)
policy.reset(scenario, num_envs=4)
outcome = simulator.step(policy.decide(simulator.reset(seed=0)))
```

`evaluate.py --scenario {preset} --policies price,{pretrained}{algorithm}` compares it.

## How it was made

| | |
|---|---|
| command | `{command}` |
| seed | {seed} of those, of the best validation reward ({validation:.3f}) |
| revision | `{revision}`, version {version} |
| network | {weights:,} weights, width {width}; {action} actions of {observation} observations, shared over {rows} |
| trained on | gate weights of the training bank, simulated channels; no personal data |

## What it does

{episodes} held-out episodes that neither training nor the choice of the policy saw, mean reward with 95 % interval:

| policy | reward | latency against top-k | retained mass |
|---|---|---|---|
{rows_of_results}

It earns {adds} than `constant-price`, one number that never changes: that is what learning adds. Made by
`{evaluated}`.

## Where it is not for

- The cell is reconstructed, and its channels are simulated: nothing here was measured over the air.
- In another scenario it runs only with `transfer`. What was tried of that stands in docs/reference/results.md.
- It keeps the scenario's floor on gate mass, and knows nothing of what a model then writes
  (docs/how-to/model-in-the-loop.md).
"""


def write_cards(results: list[Path]) -> list[Path]:
    """Write the card of every shipped policy that the comparisons hold; return the files.

    Raises:
        ValueError: a folder holds no summary, or none of a policy that is shipped.
    """
    written = []
    for folder in results:
        summary = _read(folder / "summary.json")
        for preset, compared in summary["scenarios"].items():
            for name, who in summary["meta"]["policies"].items():
                if who["source"].startswith(PRETRAINED) and name in compared["policies"]:
                    policy = FOLDER / f"{preset}-{who['source'].removeprefix(PRETRAINED)}"
                    write_bytes(policy / CARD, card(policy, name, compared, summary["meta"]).encode())
                    written.append(policy / CARD)
    if not written:
        raise ValueError(f"{', '.join(map(str, results))}: no policy that is shipped, expected one of {PRETRAINED}ppo")
    return written


def card(folder: Path, name: str, compared: dict[str, Any], meta: dict[str, Any]) -> str:
    """The text of one card: of the policy in `folder`, called `name` in a scenario of a summary with that `meta`."""
    policy = _read(folder / "policy.json")
    preset, encodings = policy["scenario"]["name"], policy["encodings"]
    vs = compared["reward_vs"][name]["constant-price"]
    change, low, high = (100.0 * value for value in (vs["change"], *vs["ci95"]))
    shown = [one for one in (*BESIDE, name) if one in compared["policies"]]
    return TEMPLATE.format(
        name=folder.name,
        algorithm=policy["algorithm"],
        preset=preset,
        description=policy["scenario"]["description"],
        pretrained=PRETRAINED,
        command=policy["command"],
        seed=policy["seed"],
        validation=policy["validation_reward"],
        revision=policy["git_revision"][:12],
        version=policy["versions"]["wdmoe-env"],
        weights=_weights(folder),
        width=policy["width"],
        action=encodings["action"],
        observation=encodings["observation"],
        rows="experts" if encodings["observation"] == "expert" else "devices",
        episodes=meta["seeds"]["episodes"],
        rows_of_results="\n".join(_row(one, compared["policies"][one]) for one in shown),
        adds=f"{change:.1f} % ({low:.1f} to {high:.1f}) more",
        evaluated=re.sub(r" --out \S+", "", meta["command"]),
    )


def _row(name: str, found: dict[str, Any]) -> str:
    reward, (low, high) = found["reward"]["mean"], found["reward"]["ci95"]
    latency, mass = found["latency_vs_top_k"]["mean"], found["retained_mass"]["mean"]
    return f"| `{name}` | {reward:.3f} ({low:.3f} to {high:.3f}) | {latency:.3f} | {mass:.3f} |"


def _weights(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "policy.safetensors", framework="np") as file:
        return sum(file.get_tensor(key).size for key in file.keys())  # noqa: SIM118 - no mapping


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}; expected what evaluate.py writes") from error
    return found


def main(words: list[str]) -> int:
    """Write the cards of the folders that are named, and return the exit code."""
    if not words:
        print("usage: python -m evaluation.cards RESULTS...\n\nfolders that evaluate.py wrote", file=sys.stderr)
        return 2
    try:
        for file in write_cards([Path(word) for word in words]):
            print(file)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    tolerate_locale()
    sys.exit(main(sys.argv[1:]))
