"""What every folder may use and what knows no recommender: errors, files, screen, devices."""
