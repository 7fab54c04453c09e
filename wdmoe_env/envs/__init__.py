"""The Gymnasium environments, both thin, and how observations and actions look as spaces."""
