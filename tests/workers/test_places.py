"""What --on and --jobs name, and what is said where there is no Ray."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import cloudpickle
import pytest

import evaluate
from wdmoe_env.workers import on_ray, places
from wdmoe_env.workers.processes import LocalPool
from wdmoe_env.workers.units import PoolError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("on", ["spark", "ray://", "ray://host", "host:10001", "ray://host:port", "rays"])
def test_other_places_are_refused(on: str) -> None:
    with pytest.raises(PoolError, match="expected ray, or ray://HOST:PORT"):
        places.check(on, None)


def test_no_fewer_than_one_at_once() -> None:
    with pytest.raises(PoolError, match="--jobs is 0, expected at least 1"):
        places.opened(None, 0)


def test_without_on_it_is_this_machine() -> None:
    places.check("ray", 3)
    places.check("ray://10.0.0.1:10001", None)
    with places.opened(None, 2) as pool:
        assert isinstance(pool, LocalPool)
        assert pool.size == 2


def test_without_ray_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    asked = ["--scenario", "tiny-moe", "--policies", "top-k", "--out", str(tmp_path / "out"), "--on", "ray"]
    assert evaluate.main(asked) == 2
    assert "pip install wdmoe-env[cluster]" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.*"))


def test_one_module_alone_imports_ray() -> None:
    rooms = ("wdmoe_env", "baselines", "agents", "evaluation", "explorer")
    files = [*ROOT.glob("*.py"), *(file for room in rooms for file in (ROOT / room).rglob("*.py"))]
    importers = {
        file.relative_to(ROOT).as_posix()
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(name.name.partition(".")[0] == "ray" for name in node.names)
    }
    assert importers == {"wdmoe_env/workers/on_ray.py"}


def test_a_node_with_another_version_is_refused_before_a_unit_runs() -> None:
    setup = on_ray._Setup({**on_ray._versions(), "numpy": "1.0"}, "", ())
    with pytest.raises(PoolError, match=r"numpy is \S+ on node \S+, expected 1.0 as here"):
        on_ray._ready(cloudpickle.dumps(setup))


def test_modules_of_ones_own_travel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WDMOE_PLUGINS", "")
    setup = on_ray._Setup(on_ray._versions(), "travelled_module", (("travelled_module.py", b"HERE = True\n"),))
    monkeypatch.setattr(sys, "path", [*sys.path])
    on_ray._ready(cloudpickle.dumps(setup))
    assert sys.modules["travelled_module"].HERE


def test_the_post_keeps_what_is_said_until_it_is_fetched() -> None:
    post = on_ray._Post()
    post.say("one", "told", b"1")
    assert post.take() == [("one", "told", b"1")]
    assert post.take() == []
    assert post.answered("one") is None
    post.answer("one", b"yes")
    assert post.answered("one") == b"yes"
    assert post.answered("one") is None
    assert post.stopped() is None
    post.stop("SIGTERM")
    assert post.stopped() == "SIGTERM"
