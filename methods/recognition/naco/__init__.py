"""NACO: detecting forged face videos by the natural consistency of real ones."""
