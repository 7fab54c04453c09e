"""`python -m wdmoe_env COMMAND` is `wdmoe COMMAND`."""

import sys

from wdmoe_env.command import main

if __name__ == "__main__":
    sys.exit(main())
