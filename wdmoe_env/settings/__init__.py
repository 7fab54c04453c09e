"""The parts of a scenario: values, how they are read and merged, and where the files that they name are."""
