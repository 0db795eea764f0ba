"""Scores: the challenge's official ones, LLaMA-Factory's own, and how sure one can be of them."""
