"""`python -m maquette` is the command `maquette`; `torchrun -m maquette train …` starts one process per device."""

import sys

from maquette.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
