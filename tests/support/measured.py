"""Measurement rows and table files that several tests build on."""

from wdmoe_env.hardware.latency.measurement import COLUMNS, Measurement

GOOD = {
    "board": "b", "power_mode": "m", "operation": "gemm", "tokens": "8", "hidden": "64", "intermediate": "64",
    "precision": "fp16", "weight_bits": "", "timer": "host", "latency_s": "0.001", "std_s": "", "min_s": "",
    "trials": "10", "trial": "", "time_s": "", "energy_j": "", "temperature_c": "", "source": "here",
}  # fmt: skip
HEADER = ",".join(COLUMNS)


def line(**changes):
    """One line of a CSV, in the order of HEADER."""
    return ",".join((GOOD | changes)[name] for name in COLUMNS)


def csv_table(path, *lines, header=HEADER):
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return path


def expert(tokens=8, latency_s=0.01, **changes):
    """A measured expert, of one run unless changed."""
    fields = {
        "board": "b", "power_mode": "m", "operation": "swiglu_expert", "tokens": tokens, "hidden": 64,
        "intermediate": 128, "precision": "fp32", "latency_s": latency_s, "source": "synthetic",
    }  # fmt: skip
    return Measurement(**(fields | changes))
