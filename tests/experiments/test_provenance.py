"""A record says by which command, when and where a file was made."""

import json
import platform
import sys
from pathlib import Path

import pytest
import torch

from experiments import provenance
from experiments.provenance import in_words, processor, read_records, record


def test_a_record_has_the_command_the_day_and_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3.11", "cli.py", "hops", "--graph", "my graph"])
    record(tmp_path, ["b.csv"])
    record(tmp_path, ["a.csv", "c.csv"], [{"command": "one"}], threads=7)
    entries = json.loads((tmp_path / "about.json").read_text(encoding="utf-8"))
    assert list(entries) == ["a.csv", "b.csv", "c.csv"] and entries["a.csv"] == entries["c.csv"]
    assert entries["b.csv"]["command"] == "python cli.py hops --graph 'my graph'"
    assert entries["b.csv"]["threads"] == torch.get_num_threads() and entries["a.csv"]["threads"] == 7
    assert entries["b.csv"]["torch"] == torch.__version__.split("+")[0]
    assert entries["b.csv"]["python"] == platform.python_version()
    assert entries["a.csv"]["made_from"] == [{"command": "one"}] and "made_from" not in entries["b.csv"]


def test_a_damaged_record_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "about.json").write_text('{"a.csv": {"comm')
    assert read_records(tmp_path) == read_records(tmp_path / "nowhere") == {}
    record(tmp_path, ["b.csv"])
    assert set(read_records(tmp_path)) == {"b.csv"}


def test_the_processor_is_named_with_its_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = "processor\t: 0\nmodel name\t: One: 2 GHz\nflags\t\t: fpu avx2 avx512f\n\nprocessor\t: 1\nmodel name\t: Two\nflags\t\t: fpu\n"
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(provenance, "Path", lambda path: tmp_path / Path(path).name)
    assert processor() == "One: 2 GHz, AVX-512"
    (tmp_path / "cpuinfo").write_text(cpuinfo.replace(" avx512f", ""))
    assert processor() == "One: 2 GHz, AVX2"
    (tmp_path / "cpuinfo").unlink()
    assert processor() in (platform.processor(), platform.machine())


def test_a_record_in_words() -> None:
    entry = {"date": "2026-11-05", "processor": "One, AVX2", "threads": 1, "torch": "2.13.0", "python": "3.11.7"}
    assert in_words(entry) == "5 November 2026, One, AVX2, 1 thread, torch 2.13.0"
    assert in_words(entry | {"threads": 2, "gpu": "H"}) == "5 November 2026, H, 2 threads, torch 2.13.0"
