"""Verbs: what each command does, as one library call."""
