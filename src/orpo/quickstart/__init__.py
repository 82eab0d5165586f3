"""`orpo train quickstart`: a small task, a small base model and the demonstration that aligns it."""
