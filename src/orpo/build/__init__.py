"""`orpo data build`: from preference data of any kind to clean files of pairs that say where each one is from."""
