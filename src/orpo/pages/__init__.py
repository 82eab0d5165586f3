"""What the HTML pages of the package have in common: one file each, without script and network."""
