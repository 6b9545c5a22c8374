"""--mode=prepare: logs larger than memory, as folders of shards."""
