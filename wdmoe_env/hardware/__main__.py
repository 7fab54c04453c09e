"""Command line: ``python -m wdmoe_env.hardware {boards,fit,import}``."""

import argparse
from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path

from wdmoe_env.hardware.boards import Roofline, board_names, load_board
from wdmoe_env.hardware.measurements import TABLE, read_measurements, write_measurements

MIXTRAL_HIDDEN, MIXTRAL_INTERMEDIATE = 4096, 14336
TOKENS = (1, 8, 64, 256)


def expert_ms(entry: Roofline, tokens: int, weight_bits: float) -> float:
    """Time of one Mixtral expert in ms. Fewer bits only shrink the bytes read: dequantisation was not measured."""
    weights = 3 * MIXTRAL_HIDDEN * MIXTRAL_INTERMEDIATE
    memory, compute = (weights * weight_bits / 8 / entry.memory_bandwidth, tokens * 2 * weights / entry.peak_flops)
    return 1e3 * (entry.launch_s + memory + compute)


def show_boards() -> None:
    """Print the catalogue, and what a Mixtral expert takes on each board."""
    rows = []
    for name, mode, entry in _entries():
        figures = _figures(entry.peak_flops, entry.memory_bandwidth, entry.launch_s, entry.median_error)
        rows.append([name, mode, *figures, entry.peak_basis, "yes" if entry.measured else "no"])
    _print(["board", "mode", "TFLOP/s", "GB/s", "launch us", "error", "peak", "measured"], rows)
    print("\nMixtral expert, ms (4-bit: weights read as 4 bits, dequantisation not measured)")
    cases = [(bits, tokens) for bits in (16, 4) for tokens in TOKENS]
    times = [
        [name, mode, *(f"{expert_ms(entry, n, bits):.2f}" for bits, n in cases)] for name, mode, entry in _entries()
    ]
    _print(["board", "mode", *(f"{bits}b n={n}" for bits, n in cases)], times)


def show_fits() -> None:
    """Fit the shipped measurements again and print the result; burst: measured over predicted right after idling."""
    # Only this command needs scipy.
    from wdmoe_env.hardware.fit import burst_slowdown, fit_boards

    measurements = read_measurements()
    rows = []
    for (board, mode), fit in fit_boards(measurements).items():
        own = [row for row in measurements if (row.board, row.power_mode) == (board, mode)]
        figures = _figures(fit.peak_flops, fit.memory_bandwidth, fit.launch_s, fit.median_error)
        burst = burst_slowdown(fit, own)
        rows.append([board, mode, *figures, f"{burst:.1f}x" if isfinite(burst) else "-", str(len(own))])
    _print(["board", "mode", "TFLOP/s", "GB/s", "launch us", "error", "burst", "rows"], rows)


def import_tables(directory: Path, out: Path) -> None:
    """Write the measurement table from the original files, and print what was left out."""
    from wdmoe_env.hardware.importers import import_directory

    imported = import_directory(directory)
    write_measurements(out, imported.rows)
    print(f"{out}: {len(imported.rows)} rows")
    for reason, count in imported.dropped.items():
        print(f"dropped {count}: {reason}")
    for note in imported.notes:
        print(f"note: {note}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and run one command."""
    parser = argparse.ArgumentParser(prog="python -m wdmoe_env.hardware", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("boards", help="print the board catalogue with fit errors and expert times")
    commands.add_parser("fit", help="fit the shipped measurements again and print the result")
    importer = commands.add_parser("import", help="rebuild the measurement table from the original benchmark files")
    importer.add_argument("directory", type=Path, help="folder with calibrations.csv and the GEMM tables")
    importer.add_argument("--out", type=Path, default=TABLE, help="table to write (default: the shipped one)")
    options = parser.parse_args(arguments)
    if options.command == "boards":
        show_boards()
    elif options.command == "fit":
        show_fits()
    else:
        import_tables(options.directory, options.out)


def _entries() -> list[tuple[str, str, Roofline]]:
    return [(name, mode, entry) for name in board_names() for mode, entry in load_board(name).power_modes.items()]


def _figures(peak: float, bandwidth: float, launch: float, error: float | None) -> list[str]:
    stated = "-" if error is None else f"{error:.1%}"
    return [f"{peak / 1e12:.2f}", f"{bandwidth / 1e9:.1f}", f"{launch * 1e6:.0f}", stated]


def _print(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        # Names to the left, numbers to the right.
        cells = [f"{cell:{'<' if i < 2 else '>'}{widths[i]}}" for i, cell in enumerate(row)]
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    main()
