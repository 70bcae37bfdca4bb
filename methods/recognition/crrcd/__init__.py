"""CRRCD: cross-resolution relational contrastive distillation."""
