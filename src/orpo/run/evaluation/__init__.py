"""What one evaluation is made of; `orpo.run.evaluate` puts it together."""
