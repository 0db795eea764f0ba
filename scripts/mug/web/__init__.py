"""The web page of scripts/webapp.py."""
