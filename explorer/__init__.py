"""The interactive page: a cell to look at, to step through and to take over."""
