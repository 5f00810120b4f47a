"""`resumekit timeline`: what a trace tells, as items, as a picture, and as a page."""
