"""Published data sets by name. To add one, add an entry to datasets.json."""
