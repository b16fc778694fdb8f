import sys

from bucketlog.cli import main

sys.exit(main())
