"""The compiled steps are compiled once, and a missing part is reported in one line. Their results: test_bptt.py."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from models.networks import LSTM, VanillaRNN, fused
from tests.models.networks.helpers import needs_compiler

NETWORKS = [VanillaRNN, LSTM]


@pytest.fixture
def nothing_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    fused.load.cache_clear()
    yield tmp_path / "extensions" / "palimpsest"
    fused.load.cache_clear()


def compiler(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize("network", NETWORKS)
def test_without_a_compiler(
    network: Any, nothing_compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    with pytest.raises(
        ValueError, match=r"no-such-compiler cannot be run: .*; install g\+\+ or clang\+\+.* set fused to false"
    ) as error:
        network(5, 4, 7, fused=True)
    assert "\n" not in str(error.value)
    network(5, 4, 7)(torch.zeros(2, 3, dtype=torch.int64))


def test_a_compiler_that_fails(nothing_compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "CXX", compiler(tmp_path / "c++", "printf 'fused.cpp:1: fatal error: no ATen \\351\\n' >&2; exit 1")
    )
    with pytest.raises(ValueError, match="fails: fused.cpp:1: fatal error: no ATen .*; install") as error:
        LSTM(5, 4, 7, fused=True)
    assert "\n" not in str(error.value)
    assert list(nothing_compiled.iterdir()) == []


def test_a_library_that_cannot_be_loaded(
    nothing_compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", compiler(tmp_path / "c++", 'while [ "$1" != -o ]; do shift; done; echo nonsense > "$2"'))
    with pytest.raises(ValueError, match=r"cannot load .*palimpsest_\w+\.so.*CXX.* set fused to false") as error:
        LSTM(5, 4, 7, fused=True)
    assert "\n" not in str(error.value) and "cannot be kept" not in str(error.value)


def test_a_folder_that_cannot_be_written(nothing_compiled: Path) -> None:
    nothing_compiled.parent.touch()
    with pytest.raises(
        ValueError, match="cannot be kept in .*extensions/palimpsest: .*; set TORCH_EXTENSIONS_DIR to another folder"
    ):
        LSTM(5, 4, 7, fused=True)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders have no owner")
@pytest.mark.parametrize("change", ["group", "others", "owner"])
def test_a_folder_that_others_can_change(change: str, nothing_compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is loaded is run, and a checksum beside it proves nothing."""
    nothing_compiled.mkdir(parents=True)
    nothing_compiled.chmod({"group": 0o770, "others": 0o707, "owner": 0o700}[change])
    if change == "owner":
        user = nothing_compiled.stat().st_uid
        if user == 0:  # root, who may give it to another user
            os.chown(nothing_compiled, 1, -1)
        else:
            monkeypatch.setattr(os, "getuid", lambda: user + 1)
    with pytest.raises(
        ValueError, match="other users can change .*palimpsest, .*; set TORCH_EXTENSIONS_DIR to a folder"
    ):
        LSTM(5, 4, 7, fused=True)
    assert list(nothing_compiled.iterdir()) == []


def test_the_folder_of_compiled_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    ours = Path("torch_extensions") / "palimpsest"
    for cache, expected in (("", ".cache"), ("relative", ".cache"), (str(tmp_path / "mine"), "mine")):
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        assert fused.cache_dir() == tmp_path / expected / ours


@needs_compiler
def test_a_damaged_library_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fused.load()
    whole = next(path for path in fused.cache_dir().glob("palimpsest_*.so") if fused.is_whole(path))
    extensions = tmp_path / "ex tensions"
    # A compiler with a space in its name and an argument of its own.
    script = f'while [ "$1" != -o ]; do shift; done; cp "{whole}" "$2"; echo x >> "{tmp_path}/calls"'
    monkeypatch.setenv("CXX", f"'{compiler(tmp_path / 'a c++', script)}' -DX")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(extensions))
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)  # these operations are loaded already
    for damaged, calls in ((False, 1), (False, 1), (True, 2)):
        if damaged:
            (library,) = extensions.rglob("palimpsest_*.so")
            library.write_bytes(whole.read_bytes()[:5000])
        fused.load.cache_clear()
        fused.load()
        assert (tmp_path / "calls").read_text() == "x\n" * calls
        (library,) = extensions.rglob("palimpsest_*.so")
        assert library.read_bytes() == whole.read_bytes()
    fused.load.cache_clear()


@pytest.mark.slow
@needs_compiler
def test_a_library_with_the_other_abi(nothing_compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its symbols have names that torch does not know. The message gives one of them, and the cache folder is not blamed."""
    abi = torch.compiled_with_cxx11_abi()
    monkeypatch.setattr(torch, "compiled_with_cxx11_abi", lambda: not abi)
    with pytest.raises(ValueError, match=r"cannot load .*: undefined symbol: \w+; .*CXX.* set fused to false"):
        LSTM(5, 4, 7, fused=True)


def test_each_torch_abi_and_source_has_a_library_of_its_own(
    nothing_compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", compiler(tmp_path / "c++", 'while [ "$1" != -o ]; do shift; done; echo library > "$2"'))
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    monkeypatch.setattr(torch.ops, "palimpsest", MagicMock())
    source = tmp_path / "fused.cpp"
    source.write_text("// Other steps.")
    other_abi = not torch.compiled_with_cxx11_abi()
    changes: list[tuple[Any, str, Any]] = [
        (torch, "__version__", "2.6.0"),
        (torch, "compiled_with_cxx11_abi", lambda: other_abi),
        (fused, "SOURCE", source),
    ]
    fused.load()
    for num_before, (owner, name, value) in enumerate(changes, start=1):
        assert len(list(nothing_compiled.glob("palimpsest_*.so"))) == num_before
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            fused.load.cache_clear()
            fused.load()
    assert len(list(nothing_compiled.glob("palimpsest_*.so"))) == len(changes) + 1


@needs_compiler
def test_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fused.load()
    libraries = {path: path.stat().st_mtime_ns for path in fused.cache_dir().glob("palimpsest_*.so")}
    fused.load.cache_clear()
    fused.load()
    assert {path: path.stat().st_mtime_ns for path in fused.cache_dir().glob("palimpsest_*.so")} == libraries


@pytest.mark.parametrize("network", NETWORKS)
def test_fused_needs_bptt(network: Any) -> None:
    with pytest.raises(
        ValueError, match="fused is true with backward 'autograd'; set fused to false, or backward to 'bptt'"
    ):
        network(5, 4, 7, backward="autograd", fused=True)


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_fused_is_true_or_false(value: Any) -> None:
    with pytest.raises(ValueError, match="fused is .*; it must be true or false"):
        LSTM(5, 4, 7, fused=value)


@pytest.mark.parametrize("value", ["by_hand", "", None])
def test_a_backward_pass_that_does_not_exist(value: Any) -> None:
    with pytest.raises(ValueError, match=r"backward is .*; it must be 'bptt' or 'autograd'"):
        LSTM(5, 4, 7, backward=value)


def test_the_command_line_reports_it_in_one_line(
    command: Any,
    nothing_compiled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    assert command("fit", "--model.fused", "true") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and "no-such-compiler" in line and "set fused to false" in line
    assert command("fit", "--model.backward", "by_hand") == 2
