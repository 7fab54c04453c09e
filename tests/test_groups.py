"""Groups of tests that stay in one process."""

import pytest


@pytest.mark.xdist_group("groups")
def test_tests_that_share_something_dear_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """pytest 9.2 with pytest-xdist 3.8 forgets groups: each process then starts its own cluster, site and browser."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not run by --dist loadgroup")
    assert request.node.nodeid.endswith("@groups")
