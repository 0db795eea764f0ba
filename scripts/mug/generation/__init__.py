"""Engines that answer prompts, one a file behind one interface."""
