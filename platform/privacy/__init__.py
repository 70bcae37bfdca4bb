"""Mechanisms, accounting and auditing of differential privacy."""
