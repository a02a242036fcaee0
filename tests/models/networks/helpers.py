"""What several tests of the networks need."""

import shutil

import pytest

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
