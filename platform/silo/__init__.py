"""A data owner's side: its shard, its teacher, its votes."""
