"""Clean documents become packed token rows: encode, plan, write."""
