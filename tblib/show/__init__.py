"""Display code shared by chapters: plots, numbers as text, and the figures of notebooks 2 to 4."""
