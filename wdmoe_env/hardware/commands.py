"""What the subcommands of ``python -m wdmoe_env.hardware`` do: read, compute, print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from wdmoe_env.hardware.boards.catalogue import Roofline, board_names, load_board
from wdmoe_env.hardware.boards.expert import MIXTRAL_HIDDEN, MIXTRAL_INTERMEDIATE, expert_seconds
from wdmoe_env.hardware.latency.check import KINDS, Finding, check, drop
from wdmoe_env.hardware.latency.measurement import Measurement
from wdmoe_env.hardware.latency.table import TABLE, read_measurements, write_measurements
from wdmoe_env.hardware.record.record import MeasurementPlan, record, show_progress

if TYPE_CHECKING:
    from wdmoe_env.hardware.latency.fit import RooflineFit

TOKENS = (1, 8, 64, 256)
SHOWN_FINDINGS = 20


def show_boards() -> None:
    """Print the catalogue: effective figures, error of the fit, and what is measured."""
    rows = []
    for name, mode, entry in _entries():
        figures = _figures(entry.peak_flops, entry.memory_bandwidth, entry.launch_s, entry.median_error)
        rows.append([name, mode, *figures, entry.peak_basis, "yes" if entry.measured else "no"])
    print_table(["board", "mode", "TFLOP/s", "GB/s", "launch us", "error", "peak", "measured"], rows)


def show_experts(plot: Path | None = None) -> None:
    """Print what a Mixtral expert takes on each board of the catalogue, and draw it if asked."""
    print("Mixtral expert, ms (4-bit: weights read as 4 bits, dequantisation not measured)")
    cases = [(bits, tokens) for bits in (16, 4) for tokens in TOKENS]
    times = [
        [name, mode, *(f"{_mixtral_ms(entry, n, bits):.2f}" for bits, n in cases), "yes" if entry.measured else "no"]
        for name, mode, entry in _entries()
    ]
    print_table(["board", "mode", *(f"{bits}b n={n}" for bits, n in cases), "measured"], times)
    if plot is not None:
        from wdmoe_env.hardware.plots import plot_experts

        plot_experts(plot, _entries())
        print(f"drawn to {plot}")


def show_fits(source: Path | None = None, plot: Path | None = None) -> None:
    """Fit a table (by default the shipped one), or each original file of a folder, and print the errors."""
    # Only this command needs scipy.
    from wdmoe_env.hardware.latency.fit import burst_slowdown, fit_boards, fitted_rows

    fits: Mapping[tuple[str, str], RooflineFit]
    if source is not None and source.is_dir():
        fits, groups, everything = _fit_originals(source)
    else:
        everything = read_measurements(source or TABLE)
        warn_of_findings(everything)
        fits, groups = fit_boards(everything), fitted_rows(everything)
    rows = []
    for key, fit in fits.items():
        figures = _figures(fit.peak_flops, fit.memory_bandwidth, fit.launch_s, fit.median_error)
        burst = burst_slowdown(fit, [row for row in everything if (row.board, row.power_mode) == key])
        rows.append([*key, *figures, f"{burst:.1f}x" if isfinite(burst) else "-", str(len(groups[key]))])
    print_table(["board", "mode", "TFLOP/s", "GB/s", "launch us", "error", "burst", "rows"], rows)
    print("error: median relative error on shapes that the fit had not seen; burst: measured over fitted after idling")
    if plot is not None:
        from wdmoe_env.hardware.plots import plot_fits

        plot_fits(plot, fits, groups)
        print(f"drawn to {plot}")


def show_crosscheck(path: Path) -> None:
    """Print measured rates beside the bound; ValueError when a bound is beaten."""
    from wdmoe_env.hardware.boards.crosscheck import crosscheck

    compared, left_out = crosscheck(path)
    rows = [
        [c.model, c.board, str(c.concurrency), f"{c.measured:g}", f"{c.bound:.1f}", f"{c.share:.0%}"] for c in compared
    ]
    print_table(["model", "board", "requests", "tok/s", "bound tok/s", "reached"], rows)
    for reason in left_out:
        print(f"left out: {reason}")
    beaten = [f"{c.model} on {c.board}" for c in compared if c.share > 1]
    if beaten:
        raise ValueError(f"measured rates beat the bound of the catalogue's figures: {', '.join(beaten)}")
    print(f"no rate beats its bound: {len(compared)} compared, {len(left_out)} left out")


def check_table(path: Path, kinds: Sequence[str] = (), out: Path | None = None) -> None:
    """Print what is suspect in a table; with `out`, write the table without the rows of the kinds to drop."""
    rows = read_measurements(path)
    findings = check(rows)
    for finding in findings[:SHOWN_FINDINGS]:
        row = rows[finding.index]
        shape = f"{row.operation} {row.tokens}x{row.hidden}x{row.intermediate}"
        print(f"data row {finding.index + 1}: {finding.kind}: {row.board} {row.power_mode} {shape}: {finding.reason}")
    if len(findings) > SHOWN_FINDINGS:
        print(f"... and {len(findings) - SHOWN_FINDINGS} more")
    print(f"{path}: {len(rows)} valid rows; {_summary(findings)}")
    if out is not None:
        kept = drop(rows, findings, kinds)
        write_measurements(out, kept)
        print(f"{out}: {len(kept)} rows, {len(rows) - len(kept)} dropped ({', '.join(kinds) or 'nothing asked for'})")


def import_tables(directory: Path, out: Path) -> None:
    """Write the measurement table from the original files, and print what was left out."""
    from wdmoe_env.hardware.latency.importers import import_directory

    imported = import_directory(directory)
    write_measurements(out, imported.rows)
    print(f"{out}: {len(imported.rows)} rows")
    for reason, count in imported.dropped.items():
        print(f"dropped {count}: {reason}")
    for note in imported.notes:
        print(f"note: {note}")


def record_expert(plan: MeasurementPlan, out: Path) -> None:
    """Measure an expert on this machine, and say how many rows that made."""
    count = record(plan, out, show_progress)
    print(f"\n{out}: {count} rows")


def import_radio(path: Path, kind: str, out: Path | None = None) -> None:
    """Import every log at a path, print the count of each reason for refusal, and write the traces if asked.

    Raises:
        ValueError: `out` holds something already, or nothing could be imported.
    """
    from wdmoe_env.hardware.radio.importers import import_logs
    from wdmoe_env.hardware.radio.traces import write_radio_trace

    # Numbered files over those of another import would be a mixture.
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} holds something already, expected a new or empty folder")
    imported = import_logs(path, kind)
    print(f"{imported.logs} logs: {imported.accepted} imported as {len(imported.traces)} traces")
    for reason, count in imported.refused.most_common():
        print(f"refused {count}: {reason} ({'first: ' if count > 1 else ''}{imported.first[reason]})")
    for reason, count in imported.notes.most_common():
        print(f"note: {reason}: {count}")
    if not imported.traces:
        raise ValueError(f"{path}: no log could be imported")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for number, trace in enumerate(imported.traces):
            write_radio_trace(out / f"{number:03d}.csv", trace)
        print(f"{out}: {len(imported.traces)} files; column source of each names its log")


def synthesize_radio(
    seconds: float, step_s: float, mean_db: float, seed: int, dropouts_per_minute: float, dropout_s: float, out: Path
) -> None:
    """Write a made-up log."""
    from wdmoe_env.hardware.radio.synthetic import synthetic_snr
    from wdmoe_env.hardware.radio.traces import write_radio_trace

    trace = synthetic_snr(seconds, step_s, mean_db, seed, dropouts_per_minute, dropout_s)
    write_radio_trace(out, trace)
    print(f"{out}: {len(trace.seconds)} samples, made up")


def warn_of_findings(rows: Sequence[Measurement]) -> None:
    """Print how many rows are suspect, if any."""
    if findings := check(rows):
        print(f"note: {_summary(findings)}; `check` lists them and can drop them")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns: the first two to the left, numbers to the right."""
    table = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [f"{cell:{'<' if i < 2 else '>'}{widths[i]}}" for i, cell in enumerate(row)]
        print("  ".join(cells).rstrip())


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.kind for finding in findings)
    return "suspect: " + ", ".join(f"{counts[kind]} {kind}" for kind in KINDS)


