"""The importers: known faults of the originals are dropped and reported."""

from pathlib import Path

import pytest

from wdmoe_env.hardware.__main__ import main
from wdmoe_env.hardware.latency.importers import (
    import_calibrations,
    import_directory,
    import_event_shapes,
    import_gemm_sweep,
)
from wdmoe_env.hardware.latency.table import TABLE, read_measurements

ORIGINALS = Path(__file__).parents[4] / "shared" / "data" / "jetson"
needs_originals = pytest.mark.skipif(
    not ORIGINALS.exists(), reason="the original benchmark files are not part of the project"
)
CALIBRATIONS = """\
board,power_mode,sm_clock_mhz,date,op,shape,precision,mean_ms,std_ms,min_ms,max_ms,trials,gflops,gbps
jetson_orin_agx_gpu,MODE_30W,306,2026-01-29,blas3_gemm,512x512,fp16,0.5,0.1,0.4,0.6,10,0,0
jetson_orin_agx_gpu,MODE_30W,306,2026-01-29,blas3_gemm,1024x1024,fp16,1.0,0.6,0.4,1.6,10,0,0
jetson_orin_agx_gpu,MODE_30W,306,2026-01-29,blas3_gemm,1024x1024,bf16,1.0,0.1,0.4,1.6,10,0,0
jetson_orin_agx_gpu,MODE_30W,612,2026-01-29,blas2_gemv,1024x1024,fp16,0.3,0.1,0.2,0.4,10,0,0
jetson_orin_agx_gpu,MODE_30W,612,2026-01-29,stream_add,33554432,fp32,3.2,0.1,3.1,3.3,10,0,0
jetson_orin_agx_gpu,MODE_30W,612,2026-01-29,stream_add,2097152,fp32,0.4,0.1,0.3,0.5,10,0,0
jetson_orin_agx_gpu,MODE_30W,612,2026-01-29,blas1_dot,1024,fp16,0.4,0.1,0.3,0.5,10,0,0
"""


def test_calibrations_keep_what_can_be_trusted(tmp_path):
    path = tmp_path / "calibrations.csv"
    path.write_text(CALIBRATIONS, encoding="utf-8")
    imported = import_calibrations(path)
    assert [row.operation for row in imported.rows] == ["gemm_burst", "gemv", "stream_add"]
    assert {(row.board, row.power_mode) for row in imported.rows} == {("agx-orin-64gb", "30W")}
    assert imported.rows[1].shape == ("gemv", 1, 1024, 1024)
    assert imported.rows[2].bytes == 3 * 4 * 33554432
    assert imported.rows[0].latency_s == 5e-4


def test_calibrations_report_what_was_dropped(tmp_path):
    path = tmp_path / "calibrations.csv"
    path.write_text(CALIBRATIONS, encoding="utf-8")
    imported = import_calibrations(path)
    assert imported.dropped == {
        "standard deviation over half of the mean": 1,
        "precision other than the one fitted": 1,
        "stream smaller than an expert's weights": 1,
        "board or operation that the fit does not use": 1,
    }
    assert "agx-orin-64gb 30W: 1 rows carry the idle clock, 306 MHz" in imported.notes
    assert any("no usable fp16 GEMM of size 32, 64, 128, 256, 1024, 2048" in note for note in imported.notes)


def test_event_timed_warm_up_rows_are_dropped(tmp_path):
    path = tmp_path / "linear.csv"
    shapes = {"1x128x128": 0.000167, "1x128x256": 0.000173, "2x128x128": 0.000169, "2x128x256": 0.0000179}
    lines = [f"x,linear,{shape},fp16,{t},0.001,11," for shape, t in (shapes | {"64x8192x16384": 0.005}).items()]
    path.write_text("\n".join(["hardware,op,shape,dtype,latency_s,energy_j,trial_count,notes", *lines]) + "\n")
    imported = import_event_shapes(path, "orin-nano-8gb", "15W")
    assert [row.shape for row in imported.rows] == [("gemm", 64, 8192, 16384)]
    assert (imported.rows[0].timer, imported.rows[0].energy_j) == ("event", 0.001)
    assert sorted(imported.dropped.values()) == [1, 3]
    assert "warm-up artefact" in max(imported.dropped, key=imported.dropped.__getitem__)


def test_batch_of_the_sweep_counts_as_tokens(tmp_path):
    path = tmp_path / "sweep.csv"
    header = "M,N,K,batch_size,precision,empirical_time_ms,empirical_time_std_ms"
    path.write_text(f"{header}\n128,1024,512,4,fp16,0.2,0.05\n128,1024,512,4,fp32,0.2,0.05\n")
    imported = import_gemm_sweep(path, "agx-orin-64gb", "50W")
    assert [row.shape for row in imported.rows] == [("gemm", 512, 512, 1024)]


@needs_originals
def test_shipped_table_follows_from_the_originals(tmp_path, capsys):
    main(["import", str(ORIGINALS), "--out", str(tmp_path / "table.csv")])
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == TABLE.read_text(encoding="utf-8")
    assert "dropped" in capsys.readouterr().out


@needs_originals
def test_known_faults_of_the_originals_are_reported():
    imported = import_directory(ORIGINALS)
    assert imported.rows == read_measurements()
    assert any("orin-nx-16gb 10W: no usable fp16 GEMM" in note for note in imported.notes)
    assert any("agx-orin-64gb MAXN" in note and "idle clock" in note for note in imported.notes)
    assert any("warm-up artefact" in reason for reason in imported.dropped)
