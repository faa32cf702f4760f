"""Benchmarks: ratios side by side in one run, medians. Never a timed test."""
