"""Where a release runs: App Runner (or a homeport), a function of Lambda's, a service of ECS Express Mode."""
