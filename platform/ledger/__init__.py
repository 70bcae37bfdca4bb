"""The durable record of what was spent, and the answers that were already paid for."""
