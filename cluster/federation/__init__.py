"""Silos as Flower clients: an adapter, the two apps, and what runs them on one machine (see `docs/federation.md`)."""
