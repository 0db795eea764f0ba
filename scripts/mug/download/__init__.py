"""What download_model.py and download_data.py stand on: model hubs, and corpus files wherever they lie."""
