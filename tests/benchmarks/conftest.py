from support.shared_fixtures import tiny  # noqa: F401 - a fixture

# Doctests are looked for in every file; two that are called conftest cannot both be imported for it.
collect_ignore = ["conftest.py"]
