"""Models of other people: how their files and objects become classifiers (`tblib.classifiers.protocol`)."""
