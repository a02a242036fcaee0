"""The steps of ``steps.py`` in compiled code (``fused.cpp``): a third less time, for those who have a C++ compiler.

Compiled at the first use (about ten seconds) and kept in torch's folder for such things, ``TORCH_EXTENSIONS_DIR`` or
the user's cache.
"""

import functools
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from models.networks.steps import Cell, Steps

SOURCE = Path(__file__).with_suffix(".cpp")
VECTOR_FLAGS = {
    "AVX512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-DCPU_CAPABILITY_AVX512"],
    "AVX2": ["-mavx2", "-mfma", "-mf16c", "-DCPU_CAPABILITY_AVX2"],
}
"""Not -march=native: the library may lie on a disk that other machines share."""


def serves(device_type: str, dtype: torch.dtype) -> bool:
    """Whether the compiled steps can do what is asked; elsewhere the plain ones do it."""
    return device_type == "cpu" and dtype in (torch.float32, torch.float64)


@functools.cache
def load() -> Steps:
    """The compiled steps.

    Raises:
        ValueError: there is no compiler, it fails, or what it made cannot be loaded.
    """
    command = [os.environ.get("CXX", "c++"), *flags()]
    key = hashlib.sha256("\0".join([SOURCE.read_text(), torch.__version__, platform.machine(), *command]).encode())
    library = cache_dir() / f"palimpsest_{key.hexdigest()[:16]}.so"
    if not library.exists():
        build(command, library)
    try:
        torch.ops.load_library(library)
    except OSError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ValueError(
            f"fused is true, but {library} cannot be loaded: {reason}; remove it to have it compiled anew, "
            "or leave fused false"
        ) from None
    ops = torch.ops.palimpsest
    return Steps(Cell(ops.rnn_forward, ops.rnn_backward), Cell(ops.lstm_forward, ops.lstm_backward))


def flags() -> list[str]:
    torch_dir = Path(torch.__file__).parent
    parallel = [] if sys.platform == "darwin" else ["-fopenmp"]  # Apple's compiler has none
    vector = VECTOR_FLAGS.get(torch.backends.cpu.get_cpu_capability(), [])
    return [
        *("-std=c++20", "-O3", "-fPIC", "-shared", *parallel, *vector),
        *(f"-I{torch_dir / 'include'}", f"-I{torch_dir / 'include/torch/csrc/api/include'}"),
        *(str(SOURCE), f"-L{torch_dir / 'lib'}", "-ltorch_cpu", "-lc10"),
    ]


def cache_dir() -> Path:
    if "TORCH_EXTENSIONS_DIR" in os.environ:
        return Path(os.environ["TORCH_EXTENSIONS_DIR"])
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "torch_extensions"


def build(command: list[str], library: Path) -> None:
    """Compile to another name first: whoever finds the library finds it whole."""
    way_out = "install g++ or clang++ (CXX names another one), or leave fused false"
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
            unfinished = Path(scratch) / library.name
            subprocess.run([*command, "-o", str(unfinished)], check=True, capture_output=True, text=True)
            unfinished.replace(library)
    except subprocess.CalledProcessError as error:
        reason = next((line for line in error.stderr.splitlines() if "error" in line), f"status {error.returncode}")
        raise ValueError(f"fused is true, but {command[0]} fails: {reason}; {way_out}") from None
    except OSError as error:
        raise ValueError(f"fused is true, but {command[0]} cannot be run: {error}; {way_out}") from None
