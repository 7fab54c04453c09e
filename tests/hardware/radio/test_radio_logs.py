"""Radio logs in other people's folders and archives: everything is read, counted, or refused with a name."""

import gzip
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from wdmoe_env import load_scenario
from wdmoe_env.hardware.__main__ import main
from wdmoe_env.hardware.radio import importers, logs
from wdmoe_env.hardware.radio.importers import import_logs, import_text
from wdmoe_env.hardware.radio.logs import RefusedError
from wdmoe_env.hardware.radio.traces import read_radio_trace

HEADER = "Timestamp,NetworkMode,RSRP,SNR,DL_bitrate,State"
PAIRS = "\n".join(f"{second} {30 + second % 7}" for second in range(70))


def drive(seconds, rate="40000"):
    """A UCC log."""
    rows = (f"2021.03.04_11.{s // 60:02d}.{s % 60:02d},5G,-90,11.0,{rate},D" for s in seconds)
    return "\n".join([HEADER, *rows])


@pytest.mark.parametrize("cells", [1, 2, 4])
@pytest.mark.parametrize("place", [20, -1])
def test_a_row_that_was_cut_is_left_out_and_counted(cells, place):
    rows = drive(range(80)).splitlines()
    rows[place] = ",".join(rows[place].split(",")[:cells])
    notes: Counter[str] = Counter()
    [trace] = import_text("\n".join(rows), "phone.csv", "snr_db", notes)
    assert len(trace.seconds) == 79
    assert notes["rows left out: cut short, or of more cells than the header"] == 1


@pytest.mark.parametrize("kind", ["snr_db", "rsrp_dbm", "throughput_bit_s"])
def test_a_log_that_is_only_a_header_takes_no_other_with_it(tmp_path, kind):
    (tmp_path / "cut.csv").write_text(HEADER + "\n2021.03.04_11.00.00,5G\n")
    (tmp_path / "rsrp.csv").write_text(drive(range(80)).replace("-90", "weak"))
    (tmp_path / "whole.csv").write_text(drive(range(80)))
    imported = import_logs(tmp_path, kind)
    # RSRP is of no use as text, and of no matter to the other kinds.
    assert (imported.logs, imported.accepted) == (3, 1 if kind == "rsrp_dbm" else 2)
    assert str(tmp_path / "cut.csv") in imported.first.values()


def test_files_are_known_by_content_and_none_is_passed_over(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "log.txt").write_text(PAIRS)
    for name in ("a.CSV", "b.pps", "walk_bus_1", "deep/c.pitree-trace"):
        (tmp_path / name).write_text(PAIRS)
    (tmp_path / "d.dat").write_bytes(gzip.compress(PAIRS.encode()))
    (tmp_path / "README").write_text("Logs of a walk, taken with a phone.\n")
    (tmp_path / "cover.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with zipfile.ZipFile(tmp_path / "more", "w") as archive:
        archive.writestr("inner/e", PAIRS)
    imported = import_logs(tmp_path)
    assert (imported.logs, imported.accepted) == (8, 6)
    assert [len(trace.seconds) for trace in imported.traces] == [70] * 6
    root = tmp_path.name
    assert [trace.source for trace in imported.traces] == [
        f"{root}/{name}" for name in ("a.CSV", "b.pps", "d.dat", "deep/c.pitree-trace", "more/inner/e", "walk_bus_1")
    ]
    assert sum("unknown format" in reason for reason in imported.refused) == 1
    assert "no text" in imported.refused


def test_a_path_without_a_log_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere does not exist"):
        import_logs(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no file"):
        import_logs(tmp_path)


def archive_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_damaged_members_of_a_zip_are_refused_one_by_one(tmp_path):
    path = archive_of(tmp_path / "logs.zip", {"bad.txt": PAIRS, "odd.txt": PAIRS, "locked.txt": PAIRS, "good": PAIRS})
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        places = {info.filename: info.header_offset for info in archive.infolist()}
    for i in range(40, 60):
        data[places["bad.txt"] + i] ^= 0xFF
    # In the central directory, where the reader looks: an unknown compression, and the flag of encryption.
    for name, offset, value in ((b"odd.txt", 10, 99), (b"locked.txt", 8, 1)):
        data[data.rindex(b"PK\1\2", 0, data.rindex(name)) + offset] = value
    data[places["locked.txt"] + 6] |= 1
    path.write_bytes(data)
    imported = import_logs(path)
    assert (imported.logs, imported.accepted) == (4, 1)
    assert imported.refused == {"damaged in the zip file": 2, "encrypted in the zip file": 1}


@pytest.mark.parametrize("cut", [4, 30, 200])
def test_a_zip_that_was_cut_is_refused(tmp_path, cut):
    path = archive_of(tmp_path / "logs.zip", {"a.txt": PAIRS, "b.txt": PAIRS})
    path.write_bytes(path.read_bytes()[:cut])
    assert dict(import_logs(path).refused) == {"no whole zip file": 1}


def test_what_unpacks_to_more_than_a_log_may_hold_is_refused_before_it_fills_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 1000)
    archive_of(tmp_path / "logs.zip", {"bomb.txt": "0 1\n" * 10**6, "good.txt": "0 10\n1 12\n"})
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"0 1\n" * 10**6))
    (tmp_path / "large.txt").write_text("0 1\n" * 1000)
    imported = import_logs(tmp_path)
    assert (imported.accepted, list(imported.refused.values())) == (1, [3])
    monkeypatch.setattr(logs, "MAX_UNPACKED_BYTES", 8)
    with pytest.raises(ValueError, match="unpacks to more than 8 bytes"):
        import_logs(tmp_path / "logs.zip")


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_LOGS", 2)
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text(PAIRS)
    with pytest.raises(ValueError, match="holds 3 files, expected at most 2"):
        import_logs(tmp_path)
    archive = archive_of(tmp_path / "l.zip", {f"{i}": PAIRS for i in range(3)})
    with pytest.raises(ValueError, match="holds 3 files, expected at most 2"):
        import_logs(archive)


