"""What resumekit costs and gains, one file a question. See README.md here."""
