from pathlib import Path

import pytest
from support.saved import DATA, TENSORS

from wdmoe_env.files.tensors import save_folder

# Doctests are looked for in every file; two that are called conftest cannot both be imported for it.
collect_ignore = ["conftest.py"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_folder(tmp_path / "best", "policy", TENSORS, DATA)
    return tmp_path / "best"
