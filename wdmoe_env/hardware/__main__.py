"""Command line: ``python -m wdmoe_env.hardware COMMAND``; ``--help`` lists the commands."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from wdmoe_env.console.output import tolerate_locale
from wdmoe_env.hardware import commands
from wdmoe_env.hardware.latency.table import TABLE
from wdmoe_env.hardware.record.record import parse_tokens, plan_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and run one command; a fault in a file ends with its message and status 2."""
    tolerate_locale()
    parser = argparse.ArgumentParser(prog="python -m wdmoe_env.hardware", description="Measured hardware.")
    subparsers = parser.add_subparsers(dest="command", required=True)
    _add_tables(subparsers)
    _add_catalogue(subparsers)
    _add_record(subparsers)
    _add_radio(subparsers)
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except (ValueError, ImportError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


def _add_tables(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    checker = subparsers.add_parser("check", help="check a table of measurements; report what is suspect")
    checker.add_argument("file", type=Path)
    checker.add_argument("--drop", default="", help="kinds to drop, of warm-up,duplicates,outliers,clock; needs --out")
    checker.add_argument("--out", type=Path, help="where to write the table without the dropped rows")
    fit = subparsers.add_parser("fit", help="fit a roofline to each board and power mode, with held-out error")
    fit.add_argument("file", type=Path, nargs="?", help="table, or folder of original files (default: shipped table)")
    fit.add_argument("--plot", type=Path, metavar="PNG", help="draw measured against fitted")
    importer = subparsers.add_parser("import", help="rebuild the measurement table from the original benchmark files")
    importer.add_argument("directory", type=Path, help="folder with calibrations.csv and the GEMM tables")
    importer.add_argument("--out", type=Path, default=TABLE, help="table to write (default: the shipped one)")


def _add_catalogue(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    subparsers.add_parser("boards", help="print the board catalogue with fit errors")
    experts = subparsers.add_parser("experts", help="print the time of a Mixtral expert on each board")
    experts.add_argument("--plot", type=Path, metavar="PNG", help="draw time over tokens")
    cross = subparsers.add_parser("crosscheck", help="compare measured tokens/s with the bound of each board")
    cross.add_argument("file", type=Path, help="table with columns model, device, tok_s_conc1, tok_s_conc8")


def _add_record(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    recorder = subparsers.add_parser("record", help="measure a SwiGLU expert on this machine; needs torch")
    recorder.add_argument("--hidden", type=int, required=True, help="hidden size of the model")
    recorder.add_argument("--intermediate", type=int, required=True, help="intermediate size of an expert")
    recorder.add_argument("--tokens", default="1,2,4,8,16,32,64,128,256", help="counts of tokens, with commas")
    recorder.add_argument("--device", default="cuda", help="cuda or cpu (default: cuda)")
    recorder.add_argument("--precision", default="fp16", choices=("fp32", "fp16", "bf16"))
    recorder.add_argument("--trials", type=int, default=50, help="runs at each count (default: 50)")
    recorder.add_argument("--warm-up", type=int, default=5, help="runs before that are not written (default: 5)")
    recorder.add_argument("--threads", type=int, help="threads of torch on the CPU (default: torch decides)")
    recorder.add_argument("--board", required=True, help="name of the board, in every row")
    recorder.add_argument("--power-mode", required=True, help="name of the power mode, in every row")
    recorder.add_argument("--out", type=Path, required=True, help="new CSV to write")


def _add_radio(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    radio = subparsers.add_parser("import-radio", help="import radio logs; say why any is refused")
    radio.add_argument("path", type=Path, help="log, folder of logs, or zip of UCC 5G logs")
    radio.add_argument("--kind", default="snr_db", choices=("snr_db", "rsrp_dbm", "throughput_bit_s"))
    radio.add_argument("--out", type=Path, help="folder for the traces, in our own schema")
    made_up = subparsers.add_parser("synthesize-radio", help="write a made-up SNR log, for examples")
    made_up.add_argument("--seconds", type=float, default=300.0, help="length (default: 300)")
    made_up.add_argument("--step-s", type=float, default=0.5, help="time between samples (default: 0.5)")
    made_up.add_argument("--mean-db", type=float, default=28.0, help="mean SNR (default: 28)")
    made_up.add_argument(
        "--dropouts-per-minute",
        type=float,
        default=0.0,
        help="how often the link is lost, in the mean (default: never)",
    )
    made_up.add_argument("--dropout-s", type=float, default=3.0, help="mean length of a loss (default: 3)")
    made_up.add_argument("--seed", type=int, default=0)
    made_up.add_argument("--out", type=Path, required=True, help="CSV to write")


def _run(options: argparse.Namespace) -> None:
    match options.command:
        case "check":
            kinds = [kind for kind in options.drop.split(",") if kind]
            if kinds and options.out is None:
                raise ValueError(f"--drop {options.drop} needs --out FILE: the table itself is never changed")
            commands.check_table(options.file, kinds, options.out)
        case "fit":
            commands.show_fits(options.file, options.plot)
        case "import":
            commands.import_tables(options.directory, options.out)
        case "boards":
            commands.show_boards()
        case "experts":
            commands.show_experts(options.plot)
        case "crosscheck":
            commands.show_crosscheck(options.file)
        case "record":
            commands.record_expert(plan_of(vars(options), parse_tokens(options.tokens)), options.out)
        case "import-radio":
            commands.import_radio(options.path, options.kind, options.out)
        case "synthesize-radio":
            dropouts = options.dropouts_per_minute, options.dropout_s
            commands.synthesize_radio(
                options.seconds, options.step_s, options.mean_db, options.seed, *dropouts, options.out
            )


if __name__ == "__main__":
    main()
