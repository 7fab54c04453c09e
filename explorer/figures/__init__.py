"""What the page draws, as plain dictionaries that Plotly takes: made from scenes and numbers, without a browser."""