def _fit_originals(
    directory: Path,
) -> tuple[dict[tuple[str, str], RooflineFit], dict[tuple[str, str], list[Measurement]], list[Measurement]]:
    """Fit each original file apart, the two without a mode of their own under their file's name."""
    from wdmoe_env.hardware.latency.fit import fit_boards, fitted_rows
    from wdmoe_env.hardware.latency.importers import import_calibrations, import_event_shapes, import_gemm_sweep

    parts = {
        "orin_nano_8gb_linear.csv": lambda path: import_event_shapes(path, "orin-nano-8gb", "15W"),
        "orin_nano_8gb_matmul.csv": lambda path: import_event_shapes(path, "orin-nano-8gb", "15W"),
        "agx_orin_50w_gemm_sweep.csv": lambda path: import_gemm_sweep(path, "agx-orin-64gb", "50W"),
        "calibrations.csv": import_calibrations,
    }
    fits, groups, everything = {}, {}, []
    for name, importer in parts.items():
        imported = importer(directory / name)
        for reason, count in imported.dropped.items():
            print(f"{name}: dropped {count}: {reason}")
        own = fitted_rows(imported.rows)
        for (board, mode), fit in fit_boards(imported.rows).items():
            key = (f"{name}: {board}", mode)
            fits[key], groups[key] = fit, own[board, mode]
        everything += imported.rows
    return fits, groups, everything


def _mixtral_ms(entry: Roofline, tokens: int, weight_bits: float) -> float:
    return 1e3 * float(expert_seconds(entry, tokens, MIXTRAL_HIDDEN, MIXTRAL_INTERMEDIATE, weight_bits))


def _entries() -> list[tuple[str, str, Roofline]]:
    return [(name, mode, entry) for name in board_names() for mode, entry in load_board(name).power_modes.items()]


def _figures(peak: float, bandwidth: float, launch: float, error: float | None) -> list[str]:
    stated = "-" if error is None else f"{error:.1%}"
    return [f"{peak / 1e12:.3g}", f"{bandwidth / 1e9:.1f}", f"{launch * 1e6:.0f}", stated]
