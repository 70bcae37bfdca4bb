"""The schema of a run and how a configuration is composed and checked."""
