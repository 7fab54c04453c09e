"""The page itself: what it asks for, and how it is answered."""
