"""`python -m stackone_lms`."""

import sys

from .cli import main

sys.exit(main())
