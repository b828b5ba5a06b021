"""gristmill: scraped, exported and dumped sources become clean training data, and a QLoRA adapter trained on it."""

__version__ = "0.1.0"
