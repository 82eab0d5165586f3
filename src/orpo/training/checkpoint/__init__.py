"""What a checkpoint holds, so that a run goes on from it exactly; all of it is safetensors and JSON.

    parameters.safetensors    the trainable parameters by name: of a run with LoRA, the adapters
    optimizer.safetensors     NAME/KEY: the optimizer's state of each parameter, such as `exp_avg`
    state.json                the place in the data, the schedule, token budgets, callbacks, evaluations
    rank-K.safetensors        of process K: PyTorch's generators, and its sums since the last row of the logs
    rank-K.json               of process K: the generators of Python and NumPy
where each process has rows of the tensors (`orpo.training.sharding`), instead of the first two

    shards.json                       the shape of each tensor, and which of its rows each process has written
    parameters-K.safetensors          the rows of process K
    optimizer-K.safetensors           likewise

    manifest.json             written last; see `orpo.rundir.checkpoints`

Every process writes its own files, so that parts of a sharded model can lie beside those of its peers.
"""
