"""The documentation becomes a site without a warning, which checks its links, and its formulas need no network."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={tmp_path / 'site'}"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr
    page = (tmp_path / "site" / "report" / "index.html").read_text(encoding="utf-8")
    assert "<math" in page and "arithmatex" not in page and "W_{hh}" not in page
    assert "https://" not in "".join(line for line in page.splitlines() if "<script" in line)
    assert "../models/" not in page
    decision = (tmp_path / "site" / "design" / "backward" / "index.html").read_text(encoding="utf-8")
    assert 'href="../../performance/"' in decision and 'models/networks/bptt.py"' not in decision
