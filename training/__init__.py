"""How a run is driven: the command line, the loop over steps, the run folder and the files in it."""
