"""Datasets in the words of other tools: each target is a module, each kind of export a command."""
