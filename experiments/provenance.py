"""Where results come from: ``about.json`` beside them has the command, the date and the machine of each file."""

import datetime
import json
import platform
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ABOUT = "about.json"
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bfloat16", "amx_bf16": "AMX"}
"""Flags of a processor on which speed depends, and how they are written."""

Record = dict[str, Any]


def record(folder: Path, names: Iterable[str], made_from: Iterable[Record] = (), **facts: Any) -> None:
    """Note in ``about.json`` by which command, when and on which machine files of a folder were made.

    Args:
        folder: of the files; the entries of its other files stay.
        names: of the files.
        made_from: the records of the results from which the files were made.
        facts: replace those of this process, for results that other processes computed.
    """
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    this = {"command": command(), "date": today, **machine(), **facts}
    if sources := list(made_from):
        this["made_from"] = sources
    entries = read_records(folder) | dict.fromkeys(names, this)
    text = json.dumps(entries, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / ABOUT).write_text(text, encoding="utf-8")


def read_records(folder: Path) -> dict[str, Record]:
    """The record of each file of a folder; empty if there is no ``about.json`` or it is damaged."""
    try:
        entries = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def command() -> str:
    """The command line of this process."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def machine() -> Record:
    """Processor, number of threads and versions, on which times depend."""
    import torch  # here, because a figure alone does not need it

    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    versions = {"torch": torch.__version__.partition("+")[0], "python": platform.python_version()}
    return {"processor": processor(), "threads": torch.get_num_threads()} | gpu | versions


def processor() -> str:
    """The name of the processor, with those of its instruction sets on which the speed of training depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    fields = [re.split(r"\s*:\s*", line, maxsplit=1) for line in lines if ":" in line]
    of_first = dict(reversed(fields))
    flags = of_first.get("flags", of_first.get("Features", "")).split()
    instructions = [name for flag, name in INSTRUCTIONS.items() if flag in flags]
    if "AVX-512" in instructions:
        instructions.remove("AVX2")
    return ", ".join([of_first.get("model name", platform.machine()), *instructions])


def in_words(entry: Record) -> str:
    """The date and the machine of a record."""
    date = datetime.date.fromisoformat(entry["date"])
    number = entry.get("threads")
    threads = [f"{number} thread{'s' if number != 1 else ''}"] if number else []
    machine = str(entry.get("gpu", entry["processor"]))
    return ", ".join([f"{date.day} {date:%B %Y}", machine, *threads, f"torch {entry['torch']}"])
