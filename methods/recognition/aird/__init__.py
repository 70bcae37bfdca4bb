"""AIRD: adaptable instance-relation distillation, and FaceBN."""
