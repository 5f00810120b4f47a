"""`resumekit demo --web`: a conversation in the browser, and buttons that cut its line."""
