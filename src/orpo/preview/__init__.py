"""The tensors that training is given, token by token, with what the loss takes of each."""
