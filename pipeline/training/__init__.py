"""A recipe and packed rows become an adapter, its learning curves and samples."""
