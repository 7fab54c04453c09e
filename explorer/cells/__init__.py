"""What happens in a cell: its changed settings, the episodes of policies and of whoever takes over, what is proved."""
