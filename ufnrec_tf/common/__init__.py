"""Common code of all folders, which knows no recommender: errors, files, screen, devices."""
