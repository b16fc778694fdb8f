"""Where a service runs: what each kind of target needs and cannot do, and how a release gets there."""
