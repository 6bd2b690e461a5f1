"""`python -m stackone_lms.cli`."""

import sys

from . import main

sys.exit(main())
