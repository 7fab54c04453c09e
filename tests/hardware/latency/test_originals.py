"""What the original benchmark files must show: errors on held-out shapes, and bounds that nothing beats."""

from pathlib import Path

import pytest
from support.measured import expert

from wdmoe_env.hardware.__main__ import main
from wdmoe_env.hardware.boards.catalogue import load_board
from wdmoe_env.hardware.boards.crosscheck import crosscheck, rate_bound
from wdmoe_env.hardware.latency.fit import held_out_error
from wdmoe_env.hardware.latency.importers import import_event_shapes
from wdmoe_env.hardware.latency.table import TABLE, write_measurements

ORIGINALS = Path(__file__).parents[4] / "shared" / "data" / "jetson"
needs_originals = pytest.mark.skipif(
    not ORIGINALS.exists(), reason="the original benchmark files are not part of the project"
)
RATES = "model,device,quant,engine,tok_s_conc1,tok_s_conc8\n"


@needs_originals
@pytest.mark.parametrize("seed", range(3))
def test_fit_of_the_linear_shapes_is_within_15_percent_on_held_out_shapes(seed):
    imported = import_event_shapes(ORIGINALS / "orin_nano_8gb_linear.csv", "orin-nano-8gb", "15W")
    warm_up = [count for reason, count in imported.dropped.items() if "warm-up" in reason]
    assert (len(imported.rows), warm_up) == (50, [12])
    assert held_out_error(imported.rows, seed=seed) <= 0.15


@pytest.mark.slow
@needs_originals
def test_fit_command_shows_the_error_of_each_original_file(capsys):
    main(["fit", str(ORIGINALS)])
    shown = capsys.readouterr().out
    names = ("orin_nano_8gb_linear", "orin_nano_8gb_matmul", "agx_orin_50w_gemm_sweep", "calibrations")
    for name in names:
        assert any(line.startswith(f"{name}.csv: ") and "%" in line for line in shown.splitlines())
    assert "orin_nano_8gb_linear.csv: dropped 12: event-timed GEMM that is a warm-up artefact" in shown


@needs_originals
def test_no_measured_rate_beats_its_bound(capsys):
    main(["crosscheck", str(ORIGINALS / "moe_tokens_per_second.csv")])
    assert "no rate beats its bound: 23 compared, 9 left out" in capsys.readouterr().out


def test_bound_is_reading_the_weights_for_one_request_and_arithmetic_for_many():
    board = load_board("orin-nx-16gb")
    assert rate_bound("orin-nx-16gb", 3e9, 1) == pytest.approx(board.spec_bandwidth / 1.5e9)
    assert rate_bound("orin-nx-16gb", 3e9, 10_000) == pytest.approx(board.spec_peak / 6e9)


def test_rate_that_beats_its_bound_ends_the_command(tmp_path, capsys):
    path = tmp_path / "rates.csv"
    path.write_text(f"{RATES}Qwen3-32B,orin_nx_16gb,W4A16,x,9,\n")
    with pytest.raises(SystemExit) as ended:
        main(["crosscheck", str(path)])
    assert ended.value.code == 2
    assert "beat the bound of the catalogue's figures: Qwen3-32B on orin-nx-16gb" in capsys.readouterr().err


def test_rows_that_cannot_be_compared_are_named(tmp_path):
    path = tmp_path / "rates.csv"
    path.write_text(f"{RATES}Qwen3-32B,t5000,x,x,9,\nNew-1B,orin_nx_16gb,x,x,9,\nQwen 3 4B,orin_nx_16gb,x,x,9,\n")
    compared, left_out = crosscheck(path)
    assert [(c.model, c.concurrency) for c in compared] == [("Qwen 3 4B", 1)]
    assert len(left_out) == 2


@pytest.mark.parametrize(
    ("text", "message"), [(f"{RATES}Qwen 3 4B,orin_nx_16gb,x,x,-9,\n", "row 2: value '-9'"), ("model\n", "missing")]
)
def test_broken_rates_are_refused(tmp_path, text, message):
    path = tmp_path / "rates.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        crosscheck(path)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["fit"], ["fit", str(TABLE)], ["experts"]])
def test_plot_is_drawn(command, tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    main([*command, "--plot", str(tmp_path / "plot.png")])
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_fault_in_a_file_ends_the_command_with_its_message(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path / "none.csv")])
    assert ended.value.code == 2
    assert "none.csv is not a file" in capsys.readouterr().err


def test_drop_needs_a_file_to_write(capsys):
    with pytest.raises(SystemExit):
        main(["check", str(TABLE), "--drop", "outliers"])
    assert "needs --out FILE" in capsys.readouterr().err


def test_experts_of_one_board_are_fitted_alone(tmp_path, capsys):
    rows = [expert(tokens=n, latency_s=2e-3 + 1e-4 * n) for n in (1, 2, 4, 8, 16, 32)]
    write_measurements(tmp_path / "t.csv", [*rows, expert(operation="gemm", latency_s=0.09)])
    main(["fit", str(tmp_path / "t.csv")])
    [line] = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("b ")]
    assert line[:2] == ["b", "m"]
    # 3 * 64 * 128 * 4 bytes in 2 ms, and no share of it is called launch.
    assert (line[4], line[-1]) == ("0", "6")
    assert float(line[5].rstrip("%")) < 0.1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"operation": "gemv", "tokens": 1}], "no row tells the peak"),
        ([{}, {"precision": "fp16", "tokens": 9}], "rows of fp16 and fp32 have no common peak"),
        ([{"tokens": n} for n in (1, 2, 3)], "the fit left one unbounded"),
    ],
)
def test_table_that_determines_no_roofline_is_refused_with_the_reason(tmp_path, rows, message, capsys):
    write_measurements(tmp_path / "t.csv", [expert(**row) for row in rows])
    with pytest.raises(SystemExit):
        main(["fit", str(tmp_path / "t.csv")])
    shown = capsys.readouterr().err
    assert "board 'b', power mode 'm'" in shown
    assert message in shown
