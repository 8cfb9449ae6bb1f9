"""A project that is spread over several shards, each a store of its own with its own prefix, which a Redis Cluster may keep on
different nodes. An episode, its group and its log are in one shard; so every transition of one group stays one script.
"""
