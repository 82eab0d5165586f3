"""`orpo data build`: from preference data of any kind to clean files of pairs with their provenance."""
