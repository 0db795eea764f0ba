"""Readers of transcripts as people have them, one module a format."""
