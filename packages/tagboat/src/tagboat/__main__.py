import sys

from tagboat.cli import main

sys.exit(main())
