"""The steps of ``steps.py`` in compiled code (``fused.cpp``), which takes a third less time but needs a C++ compiler.

It is compiled at the first use, in about ten seconds. The library is kept in a folder that only the user can change,
in torch's folder for extensions: ``TORCH_EXTENSIONS_DIR``, or ``torch_extensions`` in the user's cache.
"""

import functools
import hashlib
import logging
import os
import platform
import shlex
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from models.networks.steps import NetworkKernels, StepKernels

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_suffix(".cpp")
VECTOR_FLAGS = {
    "AVX512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-DCPU_CAPABILITY_AVX512"],
    "AVX2": ["-mavx2", "-mfma", "-mf16c", "-DCPU_CAPABILITY_AVX2"],
}
"""Not -march=native, because the library may be on a disk that other machines share."""


def supports(device_type: str, dtype: torch.dtype) -> bool:
    """Whether there are compiled steps for this device and dtype; if not, the plain steps are used."""
    return device_type == "cpu" and dtype in (torch.float32, torch.float64)


@functools.cache
def load() -> NetworkKernels:
    """The compiled steps.

    Raises:
        ValueError: there is no compiler, it fails, its library cannot be kept or loaded, or others can change it.
    """
    command = [*(shlex.split(os.environ.get("CXX", "")) or ["c++"]), *flags()]
    key = hashlib.sha256("\0".join([SOURCE.read_text(), torch.__version__, platform.machine(), *command]).encode())
    folder = cache_dir()
    library = folder / f"palimpsest_{key.hexdigest()[:16]}.so"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_owner(folder)
        if not is_whole(library):
            log.info("Compiling the steps of the networks; the next start finds them in %s.", folder)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                unfinished = Path(scratch) / library.name
                compile_to(unfinished, command)
                checksum_of(library).write_text(digest(unfinished))
                unfinished.replace(library)  # atomic: the library is never seen half written
    except OSError as error:
        raise ValueError(
            f"fused is true, but the compiled steps cannot be kept in {folder}: {error}; "
            "set TORCH_EXTENSIONS_DIR to another folder, or fused to false"
        ) from None
    try:
        torch.ops.load_library(library)
    except OSError as error:
        raise ValueError(
            f"fused is true, but torch {torch.__version__} cannot load the compiled steps: {error.__cause__ or error}; "
            "try another compiler (CXX) or another folder (TORCH_EXTENSIONS_DIR), or set fused to false"
        ) from None
    ops = torch.ops.palimpsest
    rnn, lstm = StepKernels(ops.rnn_forward, ops.rnn_backward), StepKernels(ops.lstm_forward, ops.lstm_backward)
    return NetworkKernels(rnn, lstm)


def flags() -> list[str]:
    torch_dir = Path(torch.__file__).parent
    parallel = [] if sys.platform == "darwin" else ["-fopenmp"]  # Apple's compiler has none
    vector = VECTOR_FLAGS.get(torch.backends.cpu.get_cpu_capability(), [])
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"  # part of symbol names
    return [
        *("-std=c++20", "-O3", "-fPIC", "-shared", abi, *parallel, *vector),
        *(f"-I{torch_dir / 'include'}", f"-I{torch_dir / 'include/torch/csrc/api/include'}"),
        *(str(SOURCE), f"-L{torch_dir / 'lib'}", "-ltorch_cpu", "-lc10"),
    ]


def cache_dir() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # the XDG base directory specification ignores relative ones
        cache = Path.home() / ".cache"
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cache / "torch_extensions") / "palimpsest"


def check_owner(folder: Path) -> None:
    """Raise a ValueError if another user could change what lies in the folder: a library that is loaded is run."""
    if not hasattr(os, "getuid"):  # Windows
        return
    status = folder.stat()
    if status.st_uid not in (0, os.getuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ValueError(
            f"fused is true, but other users can change {folder}, and with it the code that is run; set "
            "TORCH_EXTENSIONS_DIR to a folder of your own, or fused to false"
        )


def compile_to(library: Path, command: list[str]) -> None:
    way_out = "install g++ or clang++ (or set CXX to another compiler), or set fused to false"
    name = command[0]
    try:
        done = subprocess.run(
            [*command, "-o", str(library)], check=False, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise ValueError(f"fused is true, but {name} cannot be run: {error}; {way_out}") from None
    if done.returncode != 0 or not library.exists():
        reason = next((line for line in done.stderr.splitlines() if "error" in line), f"status {done.returncode}")
        raise ValueError(f"fused is true, but {name} fails: {reason}; {way_out}")


def checksum_of(library: Path) -> Path:
    return library.with_suffix(".sha256")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_whole(library: Path) -> bool:
    """Whether the library exists and is undamaged; loading a damaged library kills the process."""
    checksum = checksum_of(library)
    return library.is_file() and checksum.is_file() and checksum.read_bytes() == digest(library).encode()
