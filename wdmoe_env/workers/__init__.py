"""Where units of work run: processes of this machine, or the nodes of a Ray cluster. Both run the same functions."""
