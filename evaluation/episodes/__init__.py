"""Who is compared in which episodes, and running them."""
