"""The newest posts for programs: Atom, RSS and JSON Feed, of the site, each tag and each author."""
