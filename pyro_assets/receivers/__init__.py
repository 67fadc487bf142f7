"""Who gets series: the file of receivers, its secrets and contradictions, and what is known of each."""
