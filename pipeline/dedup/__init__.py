"""Exact and near duplicates, and the clusters they form."""
