"""Operating system services: processes, sentences on shortages, atomic files, text, digests of code."""
