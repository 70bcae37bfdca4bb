"""Data sets and the partition of private records into disjoint shards."""
