"""Names in the checkpoints of training programs."""

PLAIN = ("state_dict", "model_state_dict", "model", "net")
"""Keys of the weights in checkpoints of training scripts."""

AVERAGED = ("state_dict_ema", "model_ema")
"""Keys of their moving average, as timm (`utils/checkpoint_saver.py`) and torchvision (`references/classification`)
write it beside the plain weights."""

PREFIXES = ("module.", "_orig_mod.")
"""Prefixes of every name after DataParallel, DistributedDataParallel, AveragedModel and torch.compile."""

COUNTER = "n_averaged"
"""The one name of torch.optim.swa_utils.AveragedModel without its prefix."""
