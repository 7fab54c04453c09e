"""Radio traces: checks, resampling, our own CSV, and the importers."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from wdmoe_env.hardware.__main__ import main
from wdmoe_env.hardware.radio.importers import import_logs, import_text
from wdmoe_env.hardware.radio.traces import RadioTrace, read_radio_trace, write_radio_trace

UCC = Path(__file__).parents[4] / "shared" / "data" / "wireless" / "ucc_5g_production_dataset.zip"
UCC_HEADER = "Timestamp,NetworkMode,RSRP,SNR,DL_bitrate,UL_bitrate,State"


def trace(values=(3.0, 5.0, 4.0), seconds=(0.0, 1.0, 2.0), kind="snr_db", **rest):
    return RadioTrace(np.array(seconds, dtype=float), np.array(values, dtype=float), kind, **rest)


def ucc(rows):
    return "\n".join([UCC_HEADER, *rows])


def ucc_row(second, mode="5G", rsrp="-95", snr="7.0", rate="50000", state="D"):
    stamp = f"2020.01.16_10.{second // 60:02d}.{second % 60:02d}"
    return f"{stamp},{mode},{rsrp},{snr},{rate},20,{state}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": (3, 300, 4)}, "snr_db of 300, expected -50 to 80 dB; is it linear"),
        ({"values": (-90, 95, -91), "kind": "rsrp_dbm"}, "rsrp_dbm of 95, .* is the sign missing"),
        ({"values": (5e4, 3e5, 2e5), "kind": "throughput_bit_s"}, "is it kbit/s or Mbit/s"),
        ({"values": (5e6, 3e11, 2e5), "kind": "throughput_bit_s"}, "was kbit/s or bit/s read as Mbit/s"),
        ({"values": (-1, 3e7, 2e5), "kind": "throughput_bit_s"}, "throughput_bit_s of -1"),
        ({"seconds": (0, 2, 1)}, "time does not increase at sample 2: 1 s after 2 s"),
        ({"seconds": (0, 1, 1)}, "time does not increase"),
        ({"seconds": (0, 1000, 2000)}, "are these milliseconds"),
        ({"values": (3, np.nan, 4)}, "not a finite number"),
        ({"seconds": (0, 1)}, "2 times and 3 values"),
        ({"kind": "cqi"}, "kind='cqi'"),
        ({"uplink": np.array([3.0, 99.0, 1.0])}, "snr_db of 99"),
    ],
)
def test_implausible_trace_is_refused_with_a_hint(changes, message):
    with pytest.raises(ValueError, match=message):
        trace(**changes)


def test_all_faults_of_a_trace_are_named_at_once():
    with pytest.raises(ValueError, match=r"time does not increase.*snr_db of 300"):
        trace(values=(3, 300, 4), seconds=(0, 2, 1))


def test_resampling_holds_or_interpolates():
    source = trace(values=(2.0, 4.0, 8.0), seconds=(10.0, 11.0, 13.0), uplink=np.array([1.0, 2.0, 3.0]))
    held, line = source.resample(0.5), source.resample(0.5, how="linear")
    np.testing.assert_array_equal(held.seconds, 0.5 * np.arange(9))
    np.testing.assert_array_equal(held.values, [2, 2, 4, 4, 4, 4, 8, 8, 8])
    np.testing.assert_array_equal(held.uplink, [1, 1, 2, 2, 2, 2, 3, 3, 3])
    np.testing.assert_allclose(line.values, [2, 3, 4, 5, 6, 7, 8, 8, 8])


def test_gap_is_refused_when_resampling_and_split_apart():
    source = trace(values=range(6), seconds=(0, 1, 2, 30, 31, 90))
    with pytest.raises(ValueError, match="a gap of 59 s is above max_gap_s=10; split"):
        source.resample(1.0)
    first, second = source.split(10.0)
    np.testing.assert_array_equal(first.values, [0, 1, 2])
    np.testing.assert_array_equal(second.seconds, [0, 1])


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan")])
def test_step_that_is_not_positive_is_refused(step):
    with pytest.raises(ValueError, match="expected seconds > 0"):
        trace().resample(step)


def test_lookup_begins_anew_after_the_duration():
    source = trace()
    assert source.duration_s == 3.0
    np.testing.assert_array_equal(source.at([0.0, 0.9, 1.0, 2.9, 3.0, 7.5]), [3, 3, 5, 4, 3, 5])


def test_gain_explains_the_values():
    link = {"bandwidth_hz": 1e8, "power_w": 10.0, "noise_w_per_hz": 4e-21}
    snr = trace().gain(**link) * link["power_w"] / (link["noise_w_per_hz"] * link["bandwidth_hz"])
    np.testing.assert_allclose(10 * np.log10(snr), [3, 5, 4])
    rate = trace(values=(1e8, 5e8, 0), kind="throughput_bit_s")
    snr = rate.gain(**link) * link["power_w"] / (link["noise_w_per_hz"] * link["bandwidth_hz"])
    np.testing.assert_allclose(1e8 * np.log2(1 + snr), [1e8, 5e8, 0])
    rsrp = trace(values=(-90, -95, -100), kind="rsrp_dbm")
    np.testing.assert_allclose(10 * np.log10(rsrp.gain(**link, reference_dbm=15.0)), [-105, -110, -115])
    with pytest.raises(ValueError, match="reference_dbm"):
        rsrp.gain(**link)


@pytest.mark.parametrize("uplink", [None, np.array([1.0, 2.0, 3.0])])
def test_written_trace_reads_back(tmp_path, uplink):
    write_radio_trace(tmp_path / "t.csv", trace(uplink=uplink))
    back = read_radio_trace(tmp_path / "t.csv")
    assert back.kind == "snr_db"
    np.testing.assert_array_equal(back.values, trace().values)
    np.testing.assert_array_equal(back.seconds, trace().seconds)
    assert (back.uplink is None) == (uplink is None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seconds,snr_db\n0,3\n1,x\n2,nan\n", r"row 3, column snr_db: value 'x'(.|\n)*row 4, column snr_db"),
        ("seconds,snr\n0,3\n", "column 'snr' is unknown"),
        ("seconds,snr_db,rsrp_dbm\n0,3,-90\n", "expected seconds, one of"),
        ("seconds,snr_db\n0,3\n", "1 rows, expected at least 2"),
        ("snr_db\n3\n", "column seconds is missing"),
    ],
)
def test_broken_trace_file_is_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_radio_trace(tmp_path / "t.csv")


def test_ucc_log_copes_with_its_known_faults():
    rows = [ucc_row(s) for s in range(100)]
    rows[5] = ucc_row(5, mode="HSPA+", snr="-")
    rows[6] = ucc_row(6, snr="-")
    rows[7] = ucc_row(7, rsrp="-200", snr="-30")
    rows.insert(50, ucc_row(49, snr="9.0"))
    [imported] = import_text(ucc(rows), "log", "snr_db")
    assert len(imported.seconds) == 97
    assert imported.values[imported.seconds == 49.0] == 8.0
    assert set(imported.values) == {7.0, 8.0}


def test_ucc_gap_and_backward_clock_begin_a_new_stretch():
    rows = [ucc_row(s) for s in [*range(100), *range(150, 250), *range(240, 340)]]
    assert [len(part.seconds) for part in import_text(ucc(rows), "log", "rsrp_dbm")] == [100, 100, 100]


@pytest.mark.parametrize(
    ("rows", "kind", "name", "message"),
    [
        ([ucc_row(s, mode="HSPA+") for s in range(99)], "snr_db", "log", "no row in 5G or LTE"),
        ([ucc_row(s) for s in range(40)], "snr_db", "log", "no stretch of 60 s"),
        ([ucc_row(s) for s in range(99)], "throughput_bit_s", "Netflix/log", "limited by the application"),
        ([ucc_row(s, state="I") for s in range(99)], "throughput_bit_s", "log", "no row in 5G or LTE"),
        ([ucc_row(s, rate="x") for s in range(99)], "throughput_bit_s", "log", "cannot be read"),
    ],
)
def test_unusable_ucc_log_is_refused_with_a_reason(rows, kind, name, message):
    with pytest.raises(ValueError, match=message):
        import_text(ucc(rows), name, kind)


def test_ucc_throughput_is_in_kbit():
    [imported] = import_text(ucc([ucc_row(s) for s in range(99)]), "log", "throughput_bit_s")
    assert set(imported.values) == {5e7}


def test_pairs_of_seconds_and_mbit_are_read():
    [imported] = import_text("# a comment\n0 10\n0.5,20\n1.0\t30\n", "log", "snr_db")
    assert imported.kind == "throughput_bit_s"
    np.testing.assert_array_equal(imported.values, [1e7, 2e7, 3e7])


def test_mahimahi_counts_packets_and_keeps_all_of_them():
    lines = ["0", "0", "50", "99", "100", "250", "300"]
    [imported] = import_text("\n".join(_busy(lines)), "log", "snr_db")
    assert imported.duration_s == pytest.approx(0.3)
    assert imported.values.sum() * 0.1 == 100 * len(lines) * 12000
    np.testing.assert_allclose(imported.values, 100 * 12000 / 0.1 * np.array([3, 0, 4]))


def _busy(lines):
    """Every delivery a hundred times, so that the link is fast enough to be plausible."""
    return [line for line in lines for _ in range(100)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5\n3\n", "decrease"),
        ("0.5\n1.5\n", "are these seconds"),
        ("1\nx\n", "expected 1 .*line 2: 'x'"),
        ("0 10\n1\n", "expected 2 .*line 2: '1'"),
        ("0 10\n1000 20\n2000 30\n", "milliseconds"),
        ("0 10000000\n1 20000000\n", "read as Mbit/s"),
        ("0 10 3 4\n", "unknown format"),
        ("\n", "empty"),
    ],
)
def test_broken_plain_log_is_refused_with_a_reason(text, message):
    with pytest.raises(ValueError, match=message):
        import_text(text, "log", "snr_db")


def test_folder_and_zip_count_each_reason(tmp_path, capsys):
    logs = {"a.csv": ucc([ucc_row(s) for s in range(99)]), "b.csv": ucc([ucc_row(1)]), "c.csv": ucc([ucc_row(1)])}
    for name, text in logs.items():
        (tmp_path / name).write_text(text)
    packed = tmp_path.parent / f"{tmp_path.name}.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in logs.items():
            archive.writestr(name, text)
            archive.writestr(f"__MACOSX/._{name}", b"\0\5\x16")
    for path in (tmp_path, packed):
        imported = import_logs(path)
        assert (imported.logs, imported.accepted, list(imported.refused.values())) == (3, 1, [2])
    main(["import-radio", str(packed), "--out", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    assert "3 logs: 1 imported as 1 traces" in shown
    assert f"refused 2: no stretch of 60 s without a gap over 10 s (first: {packed}/b.csv)" in shown
    assert len(read_radio_trace(next((tmp_path / "out").iterdir())).values) == 99


def test_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="kind='cqi'"):
        import_logs(tmp_path, "cqi")


@pytest.mark.slow
@pytest.mark.skipif(not UCC.exists(), reason="the UCC 5G logs are not part of the project")
@pytest.mark.parametrize(
    ("kind", "accepted", "refused"),
    [
        ("snr_db", 82, {"no row in 5G or LTE with SNR": 1}),
        ("rsrp_dbm", 82, {"no row in 5G or LTE with RSRP": 1}),
        (
            "throughput_bit_s",
            20,
            {
                "throughput is limited by the application (Netflix, Amazon Prime), not by the link": 62,
                "no row in 5G or LTE with DL_bitrate": 1,
            },
        ),
    ],
)
def test_all_ucc_logs_import_or_are_refused_with_a_reason(kind, accepted, refused):
    imported = import_logs(UCC, kind)
    assert (imported.logs, imported.accepted, dict(imported.refused)) == (83, accepted, refused)
    assert all(len(trace.resample(0.1).values) >= 600 for trace in imported.traces)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_source_of_a_trace_is_kept(tmp_path, name):
    write_radio_trace(tmp_path / name, trace(source="walked through the lab, made with a phone"))
    assert read_radio_trace(tmp_path / name).source == "walked through the lab, made with a phone"


def test_gain_of_the_uplink_needs_one():
    assert trace(uplink=np.array([10.0, 0.0, 1.0])).gain(1.0, 1.0, 1.0, uplink=True)[0] == pytest.approx(10.0)
    with pytest.raises(ValueError, match="trace has no uplink"):
        trace().gain(1.0, 1.0, 1.0, uplink=True)