def test_a_second_that_comes_twice_is_averaged_in_every_format():
    notes: Counter[str] = Counter()
    [trace] = import_text("0 10\n1 20\n1 40\n2 50\n", "tram", "snr_db", notes)
    np.testing.assert_allclose(trace.values, [1e7, 3e7, 5e7])
    assert notes["samples of the same second, averaged"] == 1


def test_a_clock_that_is_set_back_begins_a_new_stretch_in_every_format():
    notes: Counter[str] = Counter()
    first, second = import_text("10 10\n11 20\n12 30\n11 40\n12 50\n", "tram", "snr_db", notes)
    np.testing.assert_allclose(first.values, [1e7, 2e7, 3e7])
    np.testing.assert_allclose(second.values, [4e7, 5e7])
    assert notes["the clock runs backwards: a new stretch begins"] == 1


def test_refusals_of_like_logs_are_counted_together_and_name_the_first(tmp_path, capsys):
    for i in range(4):
        (tmp_path / f"{i}.txt").write_text("".join(f"{s} {99999 + i + s}\n" for s in range(9)))
    with pytest.raises(SystemExit) as stop:
        main(["import-radio", str(tmp_path)])
    shown = capsys.readouterr().out.splitlines()
    assert stop.value.code == 2
    assert shown[0] == "4 logs: 0 imported as 0 traces"
    assert len(shown) == 2
    assert shown[1].startswith("refused 4: throughput_bit_s out of range, expected 0 to 2e+10")
    assert f"(first: {tmp_path / '0.txt'}: throughput_bit_s of 1.00007e+11" in shown[1]


def test_what_was_imported_is_replayed_also_where_a_stretch_is_slow(tmp_path):
    slow = [f"{s} 1.4" for s in range(70)] + [f"{s} 0.6" for s in range(100, 170)]
    (tmp_path / "bus.txt").write_text("\n".join(slow))
    (tmp_path / "walk.csv").write_text(drive(range(70), rate="1200") + drive(range(100, 170), rate="90")[len(HEADER) :])
    for name in ("bus.txt", "walk.csv"):
        out = tmp_path / f"{name}-traces"
        main(["import-radio", str(tmp_path / name), "--kind", "throughput_bit_s", "--out", str(out)])
        files = sorted(out.iterdir())
        assert [read_radio_trace(file).part_of for file in files] == [name, name]
        trace = {"files": [str(file) for file in files]}
        channel = {"shadowing": {"std_db": 0.0}, "fading": {"kind": "none"}, "trace": trace}
        assert load_scenario("paper", name="bus", channel=channel).channel.trace is not None


def test_an_import_never_mixes_with_another(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(PAIRS)
    out = tmp_path / "out"
    command = ["import-radio", str(tmp_path / "a.txt"), "--out", str(out)]
    main(command)
    assert read_radio_trace(out / "000.csv").source == "a.txt"
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2
    assert f"--out {out} holds something already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "mbit_s", "seconds"),
    [
        ("1\n", 12.0, 0.2),
        ("0\n1\n", 24.0, 0.2),
        ("3\n3\n3\n", 12.0, 0.198),
        ("".join(f"{t}\n" for t in range(1, 151)), 12.0, 0.15),
        ("".join(f"{t}\n" for t in range(2, 1001, 2)), 6.0, 1.0),
    ],
)
def test_a_steady_mahimahi_trace_is_a_steady_link(text, mbit_s, seconds):
    [trace] = import_text(text, "link", "snr_db")
    np.testing.assert_allclose(trace.values, mbit_s * 1e6)
    assert trace.duration_s == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["0\n0\n", "5\n10000000000\n"])
def test_a_mahimahi_trace_of_no_time_or_of_months_is_refused(text):
    with pytest.raises(RefusedError, match=r"expected a last time from 1 to 1e.08 ms"):
        import_text(text, "link", "snr_db")


def test_the_longest_mahimahi_trace_that_is_taken_keeps_its_packets():
    text = "".join(f"{t}\n" for t in np.linspace(1, importers.MAX_MAHIMAHI_MS, 10**5).astype(int))
    with pytest.raises(ValueError, match="at most 120000 bit/s, expected a peak"):
        import_text(text, "link", "snr_db")
    [trace] = import_text("100000\n" * 10**5 + "100000000\n", "link", "snr_db")
    assert len(trace.seconds) == 10**6
    assert trace.values.sum() * 0.1 == pytest.approx((10**5 + 1) * 12000)


def test_files_that_cannot_be_read_are_refused_one_by_one(tmp_path, monkeypatch):
    (tmp_path / "cut.gz").write_bytes(gzip.compress(PAIRS.encode())[:-20])
    (tmp_path / "good.txt").write_text(PAIRS)
    (tmp_path / "shut.txt").write_text(PAIRS)
    opened = Path.open

    def shut(self, *rest, **options):
        if self.name == "shut.txt":
            raise PermissionError(13, "Permission denied")
        return opened(self, *rest, **options)

    monkeypatch.setattr(Path, "open", shut)
    imported = import_logs(tmp_path)
    assert imported.accepted == 1
    assert dict(imported.refused) == {"damaged gzip": 1, "cannot be read: Permission denied": 1}


def test_text_in_a_zip_that_is_none_is_refused(tmp_path):
    archive_of(tmp_path / "l.zip", {"a.bin": b"\x80\x04\x95", "b.txt": PAIRS})
    assert dict(import_logs(tmp_path / "l.zip").refused) == {"no text": 1}
