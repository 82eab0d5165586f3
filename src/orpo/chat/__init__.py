"""Language models behind an API: one request, many of them, patience, and what they cost."""
