"""What a person gets to see: console lines and tables, metric logs, plots."""
