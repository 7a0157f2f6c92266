"""Build the static site: tables, charts and pages of the records."""
