"""The service that counts votes, charges the ledger, adds noise and releases answers."""
