"""Files: written whole or not at all, read safely, YAML read strictly, and what a result was made with."""
