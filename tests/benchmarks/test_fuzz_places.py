"""Fuzzing finds the same wherever its cases are tried."""

import json

import pytest

from benchmarks import fuzz, fuzz_cases, harness

WORDS = ["--cases", "24", "--kinds", "decisions", "actions", "--json"]


def found(capsys, *more):
    assert harness.command(fuzz.main, fuzz.Options, None, [*WORDS, *more]) == 0
    *rows, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert last["faults"] == 0
    return [(row["kind"], row["cases"], row["outcomes"]) for row in rows]


def test_chunks_are_all_cases_once(monkeypatch):
    monkeypatch.setattr(fuzz, "CHUNK", 5)
    units = list(fuzz.chunks("decisions", fuzz.Options(cases=12, first=3, kinds=("decisions",))))
    assert [unit.arguments for unit in units] == [("decisions", 3, 5), ("decisions", 8, 5), ("decisions", 13, 2)]


def test_faults_are_counted_wherever_they_were_found():
    one, other = fuzz_cases.Row("decisions", 3, slowest_s=0.5), fuzz_cases.Row("decisions", 2, slowest_s=0.7)
    other.outcomes["wrong"] = 2
    one.add(other)
    assert (one.cases, one.outcomes["wrong"], one.slowest_s) == (5, 2, 0.7)


@pytest.mark.slow
def test_two_processes_find_what_one_does(capsys, monkeypatch):
    monkeypatch.setattr(fuzz, "CHUNK", 4)
    assert found(capsys) == found(capsys, "--jobs", "2")


def test_a_place_that_is_none_is_refused(capsys):
    assert harness.command(fuzz.main, fuzz.Options, None, [*WORDS, "--on", "nowhere"]) == 2
    assert "--on is 'nowhere', expected ray, or ray://HOST:PORT" in capsys.readouterr().err
