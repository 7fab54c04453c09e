"""The state as a value: whole, read-only, taken apart and put together, copied, and refused where it does not fit."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.replayed import replaying, table
from support.toy import preset, random_decision, same_rng, toy

from wdmoe_env import Scenario, Simulator
from wdmoe_env.files.tree import flatten, unflatten
from wdmoe_env.simulator.state import SimulatorState, arrays_of, from_tree, to_tree

NAMES = ("paper", "mobile", "jetson", "jetson-wifi", "mixed")


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Scenario]:
    """Presets by name, and cells that replay measurements in both ways."""
    return lambda name: replaying(table(tmp_path), "mixed") if name == "mixed" else preset(name)


def walked(scenario: Scenario, num_envs: int = 3, steps: int = 3) -> Simulator:
    simulator, rng = Simulator(scenario, num_envs), np.random.default_rng(0)
    simulator.reset(4)
    for _ in range(steps):
        simulator.step(random_decision(scenario, num_envs, rng))
    return simulator


def assert_go_on_alike(one: Simulator, other: Simulator) -> None:
    """Both bring the same, to the end of the episode and into the next one."""
    rng, left = np.random.default_rng(1), one.scenario.steps_per_episode - one.steps
    for _ in range(min(left, 40)):
        decision = random_decision(one.scenario, one.num_envs, rng)
        here, there = one.step(decision), other.step(decision)
        for array, same in zip(here.metrics.values(), there.metrics.values(), strict=True):
            np.testing.assert_array_equal(array, same)
        for array, same in zip(arrays_of(here.observation), arrays_of(there.observation), strict=True):
            np.testing.assert_array_equal(array, same)
    for array, same in zip(arrays_of(one.reset()), arrays_of(other.reset()), strict=True):
        np.testing.assert_array_equal(array, same)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_state_stays_as_it_is_and_is_gone_on_from_twice(name: str, make: Callable[[str], Scenario]) -> None:
    simulator = walked(make(name))
    kept = simulator.state()
    before, drawn = [array.copy() for array in arrays_of(kept)], kept.rng.bit_generator.state
    others = [Simulator(simulator.scenario, 3) for _ in range(2)]
    others[0].restore(kept)
    assert_go_on_alike(simulator, others[0])
    assert kept.rng.bit_generator.state == drawn
    for array, copied in zip(arrays_of(kept), before, strict=True):
        np.testing.assert_array_equal(array, copied)
        assert not array.flags.writeable
    others[1].restore(kept)
    simulator.restore(kept)
    assert_go_on_alike(simulator, others[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_state_survives_its_tree_as_json_and_tensors(name: str, make: Callable[[str], Scenario]) -> None:
    simulator, tensors = walked(make(name)), dict[str, torch.Tensor]()
    text = json.dumps(flatten(to_tree(simulator.state()), "state", tensors))
    other = walked(make(name), steps=1)
    other.restore(from_tree(unflatten(json.loads(text), tensors), other.state()))
    assert_go_on_alike(simulator, other)


@pytest.mark.slow
@pytest.mark.parametrize("copied", [Simulator.copy, copy.deepcopy])
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_goes_on_alike_and_on_its_own(
    name: str, copied: Callable[[Simulator], Simulator], make: Callable[[str], Scenario]
) -> None:
    simulator = walked(make(name))
    scenario, kept = simulator.scenario, copied(simulator)
    simulator.copy().step(random_decision(scenario, 3, np.random.default_rng(9)))
    assert_go_on_alike(simulator, kept)
    other = copied(simulator)
    other.step(random_decision(scenario, 3, np.random.default_rng(9)))
    assert simulator.steps == 0
    assert not same_rng(simulator, other)


def test_a_copy_keeps_the_gates_that_were_shown() -> None:
    simulator = walked(toy(), steps=1)
    shown = simulator.show_gates(np.full((3, 6, 5), 0.2))
    np.testing.assert_array_equal(simulator.copy().observation.gate_weights, shown.gate_weights)


def test_what_is_known_of_now_needs_a_reset() -> None:
    simulator = Simulator(toy())
    for ask in (simulator.state, simulator.copy().expert_table, lambda: simulator.cell, lambda: simulator.steps):
        with pytest.raises(RuntimeError, match=r"call reset\(\)"):
            ask()


def state_of(name: str, num_envs: int = 3, **overrides: Any) -> SimulatorState:
    return walked(preset(name, **overrides), num_envs, 1).state()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda: {"step": 0}, r"state is dict, expected SimulatorState"),
        (lambda: state_of("mobile", 2), r"state\.cell\.position is \(2, 8\) complex128, expected \(3, 8\) complex128"),
        (lambda: state_of("cell-64"), r"state\.cell\.position is \(3, 64\) complex128, expected \(3, 8\)"),
        (lambda: state_of("jetson"), r"state\.compute\.uniform is \(3, 8\) float64, expected None"),
        (
            lambda: state_of("mobile", channel={"fading": {"diversity": 2}}),
            r"state\.cell\.scatter is \(3, 2, 4, 8\) float64, expected \(3, 2, 8, 8\) float64",
        ),
        (lambda: replace(state_of("mobile"), step=-1), r"state\.step is -1, expected at least 0"),
        (lambda: replace(state_of("mobile"), step=2.0), r"state\.step is float, expected int"),
        (lambda: replace(state_of("mobile"), passes=np.full(3, 4)), r"state\.passes holds 4, expected 0 to 3"),
        (lambda: replace(state_of("mobile"), passes=np.zeros(3)), r"passes is \(3,\) float64, expected \(3,\) int64"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_by_field(state: Callable[[], Any], message: str) -> None:
    simulator = walked(preset("mobile"))
    before = simulator.copy()
    with pytest.raises(ValueError, match=message):
        simulator.restore(state())
    assert_go_on_alike(simulator, before)


def test_logs_that_there_are_not_are_refused() -> None:
    simulator = walked(preset("jetson-wifi"))
    state = simulator.state()
    assert state.cell.trace is not None
    for stretch in (-1, 10**6):
        trace = replace(state.cell.trace, stretch=np.full_like(state.cell.trace.stretch, stretch))
        with pytest.raises(ValueError, match=rf"state\.cell\.trace\.stretch holds {stretch}, expected 0 to"):
            simulator.restore(replace(state, cell=replace(state.cell, trace=trace)))
    with pytest.raises(ValueError, match=r"state\.cell\.trace is None, expected TraceState"):
        simulator.restore(replace(state, cell=replace(state.cell, trace=None)))


@pytest.mark.parametrize(
    "changed",
    [
        {"radio": {"bs_power_w": 11.0}},
        {"model": {"top_k": 1}},
        {"devices": [{"name": "other", "count": 3, "compute": {"kind": "linear", "flops_per_s": 2e12}}]},
        {"gating": {"family": "mixtral"}},
        {"traffic": {"layer_gap_s": 1.0}},
    ],
)
def test_a_state_of_other_cells_of_the_same_size_is_refused(changed: dict[str, Any]) -> None:
    one, other = walked(toy()), walked(toy(**changed))
    with pytest.raises(ValueError, match=r"state\.cells is \w{12}, expected \w{12}: it is of other cells"):
        other.restore(one.state())


def test_a_state_goes_on_where_only_names_and_the_reward_differ() -> None:
    one = walked(toy())
    walked(toy(name="renamed", description="x", reward={"metric": "wlr_token"})).restore(one.state())
    with pytest.raises(ValueError, match="it is of other cells"):
        Simulator(one.scenario, 3, "test").restore(one.state())


def test_a_state_that_holds_no_numbers_is_refused() -> None:
    simulator = walked(toy())
    state = simulator.state()
    gain = state.cell.gain.copy()
    gain[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="state holds what is no finite number"):
        simulator.restore(replace(state, cell=replace(state.cell, gain=gain)))
