"""Learning from labels that are partly wrong: crowds that disagree, and several labels an item with unknown flip rates."""
