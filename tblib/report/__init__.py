"""Running and reporting: papermill, parameters, the HTML page, and servers. Imports no torch."""
