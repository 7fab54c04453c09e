"""The command `generate`: continue a text with a model whose experts are on devices, decided layer by layer."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wdmoe_env.testbed.kernel import Links
from wdmoe_env.testbed.messages import Dtype

if TYPE_CHECKING:
    from wdmoe_env import Policy
    from wdmoe_env.testbed.layer import LayerRecord


@dataclass(frozen=True)
class Options:
    """Continue a text with a model whose experts are on devices; a policy decides each layer. The text streams out."""

    model: Path
    """Folder of a local Hugging Face mixture-of-experts model."""
    prompt: str
    """Text to continue."""
    local: int | None = None
    """Devices on this machine; or else --testbed."""
    testbed: str = ""
    """YAML file of devices."""
    scenario: str = "tiny-moe"
    """Preset or YAML file: the cell that is predicted and, on this machine, emulated. Layers, experts and top_k follow
    the model."""
    policy: str = "price"
    """Baseline, folder of a trained run, or pretrained:ALGO."""
    tokens: int = 64
    """Tokens to add."""
    streams: int = 1
    """Continuations of the same text that are decoded side by side."""
    temperature: float = 0.0
    """Of sampling; 0 takes the most probable token."""
    seed: int = 0
    """Of the cell and of sampling."""
    links: Links | None = None
    """none: as the network is; paced: as the scenario's channel is. By default paced on this machine."""
    slow_down: float = 1.0
    """Stretches all emulated times, so that this machine keeps up."""
    dtype: Dtype | None = None
    """Of activations on the wire; float16 by default."""
    deadline: float | None = None
    """Seconds that devices have to answer a layer."""
    precision: Literal["float32", "stored"] = "stored"
    """What the base station's part computes in."""
    quiet: bool = False
    """Print the text alone."""


def main(options: Options) -> int:
    """Generate, print the text and what its layers took, and return 0.

    Raises:
        ValueError: an option, the scenario or the model does not fit.
        LinkError: a device cannot be reached.
        NoDeviceLeftError: none is left.
    """
    _check(options)
    from wdmoe_env.moe.local_model import load_tokenizer
    from wdmoe_env.testbed.cluster import find_testbed, opened
    from wdmoe_env.testbed.passes import Decoder, fitted
    from wdmoe_env.testbed.split_model import load_split

    spec = options.testbed or f"local:{options.local}"
    testbed = find_testbed(spec, options.links, options.slow_down, options.dtype, options.deadline)
    tokenizer = load_tokenizer(options.model)
    ids = tokenizer(options.prompt, add_special_tokens=True)["input_ids"]
    if not ids:
        raise ValueError("--prompt is empty: expected some text to continue")
    model = load_split(options.model, options.precision)
    scenario = fitted(options.scenario, model)
    policy = find_policy(options.policy)
    with opened(testbed, options.model, scenario) as station:
        decoder = Decoder(model, scenario, station, policy, testbed.links, testbed.slow_down)
        show = _Screen(tokenizer, options)
        show.begin(policy.name, testbed.facts())
        decoder.generate(ids, options.tokens, options.streams, options.temperature, options.seed, show.token)
        show.end(decoder.records)
    return 0


def _check(options: Options) -> None:
    if (options.local is None) == (not options.testbed):
        raise ValueError("give either --local N or --testbed FILE")
    for name in ("tokens", "streams", "local"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ValueError(f"--{name} is {value}, expected at least 1")
    if not options.temperature >= 0.0:
        raise ValueError(f"--temperature is {options.temperature}, expected at least 0")


def find_policy(word: str) -> Policy:
    """The policy of a word: a baseline's name, a folder of a trained run, or `pretrained:ALGO`.

    Raises:
        ValueError: there is none.
    """
    from wdmoe_env.plugins import import_plugin

    # By name: the environment knows nothing of the packages that stand on it, and can be installed without them.
    contenders: Any = import_plugin("evaluation.episodes.contenders")
    errors: Any = import_plugin("evaluation.episodes.errors")
    try:
        found: Policy = contenders.find_contenders([word], True)[0].policies[0]
    except errors.EvaluationError as error:
        raise ValueError(f"--policy: {error}") from error
    return found


@dataclass
class _Screen:
    """Streams the first continuation, and below it says what the layers take."""

    tokenizer: Any
    options: Options
    _ids: list[int] = field(default_factory=list)
    _shown: str = ""
    _began: float = 0.0

    def begin(self, policy: str, facts: dict[str, object]) -> None:
        self._began = time.perf_counter()
        if not self.options.quiet:
            said = f"{facts['testbed']}, links {facts['links']}, {facts['dtype']} on the wire"
            if facts["slow_down"] != 1.0:
                said += f", all emulated times stretched {facts['slow_down']:g} times"
            print(f"{policy} decides; {said}", file=sys.stderr)
        print(self.options.prompt, end="", flush=True)

    def token(self, ids: list[int], records: list[LayerRecord]) -> None:
        self._ids.append(ids[0])
        # What decodes to more than before: a character may take several tokens.
        text = self.tokenizer.decode(self._ids, clean_up_tokenization_spaces=False)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            print(text[len(self._shown) :], end="", flush=True)
            self._shown = text
        if sys.stderr.isatty() and not self.options.quiet and records:
            took = sum(record.measured for record in records) * 1e3
            print(
                f"\x1b7\x1b[999;1H\x1b[2K{len(self._ids)} tokens, last pass {took:.1f} ms\x1b8", end="", file=sys.stderr
            )

    def end(self, records: list[LayerRecord]) -> None:
        print()
        if self.options.quiet:
            return
        took, predicted = [r.measured for r in records], [r.predicted for r in records]
        decided = [record.decision_s for record in records]
        retried = sum(record.attempts > 1 for record in records)
        lines = [
            f"{len(self._ids)} tokens in {time.perf_counter() - self._began:.1f} s; {len(records)} layers of experts",
            f"layer, median: measured {_ms(took)}, predicted {_ms(predicted)}, decided in {_ms(decided)}",
        ]
        if retried:
            lines.append(
                f"{retried} layers had to be asked for again; {sum(r.lost_mass for r in records):.3f} gate mass lost"
            )
        print("\n".join(lines), file=sys.stderr)


def _ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.2f} ms" if seconds else "-"
