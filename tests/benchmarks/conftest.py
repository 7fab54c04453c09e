from support.shared_fixtures import tiny, tiny_file  # noqa: F401 - fixtures

# Doctests are looked for in every file; two that are called conftest cannot both be imported for it.
collect_ignore = ["conftest.py"]
