"""The page: tables and charts of the records as static files."""
