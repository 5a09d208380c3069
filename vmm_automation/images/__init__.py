"""User Image Files: what an archive may hold, what it is proven to hold, and where it is stored."""
