"""What may be called: one file a noun, its rules and its acts side by side."""
