"""The command as it is when installed: imported, so that it is compiled once, and not for each of the tests' thousand calls.

The storms know a worker by its command line, in which this name stands.
"""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = False

import queuectl  # noqa: E402

sys.argv[0] = queuectl.__file__
sys.exit(queuectl.main())
