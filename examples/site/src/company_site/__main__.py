"""`python -m company_site` is `site`."""

from __future__ import annotations

from company_site.cli import main

if __name__ == "__main__":
    main()
