"""The catalogue: lookup, error texts, agreement with the specification and with a fresh fit."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from wdmoe_env import load_scenario
from wdmoe_env.hardware.__main__ import main
from wdmoe_env.hardware.boards.catalogue import Board, Roofline, board_names, load_board, roofline
from wdmoe_env.hardware.boards.expert import MIXTRAL_HIDDEN, MIXTRAL_INTERMEDIATE, expert_seconds
from wdmoe_env.hardware.latency.fit import fit_boards
from wdmoe_env.hardware.latency.table import TABLE, read_measurements

MODES = [(name, mode) for name in board_names() for mode in load_board(name).power_modes]
MEASURED = [key for key in MODES if roofline(*key).measured]


@pytest.fixture(scope="module")
def fits():
    return fit_boards(read_measurements())


@pytest.mark.slow
def test_every_measured_mode_is_in_the_catalogue(fits):
    assert sorted(fits) == sorted(MEASURED)


@pytest.mark.parametrize(("board", "mode"), MEASURED)
def test_catalogue_follows_from_the_shipped_measurements(board, mode, fits):
    entry, fit = roofline(board, mode), fits[board, mode]
    assert entry.peak_flops == pytest.approx(fit.peak_flops, rel=1e-3)
    assert entry.memory_bandwidth == pytest.approx(fit.memory_bandwidth, rel=1e-3)
    assert entry.launch_s == pytest.approx(fit.launch_s, rel=1e-3)
    assert entry.median_error == pytest.approx(fit.median_error, abs=1e-3)


@pytest.mark.parametrize(("board", "mode"), MODES)
def test_effective_figures_do_not_exceed_the_specification(board, mode):
    entry, spec = roofline(board, mode), load_board(board)
    assert entry.peak_flops < entry.spec_peak <= spec.spec_peak * 1.01
    assert entry.memory_bandwidth < spec.spec_bandwidth
    assert 1e-5 < entry.launch_s < 1e-3


@pytest.mark.parametrize("mode", ["7W", "15W"])
def test_orin_nano_stays_below_its_slower_memory_clock(mode):
    assert roofline("orin-nano-8gb", mode).memory_bandwidth < 68.3e9


def test_default_mode_is_used():
    assert roofline("agx-orin-64gb") == roofline("agx-orin-64gb", "50W")


def test_unmeasured_board_says_so():
    entry = roofline("xavier-nx-8gb")
    assert not entry.measured
    assert entry.median_error is None


def test_unknown_board_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"board='orin-mini'.*agx-orin-64gb, .*orin-nano-8gb"):
        load_board("orin-mini")


def test_unknown_mode_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"power_mode='99W'.*'orin-nano-8gb'.*7W, 15W, 25W, MAXN_SUPER"):
        roofline("orin-nano-8gb", "99W")


def test_default_mode_must_exist():
    fields = load_board("orin-nano-8gb").model_dump() | {"default_mode": "99W"}
    with pytest.raises(ValidationError, match="default_mode='99W' is none of"):
        Board(**fields)


def test_measured_entry_must_state_its_error():
    fields = roofline("orin-nano-8gb").model_dump() | {"median_error": None}
    with pytest.raises(ValidationError, match="state it iff measured"):
        Roofline(**fields)


def test_one_token_is_bound_by_reading_the_weights():
    entry = roofline("orin-nano-8gb")
    weights = 3 * 4096 * 14336 * 2 / entry.memory_bandwidth
    seconds = expert_seconds(entry, [0, 1], MIXTRAL_HIDDEN, MIXTRAL_INTERMEDIATE)
    assert seconds[0] == 0
    assert weights < seconds[1] < 1.1 * weights
    assert expert_seconds(entry, 1, MIXTRAL_HIDDEN, MIXTRAL_INTERMEDIATE, weight_bits=4) < 0.4 * seconds[1]


def test_expert_takes_as_long_as_in_the_simulator():
    scenario = load_scenario("jetson")
    group, model = scenario.device_groups[0], scenario.model
    compute: Any = group.compute
    entry = roofline(compute.board, compute.power_mode)
    seconds = expert_seconds(entry, [1, 64], model.hidden_size, model.intermediate_size, model.weight_bits)
    fixed, token = scenario.compute_model.fixed_s[0], scenario.compute_model.token_s[0]
    np.testing.assert_allclose(seconds, fixed + token * np.array([1, 64]), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["boards", "fit", "experts"])
def test_command_line_prints_every_measured_mode(command, capsys):
    main([command])
    lines = capsys.readouterr().out.splitlines()
    for board, mode in MEASURED:
        assert any(line.split()[:2] == [board, mode] for line in lines)


@pytest.mark.slow
def test_looking_up_a_board_needs_no_scipy():
    code = "import sys, wdmoe_env.hardware as h; h.roofline('orin-nano-8gb'); assert 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shipped_table_is_small():
    assert TABLE.stat().st_size < 150_000
