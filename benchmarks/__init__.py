"""Speed and memory, measured on whole processes; run by hand."""
