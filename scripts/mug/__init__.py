"""The library under the scripts: meetings in, Alpaca samples out, answers scored."""
