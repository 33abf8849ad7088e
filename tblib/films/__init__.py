"""Films: reading files of any format, and detecting what films show besides lungs. No torch here."""
