"""The data that training reads: interactions with internal ids, their split, windows, batches."""
