"""Terminal output, and the report about a release."""
