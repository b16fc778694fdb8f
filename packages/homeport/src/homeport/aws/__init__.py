"""The AWS services that homeport answers as, over their own wire protocols."""
